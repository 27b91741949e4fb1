/**
 * Links of a namespace: list, create, change, delete.
 *
 * `listLinks` reads everything that desired objects are compared with in one dump. Deleting links
 * makes the kernel wait for grace periods: `linkremover.ts` does it in bursts, off the event loop.
 */
import { attribute, AttributeTable, nest, nested, text, u32, u32Of, u8 } from './attributes.ts'
import { isKernelError } from './error.ts'
import { bytesToIp, bytesToMac, ipToBytes } from './ipbytes.ts'
import {
  changeKindMessage,
  changeLinkMessage,
  changePortMessage,
  deleteLinkMessage,
  IFF_PROMISC,
  IFF_UP,
  IFLA,
  INFO,
  IPVLAN,
  linkHeader,
  MACVLAN_MODE,
  newLink,
  newVeth,
  PORT,
  renameLinkMessage,
  RTM_GETLINK,
  VLAN_ID,
  VXLAN,
  type LinkAttributes,
  type LinkChange,
  type PortChange,
  type VethPeer,
} from './linkmessages.ts'
import { withRoute, type NetlinkReply, type NetlinkSocket } from './netlink.ts'
import type { Netns } from './netns.ts'

const RTM_NEWLINK = 16
/** Leaves statistics out of the answer: half of its size. */
const RTEXT_FILTER_SKIP_STATS = 8

export interface Link {
  readonly index: number
  readonly name: string
  /** `veth`, `bridge`, `macvlan`, …; '' for physical links and lo. */
  readonly kind: string
  readonly mac: string
  readonly mtu: number
  readonly flags: number
  readonly up: boolean
  /** 0 without one. */
  readonly masterIndex: number
  /** Name of the master; '' without one. */
  readonly master: string
  readonly alias: string
  readonly group: number
  /** IFLA_LINK: the peer of a veth, the parent of a vlan or macvlan; 0 without one. */
  readonly linkIndex: number
  /** Whether `linkIndex` counts in another namespace. */
  readonly linkIsElsewhere: boolean
  readonly promiscuous: boolean
  /** RFC 2863: 6 is up. */
  readonly operState: number
  /** Present on ports of a bridge. */
  readonly port?: Required<PortChange>
  /** What the kind adds, where this room understands it. */
  readonly detail: LinkDetail
}

export interface LinkDetail {
  readonly vlanId?: number
  readonly macvlanMode?: MacvlanMode
  readonly ipvlanMode?: IpvlanMode
  readonly ipvlanFlag?: IpvlanFlag
  readonly vxlanId?: number
  readonly vxlanPort?: number
  readonly vxlanLocal?: string
}

export type MacvlanMode = 'private' | 'vepa' | 'bridge' | 'passthru'
const macvlanModes: Readonly<Record<MacvlanMode, number>> = {
  private: 1,
  vepa: 2,
  bridge: 4,
  passthru: 8,
}
export type IpvlanMode = 'l2' | 'l3' | 'l3s'
const ipvlanModes: Readonly<Record<IpvlanMode, number>> = { l2: 0, l3: 1, l3s: 2 }
export type IpvlanFlag = 'bridge' | 'private' | 'vepa'
const ipvlanFlags: Readonly<Record<IpvlanFlag, number>> = { bridge: 0, private: 1, vepa: 2 }

/** All links of a namespace, in index order. */
export function listLinks(ns: Netns): readonly Link[] {
  return withRoute(ns, listLinksOn)
}

/** The same on an open socket. */
export function listLinksOn(socket: NetlinkSocket): readonly Link[] {
  const replies = socket.dump({
    type: RTM_GETLINK,
    body: [linkHeader(), u32(IFLA.EXT_MASK, RTEXT_FILTER_SKIP_STATS)],
    attempted: 'list links',
  })
  const links = replies.filter(({ type }) => type === RTM_NEWLINK).map(parseLink)
  const names = new Map(links.map((link) => [link.index, link.name]))
  return links.map((link) => ({ ...link, master: names.get(link.masterIndex) ?? '' }))
}

