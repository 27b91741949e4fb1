/**
 * A network driver that is a program of somebody else: Docker's remote driver protocol. The plugin
 * makes the links; this engine moves them into containers and gives them their addresses there.
 * Ports are the plugin's business: it is told which are published.
 */
import { log } from '../../base/log.ts'
import { messageOf, Refusal, wrap } from '../../base/refusal.ts'
import type { KernelObject } from '../../kernel/object.ts'
import type { Endpoint, Network } from '../model.ts'
import type { Answer } from '../plugins/answer.ts'
import { brief, hasty, isMissingMethod, PluginSilent, type Patience } from '../plugins/client.ts'
import type { Plugins } from '../plugins/plugins.ts'
import type { Driver } from './driver.ts'
import { insideObjects } from './inside.ts'
import { gatewaysOf } from './parent.ts'
import {
  dataOf,
  endpointOptions,
  idsOf,
  networkOptions,
  parseInterface,
  parseJoined,
  type Joined,
  type RemoteInterface,
} from './remote-wire.ts'

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

/** Docker's calls of one network driver plugin. */
export class RemoteNetworks {
  readonly #plugins: Plugins

  constructor(plugins: Plugins) {
    this.#plugins = plugins
  }

  /** Families of which the plugin wants no gateway address to be reserved. */
  async skippedGateways({ driver, ...spec }: Network['spec']): Promise<ReadonlySet<4 | 6>> {
    const { gwAllocChecker } = await this.#plugins.networkDriver(driver)
    const skipped = new Set<4 | 6>()
    if (!gwAllocChecker) return skipped
    const Options = networkOptions({ driver, ...spec })
    const answer = await this.#call(driver, 'GwAllocCheck', { Options })
    if (answer.flag('SkipIPv4')) skipped.add(4)
    if (answer.flag('SkipIPv6')) skipped.add(6)
    return skipped
  }

  async createNetwork(network: Network): Promise<void> {
    const body = {
      NetworkID: network.id,
      Options: networkOptions(network.spec),
      IPv4Data: dataOf(network, 4),
      IPv6Data: dataOf(network, 6),
    }
    await this.#call(network.spec.driver, 'CreateNetwork', body)
  }

  /**
   * Never fails: a plugin that is gone must not keep its networks from being removed.
   *
   * @returns whether the plugin has heard of it
   */
  deleteNetwork({ id, spec }: Network): Promise<boolean> {
    return this.#tellOnly(spec.driver, 'DeleteNetwork', { NetworkID: id })
  }

  /**
   * @param endpoint with the MAC that it shall have, '' = the plugin's choice
   * @param ports what is said of ports already now
   */
  async createEndpoint(
    { spec: { driver, name } }: Network,
    endpoint: Endpoint,
    containerName: string,
    ports: object,
  ): Promise<RemoteInterface> {
    const { ipv4, ipv6, macAddress, spec } = endpoint
    const ours = { ipv4, ipv6, macAddress }
    const Interface = { Address: ipv4, AddressIPv6: ipv6, MacAddress: macAddress }
    const Options = { ...endpointOptions(spec), ...ports }
    const body = { ...idsOf(endpoint), Interface, Options }
    try {
      const answer = await this.#orUndo(
        () => this.#call(driver, 'CreateEndpoint', body),
        () => this.deleteEndpoint(driver, endpoint),
      )
      return await this.#orRollBack(driver, 'DeleteEndpoint', endpoint, () =>
        parseInterface(answer, ours),
      )
    } catch (error) {
      throw wrap(`failed to create endpoint ${containerName} on network ${name}: `, error)
    }
  }

  deleteEndpoint(driver: string, endpoint: Endpoint): Promise<boolean> {
    return this.#tellOnly(driver, 'DeleteEndpoint', idsOf(endpoint))
  }

  async join(
    driver: string,
    endpoint: Endpoint,
    netnsPath: string,
    ports: object,
  ): Promise<Joined> {
    const body = { ...idsOf(endpoint), SandboxKey: netnsPath, Options: ports }
    const answer = await this.#orUndo(
      () => this.#call(driver, 'Join', body),
      () => this.leave(driver, endpoint),
    )
    return this.#orRollBack(driver, 'Leave', endpoint, () => parseJoined(answer))
  }

  leave(driver: string, endpoint: Endpoint): Promise<boolean> {
    return this.#tellOnly(driver, 'Leave', idsOf(endpoint))
  }

  /** The endpoint becomes the way out of its container. */
  async programExternal(driver: string, endpoint: Endpoint, options: object): Promise<void> {
    const body = { ...idsOf(endpoint), Options: options }
    try {
      await this.#call(driver, 'ProgramExternalConnectivity', body)
    } catch (error) {
      // Plugins need not have this method.
      if (!isMissingMethod(error)) throw error
    }
  }

  revokeExternal(driver: string, endpoint: Endpoint): Promise<boolean> {
    return this.#tellOnly(driver, 'RevokeExternalConnectivity', idsOf(endpoint))
  }

  /**
   * Docker asks for this whenever a container changes. Nothing of the answer is shown anywhere, by
   * Docker neither: a plugin may want to be asked.
   */
  async askOperInfo(driver: string, endpoint: Endpoint): Promise<void> {
    await this.#tellOnly(driver, 'EndpointOperInfo', idsOf(endpoint), brief, 'debug')
  }

  #call(driver: string, method: string, body?: unknown, how?: Patience): Promise<Answer> {
    return this.#plugins.call(driver, 'NetworkDriver', method, body, how)
  }

  async #tellOnly(
    driver: string,
    method: string,
    body: unknown,
    how = hasty,
    level: 'warn' | 'debug' = 'warn',
  ): Promise<boolean> {
    try {
      await this.#call(driver, method, body, how)
      return true
    } catch (error) {
      if (isMissingMethod(error)) return true
      log[level]('a plugin cannot be told', { plugin: driver, method, error: messageOf(error) })
      return error instanceof Refusal && error.kind !== 'notFound'
    }
  }

  /** A plugin that did not answer may have done it all the same. */
  async #orUndo(call: () => Promise<Answer>, undo: () => Promise<unknown>): Promise<Answer> {
    try {
      return await call()
    } catch (error) {
      if (error instanceof PluginSilent) await undo()
      throw error
    }
  }

  /** Takes back what an answer that cannot be used says to have been done. */
  async #orRollBack<T>(
    driver: string,
    method: string,
    endpoint: Endpoint,
    parse: () => T,
  ): Promise<T> {
    try {
      return parse()
    } catch (error) {
      const said = messageOf(error)
      try {
        await this.#call(driver, method, idsOf(endpoint), hasty)
      } catch (failure) {
        throw new Refusal('internal', `${messageOf(failure)}; failed to roll back: ${said}`)
      }
      throw new Refusal('internal', `${said}; rolled back`)
    }
  }
}
