/**
 * The json-file log of one container, written by the keeper: appended with one write per burst,
 * rotated by size as dockerd does (checked before each entry, so a file may end a little above).
 *
 * A disk that takes no more loses entries, and says so once a minute; it never stops the reader.
 */
import { closeSync, fstatSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { messageOf } from '../base/refusal.ts'
import { log } from '../base/log.ts'
import {
  attributesJson,
  encodeLogLine,
  formatLogTime,
  rotatedLogPath,
  type LogStream,
} from './log-format.ts'
import { LineCutter } from './log-lines.ts'
import { RestFile } from './log-rest.ts'

export interface LogFileSpec {
  readonly logPath: string
  /** 0 = never rotated. */
  readonly logMaxBytes: number
  readonly logMaxFiles: number
  readonly logAttributes: Readonly<Record<string, string>>
}

const complaintIntervalMs = 60_000
const noBytes = Buffer.alloc(0)

export class LogFile {
  readonly #spec: LogFileSpec
  readonly #attributes: string
  readonly #cutters = { stdout: new LineCutter(), stderr: new LineCutter() }
  readonly #rest: RestFile
  #fd: number
  #bytes: number
  #burst = ''
  #burstBytes = 0
  #complainedAtMs = -complaintIntervalMs

  constructor(spec: LogFileSpec) {
    this.#spec = spec
    this.#attributes = attributesJson(spec.logAttributes)
    this.#fd = openSync(spec.logPath, 'a', 0o640)
    this.#bytes = fstatSync(this.#fd).size
    this.#rest = new RestFile(spec.logPath)
    const rests = this.#rest.recover(this.#bytes)
    this.#cutters.stdout.rest = rests?.stdout ?? noBytes
    this.#cutters.stderr.rest = rests?.stderr ?? noBytes
  }

  /** Whole lines of `data` are in the file when this returns, the rest is beside it. */
  write(stream: LogStream, data: Buffer): void {
    const time = formatLogTime(nowNs())
    this.#cutters[stream].push(data, (text) => this.#entry(text, stream, time))
    this.#saveRest()
    this.#send()
  }

  /** Writes what has no newline: the program has ended. */
  flush(): void {
    const time = formatLogTime(nowNs())
    for (const stream of ['stdout', 'stderr'] as const) {
      this.#cutters[stream].flush((text) => this.#entry(text, stream, time))
    }
    this.#send()
  }

  close(): void {
    if (this.#fd === -1) return
    this.flush()
    this.#guard('close', () => this.#rest.remove())
    closeSync(this.#fd)
    this.#fd = -1
  }

  #entry(text: string, stream: LogStream, time: string): void {
    const limit = this.#spec.logMaxBytes
    if (limit > 0 && this.#bytes + this.#burstBytes >= limit) {
      this.#send()
      this.#guard('rotate', () => this.#rotate())
    }
    const line = encodeLogLine(text, stream, time, this.#attributes)
    this.#burst += line
    if (limit > 0) this.#burstBytes += Buffer.byteLength(line)
  }

  #saveRest(): void {
    const rests = { stdout: this.#cutters.stdout.rest, stderr: this.#cutters.stderr.rest }
    if (rests.stdout.length + rests.stderr.length === 0) return
    const logBytes = this.#bytes + Buffer.byteLength(this.#burst)
    this.#guard('write', () => this.#rest.save(logBytes, rests))
  }

  #send(): void {
    if (this.#burst === '' || this.#fd === -1) return
    const bytes = Buffer.from(this.#burst)
    this.#burst = ''
    this.#burstBytes = 0
    this.#guard('write', () => {
      for (let from = 0; from < bytes.length; ) {
        const written = writeSync(this.#fd, bytes, from)
        from += written
        this.#bytes += written
      }
    })
  }

  #rotate(): void {
    const { logPath, logMaxFiles } = this.#spec
    for (let age = logMaxFiles - 1; age >= 1; age--) {
      const younger = rotatedLogPath(logPath, age - 1)
      if (age === logMaxFiles - 1) rmSync(rotatedLogPath(logPath, age), { force: true })
      this.#guardMissing(() => renameSync(younger, rotatedLogPath(logPath, age)))
    }
    const fresh = openSync(logPath, 'w', 0o640)
    closeSync(this.#fd)
    this.#fd = fresh
    this.#bytes = 0
  }

  #guardMissing(action: () => void): void {
    try {
      action()
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOENT')) throw error
    }
  }

  #guard(what: string, action: () => void): void {
    try {
      action()
    } catch (error) {
      const nowMs = performance.now()
      if (nowMs - this.#complainedAtMs < complaintIntervalMs) return
      this.#complainedAtMs = nowMs
      const advice = 'entries are lost until it works again; is the disk full?'
      const fields = { path: this.#spec.logPath, error: messageOf(error), advice }
      log.error(`cannot ${what} a container's log`, fields)
    }
  }
}

let wallMinusMonotonicNs = 0n

/** The wall clock with the fine steps of the monotonic one; follows when somebody sets the clock. */
function nowNs(): bigint {
  const monotonicNs = process.hrtime.bigint()
  const wallNs = BigInt(Date.now()) * 1_000_000n
  const drift = wallNs - (monotonicNs + wallMinusMonotonicNs)
  if (drift > 2_000_000n || drift < -2_000_000n) wallMinusMonotonicNs = wallNs - monotonicNs
  return monotonicNs + wallMinusMonotonicNs
}
