/** What to take back, last first, when a verb fails on the way. */
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'

export class UndoStack {
  #steps: (() => unknown)[] = []

  /** Remembers how to take back what was just done; a promise is waited for. */
  push(step: () => unknown): void {
    this.#steps.push(step)
  }

  /** Takes everything back; what cannot be is logged, the rest goes on. */
  async run(): Promise<void> {
    for (const step of this.#steps.reverse()) {
      try {
        await step()
      } catch (error) {
        log.error('cannot undo a step', { error: messageOf(error) })
      }
    }
    this.#steps = []
  }
}

/** Waits for all, then throws the first failure: nothing is left running behind an error. */
export async function allOrFirstFailure(tasks: readonly Promise<unknown>[]): Promise<void> {
  throwFirstFailure(await Promise.allSettled(tasks))
}

/** For tasks that were started earlier and gathered by `Promise.allSettled`. */
export function throwFirstFailure(outcomes: readonly PromiseSettledResult<unknown>[]): void {
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
}
