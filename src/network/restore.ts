/**
 * After a start, and whenever asked: everything that should exist is compared with the kernel and
 * patched; what carries our marks and is wanted by nobody is removed. Nothing that is right is
 * touched, so that a restart costs no packet.
 */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { listLinks } from '../kernel/link.ts'
import { deleteLinks } from '../kernel/linkremover.ts'
import { homeNetns, removeNetns } from '../kernel/netns.ts'
import type { KernelObject, RuleObject } from '../kernel/object.ts'
import { deletePolicyRule, listPolicyRules } from '../kernel/policy-rule.ts'
import type { Change, Collection } from '../store/store.ts'
import { startSteps } from './apply.ts'
import { ensureBridgeFilter } from './bridge-filter.ts'
import { payDebts } from './debts.ts'
import { diffObjects, identityOf, linkIdentity, type Step } from './diff.ts'
import { aliasPrefix } from './drivers/bridge.ts'
import { driverNamed } from './drivers/drivers.ts'
import { hasOwnNetns, objectsOf } from './endpoints.ts'
import { findObjects, hostFacts } from './host.ts'
import { stateFirewall } from './links.ts'
import type { Sandbox } from './model.ts'
import { isRouted } from './network-verbs.ts'
import { hasRemoteIpam, RemoteIpam } from './ipam/remote.ts'
import { ensurePredefined } from './predefined.ts'
import { carrierOf, portHolds, publicationsOf } from './publish.ts'
import {
  collections,
  type NetworkRecord,
  type PluginDebt,
  type SandboxRecord,
} from './records.ts'
import type { Room } from './room.ts'
import { askOperInfo, leavePlugins } from './remote-endpoints.ts'
import { isPredefined } from './validate.ts'
import { needsResolver, recordOf, setResolver, stateZone } from './zones.ts'

export interface StoredState {
  readonly networks: Collection<NetworkRecord>
  readonly sandboxes: Collection<SandboxRecord>
  readonly debts: Collection<PluginDebt>
}

/** Brings stored networks, and the sandboxes of running containers, back to life. */
export async function restoreAll(
  room: Room,
  stored: StoredState,
  running: ReadonlySet<string>,
): Promise<void> {
  if (room.config.ipForward) await room.forwarding.switchOn(4)
  await room.firewall.start()
  await restoreNetworks(room, stored.networks.all())
  const gone = await restoreSandboxes(room, stored.sandboxes.all(), running)
  await resumePlugins(room, gone, stored.debts.all())
  await repair(room)
  await sweep(room)
  await Promise.all([stateKeeper(room), stateRules(room)])
  await room.firewall.reconcile()
}

async function restoreNetworks(room: Room, records: readonly NetworkRecord[]): Promise<void> {
  const predefined = new Map<string, NetworkRecord>()
  for (const record of records) {
    const { network } = record
    if (isPredefined(network.spec.name)) {
      predefined.set(network.spec.name, record)
      continue
    }
    if (network.pools.length > 0 && !hasRemoteIpam(network.spec)) room.ipam.restore(network)
    room.state.addNetwork(record)
  }
  await ensurePredefined(room, predefined)
  for (const network of room.state.list()) {
    await ensureBridgeFilter(room, network).catch((error: unknown) => {
      log.error('a network is not separated', {
        network: network.spec.name,
        error: messageOf(error),
      })
    })
    if (isRouted(network) && room.config.ipForward) await room.forwarding.switchOn(6)
  }
}

async function restoreSandboxes(
  room: Room,
  records: readonly SandboxRecord[],
  running: ReadonlySet<string>,
): Promise<readonly Sandbox[]> {
  const forgotten: Change[] = []
  const gone: Sandbox[] = []
  for (const record of records) {
    const { sandbox } = record
    const { containerId } = sandbox.spec
    if (!running.has(containerId)) {
      forgotten.push({ collection: collections.sandboxes, id: containerId, document: null })
      gone.push(sandbox)
      continue
    }
    for (const endpoint of sandbox.endpoints) {
      for (const address of [endpoint.ipv4, endpoint.ipv6]) {
        if (address !== '') room.ipam.hold(endpoint.networkId, address)
      }
      room.state.join(endpoint)
      const names = room.state.networks.get(endpoint.networkId)?.names
      if (endpoint.dnsNames.length > 0) names?.set(endpoint.id, recordOf(endpoint))
    }
    room.ports.restore(sandbox.id, publicationsOf(sandbox))
    room.state.sandboxes.set(containerId, { record, ready: true })
  }
  if (forgotten.length > 0) await room.store.write(forgotten)
  return gone
}

