/**
 * JSON text that keeps every integer: those beyond 2^53 come in as bigint and go out as digits.
 * Everything else is as in `JSON.parse` and `JSON.stringify`.
 */

/** @throws SyntaxError with V8's message */
export function parseExact(text: string): unknown {
  return /\d{16}/.test(text) ? JSON.parse(text, keepInteger) : JSON.parse(text)
}

/** The document as text; undefined becomes null. */
export function renderExact(value: unknown): string {
  try {
    return JSON.stringify(value) ?? 'null'
  } catch (error) {
    // A bigint, most likely: with a function to ask about each value it takes several times as long.
    if (error instanceof TypeError) return JSON.stringify(value, keepDigits) ?? 'null'
    throw error
  }
}

function keepInteger(_key: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== 'number' || Number.isSafeInteger(value)) return value
  const source = context?.source
  return source !== undefined && /^-?\d+$/.test(source) ? BigInt(source) : value
}

function keepDigits(_key: string, value: unknown): unknown {
  return typeof value === 'bigint' ? rawJson(value.toString()) : value
}

/** Text that `JSON.stringify` copies as it is; the type library does not know it yet. */
function rawJson(digits: string): unknown {
  const make: unknown = Reflect.get(JSON, 'rawJSON')
  return typeof make === 'function' ? make.call(JSON, digits) : Number(digits)
}

/** A map in the order of its keys, as Go writes it. */
export function sortedMap<T>(map: Readonly<Record<string, T>>): Readonly<Record<string, T>> {
  const entries = Object.entries(map)
  entries.sort(([one], [other]) => (one < other ? -1 : one > other ? 1 : 0))
  return Object.fromEntries(entries)
}
