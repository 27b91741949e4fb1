/**
 * One thing after another for each key: the queue of a network, of a container, of a file.
 *
 * Tasks of one key run in the order in which they were asked for and never overlap; tasks of
 * different keys do not wait for each other. A queue that is full refuses at once.
 */
import { Refusal } from './refusal.ts'

/** Far more than a person or a compose file asks of one object at once; a bound, not a tuning. */
const waitingMax = 1024

export class KeyedQueue {
  #tails = new Map<string, { tail: Promise<unknown>; waiting: number }>()

  /** Runs `task` when every earlier task of `key` has settled. Its outcome is the caller's. */
  run<T>(key: string, task: () => Promise<T>): Promise<T> {
    const lane = this.#tails.get(key) ?? { tail: Promise.resolve(), waiting: 0 }
    if (lane.waiting >= waitingMax) {
      const advice = 'wait for them to finish, then try again'
      return Promise.reject(
        new Refusal('unavailable', `${waitingMax} operations wait for ${key} already: ${advice}`),
      )
    }
    lane.waiting++
    const outcome = lane.tail.then(task)
    const settle = () => {
      lane.waiting--
      if (lane.waiting === 0) this.#tails.delete(key)
    }
    lane.tail = outcome.then(settle, settle)
    this.#tails.set(key, lane)
    return outcome
  }

  /** How many tasks of `key` run or wait. */
  waiting(key: string): number {
    return this.#tails.get(key)?.waiting ?? 0
  }
}
