/**
 * `docker logs`: the json-file log read back, rotated files included, with --tail, --since,
 * --until, -t, --details, and followed with -f until the container ends.
 *
 * The file is read in pieces; following waits for the folder to change and looks again.
 */
import { closeSync, openSync, readSync, statSync, watch } from 'node:fs'
import type { FSWatcher } from 'node:fs'
import { dirname } from 'node:path'
import type { Writable } from 'node:stream'
import { errorCode } from '../base/error-code.ts'
import { Refusal } from '../base/refusal.ts'
import { logPaths, parseLogLine, parseLogTime } from '../keeper/log-format.ts'
import type { LogEntry } from '../keeper/log-format.ts'
import { logSizes } from './defaults.ts'
import { frame, writeTo } from './frames.ts'
import { containerPaths } from './paths.ts'
import { hasProcess } from './record.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'
import { formatTime } from './time.ts'

export interface LogRequest {
  readonly stdout: boolean
  readonly stderr: boolean
  readonly follow: boolean
  readonly timestamps: boolean
  readonly details: boolean
  /** undefined: all. */
  readonly tail: number | undefined
  /** Nanoseconds since 1970. */
  readonly since: bigint | undefined
  readonly until: bigint | undefined
}

const pieceBytes = 64 * 1024
/** A watch can miss a change on some file systems: look at least so often. */
const lookAgainMs = 1_000

export function checkLogs(container: Container, request: LogRequest): void {
  if (!request.stdout && !request.stderr) {
    throw new Refusal('invalid', 'Bad parameters: you must choose at least one stream')
  }
  if (container.record.hostConfig.LogConfig.Type === 'none') {
    throw new Refusal('notImplemented', 'configured logging driver does not support reading')
  }
}

/**
 * Writes the log to the client. Does not end the client's stream.
 * @param framed output and errors apart, in Docker's frames
 */
export async function streamLogs(
  context: Context,
  container: Container,
  request: LogRequest,
  client: Writable,
  framed = !container.record.config.Tty,
): Promise<void> {
  const path = containerPaths(context.config, container.id).log
  const { maxFiles } = logSizes(container.record.hostConfig.LogConfig)
  const send = (entry: LogEntry) => sendEntry(entry, request, framed, client)
  let follower: Follower | undefined
  try {
    // Before the old part is read, so that nothing falls between the two.
    if (request.follow) follower = new Follower(path)
    for (const line of oldLines(path, maxFiles, request, follower)) {
      if ((await send(line)) !== 'sent') return
    }
    while (follower !== undefined && !client.destroyed) {
      const live =
        hasProcess(container.record.state.status) || container.record.state.status === 'restarting'
      for (const entry of follower.read()) {
        const outcome = await send(entry)
        if (outcome !== 'sent') return
      }
      if (!live) return
      await follower.change(container, context, client)
    }
  } finally {
    follower?.close()
  }
}

async function sendEntry(
  entry: LogEntry,
  request: LogRequest,
  framed: boolean,
  client: Writable,
): Promise<'sent' | 'gone' | 'past'> {
  if (!request[entry.stream]) return 'sent'
  const time = parseLogTime(entry.time) ?? 0n
  if (request.since !== undefined && time < request.since) return 'sent'
  if (request.until !== undefined && time > request.until) return 'past'
  const details = request.details ? `${detailsOf(entry)} ` : ''
  const stamp = request.timestamps ? `${paddedTime(time)} ` : ''
  const data = Buffer.from(`${stamp}${details}${entry.log}`)
  return (await writeTo(client, framed ? frame(entry.stream, data) : data)) ? 'sent' : 'gone'
}

/** Nine decimals, as `docker logs -t` prints them: columns stay columns. */
function paddedTime(epochNs: bigint): string {
  const text = formatTime(epochNs)
  const [whole = '', fraction = ''] = text.slice(0, -1).split('.')
  return `${whole}.${fraction.padEnd(9, '0')}Z`
}

