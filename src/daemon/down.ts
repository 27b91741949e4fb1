/**
 * `daemon --teardown`, for `portolan down`: containers stopped, nothing of ours in the kernel.
 *
 * What runs is taken down by an engine, which has to know it first. Where nothing runs, as after
 * the daemon has ended by itself, nothing is started for it: neither containerd, which may not even
 * be installed any more, nor the keeper.
 */
import { join } from 'node:path'
import { openAppArmor } from '../containers/apparmor.ts'
import { findRunning } from '../containers/containerd/process.ts'
import { idsOfShims } from '../containers/shims.ts'
import { openVolumes } from '../containers/volumes/volumes.ts'
import { EventLog } from '../insight/events.ts'
import { keeperRuns } from '../keeper/launch.ts'
import { unmountAll } from '../kernel/mount.ts'
import { Forwarding } from '../network/forwarding.ts'
import { openStore } from '../store/store.ts'
import type { Config } from './config.ts'
import { openFirewall } from './firewall.ts'
import type { Layout } from './layout.ts'
import { prepareProcess } from './prepare.ts'
import { clearKernel } from './teardown.ts'

export async function tearDown(config: Config, layout: Layout): Promise<void> {
  const events = new EventLog()
  if (mayRun(config, layout)) {
    const { startEngine } = await import('./engine.ts')
    const engine = await startEngine(config, layout, events)
    return engine.teardown()
  }
  await prepareProcess(layout)
  const store = openStore(layout.store)
  try {
    const forwarding = new Forwarding(store)
    const { firewall } = await openFirewall(config, store, forwarding)
    await clearKernel({ firewall, forwarding, layout, appArmor: openAppArmor(layout.execRoot) })
    const { dataRoot } = layout
    unmountAll(join(dataRoot, 'containers'))
    const volumes = await openVolumes(join(dataRoot, 'volumes'), store, events.emit)
    volumes.unmountAll()
  } finally {
    store.close()
  }
}

/** Somebody else's containerd tells of our containers only when it is asked. */
function mayRun(config: Config, { keeper, containerd }: Layout): boolean {
  if (config.containerd !== '') return true
  if (keeperRuns(keeper) || findRunning(containerd) !== undefined) return true
  const namespace = config['containerd-namespace']
  return idsOfShims({ socketPath: containerd.socket, namespace }).length > 0
}
