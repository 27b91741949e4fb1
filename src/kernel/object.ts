/**
 * Kernel objects as data: what should exist, and what was found.
 *
 * Desired and listed objects have the same shape, so that a diff is a comparison. `netns` is the
 * path of a bind-mounted network namespace, or '' for the one that the daemon itself lives in.
 * `alias` (IFLA_IFALIAS) is the ownership mark of links: ours begin with `portolan:`.
 */

export type KernelObject =
  | NetnsObject
  | BridgeObject
  | VethObject
  | DummyObject
  | VlanObject
  | MacvlanObject
  | IpvlanObject
  | AddressObject
  | RouteObject
  | SysctlObject
  | RuleObject

export interface NetnsObject {
  readonly type: 'netns'
  readonly path: string
}

export interface BridgeObject {
  readonly type: 'bridge'
  readonly name: string
  /** Left to the kernel when absent. */
  readonly mac?: string
  readonly mtu?: number
  readonly alias: string
  /** True: made by the user, never deleted by us, its attributes left alone. */
  readonly adopted: boolean
}

/** Links whose neighbours may be told which MAC their addresses have. */
interface AnnouncedObject {
  /** Milliseconds from now; left out: as ever. Nothing that can be read back. */
  readonly announceAtMs?: readonly number[]
}

export interface VethObject extends AnnouncedObject {
  readonly type: 'veth'
  /** Host end, enslaved to `master`. */
  readonly name: string
  readonly master: string
  readonly mtu?: number
  readonly hairpin: boolean
  readonly alias: string
  /** Container end, born in its namespace under its final name. */
  readonly peer: { readonly netns: string; readonly name: string; readonly mac: string }
}

/** A link of the daemon's namespace that leads nowhere: the parent of links without another. */
export interface DummyObject {
  readonly type: 'dummy'
  readonly name: string
  /** `ifb` drops what it is given just as `dummy` does, on kernels that lack that one. */
  readonly kind: 'dummy' | 'ifb'
  readonly alias: string
}

/** An 802.1q sub-interface in the daemon's namespace. */
export interface VlanObject {
  readonly type: 'vlan'
  readonly name: string
  readonly parent: string
  readonly id: number
  readonly alias: string
}

/** What links on top of a parent share; born in `netns`, with a parent of the daemon's own. */
export interface ChildObject extends AnnouncedObject {
  readonly netns: string
  readonly name: string
  readonly parent: string
  readonly mtu?: number
}

export interface MacvlanObject extends ChildObject {
  readonly type: 'macvlan'
  readonly mode: 'bridge' | 'private' | 'vepa' | 'passthru'
  /** Left to the kernel when absent: with passthru it is the parent's. */
  readonly mac?: string
}

export interface IpvlanObject extends ChildObject {
  readonly type: 'ipvlan'
  readonly mode: 'l2' | 'l3' | 'l3s'
  readonly flag: 'bridge' | 'private' | 'vepa'
}

export interface AddressObject {
  readonly type: 'address'
  readonly netns: string
  readonly link: string
  /** Address with prefix length: 172.18.0.1/16 or fd00::1/64. */
  readonly address: string
}

export interface RouteObject {
  readonly type: 'route'
  readonly netns: string
  /** A prefix, `default` (IPv4) or `default6`. */
  readonly destination: string
  readonly gateway?: string
  readonly link: string
}

export interface SysctlObject {
  readonly type: 'sysctl'
  readonly netns: string
  /** Path below /proc/sys, for example net/ipv4/conf/br-0123/route_localnet. */
  readonly key: string
  readonly value: string
}

/**
 * A rule of the daemon's namespace that comes before the main routing table. It has no mark of a
 * network: all of ours are found by their protocol number.
 */
export interface RuleObject {
  readonly type: 'rule'
  readonly family: 4 | 6
  /** Rules of a lower one are asked first. */
  readonly priority: number
  /** Only packets to this prefix; '' for all. */
  readonly to: string
  /** Only packets that came in by this link (`lo`: of the host's own); '' for all. */
  readonly iif: string
  /** Dropped without an answer, or looked up in the main table. */
  readonly action: 'blackhole' | 'main'
}
