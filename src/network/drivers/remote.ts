/**
 * A network driver that is a program of somebody else: Docker's remote driver protocol. The plugin
 * makes the links; this engine moves them into containers and gives them their addresses there.
 * Ports are the plugin's business: it is told which are published.
 */
import { parseAddress } from '../../address/ip.ts'
import { parseMac } from '../../address/mac.ts'
import { parseContainerPort } from '../../address/ports.ts'
import { parsePrefix } from '../../address/prefix.ts'
import { log } from '../../base/log.ts'
import { messageOf, Refusal } from '../../base/refusal.ts'
import type { KernelObject } from '../../kernel/object.ts'
import type { AllocatedPool, Endpoint, Network, SandboxSpec, StaticRoute } from '../model.ts'
import { PluginSilent, type Answer, type Patience } from '../plugins/client.ts'
import { fieldsOf, textOf } from '../plugins/discovery.ts'
import type { Plugins } from '../plugins/plugins.ts'
import type { Driver } from './driver.ts'
import { insideObjects } from './inside.ts'
import { gatewaysOf } from './parent.ts'

const label = 'com.docker.network'

/** The driver of a plugin, as far as it touches nothing. */
export function remoteDriver(name: string): Driver {
  return {
    name,
    needsIpam: true,
    hasHostEnd: false,
    sharesLinks: false,
    parentLink: () => '',
    namedGatewaysOnly: false,
    isInternal: ({ spec }) => spec.internal,
    naturalMac: () => undefined,
    routesOnLink: () => false,
    gatewayFamilies: ({ enableIpv4, enableIpv6 }) => {
      const families = [enableIpv4 ? 4 : undefined, enableIpv6 ? 6 : undefined] as const
      return new Set(families.filter((family) => family !== undefined))
    },
    validateNetwork: () => undefined,
    validatePools: () => undefined,
    validateEndpoint: () => undefined,
    networkObjects: () => [],
    endpointObjects: (_network, endpoint, { netnsPath }, host) => {
      if (endpoint.interfaceName === '') return []
      return [...insideObjects(endpoint, netnsPath, host), ...routeObjects(endpoint, netnsPath)]
    },
    interfacePrefix: () => 'eth',
    gatewaysOf,
    publishing: () => undefined,
    bridgeIntent: () => undefined,
  }
}

function routeObjects({ remote, interfaceName }: Endpoint, netns: string): KernelObject[] {
  return (remote?.routes ?? []).map(({ destination, gateway }) => {
    const via = gateway === '' ? {} : { gateway }
    return { type: 'route', netns, destination, link: interfaceName, ...via }
  })
}

/** What a plugin says of a new endpoint's interface; '' where it leaves that to us. */
export interface RemoteInterface {
  readonly ipv4: string
  readonly ipv6: string
  readonly macAddress: string
}

export interface Joined {
  /** The link in the daemon's namespace; '' = the endpoint has none. */
  readonly sourceName: string
  readonly prefix: string
  readonly gateway4: string
  readonly gateway6: string
  readonly routes: readonly StaticRoute[]
}

/** Docker's calls of one network driver plugin. */
export class RemoteNetworks {
  readonly #plugins: Plugins

  constructor(plugins: Plugins) {
    this.#plugins = plugins
  }

