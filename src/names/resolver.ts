/**
 * The answer of one sandbox's resolver to one query, or the decision to ask upstream.
 *
 * Address questions that were answered once are answered again from a table keyed by the bytes of
 * the question; the table is void as soon as any name changes.
 */
import {
  addressRecord,
  endOfName,
  pointerRecord,
  rcode,
  readQuery,
  reverseAddress,
  type as recordType,
  writeAnswer,
  writeCode,
  type Allocate,
  type Query,
} from './wire.ts'
import { shuffled, type NameView, type Zones } from './zones.ts'

export interface ResolverView extends NameView {
  /** An explicit ndots above 0: single labels that are not ours get an empty answer. */
  readonly keepSingleLabels: boolean
}

export type Outcome =
  | { readonly kind: 'answer'; readonly message: Buffer }
  | { readonly kind: 'forward'; readonly query: Query }
  /** Not a query at all. */
  | { readonly kind: 'drop' }

/** Entries, not names: letter case counts. Beyond it the table starts anew. */
const tableEntriesMax = 4096
const tcpBytesMax = 65_535
/** Answers up to this size fit every client, so that the table need not look for its limit. */
const plainBytesMax = 512
const headerBytes = 12

export class Resolver {
  readonly #zones: Zones
  readonly #table = new Map<string, readonly Buffer[]>()
  #view: ResolverView
  #generation = -1

  constructor(zones: Zones, view: ResolverView) {
    this.#zones = zones
    this.#view = view
  }

  set view(view: ResolverView) {
    this.#view = view
    this.#table.clear()
  }

  resolve(
    message: Buffer,
    transport: 'udp' | 'tcp',
    allocate: Allocate = Buffer.allocUnsafe,
  ): Outcome {
    const known = this.#fromTable(message, allocate)
    if (known !== undefined) return { kind: 'answer', message: known }
    const query = readQuery(message)
    if (query === undefined) return { kind: 'drop' }
    if (typeof query === 'number') {
      return { kind: 'answer', message: writeCode(message, undefined, query) }
    }
    const records = this.#records(query)
    if (records === undefined) return { kind: 'forward', query }
    const bytesMax = transport === 'udp' ? query.udpBytesMax : tcpBytesMax
    this.#remember(message, query, records)
    const order = shuffled(records)
    const answer = writeAnswer(message, query.questionEnd, order, bytesMax, allocate)
    return { kind: 'answer', message: answer }
  }

  /** Records of the answer, perhaps none; undefined: to be forwarded. */
  #records(query: Query): readonly Buffer[] | undefined {
    if (!query.internet) return undefined
    switch (query.type) {
      case recordType.a:
      case recordType.aaaa: {
        const family = query.type === recordType.a ? 4 : 6
        const found = this.#zones.lookup(this.#view, query.name, family)
        if (found !== undefined) return found.map(addressRecord)
        return this.#view.keepSingleLabels && !query.name.includes('.') ? [] : undefined
      }
      case recordType.mx:
        return this.#zones.lookup(this.#view, query.name, 4) === undefined ? undefined : []
      case recordType.ptr:
        return this.#pointer(query.name)
      default:
        return undefined
    }
  }

  #pointer(name: string): readonly Buffer[] | undefined {
    const ip = reverseAddress(name)
    if (ip === undefined) return undefined
    const owner = this.#zones.reverse(this.#view, ip)
    const record = owner === undefined ? undefined : pointerRecord(owner)
    return record === undefined ? undefined : [record]
  }

  #fromTable(message: Buffer, allocate: Allocate): Buffer | undefined {
    if (this.#generation !== this.#zones.generation) {
      this.#table.clear()
      this.#generation = this.#zones.generation
    }
    // A plain query: QR, opcode and TC clear, one question, nothing before the additional section.
    const isPlain =
      message.length > headerBytes + 4 &&
      ((message[2] ?? 0) & 0xfa) === 0 &&
      message.readUInt16BE(4) === 1 &&
      message.readUInt32BE(6) === 0
    if (!isPlain) return undefined
    const nameEnd = endOfName(message, headerBytes)
    if (nameEnd === -1 || nameEnd + 4 > message.length) return undefined
    const questionEnd = nameEnd + 4
    const records = this.#table.get(message.toString('latin1', headerBytes, questionEnd))
    if (records === undefined) return undefined
    const order = records.length > 1 ? shuffled(records) : records
    return writeAnswer(message, questionEnd, order, plainBytesMax, allocate)
  }

  #remember(message: Buffer, query: Query, records: readonly Buffer[]): void {
    const bytes = records.reduce((sum, each) => sum + each.length, query.questionEnd)
    if (bytes > plainBytesMax || query.type === recordType.ptr) return
    if (this.#table.size >= tableEntriesMax) this.#table.clear()
    this.#table.set(message.toString('latin1', headerBytes, query.questionEnd), records)
  }
}

/** The answer when no upstream gave one. */
export function failure(message: Buffer, query: Query): Buffer {
  return writeCode(message, query.questionEnd, rcode.serverFailure)
}

/** The answer when too many queries wait already. */
export function overload(message: Buffer, query: Query): Buffer {
  return writeCode(message, query.questionEnd, rcode.refused)
}
