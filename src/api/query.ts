/** Query parameters with Docker's readings of booleans, numbers and filters. */
import { Refusal } from '../base/refusal.ts'
import type { Query } from './route.ts'

const falseWords = new Set(['', '0', 'no', 'false', 'none'])

export function parseQuery(text: string): Query {
  const values = new URLSearchParams(text)
  const get = (name: string) => values.get(name) ?? undefined
  return {
    get,
    getAll: (name) => values.getAll(name),
    bool: (name) => !falseWords.has((get(name) ?? '').trim().toLowerCase()),
    int(name) {
      const value = get(name)
      if (value === undefined || value === '') return undefined
      if (/^[+-]?\d+$/.test(value)) return Number(value)
      throw new Refusal(
        'invalid',
        `strconv.Atoi: parsing ${JSON.stringify(value)}: invalid syntax`,
      )
    },
    filters: () => parseFilters(get('filters') ?? ''),
  }
}

/** Filters: `{"name":{"value":true}}`, or the older `{"name":["value"]}`. */
function parseFilters(text: string): ReadonlyMap<string, readonly string[]> {
  if (text === '') return new Map()
  return new Map(objectEntries(parse(text)).map(([name, values]) => [name, filterValues(values)]))
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new Refusal('invalid', 'invalid filter', { cause: error })
  }
}

function filterValues(values: unknown): readonly string[] {
  if (!Array.isArray(values)) {
    return objectEntries(values).map(([value, set]) => {
      if (typeof set !== 'boolean') throw new Refusal('invalid', 'invalid filter')
      return value
    })
  }
  const words = values.filter((value) => typeof value === 'string')
  if (words.length !== values.length) throw new Refusal('invalid', 'invalid filter')
  return words
}

function objectEntries(value: unknown): [string, unknown][] {
  if (value === null) return []
  if (typeof value === 'object' && !Array.isArray(value)) return Object.entries(value)
  throw new Refusal('invalid', 'invalid filter')
}

/** Refuses a filter that this resource does not know. */
export function acceptFilters(
  filters: ReadonlyMap<string, readonly string[]>,
  known: readonly string[],
): void {
  for (const name of filters.keys()) {
    if (!known.includes(name)) throw new Refusal('invalid', `invalid filter '${name}'`)
  }
}