/** Plugins hear of what ended meanwhile, and of what is still in use. */
async function resumePlugins(
  room: Room,
  gone: readonly Sandbox[],
  debts: readonly PluginDebt[],
): Promise<void> {
  const leaving = gone.map(({ netnsPath, endpoints }) => leavePlugins(room, netnsPath, endpoints))
  await logFailures('cannot tell plugins what has gone', [...leaving, payDebts(room, debts)])
  const ipam = new RemoteIpam(room.plugins)
  const known = room.state.list().filter(({ spec }) => hasRemoteIpam(spec))
  const replays = known.map((network) => ipam.replay(network, room.state.endpointsOf(network.id)))
  await logFailures('cannot tell IPAM plugins what is in use', replays)
  const live = [...room.state.sandboxes.values()].map(({ record }) => record.sandbox)
  await Promise.all(live.map(({ endpoints }) => askOperInfo(room, endpoints)))
}

/** Sandboxes that are complete and whose namespace exists: only those can be repaired. */
function liveSandboxes(room: Room): readonly Sandbox[] {
  return [...room.state.sandboxes.values()]
    .filter(({ ready }) => ready)
    .map(({ record }) => record.sandbox)
    .filter((sandbox) => hasOwnNetns(sandbox) && existsSync(sandbox.netnsPath))
}

interface Repair {
  /** What is repaired, for messages. */
  readonly what: string
  readonly steps: readonly Step[]
}

interface Wanted {
  readonly what: string
  readonly objects: readonly KernelObject[]
}

/** What is missing or different in the kernel, network by network, sandbox by sandbox. */
export function missingSteps(room: Room): readonly Repair[] {
  return compare([...wantedOfNetworks(room), ...wantedOfSandboxes(room, liveSandboxes(room))])
}

function wantedOfNetworks(room: Room): readonly Wanted[] {
  const facts = hostFacts(room)
  const wanted: Wanted[] = []
  /** Networks may share a link: the first one brings it back for all. */
  const seen = new Set<string>()
  for (const { record, removing } of room.state.networks.values()) {
    const { network } = record
    if (removing || network.spec.configOnly) continue
    const all = driverNamed(network.spec.driver).networkObjects(network, facts)
    const objects = all.filter((object) => !seen.has(identityOf(object)))
    for (const object of objects) seen.add(identityOf(object))
    wanted.push({ what: `network ${network.spec.name}`, objects })
  }
  return wanted
}

function wantedOfSandboxes(room: Room, sandboxes: readonly Sandbox[]): readonly Wanted[] {
  return sandboxes.map((sandbox) => ({
    what: `network of container ${sandbox.spec.containerName}`,
    objects: objectsOf(room, sandbox),
  }))
}

function compare(wanted: readonly Wanted[]): readonly Repair[] {
  const found = findObjects(wanted.flatMap(({ objects }) => objects))
  const byIdentity = new Map(found.map((object) => [identityOf(object), object]))
  return wanted.flatMap(({ what, objects }) => {
    const own = objects.flatMap((object) => byIdentity.get(identityOf(object)) ?? [])
    const steps = diffObjects(objects, own)
    return steps.length === 0 ? [] : [{ what, steps }]
  })
}

export interface Surplus {
  readonly links: readonly string[]
  readonly namespaces: readonly string[]
  readonly rules: readonly RuleObject[]
}

/** What carries our marks and nobody wants. */
export function surplus(room: Room): Surplus {
  const wanted = new Set(room.state.inTheMaking)
  const wantedPaths = new Set<string>()
  const facts = hostFacts(room)
  for (const { record } of room.state.networks.values()) {
    const { network } = record
    if (network.spec.configOnly) continue
    const objects = driverNamed(network.spec.driver).networkObjects(network, facts)
    for (const object of objects) wanted.add(identityOf(object))
  }
  for (const { record } of room.state.sandboxes.values()) {
    wantedPaths.add(record.sandbox.netnsPath)
    for (const { hostInterface } of record.sandbox.endpoints) {
      wanted.add(linkIdentity(hostInterface))
    }
  }
  const links = listLinks(homeNetns())
    .filter(({ alias, name }) => alias.startsWith(aliasPrefix) && !wanted.has(linkIdentity(name)))
    .map(({ name }) => name)
  const folder = join(room.config.execRoot, 'netns')
  const paths = existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : []
  const rules = listPolicyRules(homeNetns()).filter((rule) => !wanted.has(identityOf(rule)))
  return { links, namespaces: paths.filter((path) => !wantedPaths.has(path)), rules }
}

