/**
 * Opening and closing a container's network. Addresses and host ports are reserved first, then
 * the kernel is changed, then names, firewall, files and store follow together; a failure anywhere
 * takes everything back.
 */
import { join } from 'node:path'
import { newId } from '../base/id.ts'
import { log } from '../base/log.ts'
import { messageOf, Refusal } from '../base/refusal.ts'
import { homeNetns, openNetns, removeNetns } from '../kernel/netns.ts'
import { readSysctl, writeSysctl } from '../kernel/sysctl.ts'
import { applySteps, deleteDoomed, undoSteps, type DoomedLink } from './apply.ts'
import { diffObjects, type Step } from './diff.ts'
import { driverNamed } from './drivers/drivers.ts'
import {
  hasOwnNetns,
  needsAnnouncement,
  objectsOf,
  releaseEndpoint,
  sandboxSysctls,
} from './endpoints.ts'
import { resolvConfOf, writeFiles } from './files.ts'
import { forgetFlows } from './flush.ts'
import { tryOpen } from './host.ts'
import { linkIntents, parentsOf, refreshParents, stateFirewall } from './links.ts'
import type { Endpoint, EndpointSpec, Sandbox, SandboxSpec } from './model.ts'
import { networkEvent } from './network-verbs.ts'
import {
  carrierOf,
  connectivityError,
  portsView,
  publicationsOf,
  takePorts,
} from './publish.ts'
import type { Alongside } from './networks.ts'
import { collections, type SandboxRecord } from './records.ts'
import type { Room } from './room.ts'
import {
  askOperInfo,
  concernsPlugins,
  hasPluginLinks,
  joinPlugins,
  leavePlugins,
  moveExternal,
  reserveAnyEndpoint,
} from './remote-endpoints.ts'
import { allOrFirstFailure, UndoStack } from './undo.ts'
import { needsResolver, setNames, setResolver } from './zones.ts'

/** Makes a container's network whole. Runs in the container's queue. */
export async function openSandbox(room: Room, spec: SandboxSpec): Promise<Sandbox> {
  if (room.state.sandboxes.has(spec.containerId)) await closeSandbox(room, spec.containerId)
  const undo = new UndoStack()
  try {
    return await open(room, spec, undo)
  } catch (error) {
    await undo.run()
    throw error
  }
}

async function open(room: Room, spec: SandboxSpec, undo: UndoStack): Promise<Sandbox> {
  const id = newId()
  const folder = spec.mode.kind === 'host' ? 'default' : id.slice(0, 12)
  const netnsPath = join(room.config.execRoot, 'netns', folder)
  const reserved = await reserveAll(room, id, spec, undo)
  const planned: Sandbox = { id, spec, netnsPath, endpoints: reserved, ports: {} }
  const parents = parentsOf(room, spec.containerId)
  room.state.sandboxes.set(spec.containerId, {
    record: { sandbox: planned, resolvConfHash: '' },
    ready: false,
  })
  undo.push(() => void room.state.sandboxes.delete(spec.containerId))
  const draft = hasPluginLinks(room, planned) ? await joinStored(room, planned, undo) : planned
  const { endpoints } = draft
  const sandbox = await publish(room, draft, undo)
  await makeKernelObjects(room, sandbox, undo)
  const internal = needsResolver(room, sandbox)
  const resolvConf = resolvConfOf(room, sandbox, internal)
  const resolvConfHash = writeFiles(room, sandbox, resolvConf)
  const record: SandboxRecord = { sandbox, resolvConfHash }
  undo.push(() => withdraw(room, sandbox))
  await allOrFirstFailure([
    ...endpoints.map((endpoint) => setNames(room, endpoint.networkId, endpoint.id, endpoint)),
    ...(internal ? [setResolver(room, sandbox)] : []),
    allowPorts(room, sandbox),
    saveSandbox(room, record),
  ])
  await moveExternal(room, undefined, sandbox, undo)
  await askOperInfo(room, endpoints)
  room.state.sandboxes.set(spec.containerId, { record, ready: true })
  forgetFlows(publicationsOf(sandbox), endpoints)
  await refreshParents(room, parents)
  emitEndpoints(room, 'connect', endpoints)
  return sandbox
}

async function reserveAll(
  room: Room,
  sandboxId: string,
  spec: SandboxSpec,
  undo: UndoStack,
): Promise<readonly Endpoint[]> {
  const endpoints: Endpoint[] = []
  for (const wanted of wantedEndpoints(spec)) {
    endpoints.push(await reserveAnyEndpoint(room, sandboxId, spec, wanted, endpoints, undo))
  }
  return endpoints
}

