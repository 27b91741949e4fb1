/**
 * Hands out pools to networks and addresses to endpoints, and takes them back. Memory only: the
 * stored networks and sandboxes say what is held, and are given back in by `restore` and `hold`.
 *
 * Every method either holds completely or changes nothing.
 */
import { formatAddress, parseAddress, type Address } from '../../address/ip.ts'
import { globalPoolSources, PoolAllocator, type PoolSource } from '../../address/pools.ts'
import { contains, formatPrefix, parsePrefix, type Prefix } from '../../address/prefix.ts'
import { SubnetAllocator } from '../../address/subnet.ts'
import { Refusal } from '../../base/refusal.ts'
import type { AllocatedPool, IpamPoolSpec, Network } from '../model.ts'

/** A pool of this subnet is one that the pools choose, with what else the request says of it. */
export const anySubnet = { 4: '0.0.0.0/0', 6: '::/0' } as const

/** What a network needs pools for. */
export interface PoolDemand {
  readonly networkId: string
  /** Default: the local one. */
  readonly space?: AddressSpace
  /** For sentences. */
  readonly networkName: string
  readonly pools: readonly IpamPoolSpec[]
  readonly families: readonly (4 | 6)[]
  /** Families that get a gateway address. */
  readonly gatewayFamilies: ReadonlySet<4 | 6>
  /** Only gateways that `pools` name are reserved, whatever the families. */
  readonly namedGatewaysOnly: boolean
  /** What the host uses itself; automatic pools stay clear of it. */
  readonly busy: readonly Prefix[]
}

/** In the sentence about routes that leave no room. */
const routesNamedMax = 8

/**
 * Address spaces do not know of each other: networks of plugins of global scope take their pools
 * from the global one, as with Docker.
 */
export type AddressSpace = 'LocalDefault' | 'GlobalDefault'

interface Lease {
  readonly space: AddressSpace
  readonly pool: AllocatedPool
  readonly allocator: SubnetAllocator
  /** Where addresses are chosen. */
  readonly range: Prefix
}

/** A subnet, which several networks may share by ranges. */
interface Shared {
  readonly allocator: SubnetAllocator
  readonly ranges: string[]
}

export class Ipam {
  readonly #pools: Readonly<Record<AddressSpace, PoolAllocator>>
  #leases = new Map<string, readonly Lease[]>()
  /** By address space and subnet. */
  #shared = new Map<string, Shared>()
  /** Subnets of networks as the kernel writes them, and how many networks have them. */
  #subnets = new Map<string, number>()

