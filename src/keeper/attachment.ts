/**
 * The daemon's end of an attach connection (`attach-server.ts` is the other).
 *
 * Output is taken from the connection only as fast as the caller reads it, so that a slow client
 * is seen by the keeper, which bounds what waits for it and drops it when it takes nothing.
 */
import { connect, type Socket } from 'node:net'
import { messageOf, Refusal } from '../base/refusal.ts'
import type { Attachment, AttachOptions, OutputChunk } from './client.ts'
import { encodeFrame, encodeJson, frameObject, FrameReader, frameType } from './frames.ts'
import type { Frame } from './frames.ts'

/** Output that was received and not yet read by the caller; above it the connection pauses. */
const queueBytesMax = 256 * 1024
/** Largest piece of stdin in one frame. */
const stdinFrameBytes = 64 * 1024

/**
 * Rejects with a Refusal when the keeper has no such stream.
 *
 * @param keeperReturned asked when the connection breaks: resolves with true when the keeper had
 *   died and another one serves the stream now; false when the keeper lives and has dropped us
 */
export async function openAttachment(
  socketPath: string,
  streamId: string,
  options: AttachOptions,
  keeperReturned: () => Promise<boolean>,
): Promise<Attachment> {
  const { stdin, stdout, stderr } = options
  const request = encodeJson({ attach: streamId, stdin, stdout, stderr })
  const link = new AttachLink(socketPath, request, keeperReturned)
  try {
    await link.open()
  } catch (error) {
    link.detach()
    throw new Refusal('conflict', `cannot attach to ${streamId}: ${messageOf(error)}`)
  }
  return link
}

class AttachLink implements Attachment {
  readonly output: AsyncIterable<OutputChunk>
  readonly #socketPath: string
  readonly #request: Buffer
  readonly #keeperReturned: () => Promise<boolean>
  readonly #answers: PromiseWithResolvers<void>[] = []
  readonly #queue: OutputChunk[] = []
  #socket: Socket | undefined
  #attached = false
  /** Settles when a connection that broke is there again, or given up. */
  #whole: Promise<void> = Promise.resolve()
  #queueBytes = 0
  #wake: (() => void) | undefined
  #state: 'open' | 'ended' | 'lost' | 'detached' = 'open'

  constructor(socketPath: string, request: Buffer, keeperReturned: () => Promise<boolean>) {
    this.#socketPath = socketPath
    this.#request = request
    this.#keeperReturned = keeperReturned
    this.output = { [Symbol.asyncIterator]: () => this.#chunks() }
  }

  async open(): Promise<void> {
    const socket = connect(this.#socketPath)
    const reader = new FrameReader()
    this.#socket = socket
    this.#attached = false
    socket.on('error', () => socket.destroy())
    socket.on('close', () => this.#broken(socket))
    socket.on('data', (chunk) => {
      try {
        for (const frame of reader.push(chunk)) this.#take(frame)
      } catch {
        // Not a keeper of ours: the connection is as good as lost, and reported as such.
        socket.destroy()
      }
    })
    await this.#send(this.#request)
    this.#attached = true
  }

  async write(data: Buffer): Promise<void> {
    for (let from = 0; from < data.length; from += stdinFrameBytes) {
      const piece = data.subarray(from, from + stdinFrameBytes)
      await this.#ask(encodeFrame(frameType.stdin, piece))
    }
  }

  closeStdin(): Promise<void> {
    return this.#ask(encodeJson({ closeStdin: true }))
  }

  detach(): void {
    this.#finish('detached')
  }

  async #ask(frame: Buffer): Promise<void> {
    await this.#whole
    return this.#send(frame)
  }

  #send(frame: Buffer): Promise<void> {
    if (this.#state !== 'open') return Promise.reject(new Error('the attachment has ended'))
    const answer = Promise.withResolvers<void>()
    this.#answers.push(answer)
    this.#socket?.write(frame)
    return answer.promise
  }

  #take(frame: Frame): void {
    if (frame.type === frameType.stdout) this.#put({ stream: 'stdout', data: frame.payload })
    else if (frame.type === frameType.stderr) this.#put({ stream: 'stderr', data: frame.payload })
    else if (frame.type === frameType.end) this.#finish('ended')
    else {
      const { error } = frameObject(frame)
      const answer = this.#answers.shift()
      if (error === undefined) answer?.resolve()
      else answer?.reject(new Error(String(error)))
    }
  }

  #put(chunk: OutputChunk): void {
    this.#queue.push(chunk)
    this.#queueBytes += chunk.data.length
    if (this.#queueBytes > queueBytesMax) this.#socket?.pause()
    this.#wake?.()
  }

  async *#chunks(): AsyncGenerator<OutputChunk> {
    try {
      for (;;) {
        const chunk = this.#queue.shift()
        if (chunk !== undefined) {
          this.#queueBytes -= chunk.data.length
          const isLow = this.#queueBytes <= queueBytesMax / 2
          if (isLow && this.#socket?.isPaused()) this.#socket.resume()
          yield chunk
        } else if (this.#state === 'open') {
          await new Promise<void>((resolve) => (this.#wake = resolve))
        } else if (this.#state === 'lost') {
          throw new Error('attach ended: the client was too slow for too long, or the keeper died')
        } else return
      }
    } finally {
      this.detach()
    }
  }

  #broken(socket: Socket): void {
    if (socket !== this.#socket || this.#state !== 'open') return
    this.#rejectAnswers()
    if (this.#attached) this.#whole = this.#reopen()
    else this.#finish('lost')
  }

  async #reopen(): Promise<void> {
    try {
      if (!(await this.#keeperReturned())) return this.#finish('lost')
      if (this.#state === 'open') await this.open()
    } catch {
      // Neither the old nor a new keeper serves the stream: the reader is told by `lost`.
      this.#finish('lost')
    }
  }

  #finish(state: 'ended' | 'lost' | 'detached'): void {
    if (this.#state !== 'open') return
    this.#state = state
    this.#socket?.destroy()
    this.#rejectAnswers()
    this.#wake?.()
  }

  /** Whether the bytes under way arrived is unknown: they are not sent twice. */
  #rejectAnswers(): void {
    for (const answer of this.#answers) answer.reject(new Error('the attachment has ended'))
    this.#answers.length = 0
  }
}
