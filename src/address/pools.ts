/**
 * Which subnets are taken, and which one comes next: Docker's local pools in Docker's order.
 *
 * When Docker's 31 networks are used up, /24 subnets of 10.192.0.0/10 follow (16,384 more): far
 * from 10.0.0.0, where clusters begin, and from the low 10.x networks of offices.
 */
import { addressBits } from './ip.ts'
import {
  formatPrefix,
  lastOf,
  overlaps,
  parsePrefix,
  prefixOf,
  sizeOf,
  type Prefix,
} from './prefix.ts'

/** Subnets of `size` (a prefix length) cut from `base`. */
export interface PoolSource {
  readonly base: Prefix
  readonly size: number
}

const source = (base: string, size: number): PoolSource => {
  const parsed = parsePrefix(base)
  if (parsed === undefined) throw new RangeError(`${base} is not a prefix`)
  return { base: parsed.prefix, size }
}

/** Docker's own list, then ours. */
export const defaultPoolSources: readonly PoolSource[] = [
  source('172.17.0.0/16', 16),
  source('172.18.0.0/16', 16),
  source('172.19.0.0/16', 16),
  source('172.20.0.0/14', 16),
  source('172.24.0.0/14', 16),
  source('172.28.0.0/14', 16),
  source('192.168.0.0/16', 20),
  source('10.192.0.0/10', 24),
]

/** Docker's list for networks of more hosts than one. */
export const globalPoolSources: readonly PoolSource[] = [source('10.0.0.0/8', 24)]

/**
 * `default-address-pools` of the configuration: sorted, those contained in another dropped.
 * Throws a RangeError with the entry in its sentence.
 */
export function parsePoolSources(
  entries: readonly { readonly base: string; readonly size: number }[],
): readonly PoolSource[] {
  const sources = entries.map(({ base, size }) => {
    const parsed = parsePrefix(base)
    if (parsed === undefined) {
      throw new RangeError(`invalid base pool "${base}": invalid CIDR block notation`)
    }
    const { prefix } = parsed
    if (!Number.isInteger(size) || size < prefix.length || size > addressBits(prefix.family)) {
      throw new RangeError(`invalid pools size ${size} for ${formatPrefix(prefix)}`)
    }
    return { base: prefix, size }
  })
  sources.sort((a, b) => a.base.family - b.base.family || compare(a.base, b.base))
  return sources.filter(
    (one, index) => !sources.slice(0, index).some((before) => overlaps(before.base, one.base)),
  )
}

const compare = (a: Prefix, b: Prefix): number =>
  a.base < b.base ? -1 : a.base > b.base ? 1 : a.length - b.length

/** Reservations of subnets; overlapping ones can be forced, for pools with an ip-range. */
export class PoolAllocator {
  /** By family, sorted by base; the same subnet twice when it was forced twice. */
  #taken: Record<4 | 6, Prefix[]> = { 4: [], 6: [] }
  #counts = new Map<string, number>()
  #sources: readonly PoolSource[]
  /** Per source: everything below is known to be taken, as long as nothing is released. */
  #hints: bigint[]
  /** What else was in use when the hints were taken. */
  #busyAtHints = ''

  constructor(sources: readonly PoolSource[] = defaultPoolSources) {
    this.#sources = sources
    this.#hints = sources.map(({ base }) => base.base)
  }