  /** The scope of the plugin's networks; refuses when there is no such plugin. */
  async scopeOf(driver: string): Promise<string> {
    const scope = textOf((await this.#call(driver, 'GetCapabilities')).get('Scope'))
    if (scope === 'local' || scope === 'global') return scope
    const sentence = `invalid capability: expecting 'local' or 'global', got ${scope}`
    throw new Refusal('internal', sentence)
  }

  /** Whether the plugin has gateways of its own, so that none is to be reserved. */
  async skippedGateways(driver: string, options: object): Promise<ReadonlySet<4 | 6>> {
    const capabilities = await this.#call(driver, 'GetCapabilities')
    const skipped = new Set<4 | 6>()
    if (capabilities.get('GwAllocChecker') !== true) return skipped
    const Options = { [`${label}.generic`]: options }
    const answer = await this.#call(driver, 'GwAllocCheck', { Options })
    if (answer.get('SkipIPv4') === true) skipped.add(4)
    if (answer.get('SkipIPv6') === true) skipped.add(6)
    return skipped
  }

  async createNetwork(network: Network): Promise<void> {
    const { id, spec, pools } = network
    const Options = {
      [`${label}.enable_ipv4`]: spec.enableIpv4,
      [`${label}.enable_ipv6`]: spec.enableIpv6,
      ...(spec.internal ? { [`${label}.internal`]: true } : {}),
      [`${label}.generic`]: spec.options,
    }
    const body = { NetworkID: id, Options, IPv4Data: dataOf(pools, 4), IPv6Data: dataOf(pools, 6) }
    await this.#orUndo(
      () => this.#call(spec.driver, 'CreateNetwork', body),
      () => this.deleteNetwork(network),
    )
  }

  /** Never fails: a plugin that is gone must not keep its networks from being removed. */
  async deleteNetwork({ id, spec }: Network): Promise<void> {
    await this.#tellOnly(spec.driver, 'DeleteNetwork', { NetworkID: id })
  }

  async createEndpoint(
    driver: string,
    endpoint: Endpoint,
    container: SandboxSpec,
  ): Promise<RemoteInterface> {
    const { ipv4, ipv6, spec } = endpoint
    const mac = spec.macAddress ?? ''
    const Interface = { Address: ipv4, AddressIPv6: ipv6, MacAddress: mac }
    const Options = { ...spec.driverOpts, ...portOptions(container) }
    const answer = await this.#orUndo(
      () => this.#call(driver, 'CreateEndpoint', { ...idsOf(endpoint), Interface, Options }),
      () => this.deleteEndpoint(driver, endpoint),
    )
    const given = fieldsOf(answer.get('Interface'))
    try {
      return {
        ipv4: chosen('IP address', ipv4, prefixOf(given.get('Address'))),
        ipv6: chosen('IP address', ipv6, prefixOf(given.get('AddressIPv6'))),
        macAddress: chosen('MAC address', mac, macOf(given.get('MacAddress'))),
      }
    } catch (error) {
      await this.deleteEndpoint(driver, endpoint)
      throw error
    }
  }

  async deleteEndpoint(driver: string, endpoint: Endpoint): Promise<void> {
    await this.#tellOnly(driver, 'DeleteEndpoint', idsOf(endpoint))
  }

  async join(
    driver: string,
    endpoint: Endpoint,
    netnsPath: string,
    container: SandboxSpec,
  ): Promise<Joined> {
    const body = { ...idsOf(endpoint), SandboxKey: netnsPath, Options: portOptions(container) }
    const answer = await this.#orUndo(
      () => this.#call(driver, 'Join', body),
      () => this.leave(driver, endpoint),
    )
    try {
      return parseJoined(answer)
    } catch (error) {
      await this.leave(driver, endpoint)
      throw error
    }
  }

  async leave(driver: string, endpoint: Endpoint): Promise<void> {
    await this.#tellOnly(driver, 'Leave', idsOf(endpoint))
  }

  /** The endpoint becomes (or no longer is) the way out of its container. */
  async programExternal(driver: string, endpoint: Endpoint, container: SandboxSpec): Promise<void> {
    const body = { ...idsOf(endpoint), Options: portOptions(container) }
    try {
      await this.#call(driver, 'ProgramExternalConnectivity', body)
    } catch (error) {
      // Plugins need not have this method.
      if (!(error instanceof Refusal && error.kind === 'notFound')) throw error
    }
  }

  async revokeExternal(driver: string, endpoint: Endpoint): Promise<void> {
    await this.#tellOnly(driver, 'RevokeExternalConnectivity', idsOf(endpoint), true)
  }

  #call(driver: string, method: string, body?: unknown, how?: Patience): Promise<Answer> {
    return this.#plugins.call(driver, 'NetworkDriver', method, body, how)
  }

  async #tellOnly(driver: string, method: string, body: unknown, optional = false): Promise<void> {
    try {
      await this.#call(driver, method, body, 'hasty')
    } catch (error) {
      if (optional && error instanceof Refusal && error.kind === 'notFound') return
      log.warn('a plugin cannot be told', { plugin: driver, method, error: messageOf(error) })
    }
  }

  /** A plugin that did not answer may have done it all the same. */
  async #orUndo(call: () => Promise<Answer>, undo: () => Promise<void>): Promise<Answer> {
    try {
      return await call()
    } catch (error) {
      if (error instanceof PluginSilent) await undo()
      throw error
    }
  }
}

