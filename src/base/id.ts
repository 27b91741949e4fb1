/** Random identifiers in the forms that the engine API shows. */
import { randomBytes } from 'node:crypto'

/** 64 hex digits, never one whose first 12 are all decimal (they would pass for a number). */
export function newId(): string {
  for (;;) {
    const id = randomBytes(32).toString('hex')
    if (!/^\d{12}/.test(id)) return id
  }
}

/** The first 12 digits, the form that people and tables use. */
export function shortId(id: string): string {
  return id.slice(0, 12)
}
