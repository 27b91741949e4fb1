/**
 * Repairs by itself: when the kernel says that firewall rules changed and it was not us, they are
 * compared and patched. Changes of ours come back as events too; those that arrive while we write
 * are looked at a little later, in case somebody else's are among them.
 *
 * With a guard that keeps closed what is closed, the repair waits until whoever writes has done:
 * `iptables -F; iptables -X` finds no new rules in between. Without one it is made at once.
 */
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import type { Monitor } from '../kernel/monitor.ts'

/** An event this soon after our own writing is taken for its echo. */
const echoMs = 300
/** While changes of ours go on, a comparison at most so often … */
const laterMs = 1000
/** … and never so often that it costs more than this share of the time. */
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
    if (!echo && !this.#running && now - this.#ranAtMs >= againMs) {
      if (this.#isGuarded()) this.#awaitQuiet(now)
      else void this.#run()
      return
    }
    const delayMs = Math.max(echo ? laterMs : againMs, this.#tookMs / shareMax)
    this.#later ??= setTimeout(() => void this.#run(), delayMs).unref()
  }

  #awaitQuiet(now: number): void {
    this.#latestAtMs ??= now + Math.max(quietMaxMs, this.#tookMs / shareMax)
    clearTimeout(this.#later)
    const delayMs = Math.max(0, Math.min(quietMs, this.#latestAtMs - now))
    this.#later = setTimeout(() => void this.#run(), delayMs).unref()
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
