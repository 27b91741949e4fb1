/**
 * What the nftables tables should hold, in memory: chains by name, elements counted over the units
 * that ask for them, so that a change costs its own units only.
 */
import type { NftChain, NftElement, NftUnit } from './nft-compile.ts'
import type { Family } from './rules.ts'

/** What a change does on the whole. */
export interface NftChange {
  readonly chains: readonly NftChain[]
  readonly elements: readonly NftElement[]
  readonly goneChains: readonly NftChain[]
  readonly goneElements: readonly NftElement[]
}

const none: NftUnit = { chains: [], elements: [] }

/** One string per element and place; `value` is part of it. */
export const elementKey = ({ family, set, key, value }: NftElement) =>
  `${family} ${set} ${key} : ${value ?? ''}`

const chainKey = ({ family, name }: NftChain) => `${family} ${name}`

export class NftDesired {
  #units = new Map<string, NftUnit>()
  #chains = new Map<string, NftChain>()
  #elements = new Map<string, { readonly element: NftElement; count: number }>()

  /** Replaces units (undefined removes one) and answers what changes on the whole. */
  replace(units: ReadonlyMap<string, NftUnit | undefined>): NftChange {
    const before = new Map<string, NftElement | undefined>()
    const chainsBefore = new Map<string, NftChain | undefined>()
    const names = new Map<string, NftElement>()
    for (const [id, unit] of units) {
      const old = this.#units.get(id) ?? none
      for (const chain of [...old.chains, ...(unit?.chains ?? [])]) {
        const key = chainKey(chain)
        if (!chainsBefore.has(key)) chainsBefore.set(key, this.#chains.get(key))
      }
      for (const element of [...old.elements, ...(unit?.elements ?? [])]) {
        const key = elementKey(element)
        names.set(key, element)
        if (!before.has(key)) before.set(key, this.#elements.get(key)?.element)
      }
      for (const chain of old.chains) this.#chains.delete(chainKey(chain))
      for (const element of old.elements) this.#count(element, -1)
      for (const chain of unit?.chains ?? []) this.#chains.set(chainKey(chain), chain)
      for (const element of unit?.elements ?? []) this.#count(element, 1)
      if (unit === undefined) this.#units.delete(id)
      else this.#units.set(id, unit)
    }
    const elements = [...names.values()]
    const now = (element: NftElement) => this.#elements.has(elementKey(element))
    const was = (element: NftElement) => before.get(elementKey(element)) !== undefined
    const chains: NftChain[] = []
    const goneChains: NftChain[] = []
    for (const [key, old] of chainsBefore) {
      const chain = this.#chains.get(key)
      if (chain === undefined) {
        if (old !== undefined) goneChains.push(old)
      } else if (old === undefined || old.lines.join('\n') !== chain.lines.join('\n')) {
        chains.push(chain)
      }
    }
    return {
      chains, goneChains,
      elements: elements.filter((element) => now(element) && !was(element)),
      goneElements: elements.filter((element) => was(element) && !now(element)),
    }
  }

  unit(id: string): NftUnit | undefined {
    return this.#units.get(id)
  }

  chains(family: Family): readonly NftChain[] {
    return [...this.#chains.values()].filter((chain) => chain.family === family)
  }

  elements(family: Family): readonly NftElement[] {
    return [...this.#elements.values()].map(({ element }) => element)
      .filter((element) => element.family === family)
  }

  #count(element: NftElement, by: 1 | -1): void {
    const key = elementKey(element)
    const entry = this.#elements.get(key) ?? { element, count: 0 }
    entry.count += by
    if (entry.count > 0) this.#elements.set(key, entry)
    else this.#elements.delete(key)
  }
}
