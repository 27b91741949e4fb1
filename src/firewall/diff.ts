/**
 * Desired rules against what iptables-save printed → the fewest lines that make them agree.
 *
 * Rules that are not ours stay where they are, in every chain, with their counters; a chain that
 * exists is never named with `:CHAIN` (that would empty it). Works on one table of one family.
 */
import { ownChains, owns } from './rules.ts'
import type { Rule, Table } from './rules.ts'
import type { SavedTable } from './save.ts'

/** Lines for iptables-restore, without `*table` and `COMMIT`. */
export interface TableChange {
  /** New chains, misplaced rules taken out, rules put in. */
  readonly additions: readonly string[]
  /** Rules of ours that nothing asks for. */
  readonly removals: readonly string[]
}

/**
 * @param desired rules of this table and family, in the order in which they were asked for
 * @param shared see `owns`
 */
export function diffTable(
  table: Table,
  desired: readonly Rule[],
  saved: SavedTable,
  shared: boolean,
): TableChange {
  const additions: string[] = []
  const removals: string[] = []
  for (const chain of ownChains[table]) {
    if (!saved.has(chain)) additions.push(`:${chain} - [0:0]`)
  }
  const byChain = new Map<string, Rule[]>()
  for (const rule of desired) {
    const list = byChain.get(rule.chain)
    if (list === undefined) byChain.set(rule.chain, [rule])
    else list.push(rule)
  }
  for (const chain of new Set([...byChain.keys(), ...saved.keys()])) {
    if (chain === 'DOCKER-USER') continue
    const found = saved.get(chain)?.rules ?? []
    const change = diffChain(table, chain, byChain.get(chain) ?? [], found, shared)
    additions.push(...change.additions)
    removals.push(...change.removals)
  }
  return { additions, removals }
}

/** A rule in a chain as it will be: `rank` is undefined for those that are not ours. */
interface Slot {
  readonly spec: string
  readonly rank: number | undefined
}

function diffChain(
  table: Table,
  chain: string,
  desired: readonly Rule[],
  found: readonly string[],
  shared: boolean,
): TableChange {
  const wanted = new Map(desired.map((rule) => [rule.spec, rule]))
  const kept = keep(chain, found, wanted)
  const removals: string[] = []
  const moved: string[] = []
  const slots: Slot[] = []
  found.forEach((spec, index) => {
    const rule = wanted.get(spec)
    if (kept.has(index)) slots.push({ spec, rank: rule?.rank })
    else if (rule !== undefined) {
      // Wanted, but here twice or in the wrong place: it goes before a new one is put in.
      moved.push(`-D ${chain} ${spec}`)
    } else {
      slots.push({ spec, rank: undefined })
      if (owns(table, chain, spec, shared)) removals.push(`-D ${chain} ${spec}`)
    }
  })
  const present = new Set(slots.map((slot) => slot.spec))
  const insertions = desired.filter((rule) => !present.has(rule.spec))
  const inserted = insertions.map((rule) => insert(chain, slots, rule))
  return { additions: [...moved, ...inserted], removals }
}

/** Indexes of wanted rules that may stay: the longest sequence whose ranks do not fall. */
function keep(
  chain: string,
  found: readonly string[],
  wanted: ReadonlyMap<string, Rule>,
): ReadonlySet<number> {
  const candidates: { index: number; rank: number }[] = []
  const last = new Map(found.map((spec, index) => [spec, index]))
  // `-D` takes the first of equal rules, so the last one is the one to keep.
  found.forEach((spec, index) => {
    const rule = wanted.get(spec)
    if (rule !== undefined && last.get(spec) === index) candidates.push({ index, rank: rule.rank })
  })
  if (chain === 'FORWARD') {
    // Ours stay the first two, whatever was put in front of them.
    return new Set(candidates.filter(({ index, rank }) => index === rank).map(({ index }) => index))
  }
  // Ranks are few: for each, the longest sequence that ends with it.
  const best: { length: number; indexes: Chain | undefined }[] = []
  for (const { index, rank } of candidates) {
    let longest: (typeof best)[number] = { length: 0, indexes: undefined }
    for (let r = 0; r <= rank; r++) {
      const at = best[r]
      if (at !== undefined && at.length > longest.length) longest = at
    }
    best[rank] = { length: longest.length + 1, indexes: { index, before: longest.indexes } }
  }
  let winner: (typeof best)[number] | undefined
  for (const at of best) {
    if (at !== undefined && at.length > (winner?.length ?? 0)) winner = at
  }
  const indexes = new Set<number>()
  for (let link = winner?.indexes; link !== undefined; link = link.before) indexes.add(link.index)
  return indexes
}

interface Chain {
  readonly index: number
  readonly before: Chain | undefined
}

/** Puts `rule` into `slots` and answers the line that does so. */
function insert(chain: string, slots: Slot[], rule: Rule): string {
  const index = chain === 'FORWARD' ? rule.rank : position(slots, rule)
  const atEnd = index >= slots.length
  slots.splice(index, 0, { spec: rule.spec, rank: rule.rank })
  if (atEnd && chain !== 'FORWARD') return `-A ${chain} ${rule.spec}`
  return index === 0 ? `-I ${chain} ${rule.spec}` : `-I ${chain} ${index + 1} ${rule.spec}`
}

function position(slots: readonly Slot[], rule: Rule): number {
  const { rank, at } = rule
  const lastBelow = slots.findLastIndex((slot) => slot.rank !== undefined && slot.rank < rank)
  const lastSame = slots.findLastIndex((slot) => slot.rank === rank)
  const firstSame = slots.findIndex((slot) => slot.rank === rank)
  const firstAbove = slots.findIndex((slot) => slot.rank !== undefined && slot.rank > rank)
  if (at === 'front') {
    if (firstSame >= 0) return firstSame
    if (lastBelow >= 0) return lastBelow + 1
    return firstAbove >= 0 ? firstAbove : 0
  }
  if (lastSame >= 0) return lastSame + 1
  if (lastBelow >= 0) return lastBelow + 1
  if (firstAbove >= 0) return firstAbove
  // Behind everything, but in front of the RETURN that older engines end their chains with.
  return slots.at(-1)?.spec === '-j RETURN' ? slots.length - 1 : slots.length
}
