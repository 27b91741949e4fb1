/** The filters `label` and `label!` of lists and prunes: `key` or `key=value`. */

type Labels = Readonly<Record<string, string>> | null
export type Filters = ReadonlyMap<string, readonly string[]>

function has(labels: Labels, wanted: string): boolean {
  const equals = wanted.indexOf('=')
  const key = equals < 0 ? wanted : wanted.slice(0, equals)
  if (labels === null || !Object.hasOwn(labels, key)) return false
  return equals < 0 || labels[key] === wanted.slice(equals + 1)
}

/** True if every `label` is there and no `label!` is. */
export function matchesLabels(labels: Labels, filters: Filters): boolean {
  return (
    (filters.get('label') ?? []).every((wanted) => has(labels, wanted)) &&
    !(filters.get('label!') ?? []).some((unwanted) => has(labels, unwanted))
  )
}
