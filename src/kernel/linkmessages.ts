/**
 * rtnetlink messages about links: how to make, change and delete each kind, as data.
 *
 * Links are named, not numbered, wherever the kernel allows it, so that several messages can go
 * out in one send. Sending them is the business of `link.ts` and `batch.ts`.
 */
import { nest, text, u32, u8, attribute } from './attributes.ts'
import { AF_INET6, macToBytes } from './ipbytes.ts'
import { NLM_F_CREATE, NLM_F_EXCL, type NetlinkMessage } from './netlink.ts'

export const RTM_NEWLINK = 16
export const RTM_DELLINK = 17
export const RTM_GETLINK = 18
export const RTM_SETLINK = 19
export const IFF_UP = 1
export const IFF_PROMISC = 0x100

/** Numbers of IFLA_* attributes. */
export const IFLA = {
  ADDRESS: 1,
  IFNAME: 3,
  MTU: 4,
  LINK: 5,
  MASTER: 10,
  PROTINFO: 12,
  OPERSTATE: 16,
  LINKINFO: 18,
  IFALIAS: 20,
  AF_SPEC: 26,
  GROUP: 27,
  NET_NS_FD: 28,
  EXT_MASK: 29,
  NUM_TX_QUEUES: 31,
  NUM_RX_QUEUES: 32,
  LINK_NETNSID: 37,
} as const

/** Below IFLA_LINKINFO. */
export const INFO = { KIND: 1, DATA: 2, SLAVE_KIND: 4, SLAVE_DATA: 5 } as const
const VETH_INFO_PEER = 1
/** Below the slave data of a bridge port. */
export const PORT = {
  HAIRPIN: 4,
  LEARNING: 8,
  UNICAST_FLOOD: 9,
  NEIGH_SUPPRESS: 32,
  ISOLATED: 33,
} as const
/** Below IFLA_AF_SPEC, by address family. */
const INET6_ADDR_GEN_MODE = 8
const IN6_ADDR_GEN_MODE_NONE = 1
export const VLAN_ID = 1
export const MACVLAN_MODE = 1
export const IPVLAN = { MODE: 1, FLAGS: 2 } as const
export const VXLAN = { ID: 1, LOCAL: 4, LEARNING: 7, PORT: 15, LOCAL6: 17 } as const

/** What every kind of link can be given at once. */
export interface LinkAttributes {
  /** Number for a new link; the kernel's choice when absent. */
  readonly index?: number
  readonly mac?: string
  readonly mtu?: number
  /** Index of the master (a bridge), 0 to release. */
  readonly masterIndex?: number
  readonly up?: boolean
}

export interface VethPeer {
  /** Descriptor of the namespace in which the peer is born; this socket's own when absent. */
  readonly netnsFd?: number
  readonly name: string
  readonly mac?: string
  readonly mtu?: number
}

/** `ifinfomsg` */
export function linkHeader(
  fields: { family?: number; index?: number; flags?: number; change?: number } = {},
): Buffer {
  const header = Buffer.alloc(16)
  header.writeUInt8(fields.family ?? 0)
  header.writeInt32LE(fields.index ?? 0, 4)
  header.writeUInt32LE(fields.flags ?? 0, 8)
  header.writeUInt32LE(fields.change ?? 0, 12)
  return header
}

/** Makes a link of `kind`; refused when the name exists. */
export function newLink(
  name: string,
  kind: string,
  attributes: LinkAttributes,
  data?: Buffer,
  extra: readonly Buffer[] = [],
): NetlinkMessage {
  const info = [text(INFO.KIND, kind), ...(data === undefined ? [] : [data])]
  return {
    type: RTM_NEWLINK,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    body: [
      linkHeader({ ...upDownFlags(attributes.up), index: attributes.index ?? 0 }),
      text(IFLA.IFNAME, name),
      ...common(attributes),
      ...extra,
      nest(IFLA.LINKINFO, ...info),
    ],
    // Docker's words for the kind that can fail for what the user named.
    attempted: kind === 'vlan' ? `failed to create ${name} vlan link` : `create ${kind} ${name}`,
  }
}

/** What only its kind knows of an existing link: a macvlan's mode, an ipvlan's mode and flag. */
export function changeKindMessage(name: string, kind: string, data: Buffer): NetlinkMessage {
  return {
    type: RTM_NEWLINK,
    body: [
      linkHeader(),
      text(IFLA.IFNAME, name),
      nest(IFLA.LINKINFO, text(INFO.KIND, kind), data),
    ],
    attempted: `change ${kind} ${name}`,
  }
}

/**
 * Where nothing is said the kernel makes one queue per processor and takes back all but one: two
 * grace periods, with the lock of all links held (drivers/net/veth.c, veth_init_queues).
 */
const oneQueue = [u32(IFLA.NUM_TX_QUEUES, 1), u32(IFLA.NUM_RX_QUEUES, 1)]

