/**
 * Repairs by itself: when the kernel says that firewall rules changed and it was not us, they are
 * compared and patched. Changes of ours come back as events too; those that arrive while we write
 * are looked at when we have done, in case somebody else's are among them: not beside the requests
 * of somebody who waits for their answers.
 *
 * With a guard that keeps closed what is closed, the repair waits until whoever writes has done:
 * `iptables -F; iptables -X` finds no new rules in between. Without one it is made at once.
 */
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import type { Monitor } from '../kernel/monitor.ts'

/** An event this soon after our own writing is taken for its echo. */
const echoMs = 300
/** We have done when we wrote nothing for so long … */
const laterMs = 1000
/** … and are not waited for any longer than this … */
const laterMaxMs = 3000
/** … and a comparison is never made so often that it costs more than this share of the time. */
const shareMax = 0.05
/** Somebody who keeps writing against us is answered at most so often. */
const againMs = 250
/** Somebody has done when nothing changed for so long … */
const quietMs = 200
/** … and is not waited for any longer than this. */
const quietMaxMs = 1000

export type WatchFirewall = (changed: (overrun: boolean) => void) => Monitor

export class Repairer {
  readonly #repair: () => Promise<void>
  readonly #monitor: Monitor
  readonly #isGuarded: () => boolean
  #wroteAtMs = -Infinity
  #ranAtMs = -Infinity
  #later: NodeJS.Timeout | undefined
  #tookMs = 0
  #latestAtMs: number | undefined
  #running = false

  constructor(watch: WatchFirewall, repair: () => Promise<void>, isGuarded: () => boolean) {
    this.#repair = repair
    this.#isGuarded = isGuarded
    this.#monitor = watch((overrun) => this.#changed(overrun))
  }

  /** To be called when a transaction of ours has ended. */
  wrote(): void {
    this.#wroteAtMs = performance.now()
  }

  close(): void {
    clearTimeout(this.#later)
    this.#monitor.close()
  }

  #changed(overrun: boolean): void {
    const now = performance.now()
    const echo = !overrun && now - this.#wroteAtMs < echoMs
    const soon = this.#running || now - this.#ranAtMs < againMs
    const restMs = this.#tookMs / shareMax
    if (echo) this.#awaitQuiet(now, Math.max(laterMs, restMs), Math.max(laterMaxMs, restMs))
    else if (soon) this.#later ??= this.#runIn(Math.max(againMs, restMs))
    else if (this.#isGuarded()) this.#awaitQuiet(now, quietMs, Math.max(quietMaxMs, restMs))
    else void this.#run()
  }

  /** Until nothing more has come for so long, but not beyond what any of the events allows. */
  #awaitQuiet(now: number, forMs: number, maxMs: number): void {
    this.#latestAtMs = Math.min(this.#latestAtMs ?? Infinity, now + maxMs)
    clearTimeout(this.#later)
    this.#later = this.#runIn(Math.max(0, Math.min(forMs, this.#latestAtMs - now)))
  }

  #runIn(delayMs: number): NodeJS.Timeout {
    return setTimeout(() => void this.#run(), delayMs).unref()
  }

  async #run(): Promise<void> {
    if (this.#running) return
    clearTimeout(this.#later)
    this.#later = undefined
    this.#latestAtMs = undefined
    this.#running = true
    const started = performance.now()
    try {
      await this.#repair()
    } catch (error) {
      log.warn('firewall cannot be compared with what it should be', { error: messageOf(error) })
    } finally {
      this.#ranAtMs = performance.now()
      this.#tookMs = this.#ranAtMs - started
      this.#running = false
    }
  }
}