/** Longer names are refused by the kernel: no link has one. */
const nameBytesMax = 15

/** One link by name; undefined when there is none. Its `master` is left '' (see masterIndex). */
export function findLink(ns: Netns, name: string): Link | undefined {
  return withRoute(ns, (socket) => findLinkOn(socket, name))
}

export function findLinkOn(socket: NetlinkSocket, name: string): Link | undefined {
  if (Buffer.byteLength(name) > nameBytesMax) return undefined
  try {
    const mask = u32(IFLA.EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    const body = [linkHeader(), text(IFLA.IFNAME, name), mask]
    return parseLink(socket.get({ type: RTM_GETLINK, body, attempted: `find link ${name}` }))
  } catch (error) {
    if (isKernelError(error, 'ENODEV')) return undefined
    throw error
  }
}

/** The name of the link with this index; '' when there is none. */
export function linkNameOn(socket: NetlinkSocket, index: number): string {
  try {
    const body = [linkHeader({ index }), u32(IFLA.EXT_MASK, RTEXT_FILTER_SKIP_STATS)]
    const found = socket.get({ type: RTM_GETLINK, body, attempted: `find link ${index}` })
    return parseLink(found).name
  } catch (error) {
    if (isKernelError(error, 'ENODEV')) return ''
    throw error
  }
}

export interface BridgeSpec {
  readonly name: string
  /** Left to the kernel when absent; then it changes with the ports. */
  readonly mac?: string
  readonly mtu?: number
  readonly alias?: string
  /** Default true. */
  readonly up?: boolean
}

/** Makes a bridge; on failure nothing is left. */
export function createBridge(ns: Netns, spec: BridgeSpec): void {
  const { name, alias: _alias, mtu, ...attributes } = spec
  // An MTU in the message that makes it is given up for that of the ports.
  const marks = { ...aliasOf(spec), ...(mtu === undefined ? {} : { mtu }) }
  create(ns, name, marks, (socket) =>
    socket.request(newLink(name, 'bridge', { ...attributes, up: spec.up ?? true })),
  )
}

export interface VethSpec extends LinkAttributes {
  readonly name: string
  readonly alias?: string
  readonly peer: VethPeer
}

/** Makes a veth pair, both ends possibly in different namespaces. */
export function createVeth(ns: Netns, spec: VethSpec): void {
  create(ns, spec.name, aliasOf(spec), (socket) =>
    socket.request(newVeth(spec.name, spec, spec.peer)),
  )
}

/** A link that only drops what it is given; `ifb` where the kernel has no `dummy`. */
export function createDummy(
  ns: Netns,
  spec: { readonly name: string; readonly kind: 'dummy' | 'ifb'; readonly alias?: string },
): void {
  create(ns, spec.name, aliasOf(spec), (socket) =>
    socket.request(newLink(spec.name, spec.kind, { up: true })),
  )
}

/** A link on top of a parent, born in `netnsFd` when given. */
export interface ChildLinkSpec extends LinkAttributes {
  readonly name: string
  readonly parentIndex: number
  readonly netnsFd?: number
}

/** What a macvlan or an ipvlan link is beyond that. */
export type ChildKind =
  | { readonly type: 'macvlan'; readonly mode: MacvlanMode }
  | { readonly type: 'ipvlan'; readonly mode: IpvlanMode; readonly flag: IpvlanFlag }

/** Makes a macvlan or ipvlan link. */
export function createChildLink(ns: Netns, spec: ChildLinkSpec, kind: ChildKind): void {
  createChild(ns, kind.type, spec, dataOf(kind))
}

/** Changes the mode (and flag) of a link that exists; with ipvlan, of all links of its parent. */
export function changeChildLink(ns: Netns, name: string, kind: ChildKind): void {
  withRoute(ns, (socket) => socket.request(changeKindMessage(name, kind.type, dataOf(kind))))
}

function dataOf(kind: ChildKind): Buffer {
  if (kind.type === 'macvlan') {
    return nest(INFO.DATA, u32(MACVLAN_MODE, macvlanModes[kind.mode]))
  }
  const mode = attribute(IPVLAN.MODE, Buffer.of(ipvlanModes[kind.mode], 0))
  const flag = attribute(IPVLAN.FLAGS, Buffer.of(ipvlanFlags[kind.flag], 0))
  return nest(INFO.DATA, mode, flag)
}

/** An 802.1q sub-interface. */
export function createVlan(
  ns: Netns,
  spec: ChildLinkSpec & { readonly id: number; readonly alias?: string },
): void {
  const id = Buffer.alloc(2)
  id.writeUInt16LE(spec.id)
  const data = nest(INFO.DATA, attribute(VLAN_ID, id))
  create(ns, spec.name, aliasOf(spec), () => createChild(ns, 'vlan', spec, data))
}

export function createVxlan(
  ns: Netns,
  spec: LinkAttributes & {
    readonly name: string
    readonly id: number
    readonly port: number
    readonly local?: string
    readonly learning: boolean
    readonly alias?: string
    readonly netnsFd?: number
  },
): void {
  const port = Buffer.alloc(2)
  port.writeUInt16BE(spec.port)
  const local = spec.local === undefined ? undefined : ipToBytes(spec.local)
  const localType = local?.length === 16 ? VXLAN.LOCAL6 : VXLAN.LOCAL
  const data = nest(
    INFO.DATA,
    u32(VXLAN.ID, spec.id),
    u8(VXLAN.LEARNING, spec.learning ? 1 : 0),
    attribute(VXLAN.PORT, port),
    ...(local === undefined ? [] : [attribute(localType, local)]),
  )
  const extra = spec.netnsFd === undefined ? [] : [u32(IFLA.NET_NS_FD, spec.netnsFd)]
  create(ns, spec.name, spec.netnsFd === undefined ? aliasOf(spec) : {}, (socket) =>
    socket.request(newLink(spec.name, 'vxlan', spec, data, extra)),
  )
}

function createChild(ns: Netns, kind: string, spec: ChildLinkSpec, data: Buffer): void {
  const { name, parentIndex, netnsFd } = spec
  const born = netnsFd === undefined ? [] : [u32(IFLA.NET_NS_FD, netnsFd)]
  const extra = [u32(IFLA.LINK, parentIndex), ...born]
  withRoute(ns, (socket) => socket.request(newLink(name, kind, spec, data, extra)))
}

const aliasOf = ({ alias }: { readonly alias?: string }) => (alias === undefined ? {} : { alias })

/** Makes, then marks: only what was surely made here is given an alias. */
function create(
  ns: Netns,
  name: string,
  marks: { readonly alias?: string; readonly mtu?: number },
  make: (socket: NetlinkSocket) => void,
): void {
  withRoute(ns, (socket) => {
    make(socket)
    if ((marks.alias ?? '') === '' && marks.mtu === undefined) return
    try {
      // The kernel ignores an alias in the message that makes the link.
      socket.request(changeLinkMessage(name, marks))
    } catch (error) {
      socket.send([deleteLinkMessage(name)])
      throw error
    }
  })
}

/** Changes what is given of an existing link; a rename comes last. */
export function changeLink(ns: Netns, name: string, change: LinkChange): void {
  withRoute(ns, (socket) => {
    socket.request(changeLinkMessage(name, change))
    if (change.newName === undefined) return
    const link = findLinkOn(socket, name)
    if (link !== undefined) socket.request(renameLinkMessage(link.index, name, change.newName))
  })
}

/** Changes flags of a link that is enslaved to a bridge. */
export function changePort(ns: Netns, name: string, port: PortChange): void {
  withRoute(ns, (socket) => socket.request(changePortMessage(name, port)))
}

/** Deletes one link at once, blocking for a grace period; false when there is none. */
export function deleteLink(ns: Netns, name: string): boolean {
  const [outcome] = withRoute(ns, (socket) => socket.send([deleteLinkMessage(name)]))
  if (outcome === undefined) return true
  if (outcome.code === 'ENODEV') return false
  throw outcome
}

/**
 * Whether this kernel can make links of a kind (`macvlan`, `vlan`, `ipvlan`, …). Nothing is made:
 * the name asked for is one that no link can have. Loads the kind's module where there is one.
 */
export function supportsLinkKind(ns: Netns, kind: string): boolean {
  const [outcome] = withRoute(ns, (socket) => socket.send([newLink('/', kind, {})]))
  return outcome?.code !== 'EOPNOTSUPP'
}

const [links, infos, slaves] = [new AttributeTable(), new AttributeTable(), new AttributeTable()]

function parseLink({ body }: NetlinkReply): Link {
  const attributes = links.read(body, 16, body.length)
  const info = infos.readNested(attributes, IFLA.LINKINFO)
  const kind = info.text(INFO.KIND)
  const flags = body.readUInt32LE(8)
  const mac = attributes.bytes(IFLA.ADDRESS)
  const isBridgePort = info.text(INFO.SLAVE_KIND) === 'bridge'
  const plain = kind === 'veth' || kind === 'bridge' || kind === ''
  return {
    index: body.readInt32LE(4),
    name: attributes.text(IFLA.IFNAME),
    kind,
    mac: mac === undefined ? '' : bytesToMac(mac),
    mtu: attributes.u32(IFLA.MTU) ?? 0,
    flags,
    up: (flags & IFF_UP) !== 0,
    promiscuous: (flags & IFF_PROMISC) !== 0,
    masterIndex: attributes.u32(IFLA.MASTER) ?? 0,
    master: '',
    alias: attributes.text(IFLA.IFALIAS),
    group: attributes.u32(IFLA.GROUP) ?? 0,
    linkIndex: attributes.u32(IFLA.LINK) ?? 0,
    linkIsElsewhere: attributes.has(IFLA.LINK_NETNSID),
    operState: attributes.u8(IFLA.OPERSTATE) ?? 0,
    detail: plain ? {} : parseDetail(kind, nested(info.bytes(INFO.DATA))),
    ...(isBridgePort ? { port: parsePort(slaves.readNested(info, INFO.SLAVE_DATA)) } : {}),
  }
}

function parsePort(data: AttributeTable): Required<PortChange> {
  const flag = (type: number) => data.u8(type) === 1
  return {
    hairpin: flag(PORT.HAIRPIN),
    isolated: flag(PORT.ISOLATED),
    learning: flag(PORT.LEARNING),
    unicastFlood: flag(PORT.UNICAST_FLOOD),
    neighSuppress: flag(PORT.NEIGH_SUPPRESS),
  }
}

function parseDetail(kind: string, data: ReadonlyMap<number, Buffer>): LinkDetail {
  if (kind === 'vlan') return { vlanId: data.get(VLAN_ID)?.readUInt16LE() ?? 0 }
  if (kind === 'macvlan') {
    const number = u32Of(data.get(MACVLAN_MODE))
    const modes: readonly MacvlanMode[] = ['private', 'vepa', 'bridge', 'passthru']
    const mode = modes.find((name) => macvlanModes[name] === number)
    return mode === undefined ? {} : { macvlanMode: mode }
  }
  if (kind === 'ipvlan') {
    const [mode, flags] = [IPVLAN.MODE, IPVLAN.FLAGS].map((one) => data.get(one)?.readUInt16LE())
    const modes: readonly IpvlanMode[] = ['l2', 'l3', 'l3s']
    const flagNames: readonly IpvlanFlag[] = ['bridge', 'private', 'vepa']
    return {
      ipvlanMode: modes.find((name) => ipvlanModes[name] === mode) ?? 'l2',
      ipvlanFlag: flagNames.find((name) => ipvlanFlags[name] === flags) ?? 'bridge',
    }
  }
  if (kind !== 'vxlan') return {}
  const local = data.get(VXLAN.LOCAL) ?? data.get(VXLAN.LOCAL6)
  return {
    vxlanId: u32Of(data.get(VXLAN.ID)) ?? 0,
    vxlanPort: data.get(VXLAN.PORT)?.readUInt16BE() ?? 0,
    ...(local === undefined ? {} : { vxlanLocal: bytesToIp(local) }),
  }
}
