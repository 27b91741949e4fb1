/** Sizes as dockerd reads them. */
import { Refusal } from '../base/refusal.ts'

const units: Readonly<Record<string, number>> = { '': 0, b: 0, k: 1, m: 2, g: 3, t: 4, p: 5 }

/** `64M`, `1g`, `65536`: powers of 1024. */
export function parseBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([bkmgtp]?)(?:i?b)?$/i.exec(text.trim())
  const power = units[(match?.[2] ?? '?').toLowerCase()]
  if (match === null || power === undefined) throw new Refusal('invalid', `invalid size: '${text}'`)
  return Math.floor(Number(match[1]) * 1024 ** power)
}
