/**
 * The netlink attribute codec: length, type, payload, padded to four bytes.
 *
 * Numbers are in the host's byte order, which is little-endian on every machine that Node's
 * 64-bit Linux packages are made for, unless the name says `be`. Parsing takes what the kernel
 * sends: it ends at the first malformed attribute instead of reading past the end.
 */

const headerBytes = 4
const nestedFlag = 0x8000
const typeMask = 0x3fff

/** One attribute with an opaque payload. */
export function attribute(type: number, payload: Buffer): Buffer {
  const length = headerBytes + payload.length
  if (length > 0xffff) throw new RangeError(`netlink attribute ${type} of ${length} bytes`)
  const bytes = Buffer.alloc(align(length))
  bytes.writeUInt16LE(length)
  bytes.writeUInt16LE(type, 2)
  payload.copy(bytes, headerBytes)
  return bytes
}

export function u8(type: number, value: number): Buffer {
  return attribute(type, Buffer.of(value))
}

export function u16be(type: number, value: number): Buffer {
  const payload = Buffer.alloc(2)
  payload.writeUInt16BE(value)
  return attribute(type, payload)
}

export function u32(type: number, value: number): Buffer {
  const payload = Buffer.alloc(4)
  payload.writeUInt32LE(value)
  return attribute(type, payload)
}

/** A text with its terminating zero. */
export function text(type: number, value: string): Buffer {
  return attribute(type, Buffer.from(`${value}\0`))
}

/** Attributes inside an attribute. */
export function nest(type: number, ...children: readonly Buffer[]): Buffer {
  return attribute(type | nestedFlag, Buffer.concat(children))
}

/** Type → payload; of a repeated type the last one. Payloads share memory with `bytes`. */
export function parseAttributes(bytes: Buffer): ReadonlyMap<number, Buffer> {
  const attributes = new Map<number, Buffer>()
  for (const [type, payload] of listAttributes(bytes)) attributes.set(type, payload)
  return attributes
}

/** In order, repeated types included. */
export function listAttributes(bytes: Buffer): readonly (readonly [type: number, Buffer])[] {
  const attributes: (readonly [number, Buffer])[] = []
  let offset = 0
  while (offset + headerBytes <= bytes.length) {
    const length = bytes.readUInt16LE(offset)
    if (length < headerBytes || offset + length > bytes.length) break
    const type = bytes.readUInt16LE(offset + 2) & typeMask
    attributes.push([type, bytes.subarray(offset + headerBytes, offset + length)])
    offset += align(length)
  }
  return attributes
}

/** The payload of the first attribute of a type; no Map is made: for what is asked very often. */
export function findAttribute(bytes: Buffer | undefined, type: number): Buffer | undefined {
  if (bytes === undefined) return undefined
  let offset = 0
  while (offset + headerBytes <= bytes.length) {
    const length = bytes.readUInt16LE(offset)
    if (length < headerBytes || offset + length > bytes.length) return undefined
    if ((bytes.readUInt16LE(offset + 2) & typeMask) === type) {
      return bytes.subarray(offset + headerBytes, offset + length)
    }
    offset += align(length)
  }
  return undefined
}

/** Types that `AttributeTable` tells apart; the kernel's link attributes stay below. */
const tableTypes = 96

/**
 * Where the attributes of a message are, by type: nothing is copied and no object made for those
 * that nobody asks for. For what comes by the thousand. `read` may be called again and again.
 */
export class AttributeTable {
  /** 0: absent. */
  readonly #offsets = new Uint32Array(tableTypes)
  readonly #lengths = new Uint32Array(tableTypes)
  #bytes: Buffer = Buffer.alloc(0)

  /** Takes the attributes between two offsets of `bytes`, both beyond 0. */
  read(bytes: Buffer, start: number, end: number): this {
    this.#offsets.fill(0)
    this.#bytes = bytes
    let offset = start
    while (offset + headerBytes <= end) {
      const length = bytes.readUInt16LE(offset)
      if (length < headerBytes || offset + length > end) break
      const type = bytes.readUInt16LE(offset + 2) & typeMask
      if (type < tableTypes) {
        this.#offsets[type] = offset + headerBytes
        this.#lengths[type] = length - headerBytes
      }
      offset += align(length)
    }
    return this
  }

  /** The attributes inside an attribute; none when that is absent. */
  readNested(outer: AttributeTable, type: number): this {
    const start = outer.#offsets[type] ?? 0
    return this.read(outer.#bytes, start, start + (start === 0 ? 0 : (outer.#lengths[type] ?? 0)))
  }

  has(type: number): boolean {
    return (this.#offsets[type] ?? 0) !== 0
  }

  bytes(type: number): Buffer | undefined {
    const start = this.#offsets[type] ?? 0
    return start === 0
      ? undefined
      : this.#bytes.subarray(start, start + (this.#lengths[type] ?? 0))
  }

  /** Without its terminating zero; '' when absent. */
  text(type: number): string {
    const start = this.#offsets[type] ?? 0
    if (start === 0) return ''
    const end = start + (this.#lengths[type] ?? 0)
    let last = start
    while (last < end && this.#bytes[last] !== 0) last++
    return this.#bytes.toString('utf8', start, last)
  }

  u8(type: number): number | undefined {
    const start = this.#offsets[type] ?? 0
    return start === 0 ? undefined : this.#bytes[start]
  }

  u32(type: number): number | undefined {
    const start = this.#offsets[type] ?? 0
    const isWhole = start !== 0 && (this.#lengths[type] ?? 0) >= 4
    return isWhole ? this.#bytes.readUInt32LE(start) : undefined
  }
}

/** A text payload without its terminating zero; '' for an absent one. */
export function textOf(payload: Buffer | undefined): string {
  if (payload === undefined) return ''
  const end = payload.indexOf(0)
  return payload.toString('utf8', 0, end < 0 ? payload.length : end)
}

/** A u32 payload; undefined when absent or too short. */
export function u32Of(payload: Buffer | undefined): number | undefined {
  return payload !== undefined && payload.length >= 4 ? payload.readUInt32LE() : undefined
}

/** A u8 payload; undefined when absent. */
export function u8Of(payload: Buffer | undefined): number | undefined {
  return payload?.[0]
}

/** Attributes of a nested payload; none for an absent one. */
export function nested(payload: Buffer | undefined): ReadonlyMap<number, Buffer> {
  return payload === undefined ? new Map<number, Buffer>() : parseAttributes(payload)
}

export function align(length: number): number {
  return (length + 3) & ~3
}