/** Stored before plugins are asked: after a crash the next daemon tells them that it is gone. */
async function joinStored(room: Room, planned: Sandbox, undo: UndoStack): Promise<Sandbox> {
  const { containerId: id } = planned.spec
  const forget = { collection: collections.sandboxes, id, document: null }
  undo.push(() => room.store.write([forget]))
  await saveSandbox(room, { sandbox: planned, resolvConfHash: '' })
  return joinPlugins(room, planned, undo)
}

/** host and none are networks too; what cannot be mixed is refused in Docker's words. */
function wantedEndpoints(spec: SandboxSpec): readonly EndpointSpec[] {
  const { kind } = spec.mode
  if (kind === 'disabled') return []
  if (kind === 'container') {
    throw new Refusal('internal', 'a container that shares a network has no sandbox of its own')
  }
  const names = spec.endpoints.map(({ network }) => network)
  if (kind === 'networks') {
    if (names.includes('host')) throw new Refusal('invalid', refusals.connectHost)
    if (names.includes('none')) throw new Refusal('invalid', refusals.none)
    return spec.endpoints
  }
  if (names.some((name) => name !== kind)) {
    throw new Refusal('invalid', kind === 'host' ? refusals.shared : refusals.none)
  }
  const empty = { linkLocalIps: [], aliases: [], links: [], driverOpts: {}, gwPriority: 0 }
  return spec.endpoints.length > 0 ? spec.endpoints : [{ network: kind, ...empty }]
}

/** Docker's sentences about networks that cannot be mixed. */
export const refusals = {
  connectHost:
    'cannot connect container to host network -' +
    ' container must be created in host network mode',
  disconnectHost:
    'cannot disconnect container from host network -' +
    ' container was created in host network mode',
  shared:
    'container sharing network namespace with another container or host' +
    ' cannot be connected to any other network',
  none:
    'container cannot be connected to multiple networks with one of the networks' +
    ' in private (none) mode',
} as const

/** Host ports, chosen and held. */
async function publish(room: Room, draft: Sandbox, undo: UndoStack): Promise<Sandbox> {
  const carrier = carrierOf(room, draft.endpoints)
  if (carrier === undefined) return draft
  const publications = await takePorts(room, draft, carrier)
  if (publications.length > 0) {
    undo.push(async () => {
      room.ports.release(draft.id, publications)
      await room.keeper.releasePorts(draft.id)
    })
  }
  return { ...draft, ports: portsView(draft.spec, carrier, publications) }
}

async function makeKernelObjects(room: Room, sandbox: Sandbox, undo: UndoStack): Promise<void> {
  if (!hasOwnNetns(sandbox)) return
  await room.departures.gone(sandbox.endpoints.flatMap((endpoint) => departureKeys(room, endpoint)))
  const { netnsPath: path } = sandbox
  const there = hasPluginLinks(room, sandbox) ? [{ type: 'netns', path } as const] : []
  const steps = diffObjects(objectsOf(room, sandbox), there)
  const settings = sandboxSysctls(sandbox)
  const [before, after] = [
    settings.filter(({ key }) => !concernsInterface(key)),
    settings.filter(({ key }) => concernsInterface(key)),
  ]
  const isNetns = ({ object }: Step) => object.type === 'netns'
  const [netns, inside] = [steps.filter(isNetns), steps.filter((step) => !isNetns(step))]
  await applySteps(netns)
  undo.push(() => undoSteps(netns))
  writeAll(sandbox, before)
  const announced = sandbox.endpoints.some((endpoint) => needsAnnouncement(room, endpoint))
  await applySteps(inside, announced)
  undo.push(() => undoSteps(inside))
  writeAll(sandbox, after)
}

/** `net/ipv4/conf/eth0/…` exists only once the interface does. */
function concernsInterface(key: string): boolean {
  const [, , kind, name = ''] = key.split('/')
  return (kind === 'conf' || kind === 'neigh') && !['all', 'default', 'lo'].includes(name)
}

function writeAll(sandbox: Sandbox, settings: readonly { key: string; value: string }[]): void {
  if (settings.length === 0) return
  const ns = openNetns(sandbox.netnsPath)
  try {
    for (const { key, value } of settings) {
      // Kernels without a setting that Docker writes by default go without it.
      const asked = Object.hasOwn(sandbox.spec.sysctls, key.replaceAll('/', '.'))
      if (asked || readSysctl(ns, key) !== undefined) writeSysctl(ns, key, value)
    }
  } finally {
    ns.close()
  }
}

/** The firewall's part; a sandbox without ports and links costs nothing there. */
async function allowPorts(room: Room, sandbox: Sandbox): Promise<void> {
  const hasPorts = publicationsOf(sandbox).length > 0
  if (!hasPorts && linkIntents(room, sandbox).length === 0) return
  try {
    await stateFirewall(room, sandbox)
  } catch (error) {
    const carrier = carrierOf(room, sandbox.endpoints)
    throw carrier === undefined ? error : connectivityError(sandbox, carrier, error)
  }
}

