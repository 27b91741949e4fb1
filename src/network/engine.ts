/**
 * The network room behind its seam (`networks.ts`): wires the verbs to one shared state and runs
 * those of one container after another. Verbs of different containers do not wait for each other.
 */
import { KeyedQueue } from '../base/queue.ts'
import { Refusal } from '../base/refusal.ts'
import { defaultPoolSources, parsePoolSources, type PoolSource } from '../address/pools.ts'
import { localPool } from '../address/ula.ts'
import { connectSandbox, disconnectSandbox, renameSandbox } from './attach-verbs.ts'
import type { NetworkConfig } from './config.ts'
import { Departures } from './departures.ts'
import { Ipam } from './ipam/ipam.ts'
import type { EndpointSpec, Network, NetworkSpec, Sandbox, SandboxSpec } from './model.ts'
import { createNetwork, pruneNetworks, removeNetwork } from './network-verbs.ts'
import type { Alongside, Networks } from './networks.ts'
import { planAll } from './plan.ts'
import { Plugins } from './plugins/plugins.ts'
import { PortTable } from './ports.ts'
import {
  collections,
  parseNetworkRecord,
  parsePluginDebt,
  parseSandboxRecord,
} from './records.ts'
import { repairPolicyRules } from './policy-rules.ts'
import { Reconciler } from './reconcile.ts'
import { restoreAll, type StoredState } from './restore.ts'
import type { NetworkDependencies, Room } from './room.ts'
import { closeSandbox, openSandbox } from './sandbox-verbs.ts'
import { State } from './state.ts'
import { validateEndpointSpec } from './validate-endpoint.ts'
import { specOfRequest, type NetworkRequest } from './validate.ts'

/** The seam with what only the entry point and the API's network file need. */
export interface NetworkEngine extends Networks {
  /** The spec of a create request: defaults, families, predefined names refused. */
  specOf(request: NetworkRequest): NetworkSpec
  /** Usage of a network's subnets, for `Status` of inspect. */
  usage(networkId: string): ReturnType<Ipam['usage']>
  /** Network plugins that were used since the start. */
  plugins(): readonly string[]
  /** Resolves when the kernel has let go of every link that was deleted. */
  settled(): Promise<void>
}

/** Makes the room; `restore` is to be awaited before any other verb. */
export function createNetworks(dependencies: NetworkDependencies): NetworkEngine {
  return new Engine(dependencies)
}

/** As configured, else Docker's; IPv6 subnets are local ones unless a pool for them is configured. */
function poolSources({ defaultAddressPools, hostId }: NetworkConfig): readonly PoolSource[] {
  const configured = parsePoolSources(defaultAddressPools)
  const sources = configured.length > 0 ? configured : defaultPoolSources
  const hasIpv6 = sources.some(({ base }) => base.family === 6)
  return hasIpv6 ? sources : [...sources, localPool(hostId)]
}

class Engine implements NetworkEngine {
  #room: Room
  #stored: StoredState
  #reconciler: Reconciler
  #pruning = false

  constructor(dependencies: NetworkDependencies) {
    const { config, store } = dependencies
    this.#room = {
      ...dependencies,
      state: new State(),
      ipam: new Ipam(poolSources(config)),
      ports: new PortTable(),
      queue: new KeyedQueue(),
      departures: new Departures(),
      plugins: new Plugins(config.plugins),
    }
    this.#reconciler = new Reconciler(this.#room)
    this.#stored = {
      networks: store.collection(collections.networks, parseNetworkRecord),
      sandboxes: store.collection(collections.sandboxes, parseSandboxRecord),
      debts: store.collection(collections.debts, parsePluginDebt),
    }
  }

  specOf(request: NetworkRequest): NetworkSpec {
    return specOfRequest(request, this.#room.config.defaultNetworkOpts)
  }

  create(spec: NetworkSpec): Promise<Network> {
    return createNetwork(this.#room, spec)
  }

  remove(idOrName: string): Promise<void> {
    return removeNetwork(this.#room, idOrName)
  }

  find(idOrName: string): Network {
    return this.#room.state.find(idOrName).record.network
  }

  list(): readonly Network[] {
    return this.#room.state.list()
  }

  endpointsOf(networkId: string) {
    return this.#room.state.endpointsOf(networkId)
  }

  usage(networkId: string) {
    return this.#room.ipam.usage(networkId)
  }

  async prune(unused: (network: Network) => boolean): Promise<readonly string[]> {
    if (this.#pruning) throw new Refusal('conflict', 'a prune operation is already running')
    this.#pruning = true
    try {
      return await pruneNetworks(this.#room, unused)
    } finally {
      this.#pruning = false
    }
  }

  validateEndpoint(networkName: string, spec: EndpointSpec): void {
    let network: Network | undefined
    try {
      network = this.find(networkName)
    } catch (error) {
      // Docker finds a missing network only at start.
      if (!(error instanceof Refusal && error.kind === 'notFound')) throw error
    }
    validateEndpointSpec(networkName, spec, network)
  }

  open(spec: SandboxSpec): Promise<Sandbox> {
    return this.#inTurn(spec.containerId, () => openSandbox(this.#room, spec))
  }

  close(containerId: string): Promise<void> {
    return this.#inTurn(containerId, () => closeSandbox(this.#room, containerId))
  }

  sandbox(containerId: string): Sandbox | undefined {
    const entry = this.#room.state.sandboxes.get(containerId)
    return entry?.ready === true ? entry.record.sandbox : undefined
  }

  connect(containerId: string, spec: EndpointSpec, alongside?: Alongside) {
    return this.#inTurn(containerId, () => connectSandbox(this.#room, containerId, spec, alongside))
  }

  disconnect(
    containerId: string,
    network: string,
    force: boolean,
    alongside?: Alongside,
  ): Promise<void> {
    return this.#inTurn(containerId, async () => {
      if (force && !this.#room.state.sandboxes.has(containerId)) {
        const { id } = this.find(network)
        const known = this.endpointsOf(id).some((one) => one.containerId === containerId)
        if (!known) throw new Refusal('notFound', `endpoint ${containerId} not found`)
      }
      await disconnectSandbox(this.#room, containerId, network, alongside)
    })
  }

  rename(containerId: string, name: string): Promise<void> {
    return this.#inTurn(containerId, () => renameSandbox(this.#room, containerId, name))
  }

  restore(running: ReadonlySet<string>): Promise<void> {
    return restoreAll(this.#room, this.#stored, running)
  }

  reconcile(): Promise<void> {
    return this.#room.queue.run('reconcile', () => this.#reconciler.all())
  }

  reconcileTurn(): Promise<number> {
    return this.#room.queue.run('reconcile', () => this.#reconciler.turn())
  }

  repairPolicyRules(): void {
    repairPolicyRules(this.#room)
  }

  plan(): Promise<readonly string[]> {
    return planAll(this.#room)
  }

  plugins(): readonly string[] {
    return this.#room.plugins.networkNames
  }

  settled(): Promise<void> {
    return this.#room.departures.all()
  }

  #inTurn<T>(containerId: string, task: () => Promise<T>): Promise<T> {
    return this.#room.queue.run(`container ${containerId}`, task)
  }
}