const idsOf = ({ id, networkId }: Endpoint) => ({ NetworkID: networkId, EndpointID: id })

function dataOf(pools: readonly AllocatedPool[], family: 4 | 6) {
  return pools
    .filter((pool) => pool.family === family)
    .map(({ subnet, gateway, auxiliary }) => {
      const length = subnet.split('/')[1] ?? ''
      const AuxAddresses = Object.fromEntries(
        Object.entries(auxiliary).map(([name, address]) => [name, `${address}/${length}`]),
      )
      const Gateway = gateway === null ? '' : `${gateway}/${length}`
      return { AddressSpace: 'LocalDefault', Pool: subnet, Gateway, AuxAddresses }
    })
}

const protocolNumbers: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132 }

/** Exposed and published ports, as Docker writes them. */
function portOptions({ exposed, publications }: SandboxSpec) {
  return {
    [`${label}.endpoint.exposedports`]: exposed.flatMap((text) => {
      const parsed = parseContainerPort(text)
      if (parsed === undefined) return []
      const { protocol, range } = parsed
      const count = range.last - range.first + 1
      const Proto = protocolNumbers[protocol]
      return Array.from({ length: count }, (_, step) => ({ Proto, Port: range.first + step }))
    }),
    [`${label}.portmap`]: publications.map((one) => ({
      Proto: protocolNumbers[one.protocol],
      IP: '',
      Port: one.containerPort,
      HostIP: one.hostIp,
      HostPort: one.hostPortFirst,
      HostPortEnd: one.hostPortLast,
    })),
  }
}

/** A plugin may choose what is not chosen yet. */
function chosen(what: string, ours: string, theirs: string): string {
  if (ours !== '' && theirs !== '' && ours !== theirs) {
    const sentence = `driver modified interface ${what}: endpoint has ${ours} already`
    throw new Refusal('internal', `${sentence}, the plugin says ${theirs}`)
  }
  return theirs === '' ? ours : theirs
}

function prefixOf(value: unknown): string {
  const text = textOf(value)
  if (text === '' || parsePrefix(text) !== undefined) return text
  throw new Refusal('internal', `invalid CIDR address: ${text}`)
}

function macOf(value: unknown): string {
  const text = textOf(value)
  const parsed = text === '' ? '' : parseMac(text)
  if (parsed === undefined) throw new Refusal('internal', `address ${text}: invalid MAC address`)
  return parsed
}

function parseJoined(answer: Answer): Joined {
  const names = fieldsOf(answer.get('InterfaceName'))
  const address = (key: string) => {
    const text = textOf(answer.get(key))
    if (text === '' || parseAddress(text) !== undefined) return text
    throw new Refusal('internal', `unable to parse ${key} "${text}"`)
  }
  const routes = answer.get('StaticRoutes')
  return {
    sourceName: textOf(names.get('SrcName')),
    prefix: textOf(names.get('DstPrefix')),
    gateway4: address('Gateway'),
    gateway6: address('GatewayIPv6'),
    routes: Array.isArray(routes) ? routes.map(parseRoute) : [],
  }
}

function parseRoute(value: unknown): StaticRoute {
  const fields = fieldsOf(value)
  const destination = prefixOf(fields.get('Destination'))
  const gateway = textOf(fields.get('NextHop'))
  if (destination === '') throw new Refusal('internal', 'a static route has no destination')
  if (gateway !== '' && parseAddress(gateway) === undefined) {
    throw new Refusal('internal', `failed to parse nexthop IP ${gateway}`)
  }
  return { destination, gateway }
}