  constructor(sources: readonly PoolSource[]) {
    this.#pools = {
      LocalDefault: new PoolAllocator(sources),
      GlobalDefault: new PoolAllocator(globalPoolSources),
    }
  }

  /** Reserves the pools of a new network with gateway and auxiliary addresses, IPv4 first. */
  allocate(demand: PoolDemand): readonly AllocatedPool[] {
    const leases: Lease[] = []
    try {
      for (const family of demand.families) {
        const given = demand.pools.filter((pool) => familyOf(pool) === family)
        if (given.length === 0) leases.push(this.#automatic(family, demand))
        for (const pool of given) leases.push(this.#given(pool, family, demand))
      }
    } catch (error) {
      for (const lease of leases) this.#giveUp(lease)
      throw error
    }
    this.#keep(demand.networkId, leases)
    return leases.map(({ pool }) => pool)
  }

  /** Takes the pools of a stored network as they are. */
  restore(network: Network): void {
    const leases = network.pools.map((pool): Lease => {
      const space = pool.addressSpace === 'GlobalDefault' ? 'GlobalDefault' : 'LocalDefault'
      const { subnet, range } = prefixesOf(pool.subnet, pool.ipRange)
      const allocator = this.#share(space, subnet, range)
      for (const text of [pool.gateway, ...Object.values(pool.auxiliary)]) {
        const address = text === null ? undefined : parseAddress(text)
        if (address !== undefined) allocator.take(address)
      }
      return { space, pool, allocator, range }
    })
    this.#keep(network.id, leases)
  }

  /** Gives the pools of a network back; idempotent. */
  release(networkId: string): void {
    for (const lease of this.#leases.get(networkId) ?? []) {
      this.#giveUp(lease)
      const text = formatPrefix(lease.allocator.subnet)
      const count = this.#subnets.get(text) ?? 0
      if (count > 1) this.#subnets.set(text, count - 1)
      else this.#subnets.delete(text)
    }
    this.#leases.delete(networkId)
  }

  #keep(networkId: string, leases: readonly Lease[]): void {
    this.#leases.set(networkId, leases)
    for (const { allocator } of leases) {
      const text = formatPrefix(allocator.subnet)
      this.#subnets.set(text, (this.#subnets.get(text) ?? 0) + 1)
    }
  }

  /** The addresses of a subnet, which is reserved by the first that has a part in it. */
  #share(space: AddressSpace, subnet: Prefix, range: Prefix): SubnetAllocator {
    const key = keyOf(space, subnet)
    const shared = this.#shared.get(key) ?? { allocator: new SubnetAllocator(subnet), ranges: [] }
    if (shared.ranges.length === 0) this.#pools[space].reserve(subnet)
    this.#shared.set(key, shared)
    shared.ranges.push(formatPrefix(range))
    return shared.allocator
  }

  #giveUp({ space, pool, allocator, range }: Lease): void {
    const key = keyOf(space, allocator.subnet)
    const ranges = this.#shared.get(key)?.ranges
    const at = ranges?.indexOf(formatPrefix(range)) ?? -1
    if (ranges === undefined || at < 0) return
    ranges.splice(at, 1)
    for (const text of [pool.gateway, ...Object.values(pool.auxiliary)]) {
      const address = text === null ? undefined : parseAddress(text)
      if (address !== undefined) allocator.release(address)
    }
    if (ranges.length > 0) return
    this.#shared.delete(key)
    this.#pools[space].release(allocator.subnet)
  }

  /** Whether a route's destination is the subnet of one of our networks. */
  isSubnet(destination: string): boolean {
    return this.#subnets.has(destination)
  }

  /**
   * Takes `wanted`, or the lowest free address of the family.
   *
   * @returns the address with the prefix length of its subnet
   */
  takeAddress(network: Network, family: 4 | 6, wanted?: string): string {
    const leases = this.#of(network.id, family)
    if (wanted !== undefined) {
      const address = parseAddress(wanted)
      for (const { allocator } of leases) {
        if (address !== undefined && allocator.take(address)) return withLength(address, allocator)
      }
      throw new Refusal('forbidden', 'Address already in use')
    }
    for (const { allocator, range } of leases) {
      const address = allocator.takeLowest(range)
      if (address !== undefined) return withLength(address, allocator)
    }
    const none = `no available IPv${family} addresses on this network's address pools`
    throw new Refusal('internal', `${none}: ${network.spec.name} (${network.id})`)
  }

  /** Takes an address that a stored endpoint has; false when something else has it. */
  hold(networkId: string, address: string): boolean {
    const parsed = parsePrefix(address)
    if (parsed === undefined) return false
    const leases = this.#of(networkId, parsed.prefix.family)
    return leases.some(({ allocator }) => allocator.take(parsed.address))
  }

  /** Gives an address (with prefix length) back; '' and unknown ones are ignored. */
  releaseAddress(networkId: string, address: string): void {
    const parsed = parsePrefix(address)
    if (parsed === undefined) return
    for (const { allocator } of this.#of(networkId, parsed.prefix.family)) {
      if (allocator.release(parsed.address)) return
    }
  }

  /** Usage by subnet, as `Status.IPAM.Subnets` of network inspect. */
  usage(networkId: string): readonly { subnet: string; inUse: bigint; available: bigint }[] {
    return (this.#leases.get(networkId) ?? []).map(({ pool, allocator, range }) => ({
      subnet: pool.subnet,
      inUse: allocator.inUse,
      available: allocator.available(range),
    }))
  }

  #of(networkId: string, family: 4 | 6): readonly Lease[] {
    return (this.#leases.get(networkId) ?? []).filter(({ pool }) => pool.family === family)
  }

  #automatic(family: 4 | 6, demand: PoolDemand, size?: number, spec?: IpamPoolSpec): Lease {
    const space = demand.space ?? 'LocalDefault'
    const subnet = this.#pools[space].findLowest(family, demand.busy, size)
    if (subnet === undefined) throw this.#exhausted(family, demand)
    const filled = { ...spec, subnet: formatPrefix(subnet) }
    const lease = this.#lease(filled, space, subnet, subnet, demand)
    const { gateway } = lease.pool
    if (size !== undefined || gateway === null) return lease
    return { ...lease, pool: { ...lease.pool, shown: { ...lease.pool.shown, gateway } } }
  }

  #exhausted(family: 4 | 6, { busy, space = 'LocalDefault' }: PoolDemand): Refusal {
    const sentence = 'all predefined address pools have been fully subnetted'
    const all = this.#pools[space].inTheWay(family, busy).map(formatPrefix)
    if (all.length === 0) return new Refusal('invalid', sentence)
    const named = all.slice(0, routesNamedMax).join(', ')
    const more = all.length > routesNamedMax ? ` and ${all.length - routesNamedMax} more` : ''
    const why = `routes or name servers of this host are in the way: ${named}${more}`
    return new Refusal('invalid', `${sentence}: ${why}`)
  }

  #given(spec: IpamPoolSpec, family: 4 | 6, demand: PoolDemand): Lease {
    const { subnet, range } = prefixesOf(spec.subnet, spec.ipRange)
    const space = demand.space ?? 'LocalDefault'
    // 0.0.0.0/24 stands for "a /24 from the pools", 0.0.0.0/0 for what they give out.
    if (subnet.base === 0n) {
      refuseParts(spec, space)
      const size = subnet.length === 0 ? undefined : subnet.length
      return this.#automatic(family, demand, size, spec)
    }
    // Docker's quirk: with an ip-range, pools may overlap; the driver has its own check.
    const isRange = (spec.ipRange ?? '') !== ''
    const shared = this.#shared.get(keyOf(space, subnet))
    const taken = isRange
      ? shared?.ranges.includes(formatPrefix(range)) === true
      : this.#pools[space].collision(subnet) !== undefined
    if (taken) {
      const sentence = 'invalid pool request: Pool overlaps with other one on this address space'
      throw new Refusal('forbidden', sentence)
    }
    return this.#lease(spec, space, subnet, range, demand)
  }

  /** Takes gateway and auxiliary addresses and describes the pool. */
  #lease(
    spec: IpamPoolSpec,
    space: AddressSpace,
    subnet: Prefix,
    range: Prefix,
    demand: PoolDemand,
  ): Lease {
    const allocator = this.#share(space, subnet, range)
    const { family } = subnet
    const isNamed = (spec.gateway ?? '') !== ''
    const hasGateway = demand.namedGatewaysOnly ? isNamed : demand.gatewayFamilies.has(family)
    const taken: Address[] = []
    const take = (address: Address | undefined) => {
      if (address !== undefined) taken.push(address)
      return address
    }
    try {
      const gateway = hasGateway ? take(takeGateway(spec, allocator, range)) : undefined
      for (const [name, text] of Object.entries(spec.auxiliary ?? {})) {
        take(takeAuxiliary(name, text, spec, allocator, demand))
      }
      const { ipRange } = spec
      const pool: AllocatedPool = {
        family,
        subnet: spec.subnet,
        gateway: gateway === undefined ? null : formatAddress(gateway),
        ...(ipRange === undefined || ipRange === '' ? {} : { ipRange }),
        auxiliary: { ...spec.auxiliary },
        shown: { ...spec },
        ...(space === 'LocalDefault' ? {} : { addressSpace: space }),
      }
      return { space, pool, allocator, range }
    } catch (error) {
      for (const address of taken) allocator.release(address)
      const nothing = { gateway: null, auxiliary: {} }
      const pool = { family, subnet: spec.subnet, shown: spec, ...nothing }
      this.#giveUp({ space, pool, allocator, range })
      throw error
    }
  }
}

