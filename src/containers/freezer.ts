/**
 * Freezing a container and starting a process in it keep out of each other's way.
 *
 * A process that is frozen while it is made never gets ready, and the shim of containerd 1.6 then
 * answers nothing any more, not even the wish to thaw. So a start waits for the freeze that is
 * being made, and a freeze waits, for a bounded time, until the starts before it are through.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { Refusal } from '../base/refusal.ts'

/** Starting a process takes a fraction of a second; on a busy machine, some. */
const startsTimeoutMs = 30_000

export class Freezer {
  readonly #starts = new Set<Promise<void>>()
  #freeze: Promise<void> | undefined

  /** Runs `work`, which starts a process, while nobody freezes. */
  async start<T>(work: () => Promise<T>): Promise<T> {
    while (this.#freeze !== undefined) await this.#freeze
    const outcome = work()
    const settled = outcome.then(nothing, nothing)
    this.#starts.add(settled)
    await settled
    this.#starts.delete(settled)
    return outcome
  }

  /** Runs `work`, which freezes, while nothing starts; the caller sees to one at a time. */
  async freeze(work: () => Promise<void>): Promise<void> {
    const outcome = this.#startsThrough().then(work)
    this.#freeze = outcome.then(nothing, nothing)
    await this.#freeze
    this.#freeze = undefined
    return outcome
  }

  async #startsThrough(): Promise<void> {
    const timer = new AbortController()
    const late = sleep(startsTimeoutMs, 'late', { signal: timer.signal, ref: false })
    const first = await Promise.race([Promise.all(this.#starts), late.catch(nothing)])
    timer.abort()
    if (first === 'late') {
      const bound = `${startsTimeoutMs / 1000} s`
      throw new Refusal('unavailable', `an exec has been starting for more than ${bound}; try again`)
    }
  }
}

function nothing(): void {
  // Only that it is over matters here; the outcome is the caller's.
}
