/**
 * After a start everything that should exist is compared with the kernel and patched; what carries
 * our marks and is wanted by nobody is removed. Nothing that is right is touched, so that a restart
 * costs no packet.
 */
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import type { Change, Collection } from '../store/store.ts'
import { ensureBridgeFilter } from './bridge-filter.ts'
import { payDebts } from './debts.ts'
import { driverNamed } from './drivers/drivers.ts'
import { stateFirewall } from './links.ts'
import type { Sandbox } from './model.ts'
import { isRouted } from './network-verbs.ts'
import { hasRemoteIpam, RemoteIpam } from './ipam/remote.ts'
import { ensurePredefined } from './predefined.ts'
import { carrierOf, portHolds, publicationsOf } from './publish.ts'
import { repairAll, sweep } from './reconcile.ts'
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
  await repairAll(room)
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
