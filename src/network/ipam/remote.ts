/**
 * Pools and addresses from an IPAM plugin: Docker's remote IPAM protocol. The plugin knows what is
 * taken; a network remembers the id of each pool, an endpoint its addresses.
 */
import { formatAddress } from '../../address/ip.ts'
import { formatPrefix, overlaps, parsePrefix, type Prefix } from '../../address/prefix.ts'
import { log } from '../../base/log.ts'
import { messageOf, Refusal } from '../../base/refusal.ts'
import type { Addresses } from '../drivers/driver.ts'
import { macOption } from '../drivers/remote-wire.ts'
import type { AllocatedPool, EndpointSpec, IpamPoolSpec, Network, NetworkSpec } from '../model.ts'
import type { Answer } from '../plugins/answer.ts'
import { hasty } from '../plugins/client.ts'
import type { Plugins } from '../plugins/plugins.ts'

const ownDrivers: ReadonlySet<string> = new Set(['', 'default', 'null'])
/** A plugin that offers one pool after another that the host's routes lead into is not asked on. */
const poolsOfferedMax = 32
const gatewayKey = 'com.docker.network.gateway'
const ofGateway = { RequestAddressType: gatewayKey }

/** Whether a network's addresses come from a plugin. */
export function hasRemoteIpam({ ipam, configOnly }: NetworkSpec): boolean {
  return !configOnly && !ownDrivers.has(ipam.driver)
}

/** What pools are asked for. */
export interface RemoteDemand {
  readonly spec: NetworkSpec
  readonly gatewayFamilies: ReadonlySet<4 | 6>
  /** What the host uses itself, by family. */
  busy(family: 4 | 6): readonly Prefix[]
}

export class RemoteIpam {
  readonly #plugins: Plugins

  constructor(plugins: Plugins) {
    this.#plugins = plugins
  }

  /** Pools of a new network with gateways and auxiliary addresses, or none at all. */
  async requestPools(demand: RemoteDemand): Promise<readonly AllocatedPool[]> {
    const { spec, gatewayFamilies } = demand
    const { driver } = spec.ipam
    const space = await this.#addressSpace(spec)
    const pools: AllocatedPool[] = []
    try {
      for (const family of [4, 6] as const) {
        if (!(family === 4 ? spec.enableIpv4 : spec.enableIpv6)) continue
        const given = spec.ipam.pools.filter(({ subnet }) => {
          return parsePrefix(subnet)?.prefix.family === family
        })
        for (const wanted of given.length > 0 ? given : [{ subnet: '' }]) {
          const pool = await this.#requestClearPool(demand, space, family, wanted)
          pools.push(pool)
          const gateway = gatewayFamilies.has(family)
          pools[pools.length - 1] = await this.#fill(driver, pool, wanted, gateway)
        }
      }
      return pools
    } catch (error) {
      await this.releasePools(driver, pools)
      throw error
    }
  }

