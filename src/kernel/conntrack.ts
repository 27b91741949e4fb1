/**
 * Forgets tracked connections, so that a changed publication takes hold for flows that exist.
 *
 * Matching is done here and not in the kernel: its filters differ between versions. On a kernel
 * without connection tracking there is nothing to forget, which is no error.
 */
import { attribute, findAttribute, nest, u8Of } from './attributes.ts'
import { isKernelError } from './error.ts'
import { AF_INET, AF_INET6, bytesToIp } from './ipbytes.ts'
import {
  NETLINK_NETFILTER,
  withNetlink,
  type NetlinkMessage,
  type NetlinkSocket,
} from './netlink.ts'
import type { Netns } from './netns.ts'

const AF_UNSPEC = 0
const CTNETLINK = 1 << 8
const CT_GET = CTNETLINK | 1
const CT_DELETE = CTNETLINK | 2
const CT_GET_STATS = CTNETLINK | 5
const CTA_STATS_GLOBAL_ENTRIES = 1
const CTA = { TUPLE_ORIG: 1, TUPLE_REPLY: 2, ID: 12, ZONE: 18 } as const
const TUPLE = { IP: 1, PROTO: 2 } as const
const IP = { V4_SRC: 1, V4_DST: 2, V6_SRC: 3, V6_DST: 4 } as const
const PROTO = { NUM: 1, SRC_PORT: 2, DST_PORT: 3 } as const
const protocolNumbers = { tcp: 6, udp: 17, sctp: 132 } as const
/** Deletions per send: well below what a socket buffer takes. */
const deletionsPerSend = 256

export interface Tuple {
  readonly source: string
  readonly destination: string
  readonly protocol: number
  readonly sourcePort: number
  readonly destinationPort: number
}

export interface TrackedConnection {
  readonly family: 4 | 6
  readonly original: Tuple
  readonly reply: Tuple
}

export interface ConnectionFilter {
  readonly protocol?: 'tcp' | 'udp' | 'sctp'
  /** Of the original direction: the published port, first and last. */
  readonly originalPorts?: readonly [first: number, last: number]
  /** Original destination; absent: any. */
  readonly originalDestination?: string
  /** Either end of either direction. */
  readonly address?: string
}

interface Entry extends TrackedConnection {
  /** As they came from the kernel. */
  readonly attributes: Buffer
}

/** All tracked connections of a namespace; none on a kernel that tracks nothing. */
export function listConnections(ns: Netns): readonly TrackedConnection[] {
  return withNetlink(ns, NETLINK_NETFILTER, list).map(({ family, original, reply }) => {
    return { family, original, reply }
  })
}

/** Deletes entries that match every given condition; answers how many. */
export function forgetConnections(ns: Netns, filter: ConnectionFilter): number {
  return forgetAll(ns, [filter])
}

/** Deletes entries that match any of the filters, with one listing. */
export function forgetAll(ns: Netns, filters: readonly ConnectionFilter[]): number {
  if (filters.length === 0) return 0
  return withNetlink(ns, NETLINK_NETFILTER, (socket) => {
    const doomed = list(socket).filter(matcherOf(filters))
    let deleted = 0
    for (let first = 0; first < doomed.length; first += deletionsPerSend) {
      const messages = doomed.slice(first, first + deletionsPerSend).map(deletion)
      for (const outcome of socket.send(messages)) {
        // ENOENT: it timed out in the meantime.
        if (outcome === undefined) deleted++
        else if (outcome.code !== 'ENOENT') throw outcome
      }
    }
    return deleted
  })
}

function list(socket: NetlinkSocket): readonly Entry[] {
  if (tracksNothing(socket)) return []
  // Both families in one go: the kernel walks its whole table each time, 10 ms even if it is empty.
  const body = [netfilterHeader(AF_UNSPEC)]
  try {
    const replies = socket.dump({ type: CT_GET, body, attempted: 'list tracked connections' })
    return replies.flatMap((reply) => parse(reply.body) ?? [])
  } catch (error) {
    // No subsystem: the kernel (or its module) tracks nothing.
    if (isKernelError(error, 'EINVAL', 'EOPNOTSUPP', 'ENOENT', 'EPROTONOSUPPORT')) return []
    throw error
  }
}

/** Whether the namespace has no entry: the table is one for all namespaces, the count is not. */
function tracksNothing(socket: NetlinkSocket): boolean {
  const body = [netfilterHeader(AF_UNSPEC)]
  try {
    const reply = socket.get({ type: CT_GET_STATS, body, attempted: 'count tracked connections' })
    const count = findAttribute(reply.body.subarray(4), CTA_STATS_GLOBAL_ENTRIES)
    return count !== undefined && count.length >= 4 && count.readUInt32BE() === 0
  } catch (error) {
    if (isKernelError(error)) return false
    throw error
  }
}

