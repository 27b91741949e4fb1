/** Several problems in one refusal, laid out as Docker does, and Go's ways to read a value. */
import { Refusal } from '../base/refusal.ts'

/** `heading:` and the problem; more than one become a list, each line starting with `* `. */
export function refuseProblems(heading: string, problems: readonly string[]): void {
  if (problems.length === 0) return
  const only = problems.length === 1
  const lines = problems.map((problem) => (only ? problem : `* ${problem}`))
  throw new Refusal('invalid', `${heading}:\n${lines.join('\n')}`)
}

const booleans: Readonly<Record<string, boolean>> = {
  1: true, t: true, T: true, TRUE: true, true: true, True: true,
  0: false, f: false, F: false, FALSE: false, false: false, False: false,
}

/** Go's strconv.ParseBool: the words it knows, else undefined. */
export function parseGoBool(text: string): boolean | undefined {
  return Object.hasOwn(booleans, text) ? booleans[text] : undefined
}

/** Go's strconv.Atoi. */
export function parseGoInt(text: string): number | undefined {
  const value = /^[+-]?\d+$/.test(text) ? Number(text) : Number.NaN
  return Number.isSafeInteger(value) ? value : undefined
}
