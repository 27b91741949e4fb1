/** Which chains of ours may go with `portolan down`: those that nobody else has anything in. */
import { ownChains } from './rules.ts'
import type { Table } from './rules.ts'
import type { SavedTable } from './save.ts'

/**
 * Chains that are empty, and that nothing jumps to, once `removals` are done. A
 * chain with somebody else's rules stays, and so does every chain that those rules jump to.
 */
export function emptyChains(
  table: Table,
  saved: SavedTable,
  removals: readonly string[],
): readonly string[] {
  const left = new Map([...saved].map(([chain, { rules }]) => [chain, [...rules]]))
  for (const line of removals) {
    const match = /^-D (\S+) (.*)$/.exec(line)
    const rules = left.get(match?.[1] ?? '')
    const index = rules?.indexOf(match?.[2] ?? '') ?? -1
    if (index >= 0) rules?.splice(index, 1)
  }
  const targets = new Set<string>()
  for (const rules of left.values()) {
    for (const spec of rules) {
      const target = /-[jg] (\S+)/.exec(spec)?.[1]
      if (target !== undefined) targets.add(target)
    }
  }
  return ownChains[table].filter((chain) => left.get(chain)?.length === 0 && !targets.has(chain))
}
