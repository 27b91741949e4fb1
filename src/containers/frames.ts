/**
 * Docker's multiplexed stream: eight bytes [stream, 0, 0, 0, length BE32], then the data; and
 * writing to a client that reads slowly.
 */
import type { Writable } from 'node:stream'

const streamCode = { stdin: 0, stdout: 1, stderr: 2, systemError: 3 } as const

export function frame(stream: keyof typeof streamCode, data: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(8 + data.length)
  framed.writeUInt32BE(streamCode[stream] << 24, 0)
  framed.writeUInt32BE(data.length, 4)
  framed.set(data, 8)
  return framed
}

/** Writes, and waits while the client takes no more. False when the client has gone. */
export async function writeTo(sink: Writable, data: Uint8Array): Promise<boolean> {
  if (sink.destroyed || sink.writableEnded) return false
  if (sink.write(data)) return true
  await new Promise<void>((resolve) => {
    const done = () => {
      sink.off('drain', done)
      sink.off('close', done)
      sink.off('error', done)
      resolve()
    }
    sink.on('drain', done)
    sink.on('close', done)
    sink.on('error', done)
  })
  return !sink.destroyed
}