  /**
   * A reserved subnet that `prefix` would collide with. Blocks nest or are apart, so it either
   * begins inside `prefix` or is one of the few blocks that `prefix` lies in.
   */
  collision(prefix: Prefix): Prefix | undefined {
    const list = this.#taken[prefix.family]
    const inside = list[firstFrom(list, prefix.base)]
    if (inside !== undefined && overlaps(inside, prefix)) return inside
    const address = { family: prefix.family, value: prefix.base }
    for (let length = prefix.length; length >= 0; length--) {
      const outer = prefixOf(address, length)
      if (this.#counts.has(keyOf(outer))) return outer
    }
    return undefined
  }

  /** Reserves without asking; the caller has looked at `collision`. */
  reserve(prefix: Prefix): void {
    const list = this.#taken[prefix.family]
    list.splice(firstFrom(list, prefix.base), 0, prefix)
    this.#counts.set(keyOf(prefix), (this.#counts.get(keyOf(prefix)) ?? 0) + 1)
  }

  release(prefix: Prefix): void {
    const list = this.#taken[prefix.family]
    const count = this.#counts.get(keyOf(prefix))
    if (count === undefined) return
    if (count > 1) this.#counts.set(keyOf(prefix), count - 1)
    else this.#counts.delete(keyOf(prefix))
    const start = firstFrom(list, prefix.base)
    let index = start
    while (list[index]?.length !== prefix.length) index++
    list.splice(index, 1)
    for (const [at, { base }] of this.#sources.entries()) {
      const hint = this.#hints[at] ?? base.base
      if (overlaps(base, prefix) && prefix.base < hint) {
        this.#hints[at] = prefix.base > base.base ? prefix.base : base.base
      }
    }
  }

  /** Reserves what `findLowest` finds. */
  reserveLowest(family: 4 | 6, busy: readonly Prefix[], size?: number): Prefix | undefined {
    const found = this.findLowest(family, busy, size)
    if (found !== undefined) this.reserve(found)
    return found
  }

  /**
   * The lowest free subnet of the sources that collides neither with a reserved one nor with
   * `busy` (what the host itself uses).
   *
   * @param size prefix length wanted, when not that of the source
   */
  findLowest(family: 4 | 6, busy: readonly Prefix[], size?: number): Prefix | undefined {
    const blocks = disjoint(busy)
    this.#checkHints(blocks)
    for (const [at, { base, size: ownSize }] of this.#sources.entries()) {
      const length = size ?? ownSize
      if (base.family !== family || length < base.length) continue
      const found = this.#lowestIn(base, length, blocks[family], at, size === undefined)
      if (found !== undefined) return found
    }
    return undefined
  }

  /** Those of `busy` that lie where subnets are taken from. */
  inTheWay(family: 4 | 6, busy: readonly Prefix[]): readonly Prefix[] {
    const bases = this.#sources.map(({ base }) => base).filter((base) => base.family === family)
    return disjoint(busy)[family].filter((one) => bases.some((base) => overlaps(one, base)))
  }

  /** What the host uses is skipped for good, until it uses something else. */
  #checkHints(blocks: Blocks): void {
    const key = [...blocks[4], ...blocks[6]].map(keyOf).join(' ')
    if (key === this.#busyAtHints) return
    this.#busyAtHints = key
    this.#hints = this.#sources.map(({ base }) => base.base)
  }

  #lowestIn(
    base: Prefix,
    length: number,
    blocks: readonly Prefix[],
    at: number,
    keepHint: boolean,
  ): Prefix | undefined {
    const step = sizeOf({ ...base, length })
    const align = (value: bigint) => ((value + step - 1n) / step) * step
    const start = align(this.#hints[at] ?? base.base)
    let candidate: Prefix = { family: base.family, length, base: start }
    while (lastOf(candidate) <= lastOf(base)) {
      const blocking = this.collision(candidate) ?? blockOver(blocks, candidate)
      if (blocking === undefined) return candidate
      candidate = { ...candidate, base: align(lastOf(blocking) + 1n) }
      if (keepHint) this.#hints[at] = candidate.base
    }
    return undefined
  }
}

type Blocks = Readonly<Record<4 | 6, readonly Prefix[]>>

/** The same addresses in blocks that do not overlap, sorted. */
function disjoint(prefixes: readonly Prefix[]): Blocks {
  const blocks: Record<4 | 6, Prefix[]> = { 4: [], 6: [] }
  for (const prefix of prefixes.toSorted(compare)) {
    const list = blocks[prefix.family]
    const last = list.at(-1)
    if (last === undefined || lastOf(last) < prefix.base) list.push(prefix)
  }
  return blocks
}

/** The first of disjoint blocks that `prefix` overlaps. */
function blockOver(blocks: readonly Prefix[], prefix: Prefix): Prefix | undefined {
  const at = firstFrom(blocks, prefix.base)
  return [blocks[at - 1], blocks[at]].find((one) => one !== undefined && overlaps(one, prefix))
}

const keyOf = (prefix: Prefix): string => `${prefix.family}/${prefix.base}/${prefix.length}`

/** Index of the first prefix whose base is at least `base`. */
function firstFrom(list: readonly Prefix[], base: bigint): number {
  let low = 0
  let high = list.length
  while (low < high) {
    const middle = (low + high) >> 1
    const one = list[middle]
    if (one !== undefined && one.base < base) low = middle + 1
    else high = middle
  }
  return low
}
