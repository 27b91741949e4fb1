/**
 * Connecting and disconnecting a running container. The sandbox as it was and as it shall be are
 * both turned into kernel objects; their difference is what is done. The default route and the
 * published ports follow the gateway's endpoint.
 */
import { Refusal } from '../base/refusal.ts'
import { holdRoute } from '../kernel/netlink.ts'
import { openNetns } from '../kernel/netns.ts'
import { applyDuring, applySteps, startSteps, undoSteps } from './apply.ts'
import { oweEndpoint, owingEndpoint, paid } from './debts.ts'
import { diffObjects } from './diff.ts'
import { needsAnnouncement, objectsOf, releaseEndpoint } from './endpoints.ts'
import { changeHosts, resolvConfOf, updateResolvConf } from './files.ts'
import { forgetFlows } from './flush.ts'
import { linkIntents, parentsOf, parentsOn, refreshParents, stateFirewall } from './links.ts'
import type { Endpoint, EndpointSpec, Network, Publication, Sandbox } from './model.ts'
import {
  carrierOf,
  connectivityError,
  portHolds,
  portsView,
  publicationsOf,
  sameCarrier,
  samePublishing,
  takePorts,
  type Carrier,
} from './publish.ts'
import type { ResolvConfResult } from '../names/resolvconf.ts'
import type { Alongside } from './networks.ts'
import type { SandboxRecord } from './records.ts'
import {
  askOperInfo,
  concernsPlugins,
  hasPluginLinks,
  joinPlugin,
  moveExternal,
  partPlugins,
  reserveAnyEndpoint,
} from './remote-endpoints.ts'
import type { Room } from './room.ts'
import { refuseRoutes, untilGone } from './route-conflict.ts'
import { departureKeys, emitEndpoints, refusals, saveSandbox } from './sandbox-verbs.ts'
import type { SandboxEntry } from './state.ts'
import { allOrFirstFailure, throwFirstFailure, UndoStack } from './undo.ts'
import { dnsNamesOf, needsResolver, setNames, setResolver } from './zones.ts'

/** Attaches a running container to one more network. Runs in the container's queue. */
export async function connectSandbox(
  room: Room,
  containerId: string,
  spec: EndpointSpec,
  alongside?: Alongside,
): Promise<Endpoint> {
  const entry = liveEntry(room, containerId)
  const before = entry.record.sandbox
  const { network } = room.state.find(spec.network).record
  refuseConnect(before, network)
  const undo = new UndoStack()
  const release = holdSockets(before)
  try {
    const { id, spec: container, endpoints } = before
    const reserved = await reserveAnyEndpoint(room, id, container, spec, endpoints, undo)
    const owed = concernsPlugins(room, reserved)
    if (!network.spec.internal) await askOperInfo(room, endpoints)
    if (owed) await oweEndpoint(room, reserved, before.netnsPath, undo)
    const endpoint = await joinPlugin(room, before, reserved, endpoints, undo)
    const parents = parentsOn(room, network, containerId)
    const draft: Sandbox = { ...before, endpoints: [...before.endpoints, endpoint] }
    const after = await movePorts(room, before, draft, undo)
    await room.departures.gone(departureKeys(room, endpoint))
    const steps = diffObjects(objectsOf(room, after), objectsOf(room, before))
    const changes: Alongside = () => [
      ...(alongside?.() ?? []),
      ...(owed ? [paid(endpoint.id)] : []),
    ]
    const announced = needsAnnouncement(room, endpoint)
    // Shown and made without an await between: a repair would make it, too.
    const make = () =>
      applyDuring(steps, announced, () => {
        refuseRoutes(before, endpoint)
        const begun = begin(room, entry, after, network, endpoint, 'joins', undo, changes)
        undo.push(() => show(entry, before))
        show(entry, after)
        return begun
      })
    const made = untilGone(room.departures, before, make)
    const { record, done } = await made
    undo.push(async () => {
      show(entry, before)
      await undoSteps(steps)
    })
    await allOrFirstFailure([
      done(),
      ...droppedPorts(room, before, after, undo),
      ...changedRules(room, before, after),
    ])
    entry.record = record
    await moveExternal(room, before, after, undo)
    await askOperInfo(room, after.endpoints)
    await refreshParents(room, parents)
    emitEndpoints(room, 'connect', [endpoint])
    return endpoint
  } catch (error) {
    await undo.run()
    throw error
  } finally {
    release()
  }
}

/** The namespace is asked and changed several times: by one socket, until the answer is called. */
function holdSockets({ netnsPath }: Sandbox): () => void {
  const ns = openNetns(netnsPath)
  try {
    return holdRoute(ns)
  } finally {
    ns.close()
  }
}

function liveEntry(room: Room, containerId: string): SandboxEntry {
  const entry = room.state.sandboxes.get(containerId)
  if (entry === undefined || !entry.ready) {
    throw new Refusal('conflict', `container ${containerId} is not running`)
  }
  return entry
}

