/** Streams as they are inside: gzip and zstd are told by their first bytes. */
import { pipeline, Readable } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { Refusal } from '../../base/refusal.ts'

const gzip = Buffer.from([0x1f, 0x8b])
const zstd = Buffer.from([0x28, 0xb5, 0x2f, 0xfd])
const others: Readonly<Record<string, Buffer>> = {
  bzip2: Buffer.from('BZh'),
  xz: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]),
}
const longestMagic = 6

/** The stream decompressed; as it is when it is not compressed. */
export async function decompressed(source: Readable): Promise<Readable> {
  const { head, whole } = await peek(source)
  const startsWith = (magic: Buffer) => head.subarray(0, magic.length).equals(magic)
  for (const [name, magic] of Object.entries(others)) {
    if (startsWith(magic)) {
      throw new Refusal(
        'invalid',
        `${name} is not supported: decompress it first, or use gzip or zstd`,
      )
    }
  }
  const through = startsWith(gzip)
    ? createGunzip()
    : startsWith(zstd)
      ? createZstdDecompress()
      : undefined
  // An error of either end destroys both; who reads the result hears of it.
  return through === undefined ? whole : pipeline(whole, through, () => undefined)
}

/** The first bytes, and the stream with them put back. */
async function peek(
  source: Readable,
): Promise<{ readonly head: Buffer; readonly whole: Readable }> {
  const pieces: AsyncIterator<unknown> = source[Symbol.asyncIterator]()
  let head = Buffer.alloc(0)
  let ended = false
  while (head.length < longestMagic && !ended) {
    const next = await pieces.next()
    if (next.done === true) ended = true
    else head = Buffer.concat([head, asBytes(next.value)])
  }
  const whole = async function* () {
    if (head.length > 0) yield head
    try {
      while (!ended) {
        const next = await pieces.next()
        if (next.done === true) return
        yield asBytes(next.value)
      }
    } finally {
      await pieces.return?.()
    }
  }
  return { head, whole: Readable.from(whole(), { objectMode: false }) }
}

function asBytes(piece: unknown): Uint8Array {
  return piece instanceof Uint8Array ? piece : Buffer.from(String(piece))
}
