/**
 * DNS messages as bytes: reads the one question of a query, writes answers to it. Pure.
 *
 * Never throws, whatever the bytes are: what is no query is dropped, what is a malformed one gets
 * an answer that says so. Answers copy the question as it came, letter case included (resolvers
 * check that), and point to it by compression.
 */
import { parseAddress } from '../address/ip.ts'

export const type = { a: 1, ns: 2, cname: 5, soa: 6, ptr: 12, mx: 15, aaaa: 28, opt: 41 } as const

export const rcode = {
  noError: 0,
  formatError: 1,
  serverFailure: 2,
  nameError: 3,
  notImplemented: 4,
  refused: 5,
} as const

const headerBytes = 12
const nameBytesMax = 255
const classIn = 1
/** Docker's: addresses change only when containers come and go, but clients cache for minutes. */
const ttlSeconds = 600
const udpBytesDefault = 512
const recursionDesired = 0x01
const recursionAvailable = 0x80
const response = 0x80
const truncated = 0x02

export interface Query {
  /** Labels joined by dots, no trailing dot; a dot inside a label is written `\.`. */
  readonly name: string
  readonly type: number
  /** False: some other class than IN. */
  readonly internet: boolean
  /** Where the question ends in the message. */
  readonly questionEnd: number
  /** The largest UDP answer that the client takes. */
  readonly udpBytesMax: number
}

/** Where an answer is written: memory of its own, or some that is used again. */
export type Allocate = (bytes: number) => Buffer

/** A query; or the code with which a bad one is refused; or undefined: not to be answered. */
export function readQuery(message: Buffer): Query | number | undefined {
  if (message.length < headerBytes || (byteAt(message, 2) & response) !== 0) return undefined
  if ((byteAt(message, 2) & 0x78) !== 0) return rcode.notImplemented
  // One question; no answer section, no authority section.
  if (message.readUInt16BE(4) !== 1 || message.readUInt32BE(6) !== 0) return rcode.formatError
  const nameEnd = endOfName(message, headerBytes)
  if (nameEnd === -1 || nameEnd + 4 > message.length) return rcode.formatError
  const questionEnd = nameEnd + 4
  return {
    name: readName(message, headerBytes),
    type: message.readUInt16BE(nameEnd),
    internet: message.readUInt16BE(nameEnd + 2) === classIn,
    questionEnd,
    udpBytesMax: udpLimit(message, questionEnd),
  }
}

/** End of the uncompressed name at `from`, or -1 when it is none or too long. */
export function endOfName(message: Buffer, from: number): number {
  let at = from
  while (at < message.length) {
    const length = byteAt(message, at)
    at += length + 1
    if (length === 0) return at
    // 0xc0: compression, of which a question has no need.
    if (length > 63 || at - from >= nameBytesMax) return -1
  }
  return -1
}

function readName(message: Buffer, from: number): string {
  const labels: string[] = []
  for (let at = from, length = byteAt(message, at); length !== 0; length = byteAt(message, at)) {
    const label = message.toString('latin1', at + 1, at + 1 + length)
    labels.push(label.includes('.') ? label.replaceAll('.', '\\.') : label)
    at += length + 1
  }
  return labels.join('.')
}

/** The size in the client's OPT record; clients put it first or only. */
function udpLimit(message: Buffer, questionEnd: number): number {
  const isOpt =
    message.readUInt16BE(10) > 0 &&
    questionEnd + 11 <= message.length &&
    byteAt(message, questionEnd) === 0 &&
    message.readUInt16BE(questionEnd + 1) === type.opt
  return isOpt
    ? Math.max(udpBytesDefault, message.readUInt16BE(questionEnd + 3))
    : udpBytesDefault
}

/**
 * An answer with as many of `records` as fit into `bytesMax`; the truncation flag tells when some
 * did not. `records` come from `addressRecord` and `pointerRecord`.
 */
export function writeAnswer(
  query: Buffer,
  questionEnd: number,
  records: readonly Buffer[],
  bytesMax: number,
  allocate: Allocate,
): Buffer {
  let bytes = questionEnd
  let count = 0
  for (const record of records) {
    if (bytes + record.length > bytesMax) break
    bytes += record.length
    count++
  }
  const answer = allocate(bytes)
  writeHead(answer, query, questionEnd, rcode.noError)
  if (count < records.length) answer[2] = byteAt(answer, 2) | truncated
  answer.writeUInt16BE(count, 6)
  let at = questionEnd
  for (const record of records.slice(0, count)) at += record.copy(answer, at)
  return answer
}

