/** For tests of the network room: an engine on a store of its own, in private namespaces. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { EngineEvent } from '../../src/base/event.ts'
import { newId } from '../../src/base/id.ts'
import { noFirewall } from '../../src/firewall/writer.ts'
import type { Firewall } from '../../src/firewall/intent.ts'
import type { Keeper, PortHold, ResolverSpec, ZoneRecord } from '../../src/keeper/client.ts'
import { warmThreads } from '../../src/kernel/netns.ts'
import { openStore, type Store } from '../../src/store/store.ts'
import { defaultNetworkConfig, type NetworkConfig } from '../../src/network/config.ts'
import { createNetworks, type NetworkEngine } from '../../src/network/engine.ts'
import { sandboxSpec } from './network-specs.ts'
import { Forwarding } from '../../src/network/forwarding.ts'
import type { SandboxSpec } from '../../src/network/model.ts'

/** What the keeper and the firewall were told, in place of the second process and the rules. */
export interface Told {
  readonly zones: Map<string, readonly ZoneRecord[]>
  readonly resolvers: Map<string, ResolverSpec>
  readonly ports: Map<string, readonly PortHold[]>
  /** `tcp/8080`: some other program listens there. */
  readonly busy: Set<string>
  readonly events: EngineEvent[]
  firewallFails: boolean
}

export interface Lab {
  readonly engine: NetworkEngine
  readonly store: Store
  readonly told: Told
  readonly folder: string
  spec(part?: Partial<SandboxSpec>): SandboxSpec
  /** The daemon dies and another one starts on the same store. */
  restart(running: readonly string[], config?: Partial<NetworkConfig>): Promise<Lab>
  end(): Promise<void>
}

/** Other rooms in place of the recorders: a real firewall, a real keeper. */
export interface RealRooms {
  firewall(store: Store, forwarding: Forwarding): Firewall
  keeper(folder: string): Promise<Keeper>
}

export async function openLab(
  config: Partial<NetworkConfig> = {},
  real?: RealRooms,
): Promise<Lab> {
  await warmThreads()
  const folder = mkdtempSync('/run/network-test-')
  return start(folder, config, [], real)
}

async function start(
  folder: string,
  config: Partial<NetworkConfig>,
  running: readonly string[],
  real?: RealRooms,
): Promise<Lab> {
  const store = openStore(join(folder, 'portolan.db'))
  const told: Told = {
    zones: new Map(),
    resolvers: new Map(),
    ports: new Map(),
    busy: new Set(),
    events: [],
    firewallFails: false,
  }
  const forwarding = new Forwarding(store)
  const engine = createNetworks({
    config: { ...defaultNetworkConfig, execRoot: folder, ...config },
    store,
    firewall: real?.firewall(store, forwarding) ?? firewallOf(told),
    keeper: (await real?.keeper(folder)) ?? keeperOf(told),
    forwarding,
    emit: (event) => void told.events.push(event),
  })
  await engine.restore(new Set(running))
  const lab: Lab = {
    engine,
    store,
    told,
    folder,
    spec: (part = {}) => {
      const containerId = newId()
      return sandboxSpec({ containerId, filesDir: join(folder, containerId.slice(0, 8)), ...part })
    },
    restart: (still, other = {}) => {
      store.close()
      return start(folder, { ...config, ...other }, still, real)
    },
    end: async () => {
      await engine.settled()
      store.close()
      rmSync(folder, { recursive: true, force: true })
    },
  }
  return lab
}

function firewallOf(told: Told): Firewall {
  const setEndpoint = () =>
    told.firewallFails ? Promise.reject(new Error('no rules today')) : Promise.resolve()
  return { ...noFirewall, setEndpoint }
}

function keeperOf(told: Told): Keeper {
  const unused = () => Promise.reject(new Error('not part of this room'))
  return {
    setZone: async (id, _name, records) => void told.zones.set(id, records),
    changeZone: async (id, _name, endpointId, record) => {
      const others = (told.zones.get(id) ?? []).filter((one) => one.endpointId !== endpointId)
      told.zones.set(id, record === undefined ? others : [...others, record])
    },
    removeZone: async (id) => void told.zones.delete(id),
    together: (requests) => requests(),
    setResolver: async (spec) => void told.resolvers.set(spec.sandboxId, spec),
    removeResolver: async (id) => void told.resolvers.delete(id),
    holdPorts: async (id, ports) => {
      const taken = ports.find((one) => told.busy.has(`${one.protocol}/${one.hostPort}`))
      if (taken !== undefined) {
        const { hostIp, hostPort, containerIp, containerPort, protocol } = taken
        const to = `${containerIp}:${containerPort}/${protocol}`
        const failed = `failed to bind host port for ${hostIp}:${hostPort}:${to}`
        throw new Error(`${failed}: address already in use`)
      }
      told.ports.set(id, ports)
    },
    releasePorts: async (id) => void told.ports.delete(id),
    openStdio: unused,
    drainStdio: unused,
    closeStdio: unused,
    attach: unused,
  }
}

/** Runs a command and answers its output; in a namespace when a path is given. */
export function run(command: string, netnsPath = ''): string {
  const words = command.split(' ')
  const all = netnsPath === '' ? words : ['nsenter', `--net=${netnsPath}`, ...words]
  const [file = '', ...args] = all
  return execFileSync(file, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}
