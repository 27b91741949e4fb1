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

/** Rejects with a Refusal when the keeper has no such stream. */
export async function openAttachment(
  socketPath: string,
  streamId: string,
  options: AttachOptions,
): Promise<Attachment> {
  const link = new AttachLink(connect(socketPath))
  const { stdin, stdout, stderr } = options
  try {
    await link.ask(encodeJson({ attach: streamId, stdin, stdout, stderr }))
  } catch (error) {
    link.detach()
    throw new Refusal('conflict', `cannot attach to ${streamId}: ${messageOf(error)}`)
  }
  return link
}

class AttachLink implements Attachment {
  readonly output: AsyncIterable<OutputChunk>
  readonly #socket: Socket
  readonly #answers: PromiseWithResolvers<void>[] = []
  readonly #queue: OutputChunk[] = []
  #queueBytes = 0
  #wake: (() => void) | undefined
  #state: 'open' | 'ended' | 'lost' | 'detached' = 'open'

  constructor(socket: Socket) {
    this.#socket = socket
    const reader = new FrameReader()
    socket.on('error', () => this.#finish('lost'))
    socket.on('close', () => this.#finish('lost'))
    socket.on('data', (chunk) => {
      try {
        for (const frame of reader.push(chunk)) this.#take(frame)
      } catch {
        // Not a keeper of ours: the connection is as good as lost, and reported as such.
        socket.destroy()
      }
    })
    this.output = { [Symbol.asyncIterator]: () => this.#chunks() }
  }

  ask(frame: Buffer): Promise<void> {
    if (this.#state !== 'open') return Promise.reject(new Error('the attachment has ended'))
    const answer = Promise.withResolvers<void>()
    this.#answers.push(answer)
    this.#socket.write(frame)
    return answer.promise
  }

  async write(data: Buffer): Promise<void> {
    for (let from = 0; from < data.length; from += stdinFrameBytes) {
      const piece = data.subarray(from, from + stdinFrameBytes)
      await this.ask(encodeFrame(frameType.stdin, piece))
    }
  }

  closeStdin(): Promise<void> {
    return this.ask(encodeJson({ closeStdin: true }))
  }

  detach(): void {
    this.#finish('detached')
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
    if (this.#queueBytes > queueBytesMax) this.#socket.pause()
    this.#wake?.()
  }

  async *#chunks(): AsyncGenerator<OutputChunk> {
    try {
      for (;;) {
        const chunk = this.#queue.shift()
        if (chunk !== undefined) {
          this.#queueBytes -= chunk.data.length
          if (this.#queueBytes <= queueBytesMax / 2 && this.#socket.isPaused()) this.#socket.resume()
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

  #finish(state: 'ended' | 'lost' | 'detached'): void {
    if (this.#state !== 'open') return
    this.#state = state
    this.#socket.destroy()
    for (const answer of this.#answers) answer.reject(new Error('the attachment has ended'))
    this.#answers.length = 0
    this.#wake?.()
  }
}
