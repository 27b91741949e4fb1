/**
 * The processes beside the daemon: containerd (our own, or one that somebody else runs) and the
 * keeper. Started or adopted together; what was started for a daemon that then cannot start is
 * ended again, what was adopted is left as it was.
 */
import { log } from '../base/log.ts'
import {
  connectContainerd,
  ensureNamespace,
  type Containerd,
} from '../containers/containerd/client.ts'
import { startContainerd, waitReady, watchForeign } from '../containers/containerd/supervisor.ts'
import { startKeeper, type KeeperConnection } from '../keeper/connection.ts'
import { keeperRuns } from '../keeper/launch.ts'
import type { Config } from './config.ts'
import type { Layout } from './layout.ts'

/** A containerd of somebody else has to be there when we start. */
const foreignTimeoutMs = 60_000

export interface Processes {
  readonly containerd: Containerd
  readonly keeper: KeeperConnection
  /** Called whenever containerd answers again after it was away. */
  onContainerdBack(callback: () => void): void
  /** Lets both go on (live restore). */
  release(): void
  stop(): Promise<void>
  /** The daemon cannot start: ends what it started itself. */
  abandon(): Promise<void>
}

interface ContainerdHandle {
  readonly client: Containerd
  readonly adopted: boolean
  onBack(callback: () => void): void
  release(): void
  stop(): Promise<void>
}

export async function openProcesses(config: Config, layout: Layout): Promise<Processes> {
  const keeperAdopted = keeperRuns(layout.keeper)
  const [first, second] = await Promise.allSettled([
    openContainerd(config, layout),
    startKeeper(layout.keeper),
  ])
  if (first.status === 'rejected' || second.status === 'rejected') {
    if (first.status === 'fulfilled') await endContainerd(first.value)
    if (second.status === 'fulfilled') await endKeeper(second.value, keeperAdopted)
    throw first.status === 'rejected'
      ? first.reason
      : second.status === 'rejected'
        ? second.reason
        : undefined
  }
  const [containerd, keeper] = [first.value, second.value]
  await ensureNamespace(containerd.client)
  return {
    containerd: containerd.client,
    keeper,
    onContainerdBack: (callback) => containerd.onBack(callback),
    release() {
      keeper.disconnect()
      containerd.release()
    },
    async stop() {
      await keeper.stop()
      await containerd.stop()
    },
    async abandon() {
      await endKeeper(keeper, keeperAdopted)
      await endContainerd(containerd)
    },
  }
}

async function endKeeper(keeper: KeeperConnection, adopted: boolean): Promise<void> {
  if (adopted) keeper.disconnect()
  else await keeper.stop()
}

async function endContainerd(containerd: ContainerdHandle): Promise<void> {
  if (containerd.adopted) containerd.release()
  else await containerd.stop()
}

async function openContainerd(config: Config, layout: Layout): Promise<ContainerdHandle> {
  const namespace = config['containerd-namespace']
  const given = config.containerd.replace(/^unix:\/\//, '')
  if (given !== '') return openForeign(connectContainerd(given, namespace))
  const client = connectContainerd(layout.containerd.socket, namespace)
  const own = await startContainerd(layout.containerd)
  log.info('containerd answers', { pid: own.pid, adopted: own.adopted })
  return {
    client,
    adopted: own.adopted,
    onBack: (callback) => own.onBack(callback),
    release() {
      own.release()
      client.close()
    },
    async stop() {
      client.close()
      await own.stop()
    },
  }
}

async function openForeign(client: Containerd): Promise<ContainerdHandle> {
  await waitReady(client, foreignTimeoutMs)
  const watches: { release(): void }[] = []
  const release = () => {
    for (const watch of watches) watch.release()
    client.close()
  }
  return {
    client,
    adopted: true,
    onBack: (callback) => {
      watches.push(watchForeign(client, callback))
    },
    release,
    stop: async () => release(),
  }
}