  /**
   * Never fails: what the plugin does not take back is logged.
   *
   * @returns whether the plugin has heard of it
   */
  async releasePools(driver: string, pools: readonly AllocatedPool[]): Promise<boolean> {
    let heard = true
    for (const { remoteId, gateway, auxiliary } of pools) {
      for (const address of [gateway, ...Object.values(auxiliary)]) {
        if (address !== null) await this.#release(driver, remoteId, address)
      }
      heard = (await this.#tellOnly(driver, 'ReleasePool', { PoolID: remoteId })) && heard
    }
    return heard
  }

  /**
   * One address per family of the network, those asked for or any.
   *
   * @param mac what the endpoint will have, for a plugin that requires one
   */
  async requestAddresses(network: Network, spec: EndpointSpec, mac: string): Promise<Addresses> {
    const options = mac === '' ? null : { [macOption]: mac }
    const ipv4 = await this.#addressOf(network, 4, spec.ipv4Address, options)
    try {
      const ipv6 = await this.#addressOf(network, 6, spec.ipv6Address, options)
      return { ipv4, ipv6 }
    } catch (error) {
      await this.releaseAddresses(network, { ipv4, ipv6: '' })
      throw error
    }
  }

  /** Whether `requestAddresses` is to be told the MAC of the endpoint. */
  async requiresMac({ spec }: Network): Promise<boolean> {
    return (await this.#plugins.ipamDriver(spec.ipam.driver)).requiresMac
  }

  async releaseAddresses(network: Network, { ipv4, ipv6 }: Addresses): Promise<void> {
    const { driver } = network.spec.ipam
    for (const text of [ipv4, ipv6]) {
      const address = parsePrefix(text)?.address
      const pool = network.pools.find(({ family }) => family === address?.family)
      if (address === undefined) continue
      await this.#release(driver, pool?.remoteId, formatAddress(address))
    }
  }

  /** Tells a plugin that forgets what it gave out (RequiresRequestReplay) what is in use. */
  async replay(network: Network, inUse: readonly Addresses[]): Promise<void> {
    const { driver } = network.spec.ipam
    const capabilities = await this.#plugins.ipamDriver(driver, hasty)
    if (!capabilities.requiresReplay) return
    for (const pool of network.pools) {
      const space = pool.addressSpace ?? (await this.#addressSpace(network.spec))
      await this.#call(driver, 'GetDefaultAddressSpaces')
      await this.#requestPool(network.spec, space, pool.family, pool.shown)
      if (pool.gateway !== null) {
        await this.#requestAddress(driver, pool, pool.gateway, ofGateway)
      }
      for (const address of Object.values(pool.auxiliary)) {
        await this.#requestAddress(driver, pool, address, null)
      }
    }
    for (const addresses of inUse) {
      for (const pool of network.pools) {
        const text = pool.family === 4 ? addresses.ipv4 : addresses.ipv6
        if (text === '') continue
        await this.#requestAddress(driver, pool, text.split('/')[0] ?? '', null)
      }
    }
  }

  async #addressSpace({ ipam, scope }: NetworkSpec): Promise<string> {
    try {
      const spaces = await this.#call(ipam.driver, 'GetDefaultAddressSpaces')
      const key = scope === 'global' ? 'GlobalDefaultAddressSpace' : 'LocalDefaultAddressSpace'
      return spaces.text(key)
    } catch (error) {
      const sentence = `failed to get default address space: ${messageOf(error)}`
      throw new Refusal('notFound', sentence, { cause: error })
    }
  }

  /** A pool that is given, or one of the plugin's that the host does not use itself. */
  async #requestClearPool(
    { spec, busy }: RemoteDemand,
    space: string,
    family: 4 | 6,
    wanted: IpamPoolSpec,
  ): Promise<AllocatedPool> {
    // As Docker, which looks up here which space is the global one.
    await this.#call(spec.ipam.driver, 'GetDefaultAddressSpaces')
    const isChecked = wanted.subnet === '' && spec.scope !== 'global'
    const used = isChecked ? busy(family) : []
    // Held until a clear one is found, or the plugin would offer the same one again.
    const declined: AllocatedPool[] = []
    try {
      for (;;) {
        const pool = await this.#requestPool(spec, space, family, wanted)
        const prefix = parsePrefix(pool.subnet)?.prefix
        const clear = prefix === undefined || !used.some((one) => overlaps(one, prefix))
        if (clear) return pool
        declined.push(pool)
        if (declined.length < poolsOfferedMax) continue
        const offered = declined.map(({ subnet }) => subnet).join(', ')
        const sentence = `routes or name servers of this host are in the way of ${offered}`
        throw new Refusal('invalid', `no pool of IPAM driver ${spec.ipam.driver}: ${sentence}`)
      }
    } finally {
      for (const { remoteId } of declined) {
        await this.#tellOnly(spec.ipam.driver, 'ReleasePool', { PoolID: remoteId })
      }
    }
  }

  async #requestPool(
    spec: NetworkSpec,
    space: string,
    family: 4 | 6,
    wanted: IpamPoolSpec,
  ): Promise<AllocatedPool> {
    const { driver } = spec.ipam
    const answer = await this.#call(driver, 'RequestPool', {
      AddressSpace: space,
      Pool: wanted.subnet,
      SubPool: wanted.ipRange ?? '',
      Options: spec.ipam.options,
      V6: family === 6,
    })
    const remoteId = answer.text('PoolID')
    try {
      const subnet = formatPrefix(poolOf(answer.text('Pool'), family))
      const { ipRange } = wanted
      const range = ipRange === undefined || ipRange === '' ? {} : { ipRange }
      const shown = { ...wanted, subnet }
      const gateway = (wanted.gateway ?? '') === '' ? gatewayIn(answer) : null
      const identity = { addressSpace: space, remoteId }
      return { family, subnet, gateway, ...range, auxiliary: {}, shown, ...identity }
    } catch (error) {
      if (remoteId !== '') await this.#tellOnly(driver, 'ReleasePool', { PoolID: remoteId })
      throw error
    }
  }

  /** Gateway and auxiliary addresses of a pool; takes them back when one is refused. */
  async #fill(
    driver: string,
    pool: AllocatedPool,
    wanted: IpamPoolSpec,
    hasGateway: boolean,
  ): Promise<AllocatedPool> {
    const named = wanted.gateway ?? ''
    let { gateway } = pool
    const auxiliary: Record<string, string> = {}
    try {
      if (gateway === null && (hasGateway || named !== '')) {
        gateway = await this.#requestGateway(driver, pool, named)
      }
      for (const [name, address] of Object.entries(wanted.auxiliary ?? {})) {
        await this.#requestAuxiliary(driver, pool, name, address)
        auxiliary[name] = address
      }
    } catch (error) {
      const taken = [gateway === pool.gateway ? null : gateway, ...Object.values(auxiliary)]
      for (const address of taken) {
        if (address !== null) await this.#release(driver, pool.remoteId, address)
      }
      throw error
    }
    // Only a wholly automatic pool shows its gateway.
    if (wanted.subnet !== '' || gateway === null) return { ...pool, gateway, auxiliary }
    return { ...pool, gateway, auxiliary, shown: { ...pool.shown, gateway } }
  }

  async #requestGateway(driver: string, pool: AllocatedPool, named: string): Promise<string> {
    try {
      const text = await this.#requestAddress(driver, pool, named, ofGateway)
      return text.split('/')[0] ?? ''
    } catch (error) {
      throw new Refusal('internal', `failed to allocate gateway (${named}): ${messageOf(error)}`)
    }
  }

  async #requestAuxiliary(
    driver: string,
    pool: AllocatedPool,
    name: string,
    address: string,
  ): Promise<void> {
    try {
      await this.#requestAddress(driver, pool, address, null)
    } catch (error) {
      const failed = `failed to allocate secondary ip address (${name}:${address})`
      throw new Refusal('internal', `${failed}: ${messageOf(error)}`)
    }
  }

  async #addressOf(
    network: Network,
    family: 4 | 6,
    wanted: string | undefined,
    options: Readonly<Record<string, string>> | null,
  ): Promise<string> {
    const pool = network.pools.find((one) => one.family === family)
    if (pool === undefined) return ''
    return this.#requestAddress(network.spec.ipam.driver, pool, wanted ?? '', options)
  }

  /** The address with its prefix length. */
  async #requestAddress(
    driver: string,
    { remoteId, family }: AllocatedPool,
    address: string,
    options: Readonly<Record<string, string>> | null,
  ): Promise<string> {
    const body = { PoolID: remoteId, Address: address, Options: options }
    const text = (await this.#call(driver, 'RequestAddress', body)).text('Address')
    if (text === '') throw new Refusal('unavailable', 'no address returned')
    if (parsePrefix(text)?.prefix.family === family) return text
    throw new Refusal('internal', `invalid CIDR address: ${text}`)
  }

  async #release(driver: string, poolId: string | undefined, address: string): Promise<void> {
    await this.#tellOnly(driver, 'ReleaseAddress', { PoolID: poolId, Address: address })
  }

  async #tellOnly(driver: string, method: string, body: unknown): Promise<boolean> {
    try {
      await this.#plugins.call(driver, 'IpamDriver', method, body, hasty)
      return true
    } catch (error) {
      log.warn('a plugin cannot be told', { plugin: driver, method, error: messageOf(error) })
      return error instanceof Refusal && error.kind !== 'notFound'
    }
  }

  #call(driver: string, method: string, body?: unknown): Promise<Answer> {
    return this.#plugins.call(driver, 'IpamDriver', method, body)
  }
}

function poolOf(text: string, family: 4 | 6): Prefix {
  if (!text.includes('/')) {
    throw new Refusal('internal', `netip.ParsePrefix(${JSON.stringify(text)}): no '/'`)
  }
  const prefix = parsePrefix(text)?.prefix
  if (prefix?.family === family) return prefix
  throw new Refusal('internal', `invalid CIDR address: ${text}`)
}

/** A gateway that the plugin has reserved with the pool. */
function gatewayIn(answer: Answer): string | null {
  const text = answer.part('Data', 'map[string]string')?.text(gatewayKey) ?? ''
  if (text === '') return null
  const address = parsePrefix(text)?.address
  if (address !== undefined) return formatAddress(address)
  const failed = `failed to parse gateway address (${text}) returned by ipam driver`
  throw new Refusal('invalid', `${failed}: invalid CIDR address: ${text}`)
}
