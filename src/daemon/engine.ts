/**
 * Puts the rooms together in the order in which they need each other, and takes them apart again.
 * Everything that can be found again after a crash is found here; the API listens last.
 */
import { join } from 'node:path'
import type { Route } from '../api/route.ts'
import type { Credentials, DiskUsage } from '../api/system.ts'
import { openAppArmor } from '../containers/apparmor.ts'
import type { Containerd } from '../containers/containerd/client.ts'
import { Containers } from '../containers/containers.ts'
import { openImages, type ImageUser } from '../containers/images/images.ts'
import type { TransferSettings } from '../containers/images/transfers.ts'
import { isRunning } from '../containers/record.ts'
import { openVolumes } from '../containers/volumes/volumes.ts'
import type { EventLog } from '../insight/events.ts'
import { createNetworks } from '../network/engine.ts'
import { Forwarding } from '../network/forwarding.ts'
import { openStore, type Store } from '../store/store.ts'
import type { Config } from './config.ts'
import { containersConfig } from './containers-config.ts'
import { engineId, type Counts } from './facts.ts'
import { openFirewall } from './firewall.ts'
import type { Layout } from './layout.ts'
import { networkConfig } from './network-config.ts'
import { prepareProcess } from './prepare.ts'
import { openProcesses, type Processes } from './processes.ts'
import { diskUsage, routesOf } from './resources.ts'
import { clearKernel } from './teardown.ts'

/** `down` is to leave nothing: a slow machine gets longer than a shutdown would. */
const teardownSecondsMin = 120

export interface Engine {
  readonly store: Store
  readonly containerd: Containerd
  readonly counts: Counts
  /** Routes of the rooms' own resources. */
  readonly routes: readonly Route[]
  diskUsage(parts: ReadonlySet<string>): Promise<DiskUsage>
  login(credentials: Credentials, signal: AbortSignal): Promise<void>
  /** Compares what has its turn with the kernel and patches it; answers which share that was. */
  reconcile(): Promise<number>
  /** Puts policy rules back at once. */
  repairPolicyRules(): void
  /** What a reload may change is so from now on. */
  reload(config: Config): void
  /** All at once, each with its own grace period. */
  stopContainers(): Promise<void>
  /** `keep`: containers, keeper and containerd go on (live restore). */
  stop(keep: boolean): Promise<void>
  /** Stops everything and leaves nothing of ours in the kernel. */
  teardown(): Promise<void>
}

export async function startEngine(
  config: Config,
  layout: Layout,
  events: EventLog,
): Promise<Engine> {
  await prepareProcess(layout)
  const store = openStore(layout.store)
  let processes: Processes | undefined
  try {
    processes = await openProcesses(config, layout)
    return await buildRooms(config, layout, events, store, processes)
  } catch (error) {
    await processes?.abandon()
    store.close()
    throw error
  }
}

async function buildRooms(
  config: Config,
  layout: Layout,
  events: EventLog,
  store: Store,
  processes: Processes,
): Promise<Engine> {
  const { keeper, containerd } = processes
  const { emit } = events
  let current = config
  const forwarding = new Forwarding(store)
  const { firewall, firewalld } = await openFirewall(config, store, forwarding)
  const networks = createNetworks({
    config: networkConfig(config, await engineId(store)),
    store,
    firewall,
    keeper,
    forwarding,
    emit,
  })
  const volumes = await openVolumes(join(layout.dataRoot, 'volumes'), store, emit)
  const users = (imageId: string) => imageUsers(containers, imageId)
  const images = await openImages({
    containerd,
    emit,
    usersOf: users,
    transfers: () => transfersOf(current),
  })
  const appArmor = openAppArmor(layout.execRoot)
  const containers = new Containers({
    store,
    containerd,
    images,
    volumes,
    networks,
    keeper,
    emit,
    appArmor,
    config: containersConfig(config),
  })
  await networks.restore(await containers.restoreRunning())
  await containers.settle()
  await keeper.restored()
  processes.onContainerdBack(() => {
    void containers.recheck()
  })
  const rooms = { networks, firewall, volumes, images, containers }
  return {
    store,
    containerd,
    counts: {
      containers: () => containers.counts(),
      images: () => images.catalogue.all().length,
      firewalld,
      plugins: () => networks.plugins(),
    },
    routes: routesOf(rooms),
    diskUsage: (parts) => diskUsage(rooms, parts),
    login: ({ serveraddress, ...credentials }, signal) =>
      images.login(serveraddress, credentials, signal),
    reconcile: () => networks.reconcileTurn(),
    repairPolicyRules: () => networks.repairPolicyRules(),
    reload(changed) {
      current = changed
    },
    stopContainers: () => containers.stopAll(current['shutdown-timeout']),
    async stop(keep) {
      containers.release()
      if (keep) processes.release()
      else await processes.stop()
      store.close()
    },
    async teardown() {
      const seconds = current['shutdown-timeout']
      await containers.stopAll(seconds < 0 ? seconds : Math.max(seconds, teardownSecondsMin))
      containers.release()
      await networks.settled()
      await clearKernel({ firewall, forwarding, layout, appArmor })
      volumes.unmountAll()
      await processes.stop()
      store.close()
    },
  }
}

function transfersOf(config: Config): TransferSettings {
  return {
    insecureRegistries: config['insecure-registries'],
    mirrors: config['registry-mirrors'],
    downloadsAtOnce: config['max-concurrent-downloads'],
    uploadsAtOnce: config['max-concurrent-uploads'],
    attemptsMax: config['max-download-attempts'],
  }
}

/** Whoever asks, asks after everything was built. */
function imageUsers(containers: Containers, imageId: string): readonly ImageUser[] {
  return containers.context.registry
    .all()
    .filter(({ record }) => record.imageId === imageId)
    .map(({ id, record }) => ({ containerId: id, running: isRunning(record.state.status) }))
}
