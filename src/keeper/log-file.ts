/**
 * The json-file log of one container, written by the keeper: appended with one write per burst,
 * rotated by size as dockerd does (checked before each entry, so a file may end a little above).
 *
 * What a keeper that was killed had read and not yet written is completed by the next one
 * (`log-journal.ts`). A disk that takes no more loses entries, and the keeper's own log says so
 * once a minute; it never stops the reader.
 */
import { closeSync, fstatSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { errorCode } from '../base/error-code.ts'
import { messageOf } from '../base/refusal.ts'
import { log } from '../base/log.ts'
import {
  attributesJson,
  encodeLogLine,
  formatLogTime,
  rotatedLogPath,
  type LogStream,
} from './log-format.ts'
import { LogJournal } from './log-journal.ts'
import { LineCutter } from './log-lines.ts'
import { nowNs } from './log-time.ts'

export interface LogFileSpec {
  readonly logPath: string
  /** 0 = never rotated. */
  readonly logMaxBytes: number
  readonly logMaxFiles: number
  readonly logAttributes: Readonly<Record<string, string>>
}

const complaintIntervalMs = 60_000
const noBytes = Buffer.alloc(0)
/** Entries are written when they come to this many characters, at latest at the end of a burst. */
const writeLengthMax = 128 * 1024
/** Where they become bytes, three at most for each character; made anew it would be garbage. */
const scratch = Buffer.allocUnsafeSlow(3 * 2 * writeLengthMax)

export class LogFile {
  readonly #spec: LogFileSpec
  readonly #attributes: string
  readonly #cutters = { stdout: new LineCutter(), stderr: new LineCutter() }
  readonly #journal: LogJournal
  #fd: number
  #inode: number
  #bytes: number
  #rotations = 0
  #burst = ''
  #burstBytes = 0
  #complainedAtMs = -complaintIntervalMs

  constructor(spec: LogFileSpec) {
    this.#spec = spec
    this.#attributes = attributesJson(spec.logAttributes)
    this.#fd = openSync(spec.logPath, 'a', 0o640)
    const { ino, size } = fstatSync(this.#fd)
    this.#inode = ino
    this.#bytes = size
    this.#journal = new LogJournal(spec.logPath)
    this.#complete()
  }

  /** Whole lines of `data` are in the file when this returns; the rest is safe beside it. */
  write(stream: LogStream, data: Buffer): void {
    const time = formatLogTime(nowNs())
    const rotations = this.#rotations
    this.#record(stream, data, time)
    this.#cutters[stream].push(data, (text) => this.#entry(text, stream, time))
    this.#send()
    // Rotated meanwhile: the record speaks of another file.
    if (rotations !== this.#rotations) this.#record(stream, noBytes, time)
  }

  /** Writes what has no newline: the program has ended. */
  flush(): void {
    const time = formatLogTime(nowNs())
    for (const stream of ['stdout', 'stderr'] as const) {
      this.#cutters[stream].flush((text) => this.#entry(text, stream, time))
    }
    this.#send()
    this.#guard('write', () => this.#journal.remove())
  }

  close(): void {
    if (this.#fd === -1) return
    this.flush()
    closeSync(this.#fd)
    this.#fd = -1
  }

  #record(stream: LogStream, data: Buffer, time: string): void {
    const rests = { stdout: this.#cutters.stdout.rest, stderr: this.#cutters.stderr.rest }
    const place = { logBytes: this.#bytes, inode: this.#inode }
    this.#guard('write', () => this.#journal.save({ ...place, time, stream, data, rests }))
  }

  /** Appends what a keeper before this one had read but not written. */
  #complete(): void {
    const burst = this.#journal.recover()
    if (burst === undefined || burst.inode !== this.#inode || burst.logBytes > this.#bytes) return
    const { stream, time, data, rests } = burst
    this.#cutters.stdout.rest = rests.stdout
    this.#cutters.stderr.rest = rests.stderr
    let text = ''
    this.#cutters[stream].push(data, (line) => {
      text += encodeLogLine(line, stream, time, this.#attributes)
    })
    this.#append(Buffer.from(text).subarray(this.#bytes - burst.logBytes))
    this.#record(stream, noBytes, time)
  }

  #entry(text: string, stream: LogStream, time: string): void {
    const limit = this.#spec.logMaxBytes
    if (limit > 0 && this.#bytes + this.#burstBytes >= limit) {
      this.#send()
      this.#guard('rotate', () => this.#rotate())
    }
    const line = encodeLogLine(text, stream, time, this.#attributes)
    if (this.#burst.length + line.length > writeLengthMax) this.#send()
    this.#burst += line
    if (limit > 0) this.#burstBytes += Buffer.byteLength(line)
  }

  #send(): void {
    if (this.#burst === '' || this.#fd === -1) return
    const fits = this.#burst.length * 3 <= scratch.length
    const bytes = fits ? scratch.subarray(0, scratch.write(this.#burst)) : Buffer.from(this.#burst)
    this.#burst = ''
    this.#burstBytes = 0
    this.#append(bytes)
  }

  #append(bytes: Buffer): void {
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
    if (logMaxFiles > 1) rmSync(rotatedLogPath(logPath, logMaxFiles - 1), { force: true })
    for (let age = logMaxFiles - 1; age >= 1; age--) {
      renameIfThere(rotatedLogPath(logPath, age - 1), rotatedLogPath(logPath, age))
    }
    const fresh = openSync(logPath, logMaxFiles > 1 ? 'a' : 'w', 0o640)
    closeSync(this.#fd)
    this.#fd = fresh
    this.#inode = fstatSync(fresh).ino
    this.#bytes = 0
    this.#rotations++
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

function renameIfThere(from: string, to: string): void {
  try {
    renameSync(from, to)
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error
  }
}
