/**
 * Puts the rooms together in the order in which they need each other, and takes them apart again.
 * Everything that can be found again after a crash is found here; the API listens last.
 */
import { chmodSync, mkdirSync } from 'node:fs'
import { networkRoutes, type NetworkAttachments } from '../api/networks.ts'
import type { Route } from '../api/route.ts'
import type { Credentials, DiskUsage } from '../api/system.ts'
import { log } from '../base/log.ts'
import { Refusal } from '../base/refusal.ts'
import {
  connectContainerd, ensureNamespace, type Containerd,
} from '../containers/containerd/client.ts'
import { startContainerd, waitReady, watchForeign } from '../containers/containerd/supervisor.ts'
import type { Firewall } from '../firewall/intent.ts'
import type { EventLog } from '../insight/events.ts'
import { makeShared } from '../kernel/mount.ts'
import { homeNetns, warmThreads } from '../kernel/netns.ts'
import { startKeeper, type KeeperConnection } from '../keeper/connection.ts'
import { createNetworks, type NetworkEngine } from '../network/engine.ts'
import { Forwarding } from '../network/forwarding.ts'
import { openStore, type Store } from '../store/store.ts'
import type { Config } from './config.ts'
import type { Counts } from './facts.ts'
import { createFirewall } from './firewall.ts'
import type { Layout } from './layout.ts'
import { networkConfig } from './network-config.ts'

/** A containerd of somebody else has to be there when we start. */
const foreignContainerdTimeoutMs = 60_000

export interface Engine {
  readonly store: Store
  readonly containerd: Containerd
  readonly firewall: Firewall
  readonly networks: NetworkEngine
  readonly counts: Counts
  /** Routes of the rooms' own resources. */
  readonly routes: readonly Route[]
  diskUsage(parts: ReadonlySet<string>): Promise<DiskUsage>
  login(credentials: Credentials): Promise<string>
  /** Compares everything with the kernel and patches it. */
  reconcile(): Promise<void>
  /** `keep`: containers, keeper and containerd go on (live restore). */
  stop(keep: boolean): Promise<void>
}

/** A containerd of our own, or the one that --containerd names. */
interface ContainerdHandle {
  readonly client: Containerd
  onBack(callback: () => void): void
  release(): void
  stop(): Promise<void>
}

export async function startEngine(config: Config, layout: Layout, events: EventLog): Promise<Engine> {
  await prepareProcess(layout)
  const store = openStore(layout.store)
  const [containerd, keeper] = await Promise.all([
    openContainerd(config, layout),
    startKeeper(layout.keeper),
  ])
  await ensureNamespace(containerd.client)
  const forwarding = new Forwarding(store)
  const firewall = createFirewall(config, store, forwarding)
  const networks = createNetworks({
    config: networkConfig(config), store, firewall, keeper, forwarding, emit: events.emit,
  })
  await networks.restore(new Set())
  await keeper.restored()
  return {
    store,
    containerd: containerd.client,
    firewall,
    networks,
    counts: { containers: () => ({ running: 0, paused: 0, stopped: 0 }), images: () => 0 },
    routes: networkRoutes(networks, noContainers),
    diskUsage: async () => ({ layersBytes: 0, images: [], containers: [], volumes: [] }),
    login: async () => '',
    reconcile: () => networks.reconcile(),
    async stop(keep) {
      await stopProcesses(keep, keeper, containerd)
      store.close()
    },
  }
}

const noContainers: NetworkAttachments = {
  connectNetwork: async (name) => { throw new Refusal('notFound', `No such container: ${name}`) },
  disconnectNetwork: async (name) => { throw new Refusal('notFound', `No such container: ${name}`) },
}

/** Folders, and threads that must exist before the first entry into a namespace. */
async function prepareProcess(layout: Layout): Promise<void> {
  mkdirSync(layout.dataRoot, { recursive: true, mode: 0o710 })
  mkdirSync(layout.netns, { recursive: true, mode: 0o711 })
  chmodSync(layout.execRoot, 0o711) // the socket's group passes through, nobody reads it
  await warmThreads()
  homeNetns()
  // Runtimes and tools in other mount namespaces see namespaces that are bound here later.
  makeShared(layout.netns)
}

async function openContainerd(config: Config, layout: Layout): Promise<ContainerdHandle> {
  const given = config.containerd.replace(/^unix:\/\//, '')
  const client = connectContainerd(given === '' ? layout.containerd.socket : given, config['containerd-namespace'])
  if (given === '') {
    const own = await startContainerd(layout.containerd)
    log.info('containerd answers', { pid: own.pid, adopted: own.adopted })
    return {
      client,
      onBack: (callback) => own.onBack(callback),
      release: () => { own.release(); client.close() },
      stop: async () => { client.close(); await own.stop() },
    }
  }
  await waitReady(client, foreignContainerdTimeoutMs)
  const watches: { release(): void }[] = []
  const release = () => {
    for (const watch of watches) watch.release()
    client.close()
  }
  const onBack = (callback: () => void) => { watches.push(watchForeign(client, callback)) }
  return { client, onBack, release, stop: async () => release() }
}

async function stopProcesses(
  keep: boolean, keeper: KeeperConnection, containerd: ContainerdHandle,
): Promise<void> {
  if (keep) {
    keeper.disconnect()
    containerd.release()
    return
  }
  await keeper.stop()
  await containerd.stop()
}
