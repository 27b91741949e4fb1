/** Filters with one truth value: `dangling=true`. */
import { Refusal } from '../base/refusal.ts'

const words: Readonly<Record<string, boolean>> = { 1: true, true: true, 0: false, false: false }

/** `undefined` when it was not given; refuses what is neither true nor false, or both. */
export function truthFilter(
  name: string,
  values: readonly string[] | undefined,
): boolean | undefined {
  if (values === undefined || values.length === 0) return undefined
  const truths = new Set(values.map((value) => words[value.toLowerCase()]))
  const [truth] = truths
  if (truths.size !== 1 || truth === undefined) {
    throw new Refusal('invalid', `invalid filter '${name}=[${values.join(' ')}]'`)
  }
  return truth
}
