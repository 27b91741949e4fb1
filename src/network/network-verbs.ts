/**
 * Create, remove and prune networks. Names and pools are reserved first; then kernel, firewall and
 * store, all undone when one fails.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { newId, shortId } from '../base/id.ts'
import { Refusal } from '../base/refusal.ts'
import type { BridgeIntent } from '../firewall/intent.ts'
import type { KernelObject } from '../kernel/object.ts'
import type { Change } from '../store/store.ts'
import { startSteps, undoSteps } from './apply.ts'
import { ensureBridgeFilter } from './bridge-filter.ts'
import { hasPlugins, OwedNetwork, owing, paid, payNetwork } from './debts.ts'
import { diffObjects, identityOf, type Step } from './diff.ts'
import { driverNamed, isRemoteDriver } from './drivers/drivers.ts'
import type { Driver, HostFacts } from './drivers/driver.ts'
import { hasRemoteIpam } from './ipam/remote.ts'
import { findObjects, singleFacts } from './host.ts'
import type { Network, NetworkSpec } from './model.ts'
import { poolsFor } from './network-pools.ts'
import { inTurn, linksAmong, linksOfOthers } from './parent-links.ts'
import { collections, type NetworkRecord } from './records.ts'
import type { Room } from './room.ts'
import { timestampNow } from './time.ts'
import { allOrFirstFailure, throwFirstFailure, UndoStack } from './undo.ts'
import { isPredefined, validateNetwork } from './validate.ts'

/** Creates a network of the user. */
export async function createNetwork(room: Room, asked: NetworkSpec): Promise<Network> {
  validateNetwork(asked)
  const id = newId()
  room.state.reserveName(asked.name, id)
  try {
    const spec = await withPlugins(room, withTemplate(room, asked), asked.scope)
    const driver = driverNamed(spec.driver)
    const network = await inTurn(room, spec.driver, () => makeNetwork(room, driver, id, spec))
    room.emit(networkEvent('create', network))
    return network
  } catch (error) {
    room.state.freeName(asked.name, id)
    throw error
  }
}

/** A config-only network as a spec of driver null; a dependent one with its template's settings. */
function withTemplate(room: Room, spec: NetworkSpec): NetworkSpec {
  if (spec.configOnly) return { ...spec, driver: 'null', scope: 'local' }
  const scope = spec.scope === '' ? 'local' : spec.scope
  if (spec.configFrom === '') return { ...spec, scope }
  const template = room.state
    .list()
    .find((one) => one.spec.name === spec.configFrom && one.spec.configOnly)
  if (template === undefined) {
    const sentence = `configuration network "${spec.configFrom}" does not exist`
    throw new Refusal('notFound', sentence)
  }
  const { ipam, options, labels, enableIpv4, enableIpv6 } = template.spec
  const driver = spec.ipam.driver === '' ? ipam.driver : spec.ipam.driver
  const hasOptions = Object.keys(ipam.options ?? {}).length > 0
  const ofIpam = { ...ipam, driver, options: hasOptions ? ipam.options : spec.ipam.options }
  return { ...spec, options, labels, enableIpv4, enableIpv6, ipam: ofIpam, scope }
}

/** With the scope that its plugin says; refused when a plugin that it needs is not there. */
async function withPlugins(room: Room, spec: NetworkSpec, asked: string): Promise<NetworkSpec> {
  if (!isRemoteDriver(spec.driver)) {
    if (hasRemoteIpam(spec)) await room.plugins.ipamDriver(spec.ipam.driver)
    return spec
  }
  const { scope } = await room.plugins.networkDriver(spec.driver)
  if (asked === 'local' && scope === 'global') {
    const sentence = `cannot downgrade network scope for ${spec.driver} networks`
    throw new Refusal('forbidden', sentence)
  }
  if (hasRemoteIpam(spec)) await room.plugins.ipamDriver(spec.ipam.driver)
  return { ...spec, scope: asked === '' ? scope : asked }
}

