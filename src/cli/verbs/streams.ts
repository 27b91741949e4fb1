/** Container output and terminal input, as bytes between the engine and this terminal. */
import type { Duplex, Readable } from 'node:stream'
import { Refusal } from '../../base/refusal.ts'

/** Stream type, three zero bytes, length. */
const frameHeaderBytes = 8
/** The engine frames at most 16 KiB of log or what one read gave; far more is not a frame. */
const frameBytesMax = 64 * 1024 * 1024

/** Copies a stream to standard output and standard error until it ends. */
export async function copyFrames(source: Readable, framed: boolean): Promise<void> {
  let waiting = Buffer.alloc(0)
  for await (const chunk of source) {
    if (!framed) {
      process.stdout.write(chunk)
      continue
    }
    waiting = Buffer.concat([waiting, Buffer.from(chunk)])
    while (waiting.length >= frameHeaderBytes) {
      const length = waiting.readUInt32BE(4)
      if (length > frameBytesMax) throw new Refusal('internal', 'the engine sent something that is no frame')
      if (waiting.length < frameHeaderBytes + length) break
      const data = waiting.subarray(frameHeaderBytes, frameHeaderBytes + length)
      ;(waiting[0] === 2 ? process.stderr : process.stdout).write(data)
      waiting = waiting.subarray(frameHeaderBytes + length)
    }
  }
}

/**
 * Joins this terminal to a connection until its output ends. `tty`: keys go through unchanged.
 * `stdin` false: nothing is read here.
 */
export async function joinTerminal(
  connection: Duplex,
  options: { readonly stdin: boolean; readonly tty: boolean; readonly framed: boolean },
): Promise<void> {
  const raw = options.stdin && options.tty && process.stdin.isTTY
  if (raw) process.stdin.setRawMode(true)
  if (options.stdin) process.stdin.pipe(connection)
  try {
    await copyFrames(connection, options.framed)
  } finally {
    if (raw) process.stdin.setRawMode(false)
    process.stdin.unpipe(connection)
    process.stdin.destroy()
    connection.destroy()
  }
}
