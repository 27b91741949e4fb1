/**
 * The platform that a request about an image names. Newer calls have it as JSON,
 * `{"os":"linux","architecture":"arm64"}`, each from an API version of its own on.
 */
import { Refusal } from '../base/refusal.ts'
import type { Platform } from '../containers/images/documents.ts'
import * as d from './decode.ts'
import { parseJson } from './json.ts'
import type { ApiRequest, ApiVersion } from './route.ts'

const shape = d.struct('v1.Platform', { os: d.string, architecture: d.string, variant: d.string })

/** The one that is named; undefined when none is, or before `since`. */
export function queriedPlatform(
  { query, version }: ApiRequest,
  since: ApiVersion,
): Platform | undefined {
  const text = query.get('platform') ?? ''
  return version < since || text === '' ? undefined : parseJsonPlatform(text)
}

/** What `platforms` names: one at most, since images have one here. */
export function onlyPlatform(
  { query, version }: ApiRequest,
  since: ApiVersion,
): Platform | undefined {
  const texts = version < since ? [] : query.getAll('platforms')
  const [platform, ...others] = texts.map(parseJsonPlatform)
  if (others.length > 0) throw new Refusal('invalid', 'multiple platforms are not supported')
  return platform
}

function parseJsonPlatform(text: string): Platform {
  const platform = decoded(text)
  const { os, architecture, variant } = platform
  if (os === '' && architecture === '' && variant !== '') {
    const what = 'optional platform fields provided'
    throw new Refusal('invalid', `${what}, but OS and Architecture are missing`)
  }
  if (os === '' || architecture === '') {
    throw new Refusal('invalid', 'both OS and Architecture must be provided')
  }
  return platform
}

function decoded(text: string): Platform {
  try {
    return shape.decode(parseJson(text), '')
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    const why = error.message.replace(/^invalid JSON: /, '')
    throw new Refusal('invalid', `failed to parse platform: ${why}`, { cause: error })
  }
}