function refuseConnect(sandbox: Sandbox, network: Network): void {
  const { name } = network.spec
  const { kind } = sandbox.spec.mode
  if (name === 'host') throw new Refusal('invalid', refusals.connectHost)
  if (kind === 'host' || kind === 'container') throw new Refusal('invalid', refusals.shared)
  const others = sandbox.endpoints.map(({ networkName }) => networkName)
  if (others.includes('none') || (name === 'none' && others.length > 0)) {
    throw new Refusal('invalid', refusals.none)
  }
  if (sandbox.endpoints.some(({ networkId }) => networkId === network.id)) {
    const { containerName } = sandbox.spec
    const sentence = `endpoint with name ${containerName} already exists in network ${name}`
    throw new Refusal('forbidden', sentence)
  }
}

function show(entry: SandboxEntry, sandbox: Sandbox): void {
  entry.record = { ...entry.record, sandbox }
}

/**
 * The published ports go to the endpoint that is the gateway now, on the same host ports; to none
 * when only internal networks are left; and are taken anew when there was none before.
 */
async function movePorts(
  room: Room,
  before: Sandbox,
  draft: Sandbox,
  undo: UndoStack,
): Promise<Sandbox> {
  const [old, now] = [carrierOf(room, before.endpoints), carrierOf(room, draft.endpoints)]
  if (sameCarrier(old, now)) return draft
  const held = publicationsOf(before)
  if (now === undefined) return { ...draft, ports: {} }
  if (old === undefined || held.length === 0) {
    const taken = await takePorts(room, draft, now)
    undo.push(async () => {
      room.ports.release(draft.id, taken)
      if (taken.length > 0) await room.keeper.releasePorts(draft.id)
    })
    return { ...draft, ports: portsView(draft.spec, now, taken) }
  }
  if (!samePublishing(room, old, now)) return retakePorts(room, draft, old, now, held, undo)
  try {
    await room.keeper.holdPorts(draft.id, portHolds(room, now, held))
  } catch (error) {
    throw connectivityError(draft, now, error)
  }
  undo.push(() => room.keeper.holdPorts(draft.id, portHolds(room, old, held)))
  return draft
}

/** The new gateway publishes in another way: routed, or for another family. */
async function retakePorts(
  room: Room,
  draft: Sandbox,
  old: Carrier,
  now: Carrier,
  held: readonly Publication[],
  undo: UndoStack,
): Promise<Sandbox> {
  room.ports.release(draft.id, held)
  undo.push(async () => {
    room.ports.restore(draft.id, held)
    await room.keeper.holdPorts(draft.id, portHolds(room, old, held))
  })
  // One socket may stand for both families: it cannot be kept for one of them.
  await room.keeper.releasePorts(draft.id)
  const taken = await takePorts(room, draft, now, held)
  undo.push(() => room.ports.release(draft.id, taken))
  return { ...draft, ports: portsView(draft.spec, now, taken) }
}

/** What was begun, and the record that counts when it is done. */
interface Begun {
  readonly record: SandboxRecord
  /** Waits for all, and throws the first failure. */
  done(): Promise<void>
}

/**
 * Store, names, resolver, resolv.conf and hosts, begun before the kernel's part, which keeps this
 * thread busy: disk and keeper work meanwhile. What is stored and not made yet is made by the next daemon.
 */
function begin(
  room: Room,
  entry: SandboxEntry,
  after: Sandbox,
  network: Network,
  endpoint: Endpoint,
  change: 'joins' | 'leaves',
  undo: UndoStack,
  alongside: Alongside,
): Begun {
  const former = entry.record
  const before = former.sandbox
  const resolvConf = resolvConfIn(room, after)
  const resolvConfHash = updateResolvConf(after, resolvConf, former.resolvConfHash)
  const record: SandboxRecord = { sandbox: after, resolvConfHash }
  const [was, is] = change === 'joins' ? [undefined, endpoint] : [endpoint, undefined]
  undo.push(async () => {
    await setNames(room, network.id, endpoint.id, was)
    await Promise.all(stateResolver(room, after, before, resolvConfIn(room, before)))
  })
  undo.push(async () => {
    updateResolvConf(before, resolvConfIn(room, before), resolvConfHash)
    await saveSandbox(room, former)
  })
  // The keeper comes second: it takes the processor on which the kernel makes the pair.
  const saved = saveSandbox(room, record, alongside)
  const told = room.keeper.together(() => [
    setNames(room, network.id, endpoint.id, is),
    ...stateResolver(room, before, after, resolvConf),
  ])
  const outcomes = Promise.allSettled([saved, ...told])
  undo.push(() => outcomes)
  changeHosts(after, endpoint, change === 'joins')
  undo.push(() => changeHosts(after, endpoint, change !== 'joins'))
  return { record, done: () => outcomes.then(throwFirstFailure) }
}

function resolvConfIn(room: Room, sandbox: Sandbox): ResolvConfResult {
  return resolvConfOf(room, sandbox, needsResolver(room, sandbox))
}

/**
 * Opens, updates or closes the resolver of a sandbox that changes.
 *
 * @param resolvConf that of `after`
 */