/** An answer that holds a code and no record. The question is left out where it cannot be read. */
export function writeCode(query: Buffer, questionEnd: number | undefined, code: number): Buffer {
  const answer = Buffer.alloc(questionEnd ?? headerBytes)
  writeHead(answer, query, answer.length, code)
  if (questionEnd === undefined) answer.writeUInt16BE(0, 4)
  return answer
}

/** The start of an upstream's answer that is too long for the client: it will ask by TCP. */
export function truncateAnswer(answer: Buffer): Buffer {
  const nameEnd = answer.length < headerBytes ? -1 : endOfName(answer, headerBytes)
  const end = nameEnd === -1 || nameEnd + 4 > answer.length ? headerBytes : nameEnd + 4
  const short = Buffer.from(answer.subarray(0, end))
  short[2] = byteAt(short, 2) | truncated
  short.fill(0, 6, headerBytes)
  if (end === headerBytes) short.writeUInt16BE(0, 4)
  return short
}

export function answerCode(answer: Buffer): number {
  return byteAt(answer, 3) & 0x0f
}

/** Whether `answer` is a response to `query`: same id, same question but for letter case. */
export function answers(answer: Buffer, query: Buffer, questionEnd: number): boolean {
  if (answer.length < questionEnd || (byteAt(answer, 2) & response) === 0) return false
  if (answer.readUInt16BE(0) !== query.readUInt16BE(0) || answer.readUInt16BE(4) !== 1) return false
  const fold = (message: Buffer) =>
    message.toString('latin1', headerBytes, questionEnd).toLowerCase()
  return fold(answer) === fold(query)
}

/** An A or AAAA record for the name of the question. */
export function addressRecord(ip: string): Buffer {
  const address = parseAddress(ip)
  if (address === undefined) return Buffer.alloc(0)
  const hex = address.value.toString(16).padStart(address.family === 4 ? 8 : 32, '0')
  return record(address.family === 4 ? type.a : type.aaaa, Buffer.from(hex, 'hex'))
}

/** A PTR record for the name of the question; undefined when `name` cannot be a DNS name. */
export function pointerRecord(name: string): Buffer | undefined {
  const labels = name.split('.').map((label) => Buffer.from(label))
  const bytes = labels.reduce((sum, label) => sum + label.length + 1, 1)
  if (bytes > nameBytesMax || labels.some((label) => label.length < 1 || label.length > 63)) {
    return undefined
  }
  const parts = labels.flatMap((label) => [Buffer.of(label.length), label])
  return record(type.ptr, Buffer.concat([...parts, Buffer.of(0)]))
}

/** The address that a PTR question asks for, or undefined when its name is no reverse name. */
export function reverseAddress(name: string): string | undefined {
  const labels = name.toLowerCase().split('.')
  const [kind, top] = labels.slice(-2)
  const digits = labels.slice(0, -2).reverse()
  if (top !== 'arpa') return undefined
  if (kind === 'in-addr' && digits.length === 4) {
    return digits.every((digit) => /^\d{1,3}$/.test(digit)) ? digits.join('.') : undefined
  }
  if (kind === 'ip6' && digits.length === 32 && digits.every((digit) => /^[0-9a-f]$/.test(digit))) {
    return (digits.join('').match(/.{4}/g) ?? []).join(':')
  }
  return undefined
}

function record(recordType: number, data: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(12 + data.length)
  bytes.writeUInt16BE(0xc000 | headerBytes, 0)
  bytes.writeUInt16BE(recordType, 2)
  bytes.writeUInt16BE(classIn, 4)
  bytes.writeUInt32BE(ttlSeconds, 6)
  bytes.writeUInt16BE(data.length, 10)
  data.copy(bytes, 12)
  return bytes
}

/** Header and question; no records, no flags but those every answer of ours has. */
function writeHead(answer: Buffer, query: Buffer, questionEnd: number, code: number): void {
  query.copy(answer, 0, 0, questionEnd)
  answer[2] = response | (byteAt(query, 2) & (0x78 | recursionDesired))
  answer[3] = recursionAvailable | code
  answer.fill(0, 6, headerBytes)
}

function byteAt(message: Buffer, offset: number): number {
  return message[offset] ?? 0
}
