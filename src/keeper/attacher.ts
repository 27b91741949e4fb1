/**
 * One client that follows a stream live, as the keeper sees it: a connection that takes output.
 *
 * At most 1 MiB waits for it. When that is reached the stream is asked to pause; a client that
 * then takes nothing for `stallMs` is dropped, and the stream and its log go on.
 */
import type { Socket } from 'node:net'
import { encodeFrame, frameType } from './frames.ts'
import type { LogStream } from './log-format.ts'

/** What may wait for one client; above it the stream pauses. */
const backlogBytesMax = 1024 * 1024
/** The pause ends below this, so that it does not flicker. */
const backlogBytesLow = 256 * 1024
/** How long a client whose stream has ended may take nothing before its connection is cut. */
const lingerMs = 30_000

export class Attacher {
  readonly #connection: Socket
  readonly #wants: ReadonlySet<LogStream>
  readonly #stallMs: number
  readonly #changed: () => void
  #backlogBytes = 0
  #full = false
  #stall: NodeJS.Timeout | undefined

  /** `changed` is called when `full` becomes false and when the client has gone. */
  constructor(
    connection: Socket,
    wants: ReadonlySet<LogStream>,
    stallMs: number,
    changed: () => void,
  ) {
    this.#connection = connection
    this.#wants = wants
    this.#stallMs = stallMs
    this.#changed = changed
    connection.on('close', () => {
      clearTimeout(this.#stall)
      this.#full = false
      changed()
    })
  }

  get full(): boolean {
    return this.#full
  }

  get gone(): boolean {
    return this.#connection.destroyed
  }

  send(stream: LogStream, data: Buffer): void {
    if (this.gone || !this.#wants.has(stream)) return
    const frame = encodeFrame(frameType[stream], data)
    this.#backlogBytes += frame.length
    this.#connection.write(frame, () => this.#taken(frame.length))
    if (this.#backlogBytes > backlogBytesMax && !this.#full) {
      this.#full = true
      this.#watch()
    }
  }

  /** The stream has ended: sends what waits, then the end. */
  end(): void {
    if (this.gone) return
    this.#full = false
    clearTimeout(this.#stall)
    this.#connection.end(encodeFrame(frameType.end, Buffer.alloc(0)))
    this.#connection.setTimeout(lingerMs, () => this.#connection.destroy())
  }

  #taken(bytes: number): void {
    this.#backlogBytes -= bytes
    if (!this.#full) return
    if (this.#backlogBytes > backlogBytesLow) return this.#watch()
    this.#full = false
    clearTimeout(this.#stall)
    this.#changed()
  }

  #watch(): void {
    clearTimeout(this.#stall)
    this.#stall = setTimeout(() => this.#connection.destroy(), this.#stallMs)
  }
}
