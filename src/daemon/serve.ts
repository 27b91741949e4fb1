/** The engine and its API while they run: from the first listener to the last. */
import { hostname } from 'node:os'
import { eventRoutes } from '../api/events.ts'
import { listen, parseAddress } from '../api/listen.ts'
import { createApi, type Api } from '../api/server.ts'
import { systemRoutes } from '../api/system.ts'
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { EventLog } from '../insight/events.ts'
import { watchNetwork, watchPolicyRules } from '../kernel/monitor.ts'
import { homeNetns } from '../kernel/netns.ts'
import { notify } from '../kernel/notify.ts'
import { stayResidentSmall } from '../kernel/resident.ts'
import { loadConfig, type Config } from './config.ts'
import { startEngine, type Engine } from './engine.ts'
import { currentFacts, engineId, gatherConstants } from './facts.ts'
import type { Given } from './flags.ts'
import type { Layout } from './layout.ts'
import { setLevel } from './level.ts'
import { repairOnChange, startReconcileLoop } from './reconcile.ts'
import { reloadAttributes, reloaded } from './reload.ts'
import { tlsOptions } from './tls.ts'

const defaultHost = 'unix:///run/portolan/docker.sock'

/**
 * Starts the engine, and answers the API until the process is told to end.
 * @param flags of the command line, for reloads
 * @param end resolves then
 */
export async function serve(
  config: Config,
  flags: Given,
  layout: Layout,
  end: Promise<void>,
): Promise<void> {
  let current = config
  const events = new EventLog()
  const engine = await startEngine(config, layout, events)
  const api = await openApi(() => current, engine, events)
  const loop = startReconcileLoop(
    () => engine.reconcile(),
    (changed) => watchNetwork(homeNetns(), changed),
  )
  const rules = repairOnChange(
    () => engine.repairPolicyRules(),
    (changed) => watchPolicyRules(homeNetns(), changed),
  )
  events.observe(({ type }) => {
    if (type === 'network' || type === 'container') loop.touched()
  })
  const reload = () => {
    current = reloadConfig(current, flags, events, engine)
  }
  process.on('SIGHUP', reload)
  tellManager('READY=1')
  const small = stayResidentSmall()
  log.info('Daemon has completed initialization')
  await end
  tellManager('STOPPING=1')
  process.off('SIGHUP', reload)
  small.stop()
  rules.stop()
  await loop.stop()
  const keep = current['live-restore']
  // Those who watch a container until it ends are still told how it ended.
  if (!keep) await engine.stopContainers()
  await api.close()
  await engine.stop(keep)
}

async function openApi(config: () => Config, engine: Engine, events: EventLog): Promise<Api> {
  const constants = await gatherConstants(engine.store, engine.containerd, config())
  const counts = engine.counts
  const routes = [
    ...systemRoutes({
      facts: () => currentFacts(config(), constants, counts, events),
      diskUsage: (parts) => engine.diskUsage(parts),
      login: (credentials, signal) => engine.login(credentials, signal),
    }),
    ...eventRoutes(events),
    ...engine.routes,
  ]
  const { experimental, 'min-api-version': oldest } = config()
  const api = createApi(routes, { experimental, ...(oldest === '' ? {} : { oldest }) })
  const { hosts, group } = config()
  const tls = tlsOptions(config())
  for (const host of hosts.length > 0 ? hosts : [defaultHost]) {
    const address = parseAddress(host, tls !== undefined)
    if (address.kind === 'tcp' && tls === undefined) {
      log.warn('this address gives root on this machine to everyone who can reach it', { host })
    }
    await listen(api, address, tls === undefined ? { group } : { group, tls })
  }
  return api
}

/** What may change while the daemon runs: the rest of the file waits for the next start. */
function reloadConfig(
  current: Config,
  flags: Given,
  events: EventLog,
  engine: Engine,
): Config {
  try {
    const changed = reloaded(current, loadConfig(flags))
    setLevel(changed)
    engine.reload(changed)
    log.info('configuration reloaded', {
      debug: changed.debug,
      liveRestore: changed['live-restore'],
    })
    const attributes = reloadAttributes(changed, hostname())
    void engineId(engine.store).then((id) =>
      events.emit({ type: 'daemon', action: 'reload', id, attributes }),
    )
    return changed
  } catch (error) {
    log.error('configuration not reloaded', { error: messageOf(error) })
    return current
  }
}

function tellManager(message: string): void {
  const socket = process.env['NOTIFY_SOCKET']
  if (socket === undefined || socket === '') return
  try {
    notify(socket, message)
  } catch (error) {
    log.warn('the service manager cannot be told', { message, error: messageOf(error) })
  }
}