/** Makes a veth pair, its peer born in the target namespace under its final name. */
export function newVeth(name: string, attributes: LinkAttributes, peer: VethPeer): NetlinkMessage {
  // The peer must not be set up here: the kernel would open it before the pair is joined.
  const peerAttributes = [
    text(IFLA.IFNAME, peer.name),
    ...common(peer),
    ...(peer.netnsFd === undefined ? [] : [u32(IFLA.NET_NS_FD, peer.netnsFd)]),
    ...oneQueue,
  ]
  const inner = attribute(VETH_INFO_PEER, Buffer.concat([linkHeader(), ...peerAttributes]))
  return newLink(name, 'veth', attributes, nest(INFO.DATA, inner), oneQueue)
}

/** Changes of an existing link; what is absent stays. */
export interface LinkChange extends LinkAttributes {
  readonly alias?: string
  readonly newName?: string
  readonly group?: number
  readonly promiscuous?: boolean
}

export function changeLinkMessage(name: string, change: LinkChange): NetlinkMessage {
  const { alias, newName, group } = change
  // A rename needs the index, since the name attribute is then the new one: see link.ts.
  return {
    type: RTM_SETLINK,
    body: [
      upDown(change.up, change.promiscuous),
      text(IFLA.IFNAME, name),
      ...common(change),
      ...(alias === undefined ? [] : [aliasAttribute(alias)]),
      ...(group === undefined ? [] : [u32(IFLA.GROUP, group)]),
    ],
    attempted: newName === undefined ? `change link ${name}` : `rename link ${name} to ${newName}`,
  }
}

export function renameLinkMessage(index: number, name: string, newName: string): NetlinkMessage {
  return {
    type: RTM_SETLINK,
    body: [linkHeader({ index }), text(IFLA.IFNAME, newName)],
    attempted: `rename link ${name} to ${newName}`,
  }
}

/** Flags of a bridge port. */
export interface PortChange {
  readonly hairpin?: boolean
  readonly isolated?: boolean
  readonly learning?: boolean
  readonly unicastFlood?: boolean
  readonly neighSuppress?: boolean
}

/** Bridge port flags, alias and state of an enslaved link in one message, by name; in this order. */
export function changePortMessage(
  name: string,
  port: PortChange,
  { alias, up }: { readonly alias?: string; readonly up?: boolean } = {},
): NetlinkMessage {
  const flag = (type: number, value: boolean | undefined) =>
    value === undefined ? [] : [u8(type, value ? 1 : 0)]
  const data = [
    ...flag(PORT.HAIRPIN, port.hairpin),
    ...flag(PORT.ISOLATED, port.isolated),
    ...flag(PORT.LEARNING, port.learning),
    ...flag(PORT.UNICAST_FLOOD, port.unicastFlood),
    ...flag(PORT.NEIGH_SUPPRESS, port.neighSuppress),
  ]
  const info = nest(IFLA.LINKINFO, text(INFO.SLAVE_KIND, 'bridge'), nest(INFO.SLAVE_DATA, ...data))
  return {
    // NEWLINK without CREATE changes what exists; SETLINK ignores slave data.
    type: RTM_NEWLINK,
    body: [
      upDown(up),
      text(IFLA.IFNAME, name),
      ...(alias === undefined ? [] : [aliasAttribute(alias)]),
      ...(data.length === 0 ? [] : [info]),
    ],
    attempted: `set bridge port ${name}`,
  }
}

/** Gives a link no IPv6 link-local address, if it has none yet. */
export function noLinkLocalMessage(name: string): NetlinkMessage {
  const mode = nest(AF_INET6, u8(INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE))
  return {
    type: RTM_SETLINK,
    body: [linkHeader(), text(IFLA.IFNAME, name), nest(IFLA.AF_SPEC, mode)],
    attempted: `keep link-local addresses from ${name}`,
  }
}

export function deleteLinkMessage(name: string): NetlinkMessage {
  return {
    type: RTM_DELLINK,
    body: [linkHeader(), text(IFLA.IFNAME, name)],
    attempted: `delete link ${name}`,
  }
}

export function deleteGroupMessage(group: number): NetlinkMessage {
  return {
    type: RTM_DELLINK,
    body: [linkHeader(), u32(IFLA.GROUP, group)],
    attempted: `delete links of group ${group}`,
  }
}

function upDown(up: boolean | undefined, promiscuous?: boolean): Buffer {
  return linkHeader(upDownFlags(up, promiscuous))
}

function upDownFlags(up: boolean | undefined, promiscuous?: boolean) {
  const flags = (up === true ? IFF_UP : 0) | (promiscuous === true ? IFF_PROMISC : 0)
  const change = (up === undefined ? 0 : IFF_UP) | (promiscuous === undefined ? 0 : IFF_PROMISC)
  return { flags, change }
}

/** Without a terminating zero, so that '' takes the alias away. */
function aliasAttribute(alias: string): Buffer {
  return attribute(IFLA.IFALIAS, Buffer.from(alias))
}

function common(attributes: LinkAttributes): readonly Buffer[] {
  const { mac, mtu, masterIndex } = attributes
  return [
    ...(mac === undefined ? [] : [attribute(IFLA.ADDRESS, macToBytes(mac))]),
    ...(mtu === undefined ? [] : [u32(IFLA.MTU, mtu)]),
    ...(masterIndex === undefined ? [] : [u32(IFLA.MASTER, masterIndex)]),
  ]
}
