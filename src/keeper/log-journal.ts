/**
 * What is being written to a container's log, beside it: `<log>.journal`.
 *
 * A keeper reads output from a pipe, which forgets it, and may be killed before the log has it, or
 * while half of a line waits for its newline. So each burst is recorded first, with the length of
 * the log before it and its time: from that the next keeper makes the very same bytes and appends
 * those that are missing. A burst during which the log was rotated is not covered.
 */
import { closeSync, openSync, readFileSync, rmSync, writevSync } from 'node:fs'
import { errorCode } from '../base/error-code.ts'
import * as field from './fields.ts'
import type { LogStream } from './log-format.ts'

export interface Burst {
  /** Length and identity of the log before the burst. */
  readonly logBytes: number
  readonly inode: number
  readonly time: string
  readonly stream: LogStream
  readonly data: Buffer
  /** What waited for its newline before the burst. */
  readonly rests: { readonly stdout: Buffer; readonly stderr: Buffer }
}

const newline = 0x0a

export class LogJournal {
  readonly #path: string
  #fd: number | undefined

  constructor(logPath: string) {
    this.#path = `${logPath}.journal`
  }

  /** The last burst of a keeper before this one; undefined when it left none that is whole. */
  recover(): Burst | undefined {
    const record = this.#read()
    const headEnd = record?.indexOf(newline) ?? -1
    if (record === undefined || headEnd === -1) return undefined
    try {
      return parseBurst(record.toString('utf8', 0, headEnd), record.subarray(headEnd + 1))
    } catch {
      // Killed while it was written: the log has not seen this burst, nor can we.
      return undefined
    }
  }

  /** To be called before the log is written. */
  save({ logBytes, inode, time, stream, data, rests }: Burst): void {
    const parts = [rests.stdout, rests.stderr, data]
    const lengths = parts.map((part) => part.length).join(' ')
    const head = JSON.stringify({ logBytes, inode, time, stream, lengths })
    this.#fd ??= openSync(this.#path, 'w', 0o640)
    writevSync(this.#fd, [Buffer.from(`${head}\n`), ...parts], 0)
  }

  remove(): void {
    if (this.#fd !== undefined) closeSync(this.#fd)
    this.#fd = undefined
    rmSync(this.#path, { force: true })
  }

  #read(): Buffer | undefined {
    try {
      return readFileSync(this.#path)
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return undefined
      throw error
    }
  }
}

function parseBurst(head: string, bytes: Buffer): Burst {
  const parsed: unknown = JSON.parse(head)
  if (!field.isObject(parsed)) throw new Error('the head of a log journal is an object')
  const [stdout = 0, stderr = 0, data = 0] = field.text(parsed, 'lengths').split(' ').map(Number)
  if (bytes.length < stdout + stderr + data) throw new Error('the log journal is cut off')
  return {
    logBytes: field.number(parsed, 'logBytes'),
    inode: field.number(parsed, 'inode'),
    time: field.text(parsed, 'time'),
    stream: field.oneOf(parsed, 'stream', ['stdout', 'stderr']),
    data: bytes.subarray(stdout + stderr, stdout + stderr + data),
    rests: { stdout: bytes.subarray(0, stdout), stderr: bytes.subarray(stdout, stdout + stderr) },
  }
}
