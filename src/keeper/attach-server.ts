/**
 * Attach connections as the keeper serves them: one JSON request, then output frames to the
 * client and stdin frames from it. Each stdin frame, and closing stdin, is answered in order.
 */
import { createServer, type Server, type Socket } from 'node:net'
import { messageOf } from '../base/refusal.ts'
import { encodeJson, frameObject, FrameReader, frameType, type Frame } from './frames.ts'
import type { LogStream } from './log-format.ts'
import type { StdioStream } from './stdio-stream.ts'

/** Stdin that waits for the container; above it the client's connection is not read. */
const stdinBytesMax = 1024 * 1024

export function serveAttach(
  socketPath: string,
  find: (streamId: string) => StdioStream | undefined,
): Server {
  const server = createServer((connection) => {
    connection.on('error', () => connection.destroy())
    const session = new AttachSession(connection, find)
    const reader = new FrameReader()
    connection.on('data', (chunk) => {
      try {
        for (const frame of reader.push(chunk)) session.take(frame)
      } catch (error) {
        connection.end(encodeJson({ error: messageOf(error) }))
      }
    })
  })
  return server.listen(socketPath)
}

class AttachSession {
  readonly #connection: Socket
  readonly #find: (streamId: string) => StdioStream | undefined
  #stream: StdioStream | undefined
  #waitingBytes = 0
  #tail: Promise<void> = Promise.resolve()

  constructor(connection: Socket, find: (streamId: string) => StdioStream | undefined) {
    this.#connection = connection
    this.#find = find
  }

  take(frame: Frame): void {
    if (this.#stream === undefined) return this.#begin(frameObject(frame))
    const stream = this.#stream
    if (frame.type === frameType.stdin) {
      this.#wait(frame.payload.length)
      // Handed over at once: the stream keeps the order of all its clients' bytes.
      const written = stream.write(frame.payload)
      this.#answer(() => written.finally(() => this.#wait(-frame.payload.length)))
    } else if (frameObject(frame)['closeStdin'] === true) {
      this.#answer(() => Promise.resolve(stream.closeStdin()))
    } else {
      throw new Error('unknown request on an attach connection')
    }
  }

  #begin(request: Readonly<Record<string, unknown>>): void {
    const streamId = request['attach']
    const stream = typeof streamId === 'string' ? this.#find(streamId) : undefined
    if (stream === undefined) {
      this.#connection.end(encodeJson({ error: `no stream ${String(streamId)}` }))
      return
    }
    this.#stream = stream
    this.#connection.write(encodeJson({ ok: true }))
    const wants = (['stdout', 'stderr'] as const).filter((name) => request[name] === true)
    stream.attach(this.#connection, new Set<LogStream>(wants))
  }

  /** One answer per request, in the order of the requests. */
  #answer(action: () => Promise<void>): void {
    const answer = (message: object) => {
      if (this.#connection.writable) this.#connection.write(encodeJson(message))
    }
    const settled = this.#tail.then(action)
    this.#tail = settled.then(
      () => answer({ ok: true }),
      (error: unknown) => answer({ error: messageOf(error) }),
    )
  }

  #wait(bytes: number): void {
    this.#waitingBytes += bytes
    if (this.#waitingBytes > stdinBytesMax) this.#connection.pause()
    else if (this.#connection.isPaused()) this.#connection.resume()
  }
}
