/**
 * Finds the route of a path. Routes are tried in the order in which they were given. A path that
 * none matches and a method that the path does not have are both «page not found», as in Docker.
 */
import { Refusal } from '../base/refusal.ts'
import type { Route } from './route.ts'

export interface Match {
  readonly route: Route
  readonly params: Readonly<Record<string, string>>
}

export interface Router {
  /** @param path percent-decoded, without version prefix */
  match(method: string, path: string): Match | undefined
}

interface Compiled {
  readonly route: Route
  readonly expression: RegExp
  readonly names: readonly string[]
}

export function createRouter(routes: readonly Route[]): Router {
  const byMethod = Map.groupBy(routes.map(compile), (compiled) => compiled.route.method)
  const methods = new Map<string, readonly Compiled[]>(byMethod)
  return {
    match(method, path) {
      for (const { route, expression, names } of methods.get(method) ?? []) {
        const found = expression.exec(path)
        if (found === null) continue
        const params = names.map((name, index) => [name, found[index + 1] ?? ''] as const)
        return { route, params: Object.fromEntries(params) }
      }
      return undefined
    },
  }
}

/** `{name}` is one segment, `{name…}` whatever is there, slashes too. */
function compile(route: Route): Compiled {
  const names: string[] = []
  const source = route.pattern.split(/(\{[^}]+\})/).map((part) => {
    if (!part.startsWith('{')) return part.replace(/[.*+?^$()|[\]\\]/g, '\\$&')
    const many = part.endsWith('…}')
    names.push(part.slice(1, many ? -2 : -1))
    return many ? '(.*)' : '([^/]+)'
  })
  return { route, expression: new RegExp(`^${source.join('')}$`, 's'), names }
}

export function pageNotFound(): Refusal {
  return new Refusal('notFound', 'page not found')
}
