/** Routes of the main table: list, add, delete. */
import { attribute, nested, u32, u32Of } from './attributes.ts'
import { AF_INET, AF_INET6, bytesToIp, ipToBytes, prefixToBytes } from './ipbytes.ts'
import { indexOf } from './address.ts'
import { listLinksOn, type Link } from './link.ts'
import {
  NLM_F_CREATE,
  NLM_F_EXCL,
  NLM_F_REPLACE,
  withRoute,
  type NetlinkMessage,
  type NetlinkSocket,
} from './netlink.ts'
import type { Netns } from './netns.ts'

const RTM_NEWROUTE = 24
const RTM_DELROUTE = 25
const RTM_GETROUTE = 26
const RTA_DST = 1
const RTA_OIF = 4
const RTA_GATEWAY = 5
const RTA_PRIORITY = 6
const RTA_PREFSRC = 7
const RTA_TABLE = 15
const RT_TABLE_MAIN = 254
/** As `ip route add` marks its routes. */
const RTPROT_BOOT = 3
const RT_SCOPE_LINK = 253
const RTN_UNICAST = 1
const RTM_F_CLONED = 0x200

export interface Route {
  readonly family: 4 | 6
  /** A prefix, `default` (IPv4) or `default6`. */
  readonly destination: string
  /** '' on a directly connected prefix. */
  readonly gateway: string
  readonly link: string
  /** Preferred source, or ''. */
  readonly source: string
  readonly metric: number
  /** 2 the kernel's own, 3 and 4 set by somebody, 9 router advertisement, 16 DHCP. */
  readonly protocol: number
}

export interface RouteSpec {
  readonly destination: string
  readonly gateway?: string
  readonly link: string
  readonly metric?: number
  readonly source?: string
}

/** Unicast routes of the main table, both families. */
export function listRoutes(ns: Netns): readonly Route[] {
  return withRoute(ns, listRoutesOn)
}

/** The same on an open socket. */
export function listRoutesOn(
  socket: NetlinkSocket,
  links: readonly Link[] = listLinksOn(socket),
): readonly Route[] {
  return dumpRoutes(socket, new Map(links.map(({ index, name }) => [index, name])))
}

/** Where routes lead, directly or by a gateway; spares the look at the links. */
export function listDestinations(
  ns: Netns,
  family: 4 | 6,
): readonly { readonly destination: string; readonly direct: boolean }[] {
  const numbers = [family === 4 ? AF_INET : AF_INET6]
  return withRoute(ns, (socket) => dumpRoutes(socket, new Map(), numbers)).map(
    ({ destination, gateway }) => ({ destination, direct: gateway === '' }),
  )
}

function dumpRoutes(
  socket: NetlinkSocket,
  names: ReadonlyMap<number, string>,
  families: readonly number[] = [AF_INET, AF_INET6],
): readonly Route[] {
  const found: Route[] = []
  for (const family of families) {
    const body = [routeHeader(family, 0, RT_TABLE_MAIN, 0, 0, 0)]
    for (const reply of socket.dump({ type: RTM_GETROUTE, body, attempted: 'list routes' })) {
      // A kernel without IPv6 answers a question for its routes with those of all families.
      if (reply.type !== RTM_NEWROUTE || reply.body.readUInt8() !== family) continue
      const route = parseRoute(reply.body, names)
      if (route !== undefined) found.push(route)
    }
  }
  return found
}

/**
 * Adds a route; true when it was not there before.
 *
 * @param replace changes gateway and link where the destination has a route already
 */
export function addRoute(ns: Netns, route: RouteSpec, replace = false): boolean {
  return withRoute(ns, (socket) => {
    const index = indexOf(socket, route.link, `add route ${sayRoute(route)}`)
    const message = newRoute(index, route)
    const flags = NLM_F_CREATE | (replace ? NLM_F_REPLACE : NLM_F_EXCL)
    const [outcome] = socket.send([{ ...message, flags }])
    if (outcome === undefined) return true
    if (outcome.code === 'EEXIST') return false
    throw outcome
  })
}

