/**
 * Which addresses of one subnet are taken: lowest free first, static ones anywhere in it.
 *
 * Network and broadcast address (IPv6: the subnet-router anycast address) are taken from the
 * start. An ip-range limits only the addresses that are chosen here, not the static ones.
 * Chosen addresses lie in the first 2^50 of the range: more than any network can hold.
 */
import { Bitmap, bitmapSizeMax } from './bitmap.ts'
import type { Address } from './ip.ts'
import { contains, lastOf, sizeOf, usable, type Prefix } from './prefix.ts'

export class SubnetAllocator {
  readonly subnet: Prefix
  readonly range: Prefix
  /** Numbered from the base of the range. */
  #inRange: Bitmap
  #elsewhere = new Set<bigint>()

  /** @param range must lie in `subnet` */
  constructor(subnet: Prefix, range: Prefix = subnet) {
    this.subnet = subnet
    this.range = range
    const size = sizeOf(range)
    this.#inRange = new Bitmap(size > BigInt(bitmapSizeMax) ? bitmapSizeMax : Number(size))
    const { first, last } = usable(subnet)
    if (first !== subnet.base) this.take({ family: subnet.family, value: subnet.base })
    if (last !== lastOf(subnet)) this.take({ family: subnet.family, value: lastOf(subnet) })
  }

  /** Takes this very address; false when it is taken already or not in the subnet. */
  take(address: Address): boolean {
    if (!contains(this.subnet, address)) return false
    const index = this.#index(address.value)
    if (index !== undefined) return this.#inRange.take(index)
    if (this.#elsewhere.has(address.value)) return false
    this.#elsewhere.add(address.value)
    return true
  }

  /** Takes the lowest free address of the range. */
  takeLowest(): Address | undefined {
    const index = this.#inRange.lowestFree(0)
    if (index === undefined) return undefined
    this.#inRange.take(index)
    return { family: this.subnet.family, value: this.range.base + BigInt(index) }
  }

  /** False when it was free. */
  release(address: Address): boolean {
    const index = contains(this.subnet, address) ? this.#index(address.value) : undefined
    return index === undefined
      ? this.#elsewhere.delete(address.value)
      : this.#inRange.release(index)
  }

  has(address: Address): boolean {
    const index = contains(this.subnet, address) ? this.#index(address.value) : undefined
    return index === undefined ? this.#elsewhere.has(address.value) : this.#inRange.has(index)
  }

  /** Taken addresses, with network, broadcast and gateway, as `Status` shows them. */
  get inUse(): bigint {
    return BigInt(this.#inRange.count + this.#elsewhere.size)
  }

  /** Addresses of the range that can still be chosen. */
  get available(): bigint {
    return sizeOf(this.range) - BigInt(this.#inRange.count)
  }

  #index(value: bigint): number | undefined {
    const offset = value - this.range.base
    return offset >= 0n && offset < BigInt(this.#inRange.size) ? Number(offset) : undefined
  }
}
