/**
 * The rules that should exist, in memory: units of rules, counted, so that a change costs the
 * rules of its own units only.
 *
 * Answers what a change adds and removes on the whole, and whether new rules can be placed without
 * reading the chain first (at its very beginning or end).
 */
import { keyOf } from './rules.ts'
import type { Family, Rule, Table } from './rules.ts'

export interface NetChange {
  readonly added: readonly Rule[]
  readonly removed: readonly Rule[]
}

export class Ruleset {
  #units = new Map<string, readonly Rule[]>()
  #counted = new Map<string, { readonly rule: Rule; count: number }>()
  /** Family, table, chain → how many rules of each rank. */
  #ranks = new Map<string, number[]>()

  /** Replaces units; an empty list removes one. Answers what changes on the whole. */
  replace(units: ReadonlyMap<string, readonly Rule[]>): NetChange {
    const touched = new Map<string, { rule: Rule; before: boolean }>()
    const touch = (rule: Rule): string => {
      const key = keyOf(rule)
      if (!touched.has(key)) touched.set(key, { rule, before: this.#counted.has(key) })
      return key
    }
    for (const [id, rules] of units) {
      for (const rule of this.#units.get(id) ?? []) this.#drop(touch(rule), rule)
      for (const rule of rules) this.#count(touch(rule), rule)
      if (rules.length === 0) this.#units.delete(id)
      else this.#units.set(id, rules)
    }
    const added: Rule[] = []
    const removed: Rule[] = []
    for (const [key, { rule, before }] of touched) {
      const after = this.#counted.has(key)
      if (after && !before) added.push(rule)
      if (!after && before) removed.push(rule)
    }
    return { added, removed }
  }

  unit(id: string): readonly Rule[] {
    return this.#units.get(id) ?? []
  }

  /** Every rule once, in the order in which the units were asked for. */
  rules(family: Family, table: Table): readonly Rule[] {
    const found: Rule[] = []
    for (const { rule } of this.#counted.values()) {
      if (rule.family === family && rule.table === table) found.push(rule)
    }
    return found
  }

  /**
   * The lines that add `rules` (they are counted already), or undefined when one of them belongs
   * between others, so that its place must be read from the kernel.
   */
  place(rules: readonly Rule[]): readonly string[] | undefined {
    const ranks = new Map<string, number[]>()
    const ofChain = (rule: Rule): number[] => {
      const key = chainKey(rule)
      const known = ranks.get(key)
      if (known !== undefined) return known
      const copy = [...(this.#ranks.get(key) ?? [])]
      ranks.set(key, copy)
      return copy
    }
    for (const rule of rules) bump(ofChain(rule), rule.rank, -1)
    const weight = (rule: Rule) => (rule.at === 'front' ? -rule.rank : rule.rank)
    const lines: string[] = []
    for (const rule of rules.toSorted((a, b) => weight(a) - weight(b))) {
      const present = ofChain(rule)
      const front = present.every((count, rank) => count === 0 || rank >= rule.rank)
      const end = present.every((count, rank) => count === 0 || rank <= rule.rank)
      if (rule.at === 'front' ? !front : !end) return undefined
      lines.push(`${rule.at === 'front' ? '-I' : '-A'} ${rule.chain} ${rule.spec}`)
      bump(present, rule.rank, 1)
    }
    return lines
  }

  #count(key: string, rule: Rule): void {
    const entry = this.#counted.get(key)
    if (entry !== undefined) {
      entry.count++
      return
    }
    this.#counted.set(key, { rule, count: 1 })
    this.#bump(rule, 1)
  }

  #drop(key: string, rule: Rule): void {
    const entry = this.#counted.get(key)
    if (entry === undefined) return
    entry.count--
    if (entry.count > 0) return
    this.#counted.delete(key)
    this.#bump(rule, -1)
  }

  #bump(rule: Rule, by: number): void {
    const key = chainKey(rule)
    const counts = this.#ranks.get(key) ?? []
    bump(counts, rule.rank, by)
    this.#ranks.set(key, counts)
  }
}

const chainKey = (rule: Rule) => `${rule.family} ${rule.table} ${rule.chain}`

function bump(counts: number[], rank: number, by: number): void {
  while (counts.length <= rank) counts.push(0)
  counts[rank] = (counts[rank] ?? 0) + by
}
