/**
 * A sparse set of numbers that finds the lowest free one at a cost that does not depend on how
 * many are taken: a tree of 32-bit words, in which a bit of an upper level says "word below full".
 *
 * Limits: numbers from 0 up to 2^50 - 1. Memory is one word per 32 neighbours that are taken.
 */

const wordBits = 32
export const bitmapSizeMax = 2 ** 50

export class Bitmap {
  /** `#levels[0]` holds the numbers; each further level summarises the one below. */
  #levels: Map<number, number>[] = []
  readonly size: number
  #count = 0

  constructor(size: number) {
    if (!Number.isSafeInteger(size) || size < 0 || size > bitmapSizeMax) {
      throw new RangeError(`a bitmap of ${size} numbers`)
    }
    this.size = size
    for (let left = size; ; left = Math.ceil(left / wordBits)) {
      this.#levels.push(new Map())
      if (left <= wordBits) break
    }
  }

  /** How many numbers are taken. */
  get count(): number {
    return this.#count
  }

  has(index: number): boolean {
    return (this.#word(0, Math.floor(index / wordBits)) & bit(index)) !== 0
  }

  /** True when it was free until now. */
  take(index: number): boolean {
    if (index < 0 || index >= this.size || this.has(index)) return false
    this.#count++
    for (let level = 0, at = index; level < this.#levels.length; level++) {
      const word = Math.floor(at / wordBits)
      const value = this.#word(level, word) | bit(at)
      this.#levels[level]?.set(word, value)
      if (value !== -1) break
      at = word
    }
    return true
  }

  /** True when it was taken until now. */
  release(index: number): boolean {
    if (!this.has(index)) return false
    this.#count--
    for (let level = 0, at = index; level < this.#levels.length; level++) {
      const word = Math.floor(at / wordBits)
      const before = this.#word(level, word)
      const value = before & ~bit(at)
      if (value === 0) this.#levels[level]?.delete(word)
      else this.#levels[level]?.set(word, value)
      if (before !== -1) break
      at = word
    }
    return true
  }

  /** Lowest free number that is at least `from`. */
  lowestFree(from: number): number | undefined {
    const found = this.#lowestFree(0, from)
    return found === undefined || found >= this.size ? undefined : found
  }

  /** How many of the numbers from `first` up to `last` are taken. */
  countWithin(first: number, last: number): number {
    let count = 0
    for (const [word, value] of this.#levels[0] ?? []) {
      const base = word * wordBits
      if (base > last || base + wordBits <= first) continue
      const low = first > base ? -1 << (first - base) : -1
      const high = last < base + wordBits - 1 ? ~(-2 << (last - base)) : -1
      count += bitsSet(value & low & high)
    }
    return count
  }

  #lowestFree(level: number, from: number): number | undefined {
    const word = Math.floor(from / wordBits)
    const free = ~this.#word(level, word) & (-1 << from % wordBits)
    if (free !== 0) return word * wordBits + Math.clz32(1) - Math.clz32(free & -free)
    if (level + 1 >= this.#levels.length) return undefined
    const next = this.#lowestFree(level + 1, word + 1)
    return next === undefined ? undefined : this.#lowestFree(level, next * wordBits)
  }

  #word(level: number, word: number): number {
    return this.#levels[level]?.get(word) ?? 0
  }
}

const bit = (index: number): number => 1 << index % wordBits

function bitsSet(word: number): number {
  let count = 0
  for (let left = word; left !== 0; left &= left - 1) count++
  return count
}
