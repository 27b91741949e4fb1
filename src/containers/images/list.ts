/** Which images a list shows: Docker's filters. */
import { Refusal } from '../../base/refusal.ts'
import { matchesLabels, type Filters } from '../label-filter.ts'
import { epochMs, parseMoment } from '../time.ts'
import { truthFilter } from '../truth-filter.ts'
import type { Catalogue, Image } from './catalogue.ts'
import { labelsOf } from './documents.ts'
import { familiarRepository, parseReference } from './reference.ts'

export const imageFilters = ['dangling', 'label', 'label!', 'before', 'since', 'reference', 'until']
export const pruneFilters = ['dangling', 'label', 'label!', 'until']

/** Newest first. With the filter `reference` only the names that match are shown. */
export function listImages(catalogue: Catalogue, filters: Filters): readonly Image[] {
  const dangling = truthFilter('dangling', filters.get('dangling'))
  const isWanted = imageCondition(filters)
  const before = moments(catalogue, filters.get('before'))
  const since = moments(catalogue, filters.get('since'))
  const patterns = filters.get('reference')
  return catalogue
    .all()
    .filter(
      (image) =>
        isWanted(image) &&
        (dangling === undefined || dangling === isDangling(image)) &&
        before.every((moment) => epochMs(image.created) < moment) &&
        since.every((moment) => epochMs(image.created) > moment),
    )
    .map((image) => (patterns === undefined ? image : onlyMatching(image, patterns)))
    .filter(
      (image) => patterns === undefined || image.repoTags.length + image.repoDigests.length > 0,
    )
    .sort((a, b) => epochMs(b.created) - epochMs(a.created) || (a.id < b.id ? -1 : 1))
}

export const isDangling = (image: Image): boolean =>
  image.repoTags.length === 0 && image.repoDigests.length === 0

/** The filters `label`, `label!` and `until`, which lists and prune share. */
export function imageCondition(filters: Filters): (image: Image) => boolean {
  const until = (filters.get('until') ?? []).map((text) => Number(parseMoment(text) / 1_000_000n))
  if (until.length > 1) throw new Refusal('invalid', 'more than one until filter specified')
  return (image) =>
    matchesLabels(labelsOf(image.document), filters) &&
    until.every((moment) => epochMs(image.created) < moment)
}

function moments(catalogue: Catalogue, names: readonly string[] | undefined): readonly number[] {
  return (names ?? []).map((name) => epochMs(catalogue.find(name).created))
}

function onlyMatching(image: Image, patterns: readonly string[]): Image {
  const matches = (name: string) => patterns.some((pattern) => matchesReference(name, pattern))
  return {
    ...image,
    repoTags: image.repoTags.filter(matches),
    repoDigests: image.repoDigests.filter(matches),
  }
}

/** A shell pattern on the whole name or on the repository; `*` does not cross a slash. */
export function matchesReference(name: string, pattern: string): boolean {
  const expression = globExpression(pattern)
  return expression.test(name) || expression.test(familiarRepository(parseReference(name)))
}

function globExpression(pattern: string): RegExp {
  const source = pattern.replace(/\[[^\]]*\]|[\s\S]/g, (part) => {
    if (part === '*') return '[^/]*'
    if (part === '?') return '[^/]'
    if (part.length > 1) return part.replace(/\\/g, '\\\\')
    return part.replace(/[.+^${}()|[\]\\/]/g, '\\$&')
  })
  try {
    return new RegExp(`^${source}$`)
  } catch (error) {
    throw new Refusal('invalid', 'syntax error in pattern', { cause: error })
  }
}
