/** What this room reads from the kernel: facts for the drivers, and objects to compare with. */
import { existsSync, readFileSync } from 'node:fs'
import { errorCode } from '../base/error-code.ts'
import { parseAddress, type Address } from '../address/ip.ts'
import { parsePrefix, type Prefix } from '../address/prefix.ts'
import { log } from '../base/log.ts'
import { listAddressesOn } from '../kernel/address.ts'
import {
  findLink,
  findLinkOn,
  linkNameOn,
  listLinks,
  listLinksOn,
  supportsLinkKind,
  type Link,
} from '../kernel/link.ts'
import { withRoute, type NetlinkSocket } from '../kernel/netlink.ts'
import { homeNetns, inNetns, openNetns, type Netns } from '../kernel/netns.ts'
import type { IpvlanObject, KernelObject, MacvlanObject } from '../kernel/object.ts'
import { listPolicyRules, supportsPolicyRules } from '../kernel/policy-rule.ts'
import { listDestinations, listRoutesOn, type Route } from '../kernel/route.ts'
import { readSysctl } from '../kernel/sysctl.ts'
import { parseResolvConf } from '../names/resolvconf.ts'
import { identityOf } from './diff.ts'
import type { HostFacts } from './drivers/driver.ts'
import type { Room } from './room.ts'

/** Facts without a look at the links, for what does not depend on them. */
export function plainFacts(room: Room): HostFacts {
  return factsOf(room, new Map())
}

function factsOf(room: Room, links: HostFacts['links']): HostFacts {
  const { userlandProxy } = room.config
  return {
    links,
    // Few ask, and there may be thousands.
    get networks() {
      return room.state.list()
    },
    endpointsOn: (networkId) => room.state.networks.get(networkId)?.endpoints.size ?? 0,
    supportsLinkKind: (kind) => supportsLinkKind(homeNetns(), kind),
    userlandProxy,
    ipv6: kernelHasIpv6(),
    policyRules: kernelHasPolicyRules(),
  }
}

/** Facts that look at a link of the daemon's namespace when they are asked for it. */
export function singleFacts(room: Room): HostFacts {
  return factsOf(room, { get: (name) => findLink(homeNetns(), name) })
}

/** Facts with all links of the daemon's namespace: for many networks at once. */
export function hostFacts(room: Room, links: readonly Link[] = listLinks(homeNetns())): HostFacts {
  return factsOf(room, new Map(links.map((link) => [link.name, link])))
}

let ipv6: boolean | undefined

/** Whether the kernel has IPv6 at all (`ipv6.disable=1` takes it away). */
export function kernelHasIpv6(): boolean {
  ipv6 ??= existsSync('/proc/sys/net/ipv6/conf/all/disable_ipv6')
  return ipv6
}

let policyRules: boolean | undefined

/** Whether the kernel can choose routing tables by rules (almost every one can). */
function kernelHasPolicyRules(): boolean {
  if (policyRules === undefined) {
    policyRules = supportsPolicyRules(homeNetns(), 4)
    if (!policyRules) log.warn('no policy routing here: internal networks rest on the firewall')
  }
  return policyRules
}

/** Shorter ones by a gateway are ways to everywhere, as some VPNs set them. */
const gatewayLengthMin: Readonly<Record<4 | 6, number>> = { 4: 8, 6: 16 }

/**
 * Where the host's routes lead, but for the default ones: automatic pools stay clear of it.
 *
 * @param isOurs says which destinations are subnets of our own networks
 */
export function routedPrefixes(
  family: 4 | 6,
  isOurs: (destination: string) => boolean,
): readonly Prefix[] {
  return listDestinations(homeNetns(), family).flatMap(({ destination, direct }) => {
    if (isOurs(destination)) return []
    const prefix = parsePrefix(destination)?.prefix
    if (prefix === undefined || prefix.length === 0) return []
    return direct || prefix.length >= gatewayLengthMin[family] ? [prefix] : []
  })
}

/** The host's own name servers: a pool must not cover them. */
export function resolversOfHost(path: string): readonly Address[] {
  const text = existsSync(path) ? readFileSync(path, 'utf8') : ''
  return parseResolvConf(text).nameservers.flatMap((server) => parseAddress(server) ?? [])
}

/**
 * What the kernel has of `desired`, in the same form: other objects are not looked at. At most one
 * dump per kind and namespace, none of links where few are asked for.
 *
 * @param links those of the daemon's namespace, where they have just been listed
 */
export function findObjects(
  desired: readonly KernelObject[],
  links?: readonly Link[],
): readonly KernelObject[] {
  const byNetns = new Map<string, KernelObject[]>()
  for (const object of desired) {
    const path = netnsOf(object)
    const list = byNetns.get(path)
    if (list === undefined) byNetns.set(path, [object])
    else list.push(object)
  }
  return [...byNetns].flatMap(([path, objects]) => {
    return findIn(path, objects, path === '' ? links : undefined)
  })
}

/** The namespace in which an object is looked for; a veth pair at its host end. */
function netnsOf(object: KernelObject): string {
  switch (object.type) {
    case 'netns':
      return object.path
    case 'bridge':
    case 'veth':
    case 'dummy':
    case 'vlan':
    case 'rule':
      return ''
    default:
      return object.netns
  }
}

