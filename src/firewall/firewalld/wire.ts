/**
 * D-Bus messages as bytes: little-endian, the types that a message bus and firewalld speak.
 *
 * A value is written and read by its signature. Structs and dictionary entries are arrays of their
 * members; a variant carries its own signature. The size of messages is bounded by who reads them.
 */

export type Value = string | number | bigint | boolean | Variant | readonly Value[]

export interface Variant {
  readonly signature: string
  readonly value: Value
}

/** A message as far as a client cares. */
export interface Message {
  readonly type: 'call' | 'return' | 'error' | 'signal'
  readonly serial: number
  /** 0 on calls and signals. */
  readonly replySerial: number
  readonly path: string
  readonly interface: string
  readonly member: string
  readonly errorName: string
  readonly destination: string
  readonly signature: string
  readonly body: readonly Value[]
}

const types = ['', 'call', 'return', 'error', 'signal'] as const
const fixedBytes = 16
const fieldCodes = {
  path: 1,
  interface: 2,
  member: 3,
  errorName: 4,
  replySerial: 5,
  destination: 6,
  signature: 8,
} as const

/** The whole length of the message that these bytes begin; undefined while too few are there. */
export function messageLength(bytes: Buffer): number | undefined {
  if (bytes.length < fixedBytes) return undefined
  if (bytes[0] !== 0x6c) throw new Error('a message of the other byte order')
  return padded(fixedBytes + bytes.readUInt32LE(12), 8) + bytes.readUInt32LE(4)
}

export function encodeMessage(message: Message): Buffer {
  const body = new Writer()
  splitSignature(message.signature).forEach((type, index) => {
    body.write(type, message.body[index] ?? '')
  })
  const fields: Value[] = []
  const add = (code: number, signature: string, value: Value) => {
    if (value !== '' && value !== 0) fields.push([code, { signature, value }])
  }
  add(fieldCodes.path, 'o', message.path)
  add(fieldCodes.interface, 's', message.interface)
  add(fieldCodes.member, 's', message.member)
  add(fieldCodes.errorName, 's', message.errorName)
  add(fieldCodes.replySerial, 'u', message.replySerial)
  add(fieldCodes.destination, 's', message.destination)
  add(fieldCodes.signature, 'g', message.signature)
  const head = new Writer()
  for (const byte of [0x6c, types.indexOf(message.type), 0, 1]) head.write('y', byte)
  head.write('u', body.length)
  head.write('u', message.serial)
  head.write('a(yv)', fields)
  head.align(8)
  return Buffer.concat([head.bytes(), body.bytes()])
}

/** @throws RangeError when the bytes end before the message does */
export function decodeMessage(bytes: Buffer): Message {
  const head = new Reader(bytes)
  const type = types[bytes[1] ?? 0]
  if (type === undefined || type === '') throw new Error(`message type ${bytes[1]}`)
  const serial = bytes.readUInt32LE(8)
  head.position = 12
  const fields = new Map<number, Value>()
  for (const field of listOf(head.read('a(yv)'))) {
    const [code, variant] = listOf(field)
    if (typeof code === 'number' && isVariant(variant)) fields.set(code, variant.value)
  }
  const text = (code: number) => {
    const value = fields.get(code)
    return typeof value === 'string' ? value : ''
  }
  const replySerial = fields.get(fieldCodes.replySerial)
  const signature = text(fieldCodes.signature)
  const body = new Reader(bytes.subarray(padded(head.position, 8)))
  return {
    type,
    serial,
    replySerial: typeof replySerial === 'number' ? replySerial : 0,
    path: text(fieldCodes.path),
    interface: text(fieldCodes.interface),
    member: text(fieldCodes.member),
    errorName: text(fieldCodes.errorName),
    destination: text(fieldCodes.destination),
    signature,
    body: splitSignature(signature).map((one) => body.read(one)),
  }
}

/** The members of an array, struct or entry; nothing of any other value. */
export function listOf(value: Value | undefined): readonly Value[] {
  return Array.isArray(value) ? value : []
}

export function isVariant(value: Value | undefined): value is Variant {
  return typeof value === 'object' && 'signature' in value
}

const padded = (length: number, to: number): number => Math.ceil(length / to) * to

/** The single complete types of a signature: `sa{sv}` → `s`, `a{sv}`. */
function splitSignature(signature: string): readonly string[] {
  const found: string[] = []
  for (let at = 0; at < signature.length; ) {
    const end = endOfType(signature, at)
    found.push(signature.slice(at, end))
    at = end
  }
  return found
}

