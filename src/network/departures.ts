/**
 * What is on its way out of the kernel: links whose deletion waits for the kernel's grace period.
 * Verbs answer before that; whoever wants the same name or address again waits for it here.
 */
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'

export class Departures {
  #going = new Map<string, Promise<void>>()

  /** Remembers that `keys` (names, addresses) are taken until `done` settles. */
  add(keys: readonly string[], done: Promise<unknown>): void {
    const settled = done.then(
      () => undefined,
      (error: unknown) => log.error('cannot delete links', { error: messageOf(error) }),
    )
    for (const key of keys) {
      const before = this.#going.get(key)
      // Several may go from one parent at once: the key is free when all have gone.
      const both = Promise.all([before, settled]).then(() => undefined)
      const all = before === undefined ? settled : both
      this.#going.set(key, all)
      void all.then(() => {
        if (this.#going.get(key) === all) this.#going.delete(key)
      })
    }
  }

  has(key: string): boolean {
    return this.#going.has(key)
  }

  /** Resolves when none of `keys` is on its way out any more. */
  async gone(keys: readonly string[]): Promise<void> {
    for (const key of keys) await this.#going.get(key)
  }

  /** The same for keys that begin like this; false when there were none. */
  async goneLike(beginning: string): Promise<boolean> {
    const keys = [...this.#going.keys()].filter((key) => key.startsWith(beginning))
    await this.gone(keys)
    return keys.length > 0
  }

  /** Resolves when everything that was going has gone: at shutdown and in tests. */
  async all(): Promise<void> {
    while (this.#going.size > 0) await Promise.all(this.#going.values())
  }
}
