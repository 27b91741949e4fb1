/**
 * The standard streams of one container or exec: reads its FIFOs, writes its log, copies output
 * to whoever is attached, and takes stdin.
 *
 * Stdin is held open for reading and writing: if it were not, a shim whose only writer dies
 * would see the end of the input and the program would stop.
 */
import { Socket } from 'node:net'
import { openFifo } from '../kernel/fifo.ts'
import { Attacher } from './attacher.ts'
import { FifoReader } from './fifo-reader.ts'
import { LogFile } from './log-file.ts'
import type { LogStream } from './log-format.ts'
import type { StreamOpening } from './protocol.ts'

/** How long output waits for clients to find the new keeper. */
const returnMsMax = 1_000

export class StdioStream {
  readonly #stallMs: number
  readonly #log: LogFile | undefined
  readonly #attachers = new Set<Attacher>()
  readonly #readers: FifoReader[] = []
  #stdin: Socket | undefined
  #stdinClosed: boolean
  #paused = false
  #draining = false
  /** Clients of the keeper before this one that are on their way back. */
  #awaited: number
  #ended: PromiseWithResolvers<void> = Promise.withResolvers()

  constructor({ spec, stdinClosed, attachers }: StreamOpening, stallMs: number) {
    this.#stallMs = stallMs
    this.#stdinClosed = stdinClosed
    this.#awaited = attachers
    try {
      this.#log = spec.logPath === '' ? undefined : new LogFile(spec)
      if (spec.fifoStdin !== '' && !stdinClosed) this.#stdin = openStdin(spec.fifoStdin)
      this.#read('stdout', spec.fifoStdout)
      this.#read('stderr', spec.fifoStderr)
    } catch (error) {
      this.close()
      throw error
    }
    if (attachers > 0) this.#awaitAttachers()
  }

  get stdinClosed(): boolean {
    return this.#stdinClosed
  }

  /** False: the FIFOs were made anew, or one has ended: the next process needs a new stream. */
  isCurrent(): boolean {
    return this.#readers.every((reader) => reader.isCurrent())
  }

  attach(connection: Socket, wants: ReadonlySet<LogStream>): void {
    const attacher = new Attacher(connection, wants, this.#stallMs, () => {
      if (attacher.gone) this.#attachers.delete(attacher)
      this.#throttle()
    })
    this.#attachers.add(attacher)
    this.#awaited = Math.max(0, this.#awaited - 1)
    this.#throttle()
    if (this.#readers.every((reader) => reader.ended)) attacher.end()
  }

  /** Resolves when the bytes are in the FIFO; rejects when stdin is closed. */
  write(data: Buffer): Promise<void> {
    const stdin = this.#stdin
    if (stdin === undefined) return Promise.reject(new Error('stdin is closed'))
    return new Promise((resolve, reject) => {
      // A stream that closes while bytes wait calls back with an error, so this always settles.
      stdin.write(data, (error) => (error ? reject(error) : resolve()))
    })
  }

  closeStdin(): void {
    this.#stdinClosed = true
    this.#stdin?.destroy()
    this.#stdin = undefined
  }

  /** The process has exited: resolves when all output is logged, at latest after `timeoutMs`. */
  async drain(timeoutMs: number): Promise<void> {
    this.#draining = true
    this.#throttle()
    for (const reader of this.#readers) reader.readWhatIsThere()
    const late = Promise.withResolvers<void>()
    const timer = setTimeout(() => late.resolve(), timeoutMs)
    await Promise.race([this.#ended.promise, late.promise])
    clearTimeout(timer)
    for (const reader of this.#readers) reader.readWhatIsThere()
    this.close()
  }

  close(): void {
    this.closeStdin()
    for (const reader of this.#readers) reader.close()
    this.#log?.close()
    this.#endAttachers()
  }

  #read(stream: LogStream, path: string): void {
    if (path === '') return
    const take = (data: Buffer) => this.#take(stream, data)
    this.#readers.push(new FifoReader(path, take, () => this.#readerEnded()))
  }

  #take(stream: LogStream, data: Buffer): void {
    this.#log?.write(stream, data)
    for (const attacher of this.#attachers) attacher.send(stream, data)
    this.#throttle()
  }

  #readerEnded(): void {
    if (!this.#readers.every((reader) => reader.ended)) return
    this.#log?.flush()
    this.#endAttachers()
    this.#ended.resolve()
  }

  #endAttachers(): void {
    for (const attacher of this.#attachers) attacher.end()
    this.#attachers.clear()
  }

  #awaitAttachers(): void {
    this.#throttle()
    const giveUp = () => {
      this.#awaited = 0
      this.#throttle()
    }
    setTimeout(giveUp, returnMsMax)
  }

  /**
   * Reading pauses while an attacher is full (it is given time, the container waits) and until
   * those of a keeper that died are back. What an exited process has left is little: it is read.
   */
  #throttle(): void {
    const full = this.#awaited > 0 || [...this.#attachers].some((attacher) => attacher.full)
    const pause = full && !this.#draining
    if (pause === this.#paused) return
    this.#paused = pause
    for (const reader of this.#readers) pause ? reader.pause() : reader.resume()
  }
}

function openStdin(path: string): Socket {
  const fd = openFifo(path, 'readWrite')
  const socket = new Socket({ fd, readable: false, writable: true })
  // Pending writes learn of it by their callbacks.
  socket.on('error', () => socket.destroy())
  return socket
}
