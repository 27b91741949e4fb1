/**
 * Part of a large set of questions, drawn by a seed: the same ones each time. PARITY_SEED draws
 * others, PARITY_ALL=1 takes all.
 */
const seed = Number(process.env['PARITY_SEED'] ?? 1)
export const asksAll = process.env['PARITY_ALL'] === '1'

/** `count` of these, in their order. */
export function sampled<T>(items: readonly T[], count: number): readonly T[] {
  if (asksAll || items.length <= count) return items
  const keyed = items.map((item, index) => ({ item, index, key: mixed(seed * 65_537 + index) }))
  const drawn = keyed.sort((a, b) => a.key - b.key).slice(0, count)
  return drawn.sort((a, b) => a.index - b.index).map(({ item }) => item)
}

/** A number that looks random and follows from another one (xorshift and multiply). */
function mixed(value: number): number {
  let state = Math.imul(value ^ (value >>> 16), 0x45d9f3b)
  state = Math.imul(state ^ (state >>> 16), 0x45d9f3b)
  return (state ^ (state >>> 16)) >>> 0
}
