/** Hardware addresses: Docker's 02:42 scheme, random local ones, Go's notations. */
import { randomBytes } from 'node:crypto'
import type { Address } from './ip.ts'

/** 02:42 and the four bytes of an IPv4 address: the same address always has the same MAC. */
export function macOfIpv4(address: Address): string {
  return `02:42:${hexBytes(address.value, 4)}`
}

/** A random unicast address with the "locally administered" bit. */
export function randomMac(): string {
  const bytes = randomBytes(6)
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02
  return [...bytes].map(hex).join(':')
}

/** Lower-case colon form of a 48-bit address in any of the forms 1:, 1- and 4. that Go reads. */
export function parseMac(text: string): string | undefined {
  const lower = text.toLowerCase()
  const pairs = /^[0-9a-f]{2}([:-])[0-9a-f]{2}(\1[0-9a-f]{2}){4}$/.test(lower)
  const quads = /^[0-9a-f]{4}\.[0-9a-f]{4}\.[0-9a-f]{4}$/.test(lower)
  if (!pairs && !quads) return undefined
  return lower.replace(/[:.-]/g, '').replace(/..(?!$)/g, '$&:')
}

const hex = (byte: number): string => byte.toString(16).padStart(2, '0')

function hexBytes(value: bigint, count: number): string {
  return value.toString(16).padStart(count * 2, '0').replace(/..(?!$)/g, '$&:')
}
