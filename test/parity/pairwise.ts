/**
 * Combinations of options such that every two values of two options meet at least once: a greedy
 * covering array. The same input gives the same rows.
 */

export type Levels<T> = Readonly<Record<string, readonly T[]>>
export type Row<T> = Readonly<Record<string, T>>

export function pairwise<T>(factors: Levels<T>): Row<T>[] {
  const names = Object.keys(factors)
  const levelsOf = (name: string) => factors[name] ?? []
  const uncovered = new Set<string>()
  const pair = (a: number, i: number, b: number, j: number) =>
    a < b ? `${a}.${i}-${b}.${j}` : `${b}.${j}-${a}.${i}`
  names.forEach((name, a) => names.slice(a + 1).forEach((other, offset) => {
    levelsOf(name).forEach((_, i) => levelsOf(other).forEach((__, j) => {
      uncovered.add(pair(a, i, a + 1 + offset, j))
    }))
  }))
  const rows: Row<T>[] = []
  while (uncovered.size > 0) {
    const chosen = new Map<number, number>()
    const first = /^(\d+)\.(\d+)-(\d+)\.(\d+)$/.exec([...uncovered][0] ?? '')?.slice(1).map(Number)
    const [a = 0, i = 0, b = 0, j = 0] = first ?? []
    chosen.set(a, i).set(b, j)
    names.forEach((name, c) => {
      if (!chosen.has(c)) chosen.set(c, bestLevel(levelsOf(name).length, (level) =>
        [...chosen].filter(([d, k]) => uncovered.has(pair(c, level, d, k))).length, rows.length))
    })
    const all = [...chosen]
    for (const [c, k] of all) for (const [d, l] of all) if (c < d) uncovered.delete(pair(c, k, d, l))
    rows.push(Object.fromEntries(names.map((name, c) =>
      [name, levelsOf(name)[chosen.get(c) ?? 0]]).filter(([, value]) => value !== undefined)))
  }
  return rows
}

/** The level that covers most; among equals, another one in each row. */
function bestLevel(count: number, covers: (level: number) => number, turn: number): number {
  let best = turn % count
  for (let step = 1; step < count; step++) {
    const level = (turn + step) % count
    if (covers(level) > covers(best)) best = level
  }
  return best
}
