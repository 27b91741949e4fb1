/**
 * Detach keys (`ctrl-p,ctrl-q`): found in what a client types, over several chunks, and kept
 * from the container. A prefix that turns out to be none is passed on.
 */
import { Refusal } from '../base/refusal.ts'

export const defaultDetachKeys = 'ctrl-p,ctrl-q'

/** The bytes of `a,ctrl-b`; refuses what is no key. */
export function parseDetachKeys(text: string): readonly number[] {
  return (text === '' ? defaultDetachKeys : text).split(',').map((key) => {
    if (key.length === 1) return key.charCodeAt(0)
    const control = /^ctrl-([a-z@[\\\]^_])$/i.exec(key)?.[1]
    if (control === undefined) {
      throw new Refusal('invalid', `Invalid detach keys (${text}) provided`)
    }
    return control.toUpperCase().charCodeAt(0) & 0x1f
  })
}

export class DetachFilter {
  readonly #keys: readonly number[]
  #matched = 0

  constructor(keys: readonly number[]) {
    this.#keys = keys
  }

  /** What goes on to the container, and whether the keys are complete. */
  take(chunk: Buffer): { readonly data: Buffer; readonly detached: boolean } {
    const passed: number[] = []
    for (const byte of chunk) {
      if (byte === this.#keys[this.#matched]) {
        this.#matched++
        if (this.#matched === this.#keys.length)
          return { data: Buffer.from(passed), detached: true }
        continue
      }
      passed.push(...this.#keys.slice(0, this.#matched))
      this.#matched = byte === this.#keys[0] ? 1 : 0
      if (this.#matched === 0) passed.push(byte)
      else if (this.#keys.length === 1) return { data: Buffer.from(passed), detached: true }
    }
    return { data: Buffer.from(passed), detached: false }
  }
}
