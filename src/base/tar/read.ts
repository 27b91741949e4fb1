/**
 * Reads a tar archive as a stream: ustar and older, pax headers, GNU's long names and large
 * numbers. The content of an entry may be left unread. What is no archive, or a sparse file, is
 * refused; nothing of the archive decides how much is kept in memory.
 */
import { Refusal } from '../refusal.ts'
import { blockBytes, checksumOf, paddingOf, xattrPrefix } from './header.ts'
import type { TarEntry, TarKind } from './header.ts'

/** Long names and attributes of one entry; the kernel keeps at most 64 KiB of an attribute. */
const extraBytesMax = 1024 * 1024

export interface ReadEntry {
  readonly entry: TarEntry
  readonly content: AsyncIterable<Buffer>
}

/** Entry by entry; `content` is good until the next one is asked for. */
export async function* readTar(source: AsyncIterable<unknown>): AsyncGenerator<ReadEntry> {
  const bytes = new Bytes(source)
  try {
    yield* entriesIn(bytes)
    // Zeros up to the end of a record: who sends them must not find the door shut.
    await bytes.rest()
  } finally {
    await bytes.close()
  }
}

async function* entriesIn(bytes: Bytes): AsyncGenerator<ReadEntry> {
  let global: Extra = noExtra
  let extra: Extra = noExtra
  for (;;) {
    const header = await bytes.take(blockBytes)
    if (header === undefined || header.every((byte) => byte === 0)) return
    const read = decodeHeader(header)
    if (read.flag in extraFlags || read.flag === 'g') {
      if (read.bytes > extraBytesMax) throw malformed('a header is too long')
      const content = await bytes.whole(read.bytes)
      await bytes.skip(paddingOf(read.bytes))
      if (read.flag === 'g') global = merged(global, paxOf(content))
      else extra = merged(extra, extraFlags[read.flag]?.(content) ?? noExtra)
      continue
    }
    const entry = entryOf(read, merged(global, extra))
    extra = noExtra
    const content = bytes.piecesOf(hasContent(entry) ? entry.bytes : 0)
    yield { entry, content }
    for await (const piece of content) void piece
    await bytes.skip(paddingOf(hasContent(entry) ? entry.bytes : 0))
  }
}

const hasContent = ({ kind }: TarEntry): boolean => kind === 'file'

const malformed = (why: string) => new Refusal('invalid', `not a tar archive: ${why}`)

/** What headers before an entry say of it. */
interface Extra {
  readonly fields: ReadonlyMap<string, string>
  readonly name?: Buffer
  readonly target?: Buffer
  readonly xattrs: ReadonlyMap<string, Buffer>
}

const noExtra: Extra = { fields: new Map(), xattrs: new Map() }

const merged = (one: Extra, other: Extra): Extra => ({
  ...one,
  ...other,
  fields: new Map([...one.fields, ...other.fields]),
  xattrs: new Map([...one.xattrs, ...other.xattrs]),
})

const extraFlags: Readonly<Record<string, (content: Buffer) => Extra>> = {
  x: paxOf,
  L: (content) => ({ ...noExtra, name: untilZero(content) }),
  K: (content) => ({ ...noExtra, target: untilZero(content) }),
}

function paxOf(content: Buffer): Extra {
  const fields = new Map<string, string>()
  const xattrs = new Map<string, Buffer>()
  const names: { name?: Buffer; target?: Buffer } = {}
  for (let at = 0; at < content.length; ) {
    const blank = content.indexOf(0x20, at)
    const length = Number(content.toString('latin1', at, blank))
    const equals = content.indexOf(0x3d, blank)
    const end = at + length
    const isWhole = blank > at && Number.isInteger(length) && equals > blank && equals < end
    if (!isWhole || end > content.length || content[end - 1] !== 0x0a) {
      throw malformed('a pax header is damaged')
    }
    const key = content.toString('utf8', blank + 1, equals)
    const value = content.subarray(equals + 1, end - 1)
    if (key.startsWith(xattrPrefix)) xattrs.set(key.slice(xattrPrefix.length), value)
    else if (key === 'path') names.name = value
    else if (key === 'linkpath') names.target = value
    else fields.set(key, value.toString())
    at = end
  }
  return { fields, xattrs, ...names }
}

interface Header extends Omit<TarEntry, 'kind' | 'xattrs'> {
  readonly flag: string
}

function decodeHeader(header: Buffer): Header {
  const text = (at: number, length: number) => untilZero(header.subarray(at, at + length))
  const number = (at: number, length: number) => numberIn(header.subarray(at, at + length))
  if (number(148, 8) !== checksumOf(header)) throw malformed('a header is damaged')
  const isUstar = header.toString('latin1', 257, 263) === 'ustar\0'
  const prefix = isUstar ? text(345, 155) : Buffer.alloc(0)
  const own = text(0, 100)
  return {
    flag: header.toString('latin1', 156, 157),
    name: prefix.length > 0 ? Buffer.concat([prefix, Buffer.from('/'), own]) : own,
    mode: number(100, 8) & 0o7777,
    uid: number(108, 8),
    gid: number(116, 8),
    bytes: number(124, 12),
    mtime: number(136, 12),
    target: text(157, 100),
    major: number(329, 8),
    minor: number(337, 8),
  }
}

