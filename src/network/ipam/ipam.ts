/**
 * Hands out pools to networks and addresses to endpoints, and takes them back. Memory only: the
 * stored networks and sandboxes say what is held, and are given back in by `restore` and `hold`.
 *
 * Every method either holds completely or changes nothing.
 */
import { formatAddress, parseAddress, type Address } from '../../address/ip.ts'
import { PoolAllocator, type PoolSource } from '../../address/pools.ts'
import { contains, formatPrefix, parsePrefix, type Prefix } from '../../address/prefix.ts'
import { SubnetAllocator } from '../../address/subnet.ts'
import { Refusal } from '../../base/refusal.ts'
import type { AllocatedPool, IpamPoolSpec, Network } from '../model.ts'

/** A pool of this subnet is one that the pools choose, with what else the request says of it. */
export const anySubnet = { 4: '0.0.0.0/0', 6: '::/0' } as const

/** What a network needs pools for. */
export interface PoolDemand {
  readonly networkId: string
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

interface Lease {
  readonly pool: AllocatedPool
  readonly allocator: SubnetAllocator
}

export class Ipam {
  #pools: PoolAllocator
  #leases = new Map<string, readonly Lease[]>()
  /** Subnets of networks as the kernel writes them, and how many networks have them. */
  #subnets = new Map<string, number>()

  constructor(sources: readonly PoolSource[]) {
    this.#pools = new PoolAllocator(sources)
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
      for (const { allocator } of leases) this.#pools.release(allocator.subnet)
      throw error
    }
    this.#keep(demand.networkId, leases)
    return leases.map(({ pool }) => pool)
  }

  /** Takes the pools of a stored network as they are. */
  restore(network: Network): void {
    const leases = network.pools.map((pool): Lease => {
      const allocator = allocatorOf(pool.subnet, pool.ipRange)
      this.#pools.reserve(allocator.subnet)
      for (const text of [pool.gateway, ...Object.values(pool.auxiliary)]) {
        const address = text === null ? undefined : parseAddress(text)
        if (address !== undefined) allocator.take(address)
      }
      return { pool, allocator }
    })
    this.#keep(network.id, leases)
  }

  /** Gives the pools of a network back; idempotent. */
  release(networkId: string): void {
    for (const { allocator } of this.#leases.get(networkId) ?? []) {
      this.#pools.release(allocator.subnet)
      const text = formatPrefix(allocator.subnet)
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
    for (const { allocator } of leases) {
      const address = allocator.takeLowest()
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
    return (this.#leases.get(networkId) ?? []).map(({ pool, allocator }) => ({
      subnet: pool.subnet,
      inUse: allocator.inUse,
      available: allocator.available,
    }))
  }

  #of(networkId: string, family: 4 | 6): readonly Lease[] {
    return (this.#leases.get(networkId) ?? []).filter(({ pool }) => pool.family === family)
  }

  #automatic(family: 4 | 6, demand: PoolDemand, size?: number, spec?: IpamPoolSpec): Lease {
    const subnet = this.#pools.reserveLowest(family, demand.busy, size)
    if (subnet === undefined) throw this.#exhausted(family, demand)
    try {
      const filled = { ...spec, subnet: formatPrefix(subnet) }
      const lease = leaseOf(filled, new SubnetAllocator(subnet), demand)
      const { gateway } = lease.pool
      if (size !== undefined || gateway === null) return lease
      return { ...lease, pool: { ...lease.pool, shown: { ...lease.pool.shown, gateway } } }
    } catch (error) {
      this.#pools.release(subnet)
      throw error
    }
  }

  #exhausted(family: 4 | 6, { busy }: PoolDemand): Refusal {
    const sentence = 'all predefined address pools have been fully subnetted'
    const all = this.#pools.inTheWay(family, busy).map(formatPrefix)
    if (all.length === 0) return new Refusal('invalid', sentence)
    const named = all.slice(0, routesNamedMax).join(', ')
    const more = all.length > routesNamedMax ? ` and ${all.length - routesNamedMax} more` : ''
    const why = `routes or name servers of this host are in the way: ${named}${more}`
    return new Refusal('invalid', `${sentence}: ${why}`)
  }

  #given(spec: IpamPoolSpec, family: 4 | 6, demand: PoolDemand): Lease {
    const parsed = parsePrefix(spec.subnet)
    if (parsed === undefined) throw new Refusal('invalid', `invalid subnet ${spec.subnet}`)
    const { prefix } = parsed
    if (spec.subnet === anySubnet[family]) return this.#automatic(family, demand, undefined, spec)
    // 0.0.0.0/24 stands for "a /24 from the pools".
    if (prefix.base === 0n && prefix.length > 0) {
      return this.#automatic(family, demand, prefix.length, spec)
    }
    // Docker's quirk: with an ip-range, pools may overlap; the driver has its own check.
    const checked = (spec.ipRange ?? '') === ''
    if (checked && this.#pools.collision(prefix) !== undefined) {
      const sentence = 'invalid pool request: Pool overlaps with other one on this address space'
      throw new Refusal('forbidden', sentence)
    }
    const lease = leaseOf(spec, allocatorOf(spec.subnet, spec.ipRange), demand)
    this.#pools.reserve(prefix)
    return lease
  }
}