async function sweep(room: Room): Promise<void> {
  const { links, namespaces, rules } = surplus(room)
  for (const path of namespaces) removeNetns(path)
  for (const rule of rules) deletePolicyRule(homeNetns(), rule)
  if (links.length > 0) log.info('removing links that nobody wants', { links: links.join(' ') })
  await deleteLinks(homeNetns(), links)
}

/** Tells the keeper every zone, resolver and port; what it has already stays as it is. */
async function stateKeeper(room: Room): Promise<void> {
  const tasks: Promise<void>[] = []
  for (const [id, { names }] of room.state.networks) {
    if (names.size > 0) tasks.push(stateZone(room, id))
  }
  for (const { record } of room.state.sandboxes.values()) {
    const { sandbox } = record
    if (needsResolver(room, sandbox)) tasks.push(setResolver(room, sandbox))
    const carrier = carrierOf(room, sandbox.endpoints)
    const publications = publicationsOf(sandbox)
    if (carrier === undefined || publications.length === 0) continue
    tasks.push(room.keeper.holdPorts(sandbox.id, portHolds(room, carrier, publications)))
  }
  await logFailures('cannot state names and ports', tasks)
}

async function stateRules(room: Room): Promise<void> {
  const tasks: Promise<void>[] = []
  for (const { record } of room.state.networks.values()) {
    const { network } = record
    if (network.spec.configOnly) continue
    const intent = driverNamed(network.spec.driver).bridgeIntent(network)
    if (intent !== undefined) tasks.push(room.firewall.setBridge(intent))
  }
  for (const { record } of room.state.sandboxes.values()) {
    const { sandbox } = record
    const concerned = publicationsOf(sandbox).length > 0 || sandbox.spec.links.length > 0
    if (concerned) tasks.push(stateFirewall(room, sandbox))
  }
  await logFailures('cannot state firewall rules', tasks)
}

async function logFailures(what: string, tasks: readonly Promise<unknown>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(tasks)) {
    if (outcome.status === 'rejected') log.error(what, { error: messageOf(outcome.reason) })
  }
}

/** Compares everything with the kernel and patches it, while verbs go on. */
export async function reconcileAll(room: Room): Promise<void> {
  if (room.config.ipForward) await room.forwarding.switchOn(4)
  if (room.config.ipForward && room.state.list().some(isRouted)) await room.forwarding.switchOn(6)
  await repair(room)
  await sweep(room)
  await room.firewall.reconcile()
}

/** Sandboxes that are compared without a pause: some milliseconds. */
const sandboxesPerTurn = 16

/** Compares and patches; verbs run in the pauses between networks and groups of sandboxes. */
async function repair(room: Room): Promise<void> {
  await repairNow(wantedOfNetworks(room))
  const ids = liveSandboxes(room).map(({ spec }) => spec.containerId)
  for (let first = 0; first < ids.length; first += sandboxesPerTurn) {
    const group = new Set(ids.slice(first, first + sandboxesPerTurn))
    // Read anew: a verb may have changed or closed some meanwhile.
    const live = liveSandboxes(room).filter(({ spec }) => group.has(spec.containerId))
    await repairNow(wantedOfSandboxes(room, live))
    await nextTurn()
  }
}

/**
 * Compares and patches in one go, without an await between, so that no verb comes in between. What
 * fails is logged and does not keep the rest from being repaired.
 */
async function repairNow(wanted: readonly Wanted[]): Promise<void> {
  const outcomes = compare(wanted).map(({ what, steps }) => ({ what, ...startSteps(steps) }))
  for (const { what, failure, settled } of outcomes) {
    await settled
    if (failure === undefined) log.info('repaired', { what })
    else log.error('cannot repair', { what, error: messageOf(failure) })
  }
}