const kinds: ReadonlyMap<string, TarKind> = new Map<string, TarKind>([
  ['\0', 'file'],
  ['7', 'file'],
  ['0', 'file'],
  ['1', 'link'],
  ['2', 'symlink'],
  ['3', 'character'],
  ['4', 'block'],
  ['5', 'folder'],
  ['6', 'fifo'],
])

function entryOf({ flag, ...header }: Header, extra: Extra): TarEntry {
  const name = extra.name ?? header.name
  const given = kinds.get(flag)
  // Programs of long ago knew folders by their name.
  const isOldFolder = flag === '\0' && name.at(-1) === 0x2f
  const kind = isOldFolder ? 'folder' : given
  const isSparse = flag === 'S' || [...extra.fields.keys()].some((key) => key.startsWith('GNU.sparse'))
  if (kind === undefined || isSparse) {
    const what = isSparse ? 'sparse files' : `entries of type ${JSON.stringify(flag)}`
    throw new Refusal('invalid', `cannot copy ${name.toString()}: ${what} are not offered`)
  }
  const field = (key: string, otherwise: number): number => {
    const value = Number(extra.fields.get(key) ?? otherwise)
    if (!Number.isFinite(value)) throw malformed(`${key} of ${name.toString()} is no number`)
    return value
  }
  return {
    ...header,
    kind,
    name,
    target: extra.target ?? header.target,
    uid: field('uid', header.uid),
    gid: field('gid', header.gid),
    bytes: field('size', header.bytes),
    mtime: field('mtime', header.mtime),
    xattrs: extra.xattrs,
  }
}

/** Octal digits among blanks and zeros, or GNU's form: a set bit, then bytes in two's complement. */
function numberIn(field: Buffer): number {
  const first = field[0] ?? 0
  if ((first & 0x80) === 0) {
    const digits = field.toString('latin1').replace(/^[ \0]+/, '').replace(/[ \0].*$/s, '')
    if (!/^[0-7]*$/.test(digits)) throw malformed('a number in a header is damaged')
    return digits === '' ? 0 : parseInt(digits, 8)
  }
  const isNegative = (first & 0x40) !== 0
  let value = BigInt(first & 0x7f)
  for (const byte of field.subarray(1)) value = (value << 8n) | BigInt(byte)
  if (isNegative) value -= 1n << BigInt(field.length * 8 - 1)
  return Number(value)
}

function untilZero(field: Buffer): Buffer {
  const end = field.indexOf(0)
  return end < 0 ? field : field.subarray(0, end)
}

/** Pieces of any size, taken in the sizes that are wanted. */
class Bytes {
  readonly #pieces: AsyncIterator<unknown>
  #waiting: Buffer = Buffer.alloc(0)

  constructor(source: AsyncIterable<unknown>) {
    this.#pieces = source[Symbol.asyncIterator]()
  }

  /** A few bytes as one; undefined at the end. */
  async take(bytes: number): Promise<Buffer | undefined> {
    const parts: Buffer[] = []
    let missing = bytes
    while (missing > 0) {
      const part = await this.#upTo(missing)
      if (part === undefined) break
      parts.push(part)
      missing -= part.length
    }
    if (missing === bytes && bytes > 0) return undefined
    if (missing > 0) throw malformed('it ends too early')
    return parts.length === 1 ? parts[0] : Buffer.concat(parts)
  }

  async whole(bytes: number): Promise<Buffer> {
    const taken = await this.take(bytes)
    if (taken === undefined) throw malformed('it ends too early')
    return taken
  }

  async *piecesOf(bytes: number): AsyncGenerator<Buffer> {
    let missing = bytes
    try {
      while (missing > 0) {
        const part = await this.#upTo(missing)
        if (part === undefined) throw malformed('it ends too early')
        missing -= part.length
        yield part
      }
    } finally {
      // Whoever stops in the middle leaves the rest to be passed over.
      if (missing > 0) await this.skip(missing)
    }
  }

  async skip(bytes: number): Promise<void> {
    for (let missing = bytes; missing > 0; ) {
      const part = await this.#upTo(missing)
      if (part === undefined) return
      missing -= part.length
    }
  }

  async rest(): Promise<void> {
    while ((await this.#upTo(blockBytes)) !== undefined);
  }

  /** Whoever made the stream hears that no more of it is wanted. */
  async close(): Promise<void> {
    await this.#pieces.return?.()
  }

  async #upTo(bytes: number): Promise<Buffer | undefined> {
    while (this.#waiting.length === 0) {
      const next = await this.#pieces.next()
      if (next.done === true) return undefined
      this.#waiting = asBuffer(next.value)
    }
    const part = this.#waiting.subarray(0, bytes)
    this.#waiting = this.#waiting.subarray(bytes)
    return part
  }
}

function asBuffer(piece: unknown): Buffer {
  if (Buffer.isBuffer(piece)) return piece
  if (!(piece instanceof Uint8Array)) return Buffer.from(String(piece))
  return Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength)
}