/** Makes the sandbox durable, and what the caller stores in the same commit. */
export function saveSandbox(
  room: Room,
  record: SandboxRecord,
  alongside: Alongside = () => [],
): Promise<void> {
  const id = record.sandbox.spec.containerId
  const change = { collection: collections.sandboxes, id, document: record }
  return room.store.write([change, ...alongside()])
}

/** What an endpoint occupies until its link is gone. */
export function departureKeys(room: Room, endpoint: Endpoint): readonly string[] {
  const { networkId, sandboxId, interfaceName, ipv4, ipv6 } = endpoint
  const network = room.state.network(networkId)
  const parent = network === undefined ? '' : driverNamed(network.spec.driver).parentLink(network)
  const addresses = [ipv4, ipv6].filter((address) => address !== '')
  return [
    ...addresses.map((address) => `${networkId} ${address}`),
    ...(interfaceName === '' ? [] : [`${sandboxId} ${interfaceName}`]),
    // A parent takes links of another kind, or of another mode, only when the last one has gone.
    ...(parent === '' ? [] : [`links on ${parent}`]),
  ]
}

/** Takes a container's network down, whatever is left of it. Runs in the container's queue. */
export async function closeSandbox(room: Room, containerId: string): Promise<void> {
  const entry = room.state.sandboxes.get(containerId)
  if (entry === undefined) return
  const { sandbox } = entry.record
  const { endpoints } = sandbox
  const parents = parentsOf(room, containerId)
  const publications = publicationsOf(sandbox)
  room.state.sandboxes.delete(containerId)
  if (endpoints.some((endpoint) => concernsPlugins(room, endpoint))) {
    await moveExternal(room, sandbox, undefined)
    await leavePlugins(room, sandbox.netnsPath, endpoints)
  }
  removeKernelObjects(room, sandbox)
  await withdraw(room, sandbox)
  room.ports.release(sandbox.id, publications)
  for (const endpoint of endpoints) releaseEndpoint(room, endpoint)
  forgetFlows(publications, endpoints)
  await refreshParents(room, parents).catch(logged('cannot update containers that link here'))
  emitEndpoints(room, 'disconnect', endpoints)
}

/** Names, resolver, ports, firewall rules and document of a sandbox; each is tried. */
async function withdraw(room: Room, sandbox: Sandbox): Promise<void> {
  const { id, endpoints, spec } = sandbox
  const published = publicationsOf(sandbox).length > 0
  const change = { collection: collections.sandboxes, id: spec.containerId, document: null }
  await Promise.all([
    ...endpoints.map((endpoint) =>
      setNames(room, endpoint.networkId, endpoint.id, undefined).catch(
        logged('cannot take names back'),
      ),
    ),
    room.keeper.removeResolver(id).catch(logged('cannot close a resolver')),
    published || spec.links.length > 0
      ? room.firewall.setEndpoint(id, [], []).catch(logged('cannot take firewall rules back'))
      : undefined,
    published
      ? room.keeper.releasePorts(id).catch(logged('cannot release ports'))
      : undefined,
    room.store.write([change]).catch(logged('cannot forget a sandbox')),
  ])
}

const logged = (what: string) => (error: unknown) => log.error(what, { error: messageOf(error) })

/** The pairs go in the background; until then nobody gets their addresses. */
function removeKernelObjects(room: Room, sandbox: Sandbox): void {
  if (!hasOwnNetns(sandbox)) return
  const keys = sandbox.endpoints.flatMap((endpoint) => departureKeys(room, endpoint))
  room.departures.add(keys, deleteDoomed(linksOf(sandbox)))
  try {
    removeNetns(sandbox.netnsPath)
  } catch (error) {
    logged('cannot remove a network namespace')(error)
  }
}

/**
 * The pairs by their host end; a link on a parent in the container's namespace, which would take it
 * along only some time later.
 */
function linksOf({ endpoints, netnsPath }: Sandbox): readonly DoomedLink[] {
  return endpoints.flatMap(({ hostInterface, interfaceName, remote }): readonly DoomedLink[] => {
    if (remote !== undefined) return []
    if (hostInterface !== '') return [{ ns: homeNetns(), name: hostInterface }]
    const ns = interfaceName === '' ? undefined : tryOpen(netnsPath)
    return ns === undefined ? [] : [{ ns, name: interfaceName }]
  })
}

/** One event per endpoint, in their order. */
export function emitEndpoints(
  room: Room,
  action: 'connect' | 'disconnect',
  endpoints: readonly Endpoint[],
): void {
  for (const { networkId, containerId } of endpoints) {
    const network = room.state.network(networkId)
    if (network !== undefined) room.emit(networkEvent(action, network, containerId))
  }
}

