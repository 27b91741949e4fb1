/**
 * Health checks: the probe runs as an exec at the interval of the configuration; the last five
 * results are kept, and changes of status are told as events. What is known outlives the daemon: at
 * once where it changes, within half a minute where it does not.
 */
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { timerMsMax } from '../base/timer.ts'
import type { HealthConfig } from './config.ts'
import { runProbe } from './exec-run.ts'
import { newHealth, type Health } from './health-record.ts'
import { hasProcess } from './record.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'
import { epochMs, now } from './time.ts'

const resultsMax = 5
/** Results that bring nothing new are stored so often only: each write is one of the disk. */
const quietStoreMs = 30_000
const outputBytesMax = 4096
const defaults = { intervalMs: 30_000, timeoutMs: 30_000, startIntervalMs: 5_000, retries: 3 }
const ms = (nanoseconds: number, otherwise: number) =>
  nanoseconds > 0 ? nanoseconds / 1e6 : otherwise

/** The command of a check; undefined when there is none. */
function commandOf(
  health: HealthConfig | null,
  shell: readonly string[] | null,
): readonly string[] | undefined {
  const [kind, ...rest] = health?.Test ?? []
  if (kind === 'CMD') return rest.length > 0 ? rest : undefined
  if (kind === 'CMD-SHELL') return [...(shell ?? ['/bin/sh', '-c']), rest.join(' ')]
  return undefined
}

/** Begins to probe a container that was started; of its last run the results stay. */
export function startHealth(context: Context, container: Container): void {
  if (commandIn(container) === undefined) return
  const results = container.live.health?.log ?? []
  container.live.health = { ...newHealth(), log: results }
  store(context, container)
  probe(context, container)
}

/** Goes on after a restart of the daemon, with what was known, at the time that was due. */
export function restoreHealth(context: Context, container: Container): void {
  if (commandIn(container) === undefined) return
  container.live.health ??= newHealth()
  probe(context, container)
}

const commandIn = ({ record: { config } }: Container): readonly string[] | undefined =>
  commandOf(config.Healthcheck, config.Shell)

function store(context: Context, container: Container): void {
  context.registry.saveHealth(container).catch((error: unknown) => {
    log.warn('what is known of a health could not be stored', {
      id: container.id,
      error: messageOf(error),
    })
  })
}

/** Stores what is not stored yet; for the end of the daemon. */
export function keepHealth(context: Context, container: Container): void {
  const { health } = container.live
  if (health === undefined) return
  clearTimeout(health.timer)
  const last = health.log.at(-1)
  if (last !== undefined && epochMs(last.End) > health.storedMs) store(context, container)
}

function probe(context: Context, container: Container): void {
  const { health } = container.live
  const { Healthcheck } = container.record.config
  const command = commandIn(container)
  if (health === undefined || command === undefined || Healthcheck === null) return
  const startedMs = epochMs(container.record.state.startedAt)
  const last = health.log.at(-1)
  let sinceMs = Math.max(startedMs, last === undefined ? 0 : epochMs(last.End))
  const next = () => {
    if (health.abort.signal.aborted || context.closing.aborted) return
    const inStart =
      Date.now() - startedMs < ms(Healthcheck.StartPeriod, 0) && health.status === 'starting'
    const intervalMs = inStart
      ? ms(Healthcheck.StartInterval, defaults.startIntervalMs)
      : ms(Healthcheck.Interval, defaults.intervalMs)
    const dueMs = Math.max(0, sinceMs + intervalMs - Date.now())
    health.timer = setTimeout(() => {
      check(context, container, health, command, inStart)
        .catch((error: unknown) => {
          log.warn('a health check failed to run', { id: container.id, error: messageOf(error) })
        })
        .finally(() => {
          sinceMs = Date.now()
          next()
        })
    }, Math.min(intervalMs, dueMs, timerMsMax))
    health.timer.unref()
  }
  next()
}

async function check(
  context: Context,
  container: Container,
  health: Health,
  command: readonly string[],
  inStart: boolean,
): Promise<void> {
  if (!hasProcess(container.record.state.status) || container.record.state.status === 'paused')
    return
  const config = container.record.config.Healthcheck
  const timeoutMs = ms(config?.Timeout ?? 0, defaults.timeoutMs)
  const Start = now()
  const result = await runProbe(context, container, command, { timeoutMs, outputBytesMax })
  // A daemon that lets go does not see how the probe ends.
  const isOver = health.abort.signal.aborted || context.closing.aborted
  if (result === undefined || isOver) return
  const { exitCode, output } = result
  const probe = { Start, End: now(), ExitCode: exitCode, Output: output }
  health.log = [...health.log, probe].slice(-resultsMax)
  const { status: before, failingStreak } = health
  if (exitCode === 0) {
    health.failingStreak = 0
    health.status = 'healthy'
  } else if (!inStart) {
    health.failingStreak++
    const retries = config !== null && config.Retries > 0 ? config.Retries : defaults.retries
    if (health.failingStreak >= retries) health.status = 'unhealthy'
  }
  const isNews = health.status !== before || health.failingStreak !== failingStreak
  if (isNews || Date.now() - health.storedMs > quietStoreMs) store(context, container)
  if (health.status !== before) context.registry.tell(container, `health_status: ${health.status}`)
}

/** The container ended. */
export function stopHealth(context: Context, container: Container): void {
  const { health } = container.live
  if (health === undefined) return
  health.abort.abort()
  clearTimeout(health.timer)
  if (health.status === 'starting' || health.status === 'healthy') health.status = 'unhealthy'
  store(context, container)
}

export function healthStatus({ live, record }: Container): 'none' | Health['status'] {
  if (live.health !== undefined) return live.health.status
  if (!record.everStarted) return 'none'
  return commandOf(record.config.Healthcheck, record.config.Shell) === undefined
    ? 'none'
    : 'starting'
}

/** State.Health; undefined without a check. */
export function healthView(container: Container): object | undefined {
  const status = healthStatus(container)
  if (status === 'none') return undefined
  const { health } = container.live
  return { Status: status, FailingStreak: health?.failingStreak ?? 0, Log: health?.log ?? [] }
}
