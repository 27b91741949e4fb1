/**
 * `portolan daemon`: configuration, start, signals, end.
 *
 * SIGTERM and SIGINT end containers, keeper and containerd, unless live-restore is set; SIGHUP
 * reads the configuration file again; SIGKILL leaves everything to the next daemon. A fault that
 * nobody caught is logged and ends the process, which leaves what SIGKILL leaves. The engine is
 * loaded when it is to run: a third of a second that a look at the configuration does not take.
 */
import { writeFileSync } from 'node:fs'
import { log, setLogFormat, setLogLevel } from '../base/log.ts'
import { Refusal, messageOf, wrap } from '../base/refusal.ts'
import { engineVersion } from '../api/version.ts'
import { loadConfig, withoutEffect, type Config } from './config.ts'
import { helpText, parseFlags, type Given } from './flags.ts'
import { layoutOf } from './layout.ts'
import { setLevel } from './level.ts'
import { lockFile, type Lock } from './lock.ts'
import { claimNamespace } from './namespace.ts'

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
    if (config.teardown) await (await import('./down.ts')).tearDown(config, layout)
    else await (await import('./serve.ts')).serve(config, flags, layout, end)
    return 0
  } finally {
    for (const lock of locks.reverse()) lock.release()
  }
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
