/**
 * `portolan daemon`: configuration, start, signals, end.
 *
 * SIGTERM and SIGINT end containers, keeper and containerd, unless live-restore is set; SIGHUP
 * reads the configuration file again; SIGKILL leaves everything to the next daemon. A fault that
 * nobody caught is logged and ends the process, which leaves what SIGKILL leaves.
 */
import { writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { log, setLogFormat, setLogLevel, type LogLevel } from '../base/log.ts'
import { Refusal, messageOf, wrap } from '../base/refusal.ts'
import { eventRoutes } from '../api/events.ts'
import { listen, parseAddress } from '../api/listen.ts'
import { createApi, type Api } from '../api/server.ts'
import { systemRoutes } from '../api/system.ts'
import { engineVersion } from '../api/version.ts'
import { EventLog } from '../insight/events.ts'
import { watchNetwork, watchPolicyRules } from '../kernel/monitor.ts'
import { homeNetns } from '../kernel/netns.ts'
import { notify } from '../kernel/notify.ts'
import { stayResidentSmall } from '../kernel/resident.ts'
import { loadConfig, withoutEffect, type Config } from './config.ts'
import { tearDown } from './down.ts'
import { startEngine, type Engine } from './engine.ts'
import { currentFacts, engineId, gatherConstants } from './facts.ts'
import { helpText, parseFlags, type Given } from './flags.ts'
import { layoutOf } from './layout.ts'
import { lockFile, type Lock } from './lock.ts'
import { claimNamespace } from './namespace.ts'
import { repairOnChange, startReconcileLoop } from './reconcile.ts'
import { reloadAttributes, reloaded } from './reload.ts'
import { tlsOptions } from './tls.ts'

const defaultHost = 'unix:///run/portolan/docker.sock'

/** Runs until it is told to end; answers the exit code. */
export async function main(args: readonly string[]): Promise<number> {
  try {
    const line = parseFlags(args)
    if (line.kind === 'help') {
      console.log(helpText())
      return 0
    }
    if (line.kind === 'version') {
      console.log(`Portolan engine version ${engineVersion}`)
      return 0
    }
    const config = loadConfig(line.given)
    if (config.validate) {
      console.error('configuration OK')
      return 0
    }
    return await runDaemon(config, line.given).catch((error: unknown) => {
      throw wrap('failed to start daemon: ', error)
    })
  } catch (error) {
    console.error(messageOf(error))
    const fault = error instanceof Refusal ? error.cause : error
    if (!(fault instanceof Refusal) && fault instanceof Error) log.debug(fault.stack ?? '')
    return 1
  }
}

async function runDaemon(config: Config, flags: Given): Promise<number> {
  if (process.getuid?.() !== 0) {
    throw new Refusal(
      'forbidden',
      'portolan daemon needs root: it makes links, namespaces and firewall rules',
    )
  }
  setLevel(config)
  setLogFormat(config['log-format'] === 'json' ? 'json' : 'text')
  applyToProcess(config)
  watchFaults()
  const end = watchSignals()
  const layout = layoutOf(config['data-root'], config['exec-root'])
  const locks: Lock[] = []
  try {
    locks.push(lockFile(layout.lock, 'another daemon uses this data root'))
    locks.push(lockFile(layout.execLock, 'another daemon uses this exec root'))
    locks.push(lockFile(config.pidfile, 'another daemon has this pid file'))
    locks.push(await claimNamespace(layout.keeper))
    const events = new EventLog()
    if (config.teardown) await tearDown(config, layout, events)
    else await serve(config, flags, await startEngine(config, layout, events), events, end)
    return 0
  } finally {
    for (const lock of locks.reverse()) lock.release()
  }
}

/** From the first listener to the last: answers the API until the process is told to end. */
async function serve(
  config: Config,
  flags: Given,
  engine: Engine,
  events: EventLog,
  end: Promise<void>,
): Promise<void> {
  let current = config
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

/** How often one has to insist before the daemon ends at once, as with dockerd. */
const insistMax = 3

/** Resolves at the first SIGTERM or SIGINT, also while the daemon still starts. */
function watchSignals(): Promise<void> {
  const end = Promise.withResolvers<void>()
  let count = 0
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      log.info('ending', { signal })
      if (++count >= insistMax) process.exit(1)
      end.resolve()
    })
  }
  return end.promise
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

/** What the process itself has of the configuration; its children inherit it. */
function applyToProcess(config: Config): void {
  for (const [name, value] of Object.entries(config.proxies)) {
    const variable = name.replace('-', '_')
    process.env[variable] = value
    process.env[variable.toUpperCase()] = value
  }
  const score = config['oom-score-adjust']
  if (score !== 0) {
    try {
      writeFileSync('/proc/self/oom_score_adj', String(score))
    } catch (error) {
      throw wrap(`oom-score-adjust cannot be ${score} here: `, error)
    }
  }
  for (const option of withoutEffect(config)) log.warn('an option has no effect here', { option })
}

const levels: Readonly<Record<string, LogLevel>> = {
  trace: 'debug',
  debug: 'debug',
  info: 'info',
  warn: 'warn',
  warning: 'warn',
  error: 'error',
  fatal: 'error',
  panic: 'error',
}

function setLevel(config: Config): void {
  setLogLevel(config.debug ? 'debug' : (levels[config['log-level']] ?? 'info'))
}

/** Going on after a fault of unknown reach could harm; the next daemon finds everything. */
function watchFaults(): void {
  // Whoever read our log has gone: that is no reason to go too.
  process.stderr.on('error', () => setLogLevel('error'))
  const die = (error: unknown) => {
    log.error('fault', { error: messageOf(error) })
    if (error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`)
    process.exit(70)
  }
  process.on('uncaughtException', die)
  process.on('unhandledRejection', die)
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