function detailsOf(entry: LogEntry): string {
  return Object.entries(entry.attrs ?? {})
    .map(([key, value]) => `${encodeURIComponent(key)}=${encodeURIComponent(value)}`)
    .sort()
    .join(',')
}

/** What is in the files now; with `tail`, only the last entries that the request wants. */
function* oldLines(
  path: string,
  maxFiles: number,
  request: LogRequest,
  follower: Follower | undefined,
): Generator<LogEntry> {
  const files = logPaths(path, maxFiles).filter((file) => file !== path)
  const readers = [...files.map((file) => new LogFile(file)), follower?.file ?? new LogFile(path)]
  try {
    const entries = (function* () {
      for (const reader of readers) yield* reader.entries()
    })()
    if (request.tail === undefined) {
      yield* entries
      return
    }
    // A ring of the last ones: the whole log need not fit into memory.
    const ring: LogEntry[] = []
    if (request.tail === 0) {
      for (const entry of entries) void entry
      return
    }
    for (const entry of entries) {
      if (!request[entry.stream]) continue
      ring.push(entry)
      if (ring.length > request.tail * 2 + 1024) ring.splice(0, ring.length - request.tail)
    }
    yield* ring.slice(-request.tail)
  } finally {
    for (const reader of readers) if (reader !== follower?.file) reader.close()
  }
}

/** One log file, read from where the last look ended. */
class LogFile {
  readonly #fd: number | undefined
  #offset = 0
  #rest = Buffer.alloc(0)

  constructor(path: string) {
    this.#fd = openIfThere(path)
  }

  get inode(): number | undefined {
    return this.#fd === undefined ? undefined : statSync(`/proc/self/fd/${this.#fd}`).ino
  }

  *entries(): Generator<LogEntry> {
    if (this.#fd === undefined) return
    const piece = Buffer.allocUnsafe(pieceBytes)
    for (;;) {
      const count = readSync(this.#fd, piece, 0, pieceBytes, this.#offset)
      if (count === 0) return
      this.#offset += count
      this.#rest = Buffer.concat([this.#rest, piece.subarray(0, count)])
      for (let end = this.#rest.indexOf(10); end >= 0; end = this.#rest.indexOf(10)) {
        const entry = parseLogLine(this.#rest.subarray(0, end).toString())
        this.#rest = this.#rest.subarray(end + 1)
        if (entry !== undefined) yield entry
      }
    }
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd)
  }
}

function openIfThere(path: string): number | undefined {
  try {
    return openSync(path, 'r')
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Follows a log over rotations. */
class Follower {
  readonly #path: string
  readonly #watcher: FSWatcher
  #file: LogFile
  #changed = Promise.withResolvers<void>()

  constructor(path: string) {
    this.#path = path
    this.#file = new LogFile(path)
    this.#watcher = watch(dirname(path), () => this.#changed.resolve())
  }

  get file(): LogFile {
    return this.#file
  }

  *read(): Generator<LogEntry> {
    this.#changed = Promise.withResolvers()
    yield* this.#file.entries()
    const now = statSync(this.#path, { throwIfNoEntry: false })
    if (now === undefined || now.ino === this.#file.inode) return
    // Rotated: the old file is read to its end above, the new one is begun.
    yield* this.#file.entries()
    this.#file.close()
    this.#file = new LogFile(this.#path)
    yield* this.#file.entries()
  }

  /** Until the folder changed, the container ended, the client left, or it is time to look. */
  async change(container: Container, context: Context, client: Writable): Promise<void> {
    const exited = context.registry.wait(container, 'next-exit')
    const timer = setTimeout(() => this.#changed.resolve(), lookAgainMs)
    const gone = () => this.#changed.resolve()
    client.once('close', gone)
    try {
      await Promise.race([this.#changed.promise, exited.result])
    } finally {
      clearTimeout(timer)
      exited.cancel()
      client.off('close', gone)
    }
  }

  close(): void {
    this.#watcher.close()
    this.#file.close()
  }
}
