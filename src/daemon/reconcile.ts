/**
 * Keeps the kernel as it should be: compares when the kernel says that links, addresses or routes
 * changed and it was not us, and every 30 seconds in any case; more often where one comparison does
 * not look at everything, so that everything has its turn in two minutes. One at a time.
 *
 * Our own changes come back as events too. What arrives while we work is looked at later, and so
 * seldom that comparing never costs more than a small share of the time.
 */
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import type { Monitor } from '../kernel/monitor.ts'

/** What nobody tells of (a sysctl, a file) is found within this time, or the share below. */
const intervalMs = 30_000
/** Everything has its turn within this time, or the share below. */
const roundMs = 120_000
/** An event this soon after an operation of ours is taken for its echo. */
const echoMs = 1500
/** While operations go on, a comparison at most so often … */
const laterMs = 2000
/** … when there was none for so long, so that nobody who waits for an answer waits for it … */
const quietMs = 500
/** … which is not waited for any longer than this … */
const quietMaxMs = 3000
/** … and never so often, busy or not, that it takes more than this share of the time. */
const shareMax = 0.005
/** Somebody who keeps changing things against us is answered at most so often. */
const againMs = 250

export interface ReconcileLoop {
  /** An operation of ours has just changed the kernel, or is about to. */
  touched(): void
  /** Ends the loop; resolves when a running comparison has finished. */
  stop(): Promise<void>
}

/** @param reconcile answers which share of everything it looked at */
export function startReconcileLoop(
  reconcile: () => Promise<number>,
  watch: (changed: (overrun: boolean) => void) => Monitor,
): ReconcileLoop {
  let timer: NodeJS.Timeout | undefined
  let dueMs = Infinity
  let running: Promise<void> | undefined
  let stopped = false
  let touchedMs = -Infinity
  let tookMs = 0

  const scheduleWithin = (delayMs: number) => {
    const due = performance.now() + delayMs
    if (stopped || running !== undefined || due >= dueMs) return
    clearTimeout(timer)
    dueMs = due
    timer = setTimeout(awaitQuiet, delayMs, due + quietMaxMs)
  }
  const awaitQuiet = (latestMs: number) => {
    const now = performance.now()
    const delayMs = Math.min(touchedMs + quietMs, latestMs) - now
    if (delayMs > 0) timer = setTimeout(awaitQuiet, delayMs, latestMs)
    else run()
  }
  let disturbedMeanwhile = false
  const run = () => {
    const started = performance.now()
    disturbedMeanwhile = false
    running = reconcile()
      .catch((error: unknown) => {
        log.error('cannot compare with the kernel', { error: messageOf(error) })
        return 1
      })
      .then((share) => {
        running = undefined
        dueMs = Infinity
        tookMs = performance.now() - started
        const restMs = disturbedMeanwhile ? laterMs : Math.min(intervalMs, roundMs * share)
        scheduleWithin(Math.max(restMs, tookMs / shareMax))
      })
  }
  const monitor = watch((overrun) => {
    disturbedMeanwhile = true
    const echo = !overrun && performance.now() - touchedMs < echoMs
    scheduleWithin(echo ? Math.max(laterMs, tookMs / shareMax) : againMs)
  })
  scheduleWithin(intervalMs)
  return {
    touched() {
      touchedMs = performance.now()
    },
    async stop() {
      stopped = true
      monitor.close()
      clearTimeout(timer)
      await running
    },
  }
}

/** Repairs what costs little at every change, but not more often than somebody is answered. */
export function repairOnChange(
  repair: () => void,
  watch: (changed: () => void) => Monitor,
): { stop(): void } {
  let timer: NodeJS.Timeout | undefined
  let ranMs = -Infinity
  const run = () => {
    timer = undefined
    ranMs = performance.now()
    try {
      repair()
    } catch (error) {
      log.error('cannot repair', { error: messageOf(error) })
    }
  }
  const monitor = watch(() => {
    timer ??= setTimeout(run, Math.max(0, ranMs + againMs - performance.now()))
  })
  return {
    stop() {
      clearTimeout(timer)
      monitor.close()
    },
  }
}
