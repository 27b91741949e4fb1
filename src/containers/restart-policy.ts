/**
 * When a container that ended is started again, and after how long: 100 ms, doubled with each
 * failure up to a minute; a run of ten seconds begins anew.
 */
import type { RestartPolicy } from './config.ts'

const firstDelayMs = 100
const delayMsMax = 60_000
/** A run that lasted this long was no failure to start. */
const goodRunMs = 10_000

export interface Ending {
  readonly policy: RestartPolicy
  readonly exitCode: number
  /** Somebody asked for the end. */
  readonly stopped: boolean
  /** Restarts by policy so far. */
  readonly restartCount: number
}

export function wantsRestart({ policy, exitCode, stopped, restartCount }: Ending): boolean {
  if (stopped) return false
  if (policy.Name === 'always' || policy.Name === 'unless-stopped') return true
  if (policy.Name !== 'on-failure' || exitCode === 0) return false
  return policy.MaximumRetryCount === 0 || restartCount < policy.MaximumRetryCount
}

/** @param failures restarts in a row of runs that ended early */
export function restartDelayMs(failures: number): number {
  return Math.min(delayMsMax, firstDelayMs * 2 ** Math.min(failures, 20))
}

export const countsAsFailure = (ranMs: number): boolean => ranMs < goodRunMs

/** At daemon start: which of the containers that do not run are started. */
export function startsWithDaemon(
  policy: RestartPolicy,
  manuallyStopped: boolean,
  exitCode: number,
): boolean {
  if (policy.Name === 'always') return true
  if (policy.Name === 'unless-stopped') return !manuallyStopped
  return policy.Name === 'on-failure' && !manuallyStopped && exitCode !== 0
}
