/**
 * The IPv6 pool of a machine that was given none: a unique local prefix (RFC 4193), `fd` and 40
 * bits that follow from the engine's id, as Docker derives it. The same id, the same prefix.
 */
import { createHash } from 'node:crypto'
import type { PoolSource } from './pools.ts'

const subnetLength = 64

/** A /48, given out in pieces of /64. */
export function localPool(hostId: string): PoolSource {
  const digest = createHash('sha256').update(hostId).digest()
  const globalId = BigInt(`0x${digest.subarray(3, 8).toString('hex')}`)
  const base = (0xfdn << 120n) | (globalId << 80n)
  return { base: { family: 6, base, length: 48 }, size: subnetLength }
}
