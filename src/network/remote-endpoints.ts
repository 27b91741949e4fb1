/**
 * Endpoints that plugins have a part in: addresses from an IPAM plugin, links from a network
 * plugin. What is made is taken back when a later step fails; taking down never fails, so that a
 * plugin that died does not keep a container from being removed.
 */
import { randomMac } from '../address/mac.ts'
import { log } from '../base/log.ts'
import { messageOf, Refusal } from '../base/refusal.ts'
import { isKernelError } from '../kernel/error.ts'
import { moveLink } from '../kernel/linkmove.ts'
import { homeNetns, openNetns } from '../kernel/netns.ts'
import { applySteps, undoSteps } from './apply.ts'
import { isRemoteDriver } from './drivers/drivers.ts'
import { RemoteNetworks } from './drivers/remote.ts'
import { externalOptions, portOptions, type Joined } from './drivers/remote-wire.ts'
import { chooseInterface, releaseEndpoint, reserveEndpoint, type Leased } from './endpoints.ts'
import { chooseGateways } from './gateway.ts'
import { tryOpen } from './host.ts'
import { hasRemoteIpam, RemoteIpam } from './ipam/remote.ts'
import type { Endpoint, EndpointSpec, Network, Sandbox, SandboxSpec } from './model.ts'
import { carrierOf, wantedPublications } from './publish.ts'
import type { Room } from './room.ts'
import type { UndoStack } from './undo.ts'

/** `reserveEndpoint`, with a plugin asked for the addresses first where one has them. */
export async function reserveAnyEndpoint(
  room: Room,
  sandboxId: string,
  container: SandboxSpec,
  spec: EndpointSpec,
  siblings: readonly Endpoint[],
  undo: UndoStack,
): Promise<Endpoint> {
  const { network } = room.state.find(spec.network).record
  let leased: Leased | undefined
  if (hasRemoteIpam(network.spec)) {
    const ipam = new RemoteIpam(room.plugins)
    const mac = (await ipam.requiresMac(network)) ? (spec.macAddress ?? randomMac()) : ''
    const addresses = await ipam.requestAddresses(network, spec, mac)
    undo.push(() => ipam.releaseAddresses(network, addresses))
    leased = { ...addresses, mac }
  }
  const endpoint = reserveEndpoint(room, sandboxId, container, spec, siblings, leased)
  undo.push(() => releaseEndpoint(room, endpoint))
  return endpoint
}

/** The network plugin behind an endpoint; undefined when its driver is our own. */
function pluginOf(room: Room, { networkId }: Endpoint): string | undefined {
  const driver = room.state.network(networkId)?.spec.driver
  return driver !== undefined && isRemoteDriver(driver) ? driver : undefined
}

/** Whether plugins have to be told when this endpoint goes. */
export function concernsPlugins(room: Room, endpoint: Endpoint): boolean {
  const network = room.state.network(endpoint.networkId)
  if (network === undefined) return false
  return isRemoteDriver(network.spec.driver) || hasRemoteIpam(network.spec)
}

export function hasPluginLinks(room: Room, { endpoints }: Sandbox): boolean {
  return endpoints.some((endpoint) => pluginOf(room, endpoint) !== undefined)
}

/** A new sandbox with its plugins' links inside; makes the namespace first where there are any. */
export async function joinPlugins(room: Room, draft: Sandbox, undo: UndoStack): Promise<Sandbox> {
  if (!hasPluginLinks(room, draft)) return draft
  const netns = [{ verb: 'create', object: { type: 'netns', path: draft.netnsPath } }] as const
  await applySteps(netns)
  undo.push(() => undoSteps(netns))
  const endpoints = [...draft.endpoints]
  for (const [index, endpoint] of draft.endpoints.entries()) {
    const siblings = endpoints.filter((one) => one !== endpoint)
    endpoints[index] = await joinPlugin(room, draft, endpoint, siblings, undo)
  }
  return { ...draft, endpoints }
}