const keyOf = (space: AddressSpace, subnet: Prefix): string => `${space} ${formatPrefix(subnet)}`

/** What says more of a subnet than its size needs one with addresses. */
function refuseParts({ ipRange = '', gateway = '' }: IpamPoolSpec, space: AddressSpace): void {
  if (ipRange !== '') {
    const request = `address space "${space}" pool "" subpool "${ipRange}"`
    const sentence = `failed to parse pool request for ${request}: invalid address subpool`
    throw new Refusal('internal', sentence)
  }
  if (gateway === '') return
  const sentence = `failed to allocate gateway (${gateway}): requested address is out of range`
  throw new Refusal('internal', sentence)
}

/** The family of a pool as written; undefined when its subnet is none. */
export function familyOf(pool: IpamPoolSpec): 4 | 6 | undefined {
  return parsePrefix(pool.subnet)?.prefix.family
}

function prefixesOf(subnet: string, ipRange = ''): { subnet: Prefix; range: Prefix } {
  const prefix = parsePrefix(subnet)?.prefix
  if (prefix === undefined) throw new Refusal('internal', `invalid subnet ${subnet}`)
  return { subnet: prefix, range: parsePrefix(ipRange)?.prefix ?? prefix }
}

function takeAuxiliary(
  name: string,
  text: string,
  spec: IpamPoolSpec,
  allocator: SubnetAllocator,
  { networkName }: PoolDemand,
): Address {
  const address = parseAddress(text)
  if (address === undefined) {
    const sentence = `non parsable secondary ip address (${name}:${text}) passed for network`
    throw new Refusal('invalid', `${sentence} ${networkName}`)
  }
  if (!contains(allocator.subnet, address)) {
    const why = `parent subnet ${spec.subnet} doesn't contain this address`
    throw new Refusal('invalid', `invalid auxiliary address ${name}: ${why}`)
  }
  if (allocator.take(address)) return address
  const sentence = `failed to allocate secondary ip address (${name}:${text})`
  throw new Refusal('internal', `${sentence}: Address already in use`)
}

function takeGateway(spec: IpamPoolSpec, allocator: SubnetAllocator, range: Prefix): Address {
  const wanted = spec.gateway ?? ''
  const failed = (why: string) =>
    new Refusal('internal', `failed to allocate gateway (${wanted}): ${why}`)
  if (wanted === '') {
    const lowest = allocator.takeLowest(range)
    if (lowest === undefined) throw failed('no available addresses on this pool')
    return lowest
  }
  const address = parseAddress(wanted)
  if (address === undefined || !allocator.take(address)) throw failed('Address already in use')
  return address
}

const withLength = (address: Address, allocator: SubnetAllocator): string =>
  `${formatAddress(address)}/${allocator.subnet.length}`
