/**
 * Answers that go on: JSON objects one by one (progress, events, stats), each sent at once, and
 * the frames of container output.
 */
import { renderExact } from '../base/json.ts'
import { messageOf } from '../base/refusal.ts'
import type { ApiRequest } from './route.ts'

/** Bytes as they come, without frames. */
export const rawStream = 'application/vnd.docker.raw-stream'
/** What a client that does not read may leave waiting here; then it is cut off. */
const waitingBytesMax = 4 * 1024 * 1024

export interface JsonStream {
  /** One object and a newline. Ignored once the client has gone. */
  write(value: unknown): void
  /** Resolves when what was written has left; for producers that can wait. */
  drained(): Promise<void>
  end(): void
  /** Ends with the error as an object: the status 200 has been sent already. */
  fail(error: unknown): void
}

/** Sends status and headers now: clients wait for them before they go on. */
export function openJsonStream(
  request: ApiRequest,
  options: { contentType?: string; prefix?: string } = {},
): JsonStream {
  const { response } = request
  response.writeHead(200, { 'Content-Type': options.contentType ?? 'application/json' })
  response.flushHeaders()
  const prefix = options.prefix ?? ''
  const stream: JsonStream = {
    write(value) {
      if (response.destroyed || response.writableEnded) return
      response.write(prefix + renderExact(value) + '\n')
      if (response.writableLength > waitingBytesMax) response.destroy()
    },
    drained: () =>
      new Promise((resolve) => {
        if (response.destroyed || response.writableLength === 0) {
          resolve()
          return
        }
        const done = () => {
          response.off('drain', done)
          response.off('close', done)
          resolve()
        }
        if (!response.writableNeedDrain) done()
        else for (const event of ['drain', 'close']) response.on(event, done)
      }),
    end: () => {
      response.end()
    },
    fail(error) {
      const message = messageOf(error)
      stream.write({ errorDetail: { message }, error: message })
      response.end()
    },
  }
  return stream
}

const channels = { stdin: 0, stdout: 1, stderr: 2, systemError: 3 } as const

/** The 8-byte header and the payload, as attach and logs send output without a TTY. */
export function frame(channel: keyof typeof channels, payload: Buffer): Buffer {
  const framed = Buffer.allocUnsafe(8 + payload.length)
  framed.writeUInt32BE(channels[channel] * 0x1000000, 0)
  framed.writeUInt32BE(payload.length, 4)
  payload.copy(framed, 8)
  return framed
}

/** The content type of an attach or exec stream. */
export function streamType(tty: boolean, version: number): string {
  return tty || version < 142
    ? rawStream
    : 'application/vnd.docker.multiplexed-stream'
}