function deletion(entry: Entry): NetlinkMessage {
  // Never without the tuple: a deletion that names nothing flushes the whole table.
  return {
    type: CT_DELETE,
    body: [netfilterHeader(entry.family === 4 ? AF_INET : AF_INET6), ...identityOf(entry)],
    attempted: `forget connection to ${entry.original.destination}`,
  }
}

/**
 * One predicate for all filters. A single address or port, the usual kinds, are looked up in a
 * set, so that a thousand published ports cost an entry no more than one.
 */
function matcherOf(filters: readonly ConnectionFilter[]): (entry: TrackedConnection) => boolean {
  const addresses = new Set<string>()
  const ports = new Set<string>()
  const others: ConnectionFilter[] = []
  for (const filter of filters) {
    const { protocol, originalPorts, originalDestination, address } = filter
    const [first, last] = originalPorts ?? []
    const hasPlace = originalDestination !== undefined
    if (address !== undefined && protocol === undefined && first === undefined && !hasPlace) {
      addresses.add(address)
    } else if (first !== undefined && first === last && protocol !== undefined && !hasPlace &&
      address === undefined) {
      ports.add(`${protocolNumbers[protocol]} ${first}`)
    } else others.push(filter)
  }
  return (entry) => {
    const { original, reply } = entry
    if (ports.size > 0 && ports.has(`${original.protocol} ${original.destinationPort}`)) return true
    const ends = [original.source, original.destination, reply.source, reply.destination]
    if (addresses.size > 0 && ends.some((end) => addresses.has(end))) return true
    return others.some((filter) => matches(entry, filter))
  }
}

function matches(entry: TrackedConnection, filter: ConnectionFilter): boolean {
  const { original, reply } = entry
  const { protocol, originalPorts, originalDestination, address } = filter
  if (protocol !== undefined && original.protocol !== protocolNumbers[protocol]) return false
  if (originalPorts !== undefined) {
    const [first, last] = originalPorts
    if (original.destinationPort < first || original.destinationPort > last) return false
  }
  const wanted = originalDestination ?? original.destination
  if (original.destination !== wanted) return false
  if (address === undefined) return true
  return [original.source, original.destination, reply.source, reply.destination].includes(address)
}

function parse(body: Buffer): Entry | undefined {
  const attributes = body.subarray(4)
  const tuple = findAttribute(attributes, CTA.TUPLE_ORIG)
  const original = parseTuple(tuple)
  const reply = parseTuple(findAttribute(attributes, CTA.TUPLE_REPLY))
  if (tuple === undefined || original === undefined || reply === undefined) return undefined
  return { family: body.readUInt8() === AF_INET ? 4 : 6, original, reply, attributes }
}

/** What names an entry to the kernel: its original tuple, id and zone, as they came. */
function identityOf({ attributes }: Entry): readonly Buffer[] {
  const tuple = findAttribute(attributes, CTA.TUPLE_ORIG) ?? Buffer.alloc(0)
  const id = findAttribute(attributes, CTA.ID)
  const zone = findAttribute(attributes, CTA.ZONE)
  return [
    nest(CTA.TUPLE_ORIG, tuple),
    ...(id === undefined ? [] : [attribute(CTA.ID, id)]),
    ...(zone === undefined ? [] : [attribute(CTA.ZONE, zone)]),
  ]
}

function parseTuple(tuple: Buffer | undefined): Tuple | undefined {
  const ip = findAttribute(tuple, TUPLE.IP)
  const proto = findAttribute(tuple, TUPLE.PROTO)
  const source = findAttribute(ip, IP.V4_SRC) ?? findAttribute(ip, IP.V6_SRC)
  const destination = findAttribute(ip, IP.V4_DST) ?? findAttribute(ip, IP.V6_DST)
  if (source === undefined || destination === undefined) return undefined
  return {
    source: bytesToIp(source),
    destination: bytesToIp(destination),
    protocol: u8Of(findAttribute(proto, PROTO.NUM)) ?? 0,
    sourcePort: findAttribute(proto, PROTO.SRC_PORT)?.readUInt16BE() ?? 0,
    destinationPort: findAttribute(proto, PROTO.DST_PORT)?.readUInt16BE() ?? 0,
  }
}

/** `nfgenmsg` */
function netfilterHeader(family: number): Buffer {
  return Buffer.of(family, 0, 0, 0)
}
