/**
 * Prefixes (CIDR blocks): parsing, containment, overlap, first and last address.
 *
 * A `Prefix` is always masked; `parsePrefix` keeps the address as it was written, so that the
 * caller can say which form was meant.
 */
import { addressBits, formatAddress, parseAddress, type Address } from './ip.ts'

export interface Prefix {
  readonly family: 4 | 6
  /** First address, host bits zero. */
  readonly base: bigint
  readonly length: number
}

export interface ParsedPrefix {
  readonly prefix: Prefix
  /** The address as written; differs from `prefix.base` when host bits are set. */
  readonly address: Address
}

/** The block and the address in it, or undefined for anything but `ADDRESS/LENGTH`. */
export function parsePrefix(text: string): ParsedPrefix | undefined {
  const slash = text.lastIndexOf('/')
  if (slash < 0) return undefined
  const address = parseAddress(text.slice(0, slash))
  const digits = text.slice(slash + 1)
  if (address === undefined || !/^(0|[1-9]\d{0,2})$/.test(digits)) return undefined
  const length = Number(digits)
  if (length > addressBits(address.family)) return undefined
  return { prefix: prefixOf(address, length), address }
}

/** The block of `length` that `address` lies in. */
export function prefixOf(address: Address, length: number): Prefix {
  const hostBits = BigInt(addressBits(address.family) - length)
  return { family: address.family, base: (address.value >> hostBits) << hostBits, length }
}

export function formatPrefix(prefix: Prefix): string {
  return `${formatAddress({ family: prefix.family, value: prefix.base })}/${prefix.length}`
}

/** How many addresses the block has. */
export function sizeOf(prefix: Prefix): bigint {
  return 1n << BigInt(addressBits(prefix.family) - prefix.length)
}

/** Last address of the block (the broadcast address of an IPv4 subnet). */
export function lastOf(prefix: Prefix): bigint {
  return prefix.base + sizeOf(prefix) - 1n
}

export function contains(prefix: Prefix, address: Address): boolean {
  return (
    prefix.family === address.family &&
    address.value >= prefix.base &&
    address.value <= lastOf(prefix)
  )
}

export function containsPrefix(outer: Prefix, inner: Prefix): boolean {
  return outer.length <= inner.length && contains(outer, { ...inner, value: inner.base })
}

export function overlaps(a: Prefix, b: Prefix): boolean {
  return a.family === b.family && a.base <= lastOf(b) && b.base <= lastOf(a)
}

/**
 * Addresses that hosts may have: without network and broadcast address (IPv4 up to /30), without
 * the subnet-router anycast address (IPv6; a /128 has none then, as with Docker).
 */
export function usable(prefix: Prefix): { readonly first: bigint; readonly last: bigint } {
  const last = lastOf(prefix)
  if (prefix.family === 4 && prefix.length >= 31) return { first: prefix.base, last }
  return { first: prefix.base + 1n, last: prefix.family === 4 ? last - 1n : last }
}
