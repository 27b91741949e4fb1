/** Filters of `network ls` and `network prune`, as Docker reads them. */
import { Refusal } from '../base/refusal.ts'
import { parseMoment } from '../containers/time.ts'
import type { Network } from '../network/model.ts'
import { isPredefined } from '../network/validate.ts'
import { acceptFilters } from './query.ts'

type Filters = ReadonlyMap<string, readonly string[]>
type Test = (network: Network) => boolean

/** Longer patterns are compared as plain text: nobody types such an expression. */
const patternCharactersMax = 256

/** @param inUse whether a network has endpoints, for `dangling` */
export function listFilter(filters: Filters, inUse: Test): Test {
  acceptFilters(filters, ['driver', 'id', 'name', 'label', 'scope', 'type', 'dangling'])
  const tests: Test[] = []
  const add = (name: string, test: (value: string, network: Network) => boolean) => {
    const values = filters.get(name) ?? []
    if (values.length > 0) tests.push((network) => values.some((value) => test(value, network)))
  }
  add('driver', (value, { spec }) => spec.driver === value)
  add('scope', (value, { spec }) => spec.scope === value)
  add('id', (value, { id }) => matches(value, id))
  add('name', (value, { spec }) => matches(value, spec.name))
  tests.push(labelTest(filters.get('label') ?? []))
  for (const value of filters.get('type') ?? []) {
    if (value === 'builtin' || value === 'custom') continue
    throw new Refusal('internal', `invalid filter: 'type'='${value}'`)
  }
  add('type', (value, { spec }) => (value === 'builtin') === isPredefined(spec.name))
  const dangling = danglingOf(filters.get('dangling') ?? [])
  if (dangling !== undefined) {
    const isDangling: Test = (network) => !isPredefined(network.spec.name) && !inUse(network)
    tests.push((network) => isDangling(network) === dangling)
  }
  return (network) => tests.every((test) => test(network))
}

/** Which unused networks a prune takes. */
export function pruneFilter(filters: Filters): Test {
  acceptFilters(filters, ['until', 'label', 'label!'])
  const until = filters.get('until') ?? []
  if (until.length > 1) throw new Refusal('invalid', 'more than one until filter specified')
  const [moment] = until
  const untilNs = moment === undefined ? undefined : parseMoment(moment)
  const wanted = labelTest(filters.get('label') ?? [])
  const unwanted = filters.get('label!') ?? []
  return (network) => {
    if (untilNs !== undefined && parseMoment(network.created) > untilNs) return false
    if (unwanted.length > 0 && labelTest(unwanted)(network)) return false
    return wanted(network)
  }
}

/** Every label must be there: `key`, or `key=value`. */
function labelTest(labels: readonly string[]): Test {
  return ({ spec }) =>
    labels.every((label) => {
      const at = label.indexOf('=')
      const key = at < 0 ? label : label.slice(0, at)
      if (!Object.hasOwn(spec.labels, key)) return false
      return at < 0 || spec.labels[key] === label.slice(at + 1)
    })
}

function danglingOf(values: readonly string[]): boolean | undefined {
  const [value] = values
  if (value === undefined) return undefined
  if (values.length > 1) {
    throw new Refusal('invalid', 'got more than one value for filter key "dangling"')
  }
  const word = new Map([['true', true], ['1', true], ['false', false], ['0', false]]).get(value)
  if (word !== undefined) return word
  throw new Refusal(
    'invalid',
    `invalid value for filter 'dangling', must be "true" (or "1"), or "false" (or "0")`,
  )
}

/** A part of the text, or a regular expression that finds something in it. */
function matches(pattern: string, text: string): boolean {
  if (text.includes(pattern)) return true
  if (pattern.length > patternCharactersMax) return false
  try {
    return new RegExp(pattern).test(text)
  } catch (error) {
    if (error instanceof SyntaxError) return false
    throw error
  }
}