function endOfType(signature: string, start: number): number {
  let at = start
  while (signature[at] === 'a') at++
  if (!'({'.includes(signature[at] ?? ' ')) return at + 1
  let depth = 0
  for (; at < signature.length; at++) {
    if ('({'.includes(signature[at] ?? ' ')) depth++
    if (')}'.includes(signature[at] ?? ' ') && --depth === 0) return at + 1
  }
  throw new Error(`signature ${signature} has no end`)
}

const alignments: Readonly<Record<string, number>> = {
  y: 1, g: 1, v: 1, n: 2, q: 2, b: 4, i: 4, u: 4, s: 4, o: 4, a: 4, h: 4,
}
const alignmentOf = (type: string): number => alignments[type[0] ?? ''] ?? 8

class Writer {
  #bytes: number[] = []

  get length(): number {
    return this.#bytes.length
  }

  bytes(): Buffer {
    return Buffer.from(this.#bytes)
  }

  align(to: number): void {
    while (this.#bytes.length % to !== 0) this.#bytes.push(0)
  }

  write(type: string, value: Value): void {
    this.align(alignmentOf(type))
    switch (type[0]) {
      case 'y':
        this.#bytes.push(Number(value) & 0xff)
        return
      case 'b':
      case 'i':
      case 'u':
        this.#uint32(Number(value))
        return
      case 's':
      case 'o': {
        const text = Buffer.from(String(value))
        this.#uint32(text.length)
        this.#bytes.push(...text, 0)
        return
      }
      case 'g':
        this.#bytes.push(String(value).length, ...Buffer.from(String(value)), 0)
        return
      case 'v':
        if (!isVariant(value)) throw new Error('a variant needs its signature')
        this.write('g', value.signature)
        this.write(value.signature, value.value)
        return
      case 'a':
        this.#array(type.slice(1), listOf(value))
        return
      case '(':
      case '{':
        splitSignature(type.slice(1, -1)).forEach((member, index) => {
          this.write(member, listOf(value)[index] ?? '')
        })
        return
      default:
        throw new Error(`cannot write a value of type ${type}`)
    }
  }

  #array(member: string, values: readonly Value[]): void {
    const at = this.#bytes.length
    this.#uint32(0)
    this.align(alignmentOf(member))
    const start = this.#bytes.length
    for (const value of values) this.write(member, value)
    const size = Buffer.alloc(4)
    size.writeUInt32LE(this.#bytes.length - start)
    this.#bytes.splice(at, 4, ...size)
  }

  #uint32(value: number): void {
    const bytes = Buffer.alloc(4)
    bytes.writeUInt32LE(value >>> 0)
    this.#bytes.push(...bytes)
  }
}

class Reader {
  position = 0
  readonly #bytes: Buffer

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  read(type: string): Value {
    this.position = padded(this.position, alignmentOf(type))
    switch (type[0]) {
      case 'y':
        return this.#bytes.readUInt8(this.#skip(1))
      case 'b':
        return this.#uint32() !== 0
      case 'n':
        return this.#bytes.readInt16LE(this.#skip(2))
      case 'q':
        return this.#bytes.readUInt16LE(this.#skip(2))
      case 'i':
        return this.#bytes.readInt32LE(this.#skip(4))
      case 'u':
      case 'h':
        return this.#uint32()
      case 'x':
        return this.#bytes.readBigInt64LE(this.#skip(8))
      case 't':
        return this.#bytes.readBigUInt64LE(this.#skip(8))
      case 'd':
        return this.#bytes.readDoubleLE(this.#skip(8))
      case 's':
      case 'o':
        return this.#text(this.#uint32())
      case 'g':
        return this.#text(this.#bytes.readUInt8(this.#skip(1)))
      case 'v': {
        const signature = this.#text(this.#bytes.readUInt8(this.#skip(1)))
        return { signature, value: this.read(signature) }
      }
      case 'a': {
        const size = this.#uint32()
        this.position = padded(this.position, alignmentOf(type.slice(1)))
        const end = this.position + size
        const values: Value[] = []
        while (this.position < end) values.push(this.read(type.slice(1)))
        return values
      }
      case '(':
      case '{':
        return splitSignature(type.slice(1, -1)).map((member) => this.read(member))
      default:
        throw new Error(`cannot read a value of type ${type}`)
    }
  }

  #skip(bytes: number): number {
    const at = this.position
    this.position += bytes
    return at
  }

  #uint32(): number {
    return this.#bytes.readUInt32LE(this.#skip(4))
  }

  #text(length: number): string {
    const at = this.#skip(length + 1)
    if (at + length > this.#bytes.length) throw new RangeError('a text ends behind its message')
    return this.#bytes.toString('utf8', at, at + length)
  }
}
