/**
 * Repairs by itself: when the kernel says that firewall rules changed and it was not us, they are
 * compared and patched at once. Changes of ours come back as events too; those that arrive while
 * we write are looked at a little later, in case somebody else's are among them.
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

export type WatchFirewall = (changed: (overrun: boolean) => void) => Monitor

export class Repairer {
  readonly #repair: () => Promise<void>
  readonly #monitor: Monitor
  #wroteAtMs = -Infinity
  #ranAtMs = -Infinity
  #later: NodeJS.Timeout | undefined
  #tookMs = 0
  #running = false

  constructor(watch: WatchFirewall, repair: () => Promise<void>) {
    this.#repair = repair
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
      void this.#run()
      return
    }
    const delayMs = Math.max(echo ? laterMs : againMs, this.#tookMs / shareMax)
    this.#later ??= setTimeout(() => void this.#run(), delayMs).unref()
  }

  async #run(): Promise<void> {
    if (this.#running) return
    clearTimeout(this.#later)
    this.#later = undefined
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
