/**
 * Endpoints that plugins have a part in: addresses from an IPAM plugin, links from a network
 * plugin. What is made is taken back when a later step fails; taking down never fails, so that a
 * plugin that died does not keep a container from being removed.
 */
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { isKernelError } from '../kernel/error.ts'
import { moveLink } from '../kernel/linkmove.ts'
import { homeNetns, openNetns } from '../kernel/netns.ts'
import { applySteps, undoSteps } from './apply.ts'
import { isRemoteDriver } from './drivers/drivers.ts'
import type { Addresses } from './drivers/driver.ts'
import { RemoteNetworks, type Joined } from './drivers/remote.ts'
import { chooseInterface, releaseEndpoint, reserveEndpoint } from './endpoints.ts'
import { chooseGateways } from './gateway.ts'
import { tryOpen } from './host.ts'
import { hasRemoteIpam, RemoteIpam } from './ipam/remote.ts'
import type { Endpoint, EndpointSpec, Sandbox, SandboxSpec } from './model.ts'
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
  let addresses: Addresses | undefined
  if (hasRemoteIpam(network.spec)) {
    const ipam = new RemoteIpam(room.plugins)
    const leased = await ipam.requestAddresses(network, spec)
    undo.push(() => ipam.releaseAddresses(network, leased))
    addresses = leased
  }
  const endpoint = reserveEndpoint(room, sandboxId, container, spec, siblings, addresses)
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
  const plugin = pluginOf(room, reserved)
  if (plugin === undefined) return reserved
  const remote = new RemoteNetworks(room.plugins)
  const given = await remote.createEndpoint(plugin, reserved, sandbox.spec)
  undo.push(() => remote.deleteEndpoint(plugin, reserved))
  const created: Endpoint = { ...reserved, ...given }
  const joined = await remote.join(plugin, created, sandbox.netnsPath, sandbox.spec)
  undo.push(() => remote.leave(plugin, reserved))
  const named = withNames(created, joined, siblings)
  if (joined.sourceName === '') return named
  const macAddress = bringIn(named, joined.sourceName, sandbox.netnsPath)
  undo.push(() => takeOut(named, sandbox.netnsPath))
  return { ...named, macAddress }
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
  const remote = new RemoteNetworks(room.plugins)
  for (const endpoint of endpoints) {
    if (!concernsPlugins(room, endpoint)) continue
    const plugin = pluginOf(room, endpoint)
    if (plugin !== undefined) {
      takeOut(endpoint, netnsPath)
      await remote.leave(plugin, endpoint)
      await remote.deleteEndpoint(plugin, endpoint)
    }
    const network = room.state.network(endpoint.networkId)
    if (network === undefined || !hasRemoteIpam(network.spec)) continue
    await new RemoteIpam(room.plugins).releaseAddresses(network, endpoint)
  }
}

/** The endpoint of a plugin that is the way out of a sandbox, if one is. */
function externalOf(room: Room, { endpoints }: Sandbox): Endpoint | undefined {
  const candidates = endpoints.map((endpoint) => {
    const internal = room.state.network(endpoint.networkId)?.spec.internal === true
    return { endpoint, internal }
  })
  const { ipv4, ipv6 } = chooseGateways(candidates)
  const external = ipv4 ?? ipv6
  return external !== undefined && pluginOf(room, external) !== undefined ? external : undefined
}

/** Tells plugins whose endpoint is the way out now, with the ports to publish, and no longer. */
export async function moveExternal(
  room: Room,
  before: Sandbox | undefined,
  after: Sandbox | undefined,
  undo?: UndoStack,
): Promise<void> {
  const old = before === undefined ? undefined : externalOf(room, before)
  const now = after === undefined ? undefined : externalOf(room, after)
  if (old?.id === now?.id) return
  const remote = new RemoteNetworks(room.plugins)
  const [from, to] = [old, now].map((one) => (one === undefined ? undefined : pluginOf(room, one)))
  if (old !== undefined && from !== undefined) await remote.revokeExternal(from, old)
  if (now === undefined || to === undefined || after === undefined) return
  await remote.programExternal(to, now, after.spec)
  undo?.push(() => remote.revokeExternal(to, now))
}
