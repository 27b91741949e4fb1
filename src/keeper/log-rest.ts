/**
 * What a container has written after its last newline, beside its log: `<log>.rest`.
 *
 * Half a line is not in the log yet, and a keeper that is killed would lose it: the next keeper
 * would log the other half as a line of its own. The record says to which length of the log it
 * belongs; any other length means that the log went on and the record is stale.
 */
import { closeSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'

export interface Rests {
  readonly stdout: Buffer
  readonly stderr: Buffer
}

/** Length of the log (8 bytes), length of each rest (2 × 4 bytes). */
const headerBytes = 16

export class RestFile {
  readonly #path: string
  #fd: number | undefined

  constructor(logPath: string) {
    this.#path = `${logPath}.rest`
  }

  /** What a keeper before this one had read when the log was `logBytes` long. */
  recover(logBytes: number): Rests | undefined {
    const record = this.#read()
    if (record === undefined || record.length < headerBytes) return undefined
    if (record.readBigUInt64LE(0) !== BigInt(logBytes)) return undefined
    const middle = headerBytes + record.readUInt32LE(8)
    const end = middle + record.readUInt32LE(12)
    if (end > record.length) return undefined
    return { stdout: record.subarray(headerBytes, middle), stderr: record.subarray(middle, end) }
  }

  /** To be called before the log grows to `logBytes`: what is killed in between loses no order. */
  save(logBytes: number, rests: Rests): void {
    const header = Buffer.alloc(headerBytes)
    header.writeBigUInt64LE(BigInt(logBytes), 0)
    header.writeUInt32LE(rests.stdout.length, 8)
    header.writeUInt32LE(rests.stderr.length, 12)
    this.#fd ??= openSync(this.#path, 'w', 0o640)
    writeSync(this.#fd, Buffer.concat([header, rests.stdout, rests.stderr]), 0, null, 0)
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
      if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
      throw error
    }
  }
}