/** The endpoint with what its plugin made of it, its link in the sandbox's namespace. */
export async function joinPlugin(
  room: Room,
  sandbox: Sandbox,
  reserved: Endpoint,
  siblings: readonly Endpoint[],
  undo: UndoStack,
): Promise<Endpoint> {
  const network = room.state.network(reserved.networkId)
  if (network === undefined || !isRemoteDriver(network.spec.driver)) return reserved
  const { driver } = network.spec
  const remote = new RemoteNetworks(room.plugins)
  const ports = portsOf(sandbox)
  const early = saysPorts(room, network, sandbox, siblings) ? ports : {}
  const { containerName } = sandbox.spec
  const wanted = { ...reserved, macAddress: await givenMac(room, network, reserved) }
  const given = await remote.createEndpoint(network, wanted, containerName, early)
  undo.push(() => remote.deleteEndpoint(driver, reserved))
  const created: Endpoint = { ...reserved, ...given }
  const joined = await remote.join(driver, created, sandbox.netnsPath, ports)
  undo.push(() => remote.leave(driver, reserved))
  const named = withNames(created, joined, siblings)
  if (joined.sourceName === '') return named
  const macAddress = bringIn(named, joined.sourceName, sandbox.netnsPath)
  undo.push(() => takeOut(named, sandbox.netnsPath))
  return { ...named, macAddress }
}

/** The MAC that was asked for, or that the addresses were asked for with; '' = the plugin's. */
async function givenMac(room: Room, network: Network, endpoint: Endpoint): Promise<string> {
  if (endpoint.spec.macAddress !== undefined || !hasRemoteIpam(network.spec)) {
    return endpoint.spec.macAddress ?? ''
  }
  const isLeased = await new RemoteIpam(room.plugins).requiresMac(network)
  return isLeased ? endpoint.macAddress : ''
}

const portsOf = ({ spec }: Sandbox) => portOptions(spec.exposed, wantedPublications(spec))

/** Of an endpoint's ports Docker speaks early only where no other one has published them. */
function saysPorts(
  room: Room,
  { spec }: Network,
  sandbox: Sandbox,
  siblings: readonly Endpoint[],
): boolean {
  if (spec.internal) return false
  const { exposed, publications } = sandbox.spec
  return exposed.length + publications.length === 0 || carrierOf(room, siblings) === undefined
}

function withNames(endpoint: Endpoint, joined: Joined, siblings: readonly Endpoint[]): Endpoint {
  const { sourceName, prefix, gateway4, gateway6, routes } = joined
  const { spec } = endpoint
  const wanted = prefix === '' ? 'eth' : prefix
  const interfaceName = sourceName === '' ? '' : chooseInterface(wanted, spec, siblings)
  return { ...endpoint, interfaceName, gateway4, gateway6, remote: { sourceName, routes } }
}

/** Moves the plugin's link into the container; answers its hardware address. */
function bringIn(endpoint: Endpoint, sourceName: string, netnsPath: string): string {
  const inside = openNetns(netnsPath)
  try {
    const { interfaceName: name, macAddress } = endpoint
    const mac = macAddress === '' ? {} : { mac: macAddress }
    return moveLink(homeNetns(), sourceName, inside, { name, up: true, ...mac }).mac
  } catch (error) {
    if (!isKernelError(error, 'ENODEV')) throw error
    const why = `failed to get link by name "${sourceName}": Link not found`
    throw new Refusal('internal', `failed to add interface ${sourceName} to sandbox: ${why}`)
  } finally {
    inside.close()
  }
}

/** Gives the link back to the plugin, which deletes it; gone already is as good. */
function takeOut({ interfaceName, remote, id }: Endpoint, netnsPath: string): void {
  const inside = remote === undefined || interfaceName === '' ? undefined : tryOpen(netnsPath)
  if (inside === undefined || remote === undefined) return
  try {
    const name = remote.sourceName
    moveLink(inside, interfaceName, homeNetns(), { name, up: false })
  } catch (error) {
    if (isKernelError(error, 'ENODEV')) return
    log.warn('a link cannot be given back', { endpoint: id, error: messageOf(error) })
  } finally {
    inside.close()
  }
}

/** Tells the plugins that endpoints have gone. */
export async function leavePlugins(
  room: Room,
  netnsPath: string,
  endpoints: readonly Endpoint[],
): Promise<void> {
  for (const endpoint of endpoints) {
    await leavePlugin(room, netnsPath, endpoint)
    await forgetPlugin(room, endpoint)
  }
}

async function leavePlugin(room: Room, netnsPath: string, endpoint: Endpoint): Promise<void> {
  const plugin = pluginOf(room, endpoint)
  if (plugin === undefined) return
  takeOut(endpoint, netnsPath)
  await new RemoteNetworks(room.plugins).leave(plugin, endpoint)
}