function stateResolver(
  room: Room,
  before: Sandbox,
  after: Sandbox,
  resolvConf: ResolvConfResult,
): Promise<unknown>[] {
  if (needsResolver(room, after)) return [setResolver(room, after, resolvConf)]
  return needsResolver(room, before) ? [room.keeper.removeResolver(after.id)] : []
}

function changedRules(room: Room, before: Sandbox, after: Sandbox): Promise<void>[] {
  return rulesChange(room, before, after) ? [stateFirewall(room, after)] : []
}

function rulesChange(room: Room, before: Sandbox, after: Sandbox): boolean {
  if (linkIntents(room, after).length > 0) return true
  const published = publicationsOf(before).length + publicationsOf(after).length > 0
  const carrier = (sandbox: Sandbox) => carrierOf(room, sandbox.endpoints)
  return published && !sameCarrier(carrier(before), carrier(after))
}

/** Detaches a running container from a network. Runs in the container's queue. */
export async function disconnectSandbox(
  room: Room,
  containerId: string,
  networkIdOrName: string,
  alongside?: Alongside,
): Promise<void> {
  const { network } = room.state.find(networkIdOrName).record
  const entry = liveEntry(room, containerId)
  const before = entry.record.sandbox
  if (before.spec.mode.kind === 'host' && network.spec.name === 'host') {
    throw new Refusal('invalid', refusals.disconnectHost)
  }
  const endpoint = before.endpoints.find(({ networkId }) => networkId === network.id)
  if (endpoint === undefined) {
    const sentence = `container ${containerId} is not connected to network ${network.spec.name}`
    throw new Refusal('internal', sentence)
  }
  const undo = new UndoStack()
  const parents = parentsOn(room, network, containerId)
  const draft: Sandbox = {
    ...before,
    endpoints: before.endpoints.filter(({ id }) => id !== endpoint.id),
  }
  const release = holdSockets(before)
  try {
    const after = await movePorts(room, before, draft, undo)
    const changes: Alongside = () => [
      ...(alongside?.() ?? []),
      ...(concernsPlugins(room, endpoint) ? [owingEndpoint(endpoint, before.netnsPath)] : []),
    ]
    const begun = begin(room, entry, after, network, endpoint, 'leaves', undo, changes)
    show(entry, after)
    undo.push(() => show(entry, before))
    const found = objectsOf(room, before)
    const { failure, settled } = startSteps(diffObjects(objectsOf(room, after), found))
    if (failure !== undefined) {
      await settled
      throw failure
    }
    room.departures.add(departureKeys(room, endpoint), settled)
    undo.push(async () => {
      await settled
      await applySteps(diffObjects(found, objectsOf(room, after)))
    })
    await allOrFirstFailure([
      begun.done(),
      ...droppedPorts(room, before, after, undo),
      ...changedRules(room, before, after),
    ])
    entry.record = begun.record
  } catch (error) {
    await undo.run()
    throw error
  } finally {
    release()
  }
  if (concernsPlugins(room, endpoint) || hasPluginLinks(room, before)) {
    await partPlugins(room, before, entry.record.sandbox, endpoint)
    if (concernsPlugins(room, endpoint)) await room.store.write([paid(endpoint.id)])
  }
  releaseEndpoint(room, endpoint)
  forgetFlows(publicationsOf(before), [endpoint])
  await refreshParents(room, parents)
  emitEndpoints(room, 'disconnect', [endpoint])
}

/** Host ports that nothing carries any more are let go. */
function droppedPorts(
  room: Room,
  before: Sandbox,
  after: Sandbox,
  undo: UndoStack,
): Promise<unknown>[] {
  const held = publicationsOf(before)
  const old = carrierOf(room, before.endpoints)
  if (old === undefined || held.length === 0 || publicationsOf(after).length > 0) return []
  room.ports.release(before.id, held)
  undo.push(async () => {
    room.ports.restore(before.id, held)
    await room.keeper.holdPorts(before.id, portHolds(room, old, held))
  })
  return [room.keeper.releasePorts(before.id)]
}

/** Names, hosts files and store after a rename. Runs in the container's queue. */
export async function renameSandbox(room: Room, containerId: string, name: string): Promise<void> {
  const entry = room.state.sandboxes.get(containerId)
  if (entry === undefined) return
  const before = entry.record.sandbox
  const spec = { ...before.spec, containerName: name }
  const endpoints = before.endpoints.map((endpoint) => {
    const network = room.state.network(endpoint.networkId)
    if (network === undefined) return endpoint
    return { ...endpoint, dnsNames: dnsNamesOf(network, spec, endpoint.spec) }
  })
  const record: SandboxRecord = { ...entry.record, sandbox: { ...before, spec, endpoints } }
  await saveSandbox(room, record)
  entry.record = record
  await allOrFirstFailure(
    endpoints.map((endpoint) => setNames(room, endpoint.networkId, endpoint.id, endpoint)),
  )
  await refreshParents(room, parentsOf(room, containerId))
}