/** The family of a pool as written; undefined when its subnet is none. */
export function familyOf(pool: IpamPoolSpec): 4 | 6 | undefined {
  return parsePrefix(pool.subnet)?.prefix.family
}

function allocatorOf(subnet: string, ipRange: string | undefined): SubnetAllocator {
  const parsed = parsePrefix(subnet)
  if (parsed === undefined) throw new Refusal('internal', `invalid subnet ${subnet}`)
  const range = parsePrefix(ipRange ?? '')?.prefix
  return new SubnetAllocator(parsed.prefix, range ?? parsed.prefix)
}

/** Takes gateway and auxiliary addresses and describes the pool. */
function leaseOf(spec: IpamPoolSpec, allocator: SubnetAllocator, demand: PoolDemand): Lease {
  const { family } = allocator.subnet
  const isNamed = (spec.gateway ?? '') !== ''
  const hasGateway = demand.namedGatewaysOnly ? isNamed : demand.gatewayFamilies.has(family)
  const gateway = hasGateway ? takeGateway(spec, allocator) : null
  for (const [name, text] of Object.entries(spec.auxiliary ?? {})) {
    const address = parseAddress(text)
    if (address === undefined) {
      const sentence = `non parsable secondary ip address (${name}:${text}) passed for network`
      throw new Refusal('invalid', `${sentence} ${demand.networkName}`)
    }
    if (!contains(allocator.subnet, address)) {
      const why = `parent subnet ${spec.subnet} doesn't contain this address`
      throw new Refusal('invalid', `invalid auxiliary address ${name}: ${why}`)
    }
    if (!allocator.take(address)) {
      const sentence = `failed to allocate secondary ip address (${name}:${text})`
      throw new Refusal('internal', `${sentence}: Address already in use`)
    }
  }
  const { subnet, ipRange } = spec
  const range = ipRange === undefined || ipRange === '' ? {} : { ipRange }
  const pool: AllocatedPool = {
    family,
    subnet,
    gateway,
    ...range,
    auxiliary: { ...spec.auxiliary },
    shown: { ...spec },
  }
  return { pool, allocator }
}

function takeGateway(spec: IpamPoolSpec, allocator: SubnetAllocator): string {
  const wanted = spec.gateway ?? ''
  if (wanted === '') {
    const lowest = allocator.takeLowest()
    if (lowest === undefined) {
      const why = `${spec.subnet} has no free address`
      throw new Refusal('internal', `failed to allocate gateway (): ${why}`)
    }
    return formatAddress(lowest)
  }
  const address = parseAddress(wanted)
  if (address === undefined || !allocator.take(address)) {
    const sentence = `failed to allocate gateway (${wanted}): Address already in use`
    throw new Refusal('internal', sentence)
  }
  return formatAddress(address)
}

const withLength = (address: Address, allocator: SubnetAllocator): string =>
  `${formatAddress(address)}/${allocator.subnet.length}`
