/**
 * Health checks: the probe runs as an exec at the interval of the configuration; the last five
 * results are kept, and changes of status are told as events.
 */
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import type { HealthConfig } from './config.ts'
import { runProbe } from './exec-run.ts'
import type { Health } from './health-record.ts'
import { hasProcess } from './record.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'
import { now } from './time.ts'

const resultsMax = 5
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

/** Begins to probe a container that was started. */
export function startHealth(context: Context, container: Container): void {
  begin(context, container, 'starting')
}

/** Goes on after a restart of the daemon; the status is found out anew. */
export function restoreHealth(context: Context, container: Container): void {
  begin(context, container, 'starting')
}

function begin(context: Context, container: Container, status: Health['status']): void {
  const { Healthcheck, Shell } = container.record.config
  const command = commandOf(Healthcheck, Shell)
  if (command === undefined || Healthcheck === null) return
  const health: Health = {
    status,
    failingStreak: 0,
    log: [],
    timer: undefined,
    abort: new AbortController(),
  }
  container.live.health = health
  const startedMs = Date.now()
  const next = () => {
    if (health.abort.signal.aborted || context.closing.aborted) return
    const inStart =
      Date.now() - startedMs < ms(Healthcheck.StartPeriod, 0) && health.status === 'starting'
    const delayMs = inStart
      ? ms(Healthcheck.StartInterval, defaults.startIntervalMs)
      : ms(Healthcheck.Interval, defaults.intervalMs)
    health.timer = setTimeout(() => {
      check(context, container, health, command, inStart)
        .catch((error: unknown) => {
          log.warn('a health check failed to run', { id: container.id, error: messageOf(error) })
        })
        .finally(next)
    }, delayMs)
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
  if (result === undefined || health.abort.signal.aborted) return
  const { exitCode, output } = result
  const probe = { Start, End: now(), ExitCode: exitCode, Output: output }
  health.log = [...health.log, probe].slice(-resultsMax)
  const before = health.status
  if (exitCode === 0) {
    health.failingStreak = 0
    health.status = 'healthy'
  } else if (!inStart) {
    health.failingStreak++
    const retries = config !== null && config.Retries > 0 ? config.Retries : defaults.retries
    if (health.failingStreak >= retries) health.status = 'unhealthy'
  }
  if (health.status !== before) context.registry.tell(container, `health_status: ${health.status}`)
}

/** The container ended. */
export function stopHealth(container: Container): void {
  const { health } = container.live
  if (health === undefined) return
  health.abort.abort()
  clearTimeout(health.timer)
  if (health.status === 'starting' || health.status === 'healthy') health.status = 'unhealthy'
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
