/**
 * Keeps the kernel as it should be: compares after a disturbance that the kernel told of, and
 * every 30 seconds in any case. One comparison at a time; disturbances meanwhile make one more.
 */
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'

/** What nobody tells of (a rule of another table tool, a sysctl) is found within this time. */
const intervalMs = 30_000
/** A burst of kernel events is one disturbance. */
const settleMs = 200

export interface ReconcileLoop {
  /** Something changed that may concern us. */
  disturb(): void
  /** Ends the loop; resolves when a running comparison has finished. */
  stop(): Promise<void>
}

export function startReconcileLoop(reconcile: () => Promise<void>): ReconcileLoop {
  let timer: NodeJS.Timeout | undefined
  let running: Promise<void> | undefined
  let again = false
  let stopped = false
  const schedule = (delayMs: number) => {
    clearTimeout(timer)
    if (!stopped) timer = setTimeout(run, delayMs)
  }
  const run = () => {
    again = false
    running = reconcile()
      .catch((error: unknown) => log.error('cannot compare with the kernel', { error: messageOf(error) }))
      .finally(() => {
        running = undefined
        schedule(again ? settleMs : intervalMs)
      })
  }
  schedule(intervalMs)
  return {
    disturb() {
      if (running !== undefined) again = true
      else schedule(settleMs)
    },
    async stop() {
      stopped = true
      clearTimeout(timer)
      await running
    },
  }
}