async function forgetPlugin(room: Room, endpoint: Endpoint): Promise<void> {
  const plugin = pluginOf(room, endpoint)
  if (plugin !== undefined) {
    await new RemoteNetworks(room.plugins).deleteEndpoint(plugin, endpoint)
  }
  const network = room.state.network(endpoint.networkId)
  if (network === undefined || !hasRemoteIpam(network.spec)) return
  await new RemoteIpam(room.plugins).releaseAddresses(network, endpoint)
}

/** An endpoint of a running container has gone, with what plugins are told of it in Docker's order. */
export async function partPlugins(
  room: Room,
  before: Sandbox,
  after: Sandbox,
  endpoint: Endpoint,
): Promise<void> {
  const change = externalChange(room, before, after)
  await revoke(room, change)
  await leavePlugin(room, before.netnsPath, endpoint)
  await program(room, change, after).catch((error: unknown) => {
    log.error('a plugin does not publish ports', { error: messageOf(error) })
  })
  await forgetPlugin(room, endpoint)
  await askOperInfo(room, after.endpoints)
}

/** Docker asks plugins of every endpoint of a container that changes. */
export async function askOperInfo(room: Room, endpoints: readonly Endpoint[]): Promise<void> {
  for (const endpoint of endpoints) {
    const plugin = pluginOf(room, endpoint)
    if (plugin !== undefined) await new RemoteNetworks(room.plugins).askOperInfo(plugin, endpoint)
  }
}

/** An endpoint of a plugin that is a way out of its container. */
interface External {
  readonly endpoint: Endpoint
  readonly plugin: string
  readonly internal: boolean
  /** Another endpoint is the way out over IPv6. */
  readonly otherGateway: boolean
}

interface ExternalChange {
  readonly revoked: readonly External[]
  readonly programmed: readonly External[]
}

function externalsOf(room: Room, sandbox: Sandbox | undefined): readonly External[] {
  const candidates = (sandbox?.endpoints ?? []).map((endpoint) => {
    const internal = room.state.network(endpoint.networkId)?.spec.internal === true
    return { endpoint, internal }
  })
  const { ipv4, ipv6 } = chooseGateways(candidates)
  const otherGateway = ipv4 !== undefined && ipv6 !== undefined && ipv4.id !== ipv6.id
  return candidates.flatMap(({ endpoint, internal }) => {
    const plugin = pluginOf(room, endpoint)
    if (plugin === undefined || (endpoint !== ipv4 && endpoint !== ipv6)) return []
    return [{ endpoint, plugin, internal, otherGateway: otherGateway && endpoint === ipv4 }]
  })
}

function externalChange(
  room: Room,
  before: Sandbox | undefined,
  after: Sandbox | undefined,
): ExternalChange {
  const [old, now] = [externalsOf(room, before), externalsOf(room, after)]
  const isIn = (list: readonly External[]) => (one: External) =>
    list.some(({ endpoint, otherGateway }) => {
      return endpoint.id === one.endpoint.id && otherGateway === one.otherGateway
    })
  const [wasThere, stays] = [isIn(old), isIn(now)]
  return {
    revoked: old.filter((one) => !stays(one)),
    programmed: now.filter((one) => !wasThere(one) && !one.internal),
  }
}

async function revoke(room: Room, { revoked }: ExternalChange): Promise<void> {
  const remote = new RemoteNetworks(room.plugins)
  for (const { plugin, endpoint } of revoked) await remote.revokeExternal(plugin, endpoint)
}

async function program(
  room: Room,
  { programmed }: ExternalChange,
  sandbox: Sandbox,
  undo?: UndoStack,
): Promise<void> {
  const remote = new RemoteNetworks(room.plugins)
  for (const { plugin, endpoint, otherGateway } of programmed) {
    const options = externalOptions(portsOf(sandbox), otherGateway)
    try {
      await remote.programExternal(plugin, endpoint, options)
    } catch (error) {
      const failed = 'driver failed programming external connectivity on endpoint'
      throw new Refusal(
        'internal',
        `${failed} ${sandbox.spec.containerName} (${endpoint.id}): ${messageOf(error)}`,
      )
    }
    undo?.push(() => remote.revokeExternal(plugin, endpoint))
  }
}

/** Tells plugins whose endpoint is the way out now, with the ports to publish, and no longer. */
export async function moveExternal(
  room: Room,
  before: Sandbox | undefined,
  after: Sandbox | undefined,
  undo?: UndoStack,
): Promise<void> {
  const change = externalChange(room, before, after)
  await revoke(room, change)
  if (after !== undefined) await program(room, change, after, undo)
}
