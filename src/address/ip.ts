/**
 * IP addresses as numbers: strict parsing, printing in the canonical (RFC 5952) form.
 *
 * As strict as Go's netip, so that what Docker refuses is refused here: no leading zeros, no
 * blanks, no zones. Everything here is pure.
 */

export interface Address {
  readonly family: 4 | 6
  readonly value: bigint
}

/** Bits of an address of this family. */
export const addressBits = (family: 4 | 6): number => (family === 4 ? 32 : 128)

/** The address, or undefined when the text is not one. */
export function parseAddress(text: string): Address | undefined {
  const value = text.includes(':') ? parseIpv6(text) : parseIpv4(text)
  return value === undefined ? undefined : { family: text.includes(':') ? 6 : 4, value }
}

/** Canonical text of an address. */
export function formatAddress(address: Address): string {
  return address.family === 4 ? formatIpv4(address.value) : formatIpv6(address.value)
}

function parseIpv4(text: string): bigint | undefined {
  const parts = text.split('.')
  if (parts.length !== 4) return undefined
  let value = 0n
  for (const part of parts) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined
    value = (value << 8n) | BigInt(part)
  }
  return value
}

function formatIpv4(value: bigint): string {
  const n = Number(value)
  return [n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255].join('.')
}

function parseIpv6(text: string): bigint | undefined {
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const left = groups(halves[0] ?? '', halves.length === 1)
  const right = groups(halves[1] ?? '', true)
  if (left === undefined || right === undefined) return undefined
  const missing = 8 - left.length - right.length
  if (halves.length === 1 ? missing !== 0 : missing < 1) return undefined
  const all = [...left, ...new Array<number>(missing).fill(0), ...right]
  return all.reduce((value, group) => (value << 16n) | BigInt(group), 0n)
}

/** 16-bit groups of one side of `::`; a dotted IPv4 tail counts as two. */
function groups(text: string, mayEndInIpv4: boolean): number[] | undefined {
  if (text === '') return []
  const found: number[] = []
  const parts = text.split(':')
  for (const [index, part] of parts.entries()) {
    if (part.includes('.') && mayEndInIpv4 && index === parts.length - 1) {
      const tail = parseIpv4(part)
      if (tail === undefined) return undefined
      found.push(Number(tail >> 16n), Number(tail & 0xffffn))
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      found.push(Number.parseInt(part, 16))
    } else {
      return undefined
    }
  }
  return found
}

function formatIpv6(value: bigint): string {
  const all: number[] = []
  for (let shift = 112n; shift >= 0n; shift -= 16n) all.push(Number((value >> shift) & 0xffffn))
  if (value >> 32n === 0xffffn) return `::ffff:${formatIpv4(value & 0xffffffffn)}`
  const { start, length } = longestZeroRun(all)
  const hex = (part: readonly number[]) => part.map((group) => group.toString(16)).join(':')
  if (length < 2) return hex(all)
  return `${hex(all.slice(0, start))}::${hex(all.slice(start + length))}`
}

function longestZeroRun(all: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 }
  let start = 0
  for (const [index, group] of all.entries()) {
    if (group !== 0) start = index + 1
    else if (index + 1 - start > best.length) best = { start, length: index + 1 - start }
  }
  return best
}