/** Deletes a route; false when it is not there. */
export function deleteRoute(ns: Netns, route: RouteSpec): boolean {
  return withRoute(ns, (socket) => {
    const link = listLinksOn(socket).find(({ name }) => name === route.link)
    if (link === undefined) return false
    const attempted = `delete route ${sayRoute(route)}`
    const body = routeBody(link.index, route, true)
    const [outcome] = socket.send([{ type: RTM_DELROUTE, body, attempted }])
    if (outcome === undefined) return true
    if (outcome.code === 'ESRCH') return false
    throw outcome
  })
}

/** The message that adds a route, for bursts. */
export function newRoute(index: number, route: RouteSpec): NetlinkMessage {
  return {
    type: RTM_NEWROUTE,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    body: routeBody(index, route, false),
    attempted: `add route ${sayRoute(route)}`,
  }
}

function sayRoute({ destination, gateway, link }: RouteSpec): string {
  return `${destination}${gateway === undefined ? '' : ` via ${gateway}`} dev ${link}`
}

function isDefault(destination: string): boolean {
  return destination === 'default' || destination === 'default6'
}

function routeBody(index: number, route: RouteSpec, forDelete: boolean): readonly Buffer[] {
  const { destination, gateway, metric, source } = route
  const prefix = isDefault(destination) ? undefined : prefixToBytes(destination)
  const isV6 = prefix === undefined ? destination === 'default6' : prefix.bytes.length === 16
  // Without a gateway an IPv4 route is of link scope; any scope may be deleted.
  const linkScope = forDelete ? 255 : RT_SCOPE_LINK
  const scope = gateway === undefined && !isV6 ? linkScope : 0
  const protocol = forDelete ? 0 : RTPROT_BOOT
  const type = forDelete ? 0 : RTN_UNICAST
  const family = isV6 ? AF_INET6 : AF_INET
  return [
    routeHeader(family, prefix?.length ?? 0, RT_TABLE_MAIN, protocol, scope, type),
    ...(prefix === undefined ? [] : [attribute(RTA_DST, prefix.bytes)]),
    ...(gateway === undefined ? [] : [attribute(RTA_GATEWAY, ipToBytes(gateway))]),
    ...(source === undefined ? [] : [attribute(RTA_PREFSRC, ipToBytes(source))]),
    ...(metric === undefined ? [] : [u32(RTA_PRIORITY, metric)]),
    u32(RTA_OIF, index),
  ]
}

/** `rtmsg` */
function routeHeader(
  family: number,
  length: number,
  table: number,
  protocol: number,
  scope: number,
  type: number,
): Buffer {
  return Buffer.of(family, length, 0, 0, table, protocol, scope, type, 0, 0, 0, 0)
}

function parseRoute(body: Buffer, names: ReadonlyMap<number, string>): Route | undefined {
  const attributes = nested(body.subarray(12))
  const table = u32Of(attributes.get(RTA_TABLE)) ?? body.readUInt8(4)
  const isCloned = (body.readUInt32LE(8) & RTM_F_CLONED) !== 0
  if (table !== RT_TABLE_MAIN || body.readUInt8(7) !== RTN_UNICAST || isCloned) return undefined
  const family = body.readUInt8() === AF_INET ? 4 : 6
  const destination = attributes.get(RTA_DST)
  const gateway = attributes.get(RTA_GATEWAY)
  const source = attributes.get(RTA_PREFSRC)
  const standard = family === 4 ? 'default' : 'default6'
  return {
    family,
    destination:
      destination === undefined ? standard : `${bytesToIp(destination)}/${body.readUInt8(1)}`,
    gateway: gateway === undefined ? '' : bytesToIp(gateway),
    link: names.get(u32Of(attributes.get(RTA_OIF)) ?? 0) ?? '',
    source: source === undefined ? '' : bytesToIp(source),
    metric: u32Of(attributes.get(RTA_PRIORITY)) ?? 0,
    protocol: body.readUInt8(5),
  }
}
