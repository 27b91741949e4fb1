/**
 * What plugins have to be told whatever happens, kept in the store from before they are asked for
 * something until it is stored itself: a daemon that dies in between, or a plugin that is away
 * when something is taken down, leaves nothing behind that nobody knows of.
 */
import { log } from '../base/log.ts'
import type { Change } from '../store/store.ts'
import { isRemoteDriver } from './drivers/drivers.ts'
import { RemoteNetworks } from './drivers/remote.ts'
import { hasRemoteIpam, RemoteIpam } from './ipam/remote.ts'
import type { Endpoint, Network, NetworkSpec } from './model.ts'
import { PluginSilent } from './plugins/client.ts'
import { collections, type EndpointDebt, type NetworkDebt, type PluginDebt } from './records.ts'
import { leavePlugins } from './remote-endpoints.ts'
import type { Room } from './room.ts'
import type { UndoStack } from './undo.ts'

/** Whether plugins have a part in a network. */
export function hasPlugins(spec: NetworkSpec): boolean {
  return !spec.configOnly && (isRemoteDriver(spec.driver) || hasRemoteIpam(spec))
}

/** The pools of `network` are the plugin's; `asked`: so is the network itself, or may be. */
export function owing(network: Network, asked: boolean): Change {
  const document: NetworkDebt = { kind: 'network', network, asked }
  return { collection: collections.debts, id: network.id, document }
}

export function owingEndpoint(endpoint: Endpoint, netnsPath: string): Change {
  const document: EndpointDebt = { kind: 'endpoint', endpoint, netnsPath }
  return { collection: collections.debts, id: endpoint.id, document }
}

/** Stored before plugins make an endpoint, and taken back with it. */
export async function oweEndpoint(
  room: Room,
  endpoint: Endpoint,
  netnsPath: string,
  undo: UndoStack,
): Promise<void> {
  await room.store.write([owingEndpoint(endpoint, netnsPath)])
  undo.push(() => room.store.write([paid(endpoint.id)]))
}

export function paid(id: string): Change {
  return { collection: collections.debts, id, document: null }
}

/** Gives a network back to its plugins: pools first, as Docker does. Never fails. */
export async function payNetwork(room: Room, { network, asked }: NetworkDebt): Promise<void> {
  const { spec, pools, id } = network
  let heard = true
  if (hasRemoteIpam(spec)) {
    heard = await new RemoteIpam(room.plugins).releasePools(spec.ipam.driver, pools)
  }
  if (asked && isRemoteDriver(spec.driver)) {
    heard = (await new RemoteNetworks(room.plugins).deleteNetwork(network)) && heard
  }
  if (heard) await room.store.write([paid(id)])
  else log.warn('a plugin is told at the next start what has gone', { network: spec.name })
}

/** A network in the making, as long as it is not stored itself. */
export class OwedNetwork {
  readonly #room: Room
  #network: Network
  #asked = false

  constructor(room: Room, network: Network) {
    this.#room = room
    this.#network = network
  }

  /** Its pools are there; its driver is about to be asked, where that is a plugin. */
  async note(network: Network): Promise<void> {
    this.#network = network
    await this.#room.store.write([owing(network, isRemoteDriver(network.spec.driver))])
  }

  /** Has the network's driver make it. One that does not answer may have done so. */
  async create(): Promise<void> {
    this.#asked = true
    try {
      await new RemoteNetworks(this.#room.plugins).createNetwork(this.#network)
    } catch (error) {
      if (!(error instanceof PluginSilent)) this.#asked = false
      throw error
    }
  }

  /** Gives back what there is of it. */
  async pay(): Promise<void> {
    await payNetwork(this.#room, { kind: 'network', network: this.#network, asked: this.#asked })
  }
}

/** At a start: what the last daemon left owing. */
export async function payDebts(room: Room, debts: readonly PluginDebt[]): Promise<void> {
  const tasks = debts.map(async (debt) => {
    if (debt.kind === 'network') return payNetwork(room, debt)
    await leavePlugins(room, debt.netnsPath, [debt.endpoint])
    await room.store.write([paid(debt.endpoint.id)])
  })
  await Promise.all(tasks)
}
