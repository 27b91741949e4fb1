/**
 * Pools and addresses from an IPAM plugin: Docker's remote IPAM protocol. The plugin knows what is
 * taken; a network remembers the id of each pool, an endpoint its addresses.
 */
import { formatAddress } from '../../address/ip.ts'
import { formatPrefix, parsePrefix } from '../../address/prefix.ts'
import { log } from '../../base/log.ts'
import { messageOf, Refusal } from '../../base/refusal.ts'
import type { Addresses } from '../drivers/driver.ts'
import type { AllocatedPool, EndpointSpec, IpamPoolSpec, Network, NetworkSpec } from '../model.ts'
import type { Answer } from '../plugins/client.ts'
import { textOf } from '../plugins/discovery.ts'
import type { Plugins } from '../plugins/plugins.ts'

const ownDrivers: ReadonlySet<string> = new Set(['', 'default', 'null'])

/** Whether a network's addresses come from a plugin. */
export function hasRemoteIpam({ ipam, configOnly }: NetworkSpec): boolean {
  return !configOnly && !ownDrivers.has(ipam.driver)
}

export class RemoteIpam {
  readonly #plugins: Plugins

  constructor(plugins: Plugins) {
    this.#plugins = plugins
  }

  /** Pools of a new network with gateways and auxiliary addresses, or none at all. */
  async requestPools(
    spec: NetworkSpec,
    gatewayFamilies: ReadonlySet<4 | 6>,
  ): Promise<readonly AllocatedPool[]> {
    const { driver } = spec.ipam
    const spaces = await this.#call(driver, 'GetDefaultAddressSpaces')
    const space = textOf(spaces.get('LocalDefaultAddressSpace'))
    const pools: AllocatedPool[] = []
    try {
      for (const family of [4, 6] as const) {
        if (!(family === 4 ? spec.enableIpv4 : spec.enableIpv6)) continue
        const given = spec.ipam.pools.filter(({ subnet }) => {
          return parsePrefix(subnet)?.prefix.family === family
        })
        for (const wanted of given.length > 0 ? given : [{ subnet: '' }]) {
          const pool = await this.#requestPool(spec, space, family, wanted)
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

  /** Never fails: what the plugin does not take back is logged. */
  async releasePools(driver: string, pools: readonly AllocatedPool[]): Promise<void> {
    for (const { remoteId, gateway, auxiliary } of pools) {
      for (const address of [gateway, ...Object.values(auxiliary)]) {
        if (address !== null) await this.#release(driver, remoteId, address)
      }
      await this.#tellOnly(driver, 'ReleasePool', { PoolID: remoteId })
    }
  }

  /** One address per family of the network, those asked for or any. */
  async requestAddresses(network: Network, spec: EndpointSpec): Promise<Addresses> {
    const ipv4 = await this.#addressOf(network, 4, spec.ipv4Address, spec.macAddress)
    try {
      const ipv6 = await this.#addressOf(network, 6, spec.ipv6Address, spec.macAddress)
      return { ipv4, ipv6 }
    } catch (error) {
      await this.releaseAddresses(network, { ipv4, ipv6: '' })
      throw error
    }
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
    const asked = this.#plugins.call(driver, 'IpamDriver', 'GetCapabilities', undefined, 'hasty')
    const capabilities = await asked.catch((error: unknown) => {
      // Old plugins have no capabilities; one that is not there (yet) is asked for nothing.
      if (error instanceof Refusal) return new Map<string, unknown>()
      throw error
    })
    if (capabilities.get('RequiresRequestReplay') !== true) return
    const spaces = await this.#call(driver, 'GetDefaultAddressSpaces')
    const space = textOf(spaces.get('LocalDefaultAddressSpace'))
    for (const pool of network.pools) {
      await this.#requestPool(network.spec, space, pool.family, pool.shown)
      for (const address of [pool.gateway, ...Object.values(pool.auxiliary)]) {
        if (address !== null) await this.#requestAddress(driver, pool, address, {})
      }
      for (const addresses of inUse) {
        const text = pool.family === 4 ? addresses.ipv4 : addresses.ipv6
        if (text === '') continue
        await this.#requestAddress(driver, pool, text.split('/')[0] ?? '', {})
      }
    }
  }

  async #requestPool(
    spec: NetworkSpec,
    space: string,
    family: 4 | 6,
    wanted: IpamPoolSpec,
  ): Promise<AllocatedPool> {
    const answer = await this.#call(spec.ipam.driver, 'RequestPool', {
      AddressSpace: space,
      Pool: wanted.subnet,
      SubPool: wanted.ipRange ?? '',
      Options: spec.ipam.options ?? {},
      V6: family === 6,
    })
    const text = textOf(answer.get('Pool'))
    const prefix = parsePrefix(text)?.prefix
    const remoteId = textOf(answer.get('PoolID'))
    if (prefix === undefined || prefix.family !== family) {
      await this.#tellOnly(spec.ipam.driver, 'ReleasePool', { PoolID: remoteId })
      throw new Refusal('internal', `invalid CIDR address: ${text}`)
    }
    const subnet = formatPrefix(prefix)
    const { ipRange } = wanted
    const range = ipRange === undefined || ipRange === '' ? {} : { ipRange }
    const shown = { ...wanted, subnet }
    return { family, subnet, gateway: null, ...range, auxiliary: {}, shown, remoteId }
  }

  /** Gateway and auxiliary addresses of a pool; takes the pool back when one is refused. */
  async #fill(
    driver: string,
    pool: AllocatedPool,
    wanted: IpamPoolSpec,
    hasGateway: boolean,
  ): Promise<AllocatedPool> {
    const named = wanted.gateway ?? ''
    let gateway: string | null = null
    const auxiliary: Record<string, string> = {}
    try {
      if (hasGateway || named !== '') {
        const options = { RequestAddressType: 'com.docker.network.gateway' }
        const text = await this.#requestAddress(driver, pool, named, options)
        gateway = text.split('/')[0] ?? ''
      }
      for (const [name, address] of Object.entries(wanted.auxiliary ?? {})) {
        await this.#requestAddress(driver, pool, address, {})
        auxiliary[name] = address
      }
    } catch (error) {
      for (const address of [gateway, ...Object.values(auxiliary)]) {
        if (address !== null) await this.#release(driver, pool.remoteId, address)
      }
      throw error
    }
    const shown = gateway === null ? pool.shown : { ...pool.shown, gateway }
    return { ...pool, gateway, auxiliary, shown }
  }

