/** Random identifiers in the forms that the engine API shows. */
import { randomBytes } from 'node:crypto'

/** Asked of the system at once: 32 bytes cost as much as all these. */
const stockBytes = 4096
let stock = Buffer.alloc(0)

/** So many random bytes, at most 4096, as two hex digits each. */
export function randomHex(bytes: number): string {
  if (stock.length < bytes) stock = randomBytes(stockBytes)
  const taken = stock.toString('hex', 0, bytes)
  stock = stock.subarray(bytes)
  return taken
}

/** 64 hex digits, never one whose first 12 are all decimal (they would pass for a number). */
export function newId(): string {
  for (;;) {
    const id = randomHex(32)
    if (!/^\d{12}/.test(id)) return id
  }
}

/** The first 12 digits, the form that people and tables use. */
export function shortId(id: string): string {
  return id.slice(0, 12)
}