/** Makes a network whole: pools, kernel objects, firewall, store. Used for predefined ones too. */
export async function makeNetwork(
  room: Room,
  driver: Driver,
  id: string,
  spec: NetworkSpec,
): Promise<Network> {
  const host = singleFacts(room)
  if (!spec.configOnly) {
    const refusal = driver.validateNetwork(id, spec, host)
    if (refusal !== undefined) throw refusal
  }
  const draft: Network = { id, created: timestampNow(), spec, pools: [] }
  const undo = new UndoStack()
  const owed = hasPlugins(spec) ? new OwedNetwork(room, draft) : undefined
  try {
    undo.push(() => owed?.pay())
    const pools = spec.configOnly ? [] : await poolsFor(room, driver, draft)
    undo.push(() => room.ipam.release(id))
    const network: Network = { ...draft, pools }
    await owed?.note(network)
    const refusal = driver.validatePools(network, host)
    if (refusal !== undefined) throw refusal
    await ensureBridgeFilter(room, network)
    if (isRemoteDriver(spec.driver)) await owed?.create()
    await program(room, driver, network, host, owed === undefined ? [] : [paid(id)])
    return network
  } catch (error) {
    await undo.run()
    throw error
  }
}

/** Kernel, firewall, store; what was done is undone when a part fails. */
async function program(
  room: Room,
  driver: Driver,
  network: Network,
  host: HostFacts,
  alongside: readonly Change[],
): Promise<void> {
  const desired = driver.networkObjects(network, host)
  const links = linksAmong(desired)
  await room.departures.gone(links.map(({ name }) => name))
  const bridge = desired.find((one) => one.type === 'bridge')
  const isNew = links.every(({ name }) => host.links.get(name) === undefined)
  const steps = diffObjects(desired, isNew ? [] : findObjects(desired))
  const lentAddresses =
    bridge?.adopted === true ? steps.flatMap((step) => addressMade(step)) : []
  for (const object of desired) room.state.inTheMaking.add(identityOf(object))
  const record: NetworkRecord = { network, lentAddresses }
  try {
    const sealed = Promise.allSettled(seal(room, driver, record, alongside))
    // On their way now: they work while the kernel's part keeps this thread busy.
    await nextTurn()
    const outcome = startSteps(steps)
    const outcomes = await sealed
    await outcome.settled
    try {
      if (outcome.failure !== undefined) throw outcome.failure
      throwFirstFailure(outcomes)
      if (alongside.length > 0) await room.store.write([stored(record), ...alongside])
    } catch (error) {
      if (outcome.failure === undefined) await undoSteps(steps)
      await unseal(room, driver, network)
      throw error
    }
    room.state.addNetwork(record)
  } finally {
    for (const object of desired) room.state.inTheMaking.delete(identityOf(object))
  }
}

const stored = (record: NetworkRecord): Change => {
  return { collection: collections.networks, id: record.network.id, document: record }
}

/**
 * What stands beside the kernel objects: forwarding and firewall, which may come before the links
 * that they are about, and the store, where nothing else has to change with it.
 */
function seal(
  room: Room,
  driver: Driver,
  record: NetworkRecord,
  alongside: readonly Change[],
): readonly Promise<void>[] {
  const { network } = record
  const allow = async () => {
    if (isRouted(network) && room.config.ipForward) await room.forwarding.switchOn(6)
    const intent = intentOf(driver, network)
    if (intent !== undefined) await room.firewall.setBridge(intent)
  }
  return [allow(), ...(alongside.length > 0 ? [] : [room.store.write([stored(record)])])]
}

/** Takes that back; what cannot be is logged. */
async function unseal(room: Room, driver: Driver, network: Network): Promise<void> {
  const { id } = network
  const undo = new UndoStack()
  undo.push(() => room.store.write([{ collection: collections.networks, id, document: null }]))
  if (intentOf(driver, network) !== undefined) undo.push(() => room.firewall.removeBridge(id))
  await undo.run()
}

function intentOf(driver: Driver, network: Network): BridgeIntent | undefined {
  return network.spec.configOnly ? undefined : driver.bridgeIntent(network)
}

/** Whether IPv6 packets of a network come through the host's own routing. */
export function isRouted({ pools, spec }: Network): boolean {
  return pools.some(({ family }) => family === 6) && driverNamed(spec.driver).hasHostEnd
}

function addressMade(step: Step): string[] {
  return step.verb === 'create' && step.object.type === 'address' ? [step.object.address] : []
}

/** Removes a network of the user; refuses predefined ones and those in use. */
export async function removeNetwork(room: Room, idOrName: string): Promise<void> {
  const entry = room.state.find(idOrName)
  const { network } = entry.record
  const { name, configOnly } = network.spec
  if (isPredefined(name)) {
    throw new Refusal('forbidden', `${name} is a pre-defined network and cannot be removed`)
  }
  refuseInUse(room, network)
  entry.removing = true
  try {
    await inTurn(room, network.spec.driver, () => takeDown(room, entry.record))
  } catch (error) {
    entry.removing = false
    throw error
  }
  room.state.removeNetwork(network.id)
  room.ipam.release(network.id)
  if (!configOnly) room.emit(networkEvent('destroy', network))
}