function findIn(
  path: string,
  desired: readonly KernelObject[],
  links: readonly Link[] | undefined,
): KernelObject[] {
  const ns = tryOpen(path)
  if (ns === undefined) return []
  try {
    // Entered once, and asked by one socket.
    return inNetns(ns, () =>
      withRoute(ns, (socket) => new Finder(ns, socket, desired.length, links).find(desired)),
    )
  } finally {
    ns.close()
  }
}

/** undefined where there is no such namespace (any more). */
export function tryOpen(path: string): Netns | undefined {
  try {
    return openNetns(path)
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}

/** Up to so many objects, links are looked up one by one: a dump grows with all there are. */
const singleLooksMax = 16

class Finder {
  #ns: Netns
  #socket: NetlinkSocket
  #single: boolean
  #links: readonly Link[] | undefined
  #byName: ReadonlyMap<string, Link> | undefined
  #masters = new Map<number, string>()
  #addresses: ReadonlySet<string> | undefined
  #routes: readonly Route[] | undefined
  #rules: ReadonlySet<string> | undefined

  constructor(
    ns: Netns,
    socket: NetlinkSocket,
    objects: number,
    links: readonly Link[] | undefined,
  ) {
    this.#ns = ns
    this.#socket = socket
    this.#links = links
    this.#single = objects <= singleLooksMax
  }

  find(desired: readonly KernelObject[]): KernelObject[] {
    return desired.flatMap((object) => this.#one(object) ?? [])
  }

  #one(object: KernelObject): KernelObject | undefined {
    switch (object.type) {
      case 'netns':
        return object
      case 'bridge': {
        const link = this.#link(object.name)
        if (link === undefined || link.kind !== 'bridge') return undefined
        const { name, mac, mtu, alias } = link
        // A bridge that is down counts as a difference of its alias: it is set up again with it.
        return { type: 'bridge', name, mac, mtu, alias: link.up ? alias : '', adopted: false }
      }
      case 'veth': {
        const link = this.#link(object.name)
        if (link === undefined || link.kind !== 'veth') return undefined
        const { name, mtu, master } = link
        const hairpin = link.port?.hairpin ?? false
        const alias = link.up ? link.alias : ''
        return { type: 'veth', name, mtu, alias, master, hairpin, peer: object.peer }
      }
      case 'dummy': {
        const link = this.#link(object.name)
        if (link?.kind !== 'dummy' && link?.kind !== 'ifb') return undefined
        return { type: 'dummy', name: link.name, kind: link.kind, alias: link.up ? link.alias : '' }
      }
      case 'vlan': {
        const link = this.#link(object.name)
        if (link?.kind !== 'vlan') return undefined
        return { ...object, id: link.detail.vlanId ?? 0, alias: link.up ? link.alias : '' }
      }
      case 'macvlan':
      case 'ipvlan': {
        const link = this.#link(object.name)
        return link?.kind === object.type ? childFound(object, link) : undefined
      }
      case 'address':
        this.#addresses ??= new Set(
          listAddressesOn(this.#socket, undefined, this.#allLinks()).map(
            ({ link, address }) => `${link} ${address}`,
          ),
        )
        return this.#addresses.has(`${object.link} ${object.address}`) ? object : undefined
      case 'route': {
        this.#routes ??= listRoutesOn(this.#socket, this.#allLinks())
        const route = this.#routes.find((one) => one.destination === object.destination)
        if (route === undefined) return undefined
        const { destination, gateway, link } = route
        return { type: 'route', netns: object.netns, destination, gateway, link }
      }
      case 'sysctl': {
        const value = readSysctl(this.#ns, object.key)
        return value === undefined ? undefined : { ...object, value }
      }
      case 'rule':
        this.#rules ??= new Set(listPolicyRules(this.#ns).map(identityOf))
        return this.#rules.has(identityOf(object)) ? object : undefined
    }
  }

  #allLinks(): readonly Link[] {
    this.#links ??= listLinksOn(this.#socket)
    return this.#links
  }

  #link(name: string): Link | undefined {
    if (this.#single && this.#links === undefined) return this.#singleLink(name)
    this.#byName ??= new Map(this.#allLinks().map((link) => [link.name, link]))
    return this.#byName.get(name)
  }

  #singleLink(name: string): Link | undefined {
    const link = findLinkOn(this.#socket, name)
    if (link === undefined || link.masterIndex === 0) return link
    const { masterIndex } = link
    const master = this.#masters.get(masterIndex) ?? linkNameOn(this.#socket, masterIndex)
    this.#masters.set(masterIndex, master)
    return { ...link, master }
  }
}

/**
 * The parent is not compared, for a link cannot be moved to another one and goes with its own; but
 * a link that is down has none here, so that it counts as different and is set up again.
 */
function childFound(
  object: MacvlanObject | IpvlanObject,
  { mac, mtu, up, detail }: Link,
): KernelObject {
  const seen = { mtu, parent: up ? object.parent : '' }
  if (object.type === 'macvlan') {
    return { ...object, ...seen, mac, mode: detail.macvlanMode ?? 'bridge' }
  }
  const { ipvlanMode = 'l2', ipvlanFlag = 'bridge' } = detail
  return { ...object, ...seen, mode: ipvlanMode, flag: ipvlanFlag }
}
