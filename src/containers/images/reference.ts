/**
 * Names of images, in the forms of the distribution project: `busybox` is
 * `docker.io/library/busybox:latest` where it is stored and asked for, `busybox:latest` where it
 * is shown.
 */
import { Refusal } from '../../base/refusal.ts'

export interface Reference {
  /** `docker.io`, `localhost:5000`. */
  readonly domain: string
  /** `library/busybox`. */
  readonly path: string
  readonly tag?: string
  readonly digest?: string
}

const defaultDomain = 'docker.io'
const officialPrefix = 'library/'
export const defaultTag = 'latest'
const nameMax = 255
/** Longer than any name with tag and digest; bounds the work of the patterns below. */
const textMax = 1024

const component = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*'
const pathPattern = new RegExp(`^${component}(?:/${component})*$`)
const label = '[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?'
const domainPattern = new RegExp(
  `^(?:${label}(?:\\.${label})*|\\[[0-9a-fA-F:]+\\])(?::[0-9]+)?$`,
)
const tagPattern = /^\w[\w.-]{0,127}$/
export const digestPattern = /^sha256:[0-9a-f]{64}$/

const invalid = (why: string): Refusal => new Refusal('invalid', why)

/** Parses what a user typed; refuses with Docker's sentences. No tag is added. */
export function parseReference(text: string): Reference {
  if (/^[0-9a-f]{64}$/.test(text)) {
    throw invalid(`invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`)
  }
  if (text.length > textMax) throw invalid('invalid reference format')
  const { domain, rest } = splitDomain(text)
  const at = rest.indexOf('@')
  const digest = at < 0 ? undefined : rest.slice(at + 1)
  const named = at < 0 ? rest : rest.slice(0, at)
  const colon = named.indexOf(':')
  const tag = colon < 0 ? undefined : named.slice(colon + 1)
  const path = colon < 0 ? named : named.slice(0, colon)
  if (path.toLowerCase() !== path) {
    throw invalid(`invalid reference format: repository name (${path}) must be lowercase`)
  }
  const wrong =
    !pathPattern.test(path) ||
    !domainPattern.test(domain) ||
    (tag !== undefined && !tagPattern.test(tag)) ||
    (digest !== undefined && !digestPattern.test(digest))
  if (wrong) throw invalid('invalid reference format')
  if (domain.length + path.length + 1 > nameMax) {
    throw invalid(`repository name must not be more than ${nameMax} characters`)
  }
  return {
    domain,
    path,
    ...(tag === undefined ? {} : { tag }),
    ...(digest === undefined ? {} : { digest }),
  }
}

function splitDomain(text: string): { readonly domain: string; readonly rest: string } {
  const slash = text.indexOf('/')
  const first = slash < 0 ? '' : text.slice(0, slash)
  const isDomain = /[.:]/.test(first) || first === 'localhost' || first.toLowerCase() !== first
  const given = isDomain ? first : defaultDomain
  const domain = given === 'index.docker.io' ? defaultDomain : given
  const rest = isDomain ? text.slice(slash + 1) : text
  return {
    domain,
    rest: domain === defaultDomain && !rest.includes('/') ? officialPrefix + rest : rest,
  }
}

/** The same with `:latest` where neither tag nor digest is given. */
export function withDefaultTag(reference: Reference): Reference {
  return reference.tag === undefined && reference.digest === undefined
    ? { ...reference, tag: defaultTag }
    : reference
}

/** `docker.io/library/busybox`. */
export function repositoryName({ domain, path }: Reference): string {
  return `${domain}/${path}`
}

/** The long form, as containerd stores it; a digest wins over a tag. */
export function canonicalName(reference: Reference): string {
  const { tag, digest } = withDefaultTag(reference)
  return repositoryName(reference) + (digest === undefined ? `:${tag ?? defaultTag}` : `@${digest}`)
}

/** `busybox`: the repository as people write it. */
export function familiarRepository({ domain, path }: Reference): string {
  if (domain !== defaultDomain) return `${domain}/${path}`
  return path.startsWith(officialPrefix) && !path.slice(officialPrefix.length).includes('/')
    ? path.slice(officialPrefix.length)
    : path
}

/** `busybox:latest`, `busybox@sha256:…`. */
export function familiarName(reference: Reference): string {
  const { tag, digest } = withDefaultTag(reference)
  const name = familiarRepository(reference)
  return digest === undefined ? `${name}:${tag ?? defaultTag}` : `${name}@${digest}`
}

/** From the query parameters `fromImage`/`repo` and `tag`, of which the latter may be a digest. */
export function referenceOf(name: string, tagOrDigest: string): Reference {
  const reference = parseReference(name)
  if (tagOrDigest === '') return reference
  const isDigest = tagOrDigest.includes(':')
  if (!isDigest && !tagPattern.test(tagOrDigest)) throw invalid('invalid tag format')
  return isDigest
    ? parseReference(`${repositoryName(reference)}@${tagOrDigest}`)
    : parseReference(`${repositoryName(reference)}:${tagOrDigest}`)
}
