/**
 * One container attach as two bursts: the link, then everything inside.
 *
 * The shape is measured: the peer is born in the target namespace under its final name, so nothing
 * is moved or renamed (each would cost an RCU wait); what is inside goes out in one send. If
 * anything is refused the pair is deleted again.
 */
import { indexOf, indexOfOurs, newAddress } from './address.ts'
import { createChildLink, findLinkOn, listLinksOn, type ChildKind } from './link.ts'
import { KernelError } from './error.ts'
import {
  changeLinkMessage,
  changePortMessage,
  deleteLinkMessage,
  newVeth,
  noLinkLocalMessage,
} from './linkmessages.ts'
import { withRoute, type NetlinkSocket } from './netlink.ts'
import { inNetns, type Netns } from './netns.ts'
import { newRoute } from './route.ts'
import { writeSysctl } from './sysctl.ts'
import { announce } from './announce.ts'

export interface VethAttachment {
  /** Host end. */
  readonly name: string
  /** Bridge of the host namespace. */
  readonly master: string
  readonly alias: string
  readonly mtu?: number
  readonly hairpin: boolean
  readonly isolated?: boolean
  readonly peer: { readonly name: string } & ContainerSide
}

/** What is set inside the container's namespace once its link exists. */
export interface ContainerSide {
  readonly mac: string
  /** When neighbours are told the MAC, in milliseconds from now; left out: as ever. */
  readonly announceAtMs?: readonly number[]
  /** With prefix length, either family. */
  readonly addresses: readonly string[]
  /** In order; a gateway off the link's prefixes needs its own link route first. */
  readonly routes: readonly {
    readonly destination: string
    readonly gateway?: string
    readonly metric?: number
  }[]
  /** Written before the link comes up: disable_ipv6, accept_ra, arp settings. */
  readonly sysctls: readonly { readonly key: string; readonly value: string }[]
}

/**
 * Makes one endpoint; all or nothing.
 *
 * The container's end comes up first: a host end without a carrier would have its queues stopped by
 * a worker, which waits for a grace period with the lock of all links held, and a bridge would not
 * forward what comes by it before another worker has seen the carrier.
 *
 * The host end is not asked for: the kernel would bring the state of its carrier up to date first,
 * and walk all ports of the bridge and all IPv6 routes for it. Nor has it a link-local address,
 * which no port of a bridge can use: each is three more of those routes.
 *
 * @param meanwhile runs while the kernel makes the pair, which takes it a millisecond
 */
export function attachVeth(
  host: Netns,
  inside: Netns,
  attachment: VethAttachment,
  meanwhile?: () => void,
): void {
  withRoute(host, (socket) => {
    makePair(socket, inside, attachment, meanwhile)
    const { name, hairpin, alias, peer } = attachment
    try {
      const index = configureInside(inside, peer.name, peer)
      const flags = { hairpin, ...isolation(attachment) }
      const port = changePortMessage(name, flags, { alias, up: true })
      // Refused by a kernel without IPv6, and for a link whose MTU is too small for it.
      const [, refusal] = socket.send([noLinkLocalMessage(name), port])
      if (refusal !== undefined) throw refusal
      announce(inside, index, peer.mac, peer.addresses, peer.announceAtMs)
    } catch (error) {
      socket.send([deleteLinkMessage(name)])
      throw error
    }
  })
}

export interface ChildAttachment {
  /** Name inside. */
  readonly name: string
  /** Link of the host namespace. */
  readonly parent: string
  readonly kind: ChildKind
  readonly mtu?: number
  /** `mac` '' is left to the kernel. */
  readonly side: ContainerSide
}

/** Makes a macvlan or ipvlan endpoint, its link born inside; all or nothing. */
export function attachChild(host: Netns, inside: Netns, attachment: ChildAttachment): void {
  const { name, parent, kind, mtu, side } = attachment
  const attempted = `attach ${name} to ${parent}`
  const spec = withRoute(host, (socket) => ({
    name,
    parentIndex: indexOf(socket, parent, attempted),
    netnsFd: inside.fd,
    ...(side.mac === '' ? {} : { mac: side.mac }),
    ...(mtu === undefined ? {} : { mtu }),
    ...numberFor(socket, inside, name),
  }))
  createChildLink(host, spec, kind)
  try {
    const link = withRoute(inside, (socket) => findLinkOn(socket, name))
    if (link === undefined) {
      throw new KernelError('RTM_GETLINK', 19, attempted, 'it vanished at once')
    }
    const mac = side.mac === '' ? link.mac : side.mac
    // In passthru mode the kernel passes over the address in the message that makes the link.
    if (mac !== link.mac) {
      withRoute(inside, (socket) => socket.request(changeLinkMessage(name, { mac })))
    }
    const index = configureInside(inside, name, side)
    announce(inside, index, mac, side.addresses, side.announceAtMs)
  } catch (error) {
    withRoute(inside, (socket) => socket.send([deleteLinkMessage(name)]))
    throw error
  }
}

/**
 * The kernel refuses a name that a link of the *host* has, though the new one is born elsewhere;
 * unless a number is asked for, which it then looks for instead of the name.
 */
function numberFor(host: NetlinkSocket, inside: Netns, name: string): { index?: number } {
  if (findLinkOn(host, name) === undefined) return {}
  const links = [...listLinksOn(host), ...withRoute(inside, listLinksOn)]
  const taken = new Set(links.map(({ index }) => index))
  let index = 2
  while (taken.has(index)) index++
  return { index }
}

/**
 * Addresses, routes and settings of a link that exists inside `ns`, one burst; lo comes up too.
 * Answers the link's index.
 */
function configureInside(ns: Netns, name: string, side: ContainerSide): number {
  return inNetns(ns, () => {
    for (const { key, value } of side.sysctls) writeSysctl(ns, key, value)
    return withRoute(ns, (socket) => {
      const found = indexOfOurs(socket, name, `set up ${name}`)
      socket.request(
        changeLinkMessage('lo', { up: true }),
        changeLinkMessage(name, { up: true }),
        ...side.addresses.map((address) => newAddress(found, name, address)),
        ...side.routes.map((route) => newRoute(found, { ...route, link: name })),
      )
      return found
    })
  })
}

function makePair(
  socket: NetlinkSocket,
  inside: Netns,
  attachment: VethAttachment,
  meanwhile: (() => void) | undefined,
): void {
  const { name, master, mtu, peer } = attachment
  const attempted = `attach ${name} to ${master}`
  const masterIndex = indexOfOurs(socket, master, attempted)
  const size = mtu === undefined ? {} : { mtu }
  const message = newVeth(
    name,
    { ...size, masterIndex },
    { ...size, name: peer.name, mac: peer.mac, netnsFd: inside.fd },
  )
  if (meanwhile === undefined) return socket.request(message)
  const outcomes = socket.sendAhead([message])
  let failure: { readonly error: unknown } | undefined
  try {
    meanwhile()
  } catch (error) {
    failure = { error }
  }
  const [refusal] = outcomes()
  if (refusal !== undefined) throw refusal
  if (failure === undefined) return
  socket.send([deleteLinkMessage(name)])
  throw failure.error
}

function isolation({ isolated }: VethAttachment): { readonly isolated?: boolean } {
  return isolated === undefined ? {} : { isolated }
}
