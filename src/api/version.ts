/**
 * API versions: what we speak, and the `/v1.41` in front of a path.
 *
 * The newest stock docker command asks for 1.50 and takes the lower of the two; 1.51 is what the
 * bodies are written after. A bare path means the newest.
 */
import { Refusal } from '../base/refusal.ts'
import { PlainRefusal } from './errors.ts'
import type { ApiVersion } from './route.ts'

export const newestVersion = '1.51'
export const oldestVersion = '1.24'

/** The engine version that clients compare against; the suffix says whose engine it is. */
export const engineVersion = '28.2.2-portolan'

const sinceJsonErrors = 124

/** 1.41 → 141, so that versions compare as numbers. */
export function toApiVersion(text: string): ApiVersion {
  const [major = 0, minor = 0] = text.split('.').map(Number)
  return major * 100 + minor
}

/** A path without its version prefix. */
export interface VersionedPath {
  /** As in the path, `1.41`; undefined for a bare path. */
  readonly given: string | undefined
  readonly path: string
}

/** Splits `/v1.41/info` into `1.41` and `/info`. */
export function splitVersion(path: string): VersionedPath {
  const match = /^\/v([0-9.]+)(\/.*)$/s.exec(path)
  return { given: match?.[1], path: match?.[2] ?? path }
}

/** The version to answer in; refuses those that we do not speak, in Docker's words. */
export function negotiate(given: string | undefined, oldest = oldestVersion): ApiVersion {
  if (given === undefined) return toApiVersion(newestVersion)
  const asked = toApiVersion(given)
  if (!(asked >= toApiVersion(oldest))) {
    const sentence =
      `client version ${given} is too old. Minimum supported API version is ` +
      `${oldest}, please upgrade your client to a newer version`
    // Errors are JSON since 1.24; before, they were lines.
    if (asked < sinceJsonErrors) throw new PlainRefusal(`${sentence}\n`)
    throw new Refusal('invalid', sentence)
  }
  if (asked > toApiVersion(newestVersion)) {
    throw new Refusal(
      'invalid',
      `client version ${given} is too new. ` + `Maximum supported API version is ${newestVersion}`,
    )
  }
  return asked
}
