/**
 * Reads one FIFO of a container without ever blocking a thread.
 *
 * End-of-file is exact as long as every holder has opened the FIFO for reading only. A reader
 * that comes after the last writer has gone is told nothing by the kernel, so `readWhatIsThere`
 * asks: the caller does it once it knows that the process has exited.
 */
import { fstatSync, readSync, statSync } from 'node:fs'
import { Socket } from 'node:net'
import { errorCode } from '../base/error-code.ts'
import { openFifo } from '../kernel/fifo.ts'

/** As large as a pipe: one event empties it. Shared: it is used up before the next event. */
const buffer = Buffer.allocUnsafe(64 * 1024)

export class FifoReader {
  readonly #fd: number
  readonly #socket: Socket
  readonly #take: (data: Buffer) => void
  readonly #end: () => void
  readonly #path: string
  #ended = false

  /** `take` must copy what it keeps. `end` is called once, also after `close`. */
  constructor(path: string, take: (data: Buffer) => void, end: () => void) {
    this.#take = take
    this.#end = end
    this.#path = path
    this.#fd = openFifo(path, 'read')
    const onread = {
      buffer,
      callback: (length: number, data: Uint8Array) => {
        if (!this.#ended) take(Buffer.from(data.buffer, data.byteOffset, length))
        return true
      },
    }
    this.#socket = new Socket({ fd: this.#fd, readable: true, writable: false, onread })
    this.#socket.on('error', () => this.#finish())
    this.#socket.on('end', () => this.#finish())
    this.#socket.on('close', () => this.#finish())
    this.#socket.resume()
  }

  get ended(): boolean {
    return this.#ended
  }

  /** Whether it reads the FIFO that is at its path now, and has not come to the end. */
  isCurrent(): boolean {
    return !this.#ended && fstatSync(this.#fd).ino === statSync(this.#path).ino
  }

  pause(): void {
    if (!this.#ended) this.#socket.pause()
  }

  resume(): void {
    if (!this.#ended) this.#socket.resume()
  }

  /** Reads until the FIFO is empty; ends the reader if no writer is left. */
  readWhatIsThere(): void {
    while (!this.#ended) {
      const length = this.#read()
      if (length === undefined) return
      if (length === 0) return this.#finish()
      this.#take(buffer.subarray(0, length))
    }
  }

  close(): void {
    this.#finish()
  }

  /** Undefined: empty, but a writer lives. */
  #read(): number | undefined {
    try {
      return readSync(this.#fd, buffer, 0, buffer.length, null)
    } catch (error) {
      if (errorCode(error) === 'EAGAIN') return undefined
      throw error
    }
  }

  #finish(): void {
    if (this.#ended) return
    this.#ended = true
    this.#socket.destroy()
    this.#end()
  }
}