function refuseInUse(room: Room, network: Network): void {
  const { name, configOnly } = network.spec
  const failed = 'error while removing network'
  if (configOnly && room.state.list().some(({ spec }) => spec.configFrom === name)) {
    throw new Refusal('forbidden', `${failed}: configuration network "${name}" is in use`)
  }
  const endpoints = room.state.networks.get(network.id)?.endpoints
  if (endpoints === undefined || endpoints.size === 0) return
  const users = [...endpoints].map(([endpointId, { containerId }]) => {
    const user = room.state.sandbox(containerId)?.spec.containerName ?? shortId(containerId)
    return `name:"${user}" id:"${shortId(endpointId)}"`
  })
  const sentence = `network ${name} has active endpoints (${users.join(', ')})`
  throw new Refusal('forbidden', `${failed}: ${sentence}`)
}

/**
 * Store last: after a crash on the way the next start makes the network whole again. What plugins
 * are told then is a debt from that moment on.
 */
async function takeDown(room: Room, record: NetworkRecord): Promise<void> {
  const { network } = record
  const { id, spec } = network
  const driver = driverNamed(spec.driver)
  if (!spec.configOnly) {
    if (driver.bridgeIntent(network) !== undefined) await room.firewall.removeBridge(id)
    await removeObjects(room, driver, record)
  }
  const change = { collection: collections.networks, id, document: null }
  if (!hasPlugins(spec)) return room.store.write([change])
  await room.store.write([change, owing(network, true)])
  await payNetwork(room, { kind: 'network', network, asked: true })
}

async function removeObjects(room: Room, driver: Driver, record: NetworkRecord): Promise<void> {
  const desired = driver.networkObjects(record.network, singleFacts(room))
  const needed = linksOfOthers(room, record.network)
  const links = linksAmong(desired).filter(({ name }) => !needed.has(name))
  if (links.length === 0) return
  // A bridge takes its addresses with it; one of the user's own only loses what we put on it.
  const ofLinks = links.flatMap((link): readonly KernelObject[] => {
    if (link.type !== 'bridge' || !link.adopted) return [link]
    return desired.filter(
      (one) => one.type === 'address' && record.lentAddresses.includes(one.address),
    )
  })
  const made = [...desired.filter(({ type }) => type === 'rule'), ...ofLinks]
  const done = undoSteps(made.map((object) => ({ verb: 'create', object })))
  room.departures.add(links.map(({ name }) => name), done)
  await done
}

/** The kernel lets go of links in groups, and rules of several networks go in one change. */
const prunedAtOnce = 32

/** Removes the unused networks for which `unused` holds; answers their names. */
export async function pruneNetworks(
  room: Room,
  unused: (network: Network) => boolean,
): Promise<readonly string[]> {
  const names: string[] = []
  const remove = async ({ id, spec }: Network): Promise<void> => {
    try {
      await removeNetwork(room, id)
      names.push(spec.name)
    } catch (error) {
      // It came into use, or somebody else removed it, meanwhile.
      if (!(error instanceof Refusal)) throw error
    }
  }
  const doomed = room.state.list().filter((network) => {
    const { name, configOnly, ingress } = network.spec
    const endpoints = room.state.networks.get(network.id)?.endpoints.size ?? 0
    return !isPredefined(name) && !configOnly && !ingress && endpoints === 0 && unused(network)
  })
  for (let first = 0; first < doomed.length; first += prunedAtOnce) {
    await allOrFirstFailure(doomed.slice(first, first + prunedAtOnce).map(remove))
  }
  room.emit({ type: 'network', action: 'prune', id: '', attributes: { reclaimed: '0' } })
  return names
}

/** An event about a network, with the attributes that Docker gives it. */
export function networkEvent(action: string, network: Network, containerId?: string) {
  const { name, driver } = network.spec
  const container = containerId === undefined ? {} : { container: containerId }
  const attributes = { ...container, name, type: driver }
  return { type: 'network', action, id: network.id, attributes } as const
}

/** The address alone, of `ADDRESS/LENGTH`. */
export function withoutLength(address: string): string {
  return address.split('/')[0] ?? ''
}