  async #addressOf(
    network: Network,
    family: 4 | 6,
    wanted: string | undefined,
    mac: string | undefined,
  ): Promise<string> {
    const pool = network.pools.find((one) => one.family === family)
    if (pool === undefined) return ''
    const options = mac === undefined ? {} : { 'com.docker.network.endpoint.macaddress': mac }
    return this.#requestAddress(network.spec.ipam.driver, pool, wanted ?? '', options)
  }

  /** The address with its prefix length. */
  async #requestAddress(
    driver: string,
    { remoteId, family }: AllocatedPool,
    address: string,
    options: Readonly<Record<string, string>>,
  ): Promise<string> {
    const body = { PoolID: remoteId, Address: address, Options: options }
    const text = textOf((await this.#call(driver, 'RequestAddress', body)).get('Address'))
    if (text === '') throw new Refusal('internal', 'no ip returned from ipam driver')
    if (parsePrefix(text)?.prefix.family === family) return text
    throw new Refusal('internal', `invalid CIDR address: ${text}`)
  }

  async #release(driver: string, poolId: string | undefined, address: string): Promise<void> {
    await this.#tellOnly(driver, 'ReleaseAddress', { PoolID: poolId, Address: address })
  }

  async #tellOnly(driver: string, method: string, body: unknown): Promise<void> {
    try {
      await this.#plugins.call(driver, 'IpamDriver', method, body, 'hasty')
    } catch (error) {
      log.warn('a plugin cannot be told', { plugin: driver, method, error: messageOf(error) })
    }
  }

  #call(driver: string, method: string, body?: unknown): Promise<Answer> {
    return this.#plugins.call(driver, 'IpamDriver', method, body)
  }
}
