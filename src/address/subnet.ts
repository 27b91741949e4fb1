/**
 * Which addresses of one subnet are taken: lowest free first, static ones anywhere in it.
 *
 * Network and broadcast address (IPv6: the subnet-router anycast address) are taken from the
 * start. An ip-range limits only the addresses that are chosen here, not the static ones; several
 * networks may share a subnet by ranges, and then know of each other's addresses.
 */
import { Bitmap, bitmapSizeMax } from './bitmap.ts'
import type { Address } from './ip.ts'
import { contains, lastOf, sizeOf, usable, type Prefix } from './prefix.ts'

const windowBits = 50n

export class SubnetAllocator {
  readonly subnet: Prefix
  /** Neighbouring pieces of the subnet by their number; only those with addresses taken. */
  #windows = new Map<bigint, Bitmap>()

  constructor(subnet: Prefix) {
    this.subnet = subnet
    const { first, last } = usable(subnet)
    if (first !== subnet.base) this.take({ family: subnet.family, value: subnet.base })
    if (last !== lastOf(subnet)) this.take({ family: subnet.family, value: lastOf(subnet) })
  }

  /** Takes this very address; false when it is taken already or not in the subnet. */
  take(address: Address): boolean {
    if (!contains(this.subnet, address)) return false
    const { window, index } = this.#place(address.value)
    return this.#window(window).take(index)
  }

  /** Takes the lowest free address of `range`, which must lie in the subnet. */
  takeLowest(range: Prefix = this.subnet): Address | undefined {
    const [first, last] = [this.#place(range.base), this.#place(lastOf(range))]
    for (let window = first.window; window <= last.window; window++) {
      const bitmap = this.#window(window)
      const index = bitmap.lowestFree(window === first.window ? first.index : 0)
      if (index === undefined) continue
      if (window === last.window && index > last.index) return undefined
      bitmap.take(index)
      const value = this.subnet.base + (window << windowBits) + BigInt(index)
      return { family: this.subnet.family, value }
    }
    return undefined
  }

  /** False when it was free. */
  release(address: Address): boolean {
    if (!contains(this.subnet, address)) return false
    const { window, index } = this.#place(address.value)
    return this.#windows.get(window)?.release(index) ?? false
  }

  has(address: Address): boolean {
    if (!contains(this.subnet, address)) return false
    const { window, index } = this.#place(address.value)
    return this.#windows.get(window)?.has(index) ?? false
  }

  /** Taken addresses, with network, broadcast and gateway, as `Status` shows them. */
  get inUse(): bigint {
    let count = 0
    for (const bitmap of this.#windows.values()) count += bitmap.count
    return BigInt(count)
  }

  /** Addresses of `range` that can still be chosen. */
  available(range: Prefix = this.subnet): bigint {
    const [first, last] = [this.#place(range.base), this.#place(lastOf(range))]
    let taken = 0
    for (const [window, bitmap] of this.#windows) {
      if (window < first.window || window > last.window) continue
      const from = window === first.window ? first.index : 0
      const to = window === last.window ? last.index : bitmap.size - 1
      taken += bitmap.countWithin(from, to)
    }
    return sizeOf(range) - BigInt(taken)
  }

  #place(value: bigint): { readonly window: bigint; readonly index: number } {
    const offset = value - this.subnet.base
    return { window: offset >> windowBits, index: Number(offset % BigInt(bitmapSizeMax)) }
  }

  #window(window: bigint): Bitmap {
    const known = this.#windows.get(window)
    if (known !== undefined) return known
    const size = sizeOf(this.subnet)
    const bitmap = new Bitmap(size > BigInt(bitmapSizeMax) ? bitmapSizeMax : Number(size))
    this.#windows.set(window, bitmap)
    return bitmap
  }
}
