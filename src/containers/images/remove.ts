/**
 * `docker rmi` and `docker image prune`: which names and images go, and when Docker refuses.
 *
 * A name that is not the last one is only taken away. An image in use stays: by running
 * containers always, by stopped ones unless forced.
 */
import { shortId } from '../../base/id.ts'
import { Refusal } from '../../base/refusal.ts'
import type { Catalogue, Image } from './catalogue.ts'
import {
  canonicalName,
  familiarName,
  parseReference,
  repositoryName,
  type Reference,
} from './reference.ts'

export interface ImageUser {
  readonly containerId: string
  readonly running: boolean
}

export type Removed = { readonly Untagged: string } | { readonly Deleted: string }

export interface Remover {
  readonly catalogue: Catalogue
  /** Containers made from the image. */
  usersOf(imageId: string): readonly ImageUser[]
  tell(action: 'untag' | 'delete', image: Image): void
}

const isDigestName = ({ digest }: Reference): boolean => digest !== undefined
const short = (image: Image): string => shortId(image.id.slice('sha256:'.length))

function referencesOf(image: Image): readonly Reference[] {
  return [...image.repoTags, ...image.repoDigests].map(parseReference)
}

/** Docker's rule: at most one tag, and every digest name of the same repository. */
function isSingleReference(references: readonly Reference[]): boolean {
  if (references.length <= 1) return references.length === 1
  const tags = references.filter((reference) => !isDigestName(reference))
  if (tags.length > 1) return false
  return new Set(references.map(repositoryName)).size === 1
}

/** @param text as the user typed it: a name, or an id, or its beginning */
export async function removeImage(
  remover: Remover,
  text: string,
  force: boolean,
): Promise<readonly Removed[]> {
  const { catalogue } = remover
  const image = catalogue.find(text)
  const references = referencesOf(image)
  const removed: Removed[] = []
  if (!isNamed(image, text)) {
    if (isSingleReference(references)) {
      refuseIfUsed(remover, image, force)
    } else if (references.length > 1 && !force) {
      const why = 'image is referenced in multiple repositories'
      throw new Refusal(
        'conflict',
        `conflict: unable to delete ${short(image)} (must be forced) - ${why}`,
      )
    }
    refuseIfUsed(remover, image, force)
    await untag(remover, image, references, removed)
    await deleteImage(remover, image, removed)
    return removed
  }
  const reference = parseReference(text)
  const [user] = remover.usersOf(image.id)
  if (!force && user !== undefined && isSingleReference(references)) {
    const what = `unable to remove repository reference ${JSON.stringify(text)} (must force)`
    const container = shortId(user.containerId)
    const who = `container ${container} is using its referenced image ${short(image)}`
    throw new Refusal('conflict', `conflict: ${what} - ${who}`)
  }
  const name = canonicalName(reference)
  const rest = references.filter((other) => canonicalName(other) !== name)
  const ofRepository = rest.filter((other) => repositoryName(other) === repositoryName(reference))
  // Digest names go with the last tag of their repository.
  const along = isDigestName(reference) || !ofRepository.every(isDigestName) ? [] : ofRepository
  const remaining = rest.filter((other) => !along.includes(other))
  const isUsed = remover.usersOf(image.id).some(({ running }) => running)
  if (remaining.length === 0 && isUsed) await catalogue.keepNameless(image)
  await untag(remover, image, [reference, ...along], removed, remaining.length > 0 || isUsed)
  if (remaining.length === 0 && !isUsed) await deleteImage(remover, image, removed)
  return removed
}

function isNamed(image: Image, text: string): boolean {
  try {
    return image.names.has(canonicalName(parseReference(text)))
  } catch (error) {
    if (error instanceof Refusal) return false // a full id cannot be a name
    throw error
  }
}

function refuseIfUsed(remover: Remover, image: Image, force: boolean): void {
  const users = remover.usersOf(image.id)
  const running = users.find((user) => user.running)
  const refuse = (how: string, kind: string, { containerId }: ImageUser) => {
    const why = `image is being used by ${kind} container ${shortId(containerId)}`
    return new Refusal('conflict', `conflict: unable to delete ${short(image)} (${how}) - ${why}`)
  }
  if (running !== undefined) throw refuse('cannot be forced', 'running', running)
  const [stopped] = users
  if (stopped !== undefined && !force) throw refuse('must be forced', 'stopped', stopped)
}

/** Takes names away; the last one stays until `deleteImage` unless the image is kept. */
async function untag(
  remover: Remover,
  image: Image,
  references: readonly Reference[],
  removed: Removed[],
  kept = false,
): Promise<void> {
  for (const reference of references) {
    const name = canonicalName(reference)
    const isLast = remover.catalogue.get(image.id)?.names.size === 1
    if (!isLast || kept) await remover.catalogue.dropName(name, false)
    removed.push({ Untagged: familiarName(reference) })
    remover.tell('untag', image)
  }
}

/** Deletes an image without names that count; what other images share stays. */
async function deleteImage(remover: Remover, image: Image, removed: Removed[]): Promise<void> {
  const { catalogue } = remover
  const names = [...(catalogue.get(image.id)?.names.keys() ?? [])]
  for (const [index, name] of names.entries()) {
    await catalogue.dropName(name, index === names.length - 1)
  }
  const shared = new Set(catalogue.all().flatMap((other) => other.layers))
  removed.push({ Deleted: image.id })
  for (const layer of [...image.layers].reverse()) {
    if (!shared.has(layer)) removed.push({ Deleted: layer })
  }
  remover.tell('delete', image)
}

/** Bytes that went, counting shared layers not at all. */
export function freedBytes(image: Image, removed: readonly Removed[]): number {
  const gone = new Set(removed.map((entry) => ('Deleted' in entry ? entry.Deleted : '')))
  return image.layers.reduce(
    (sum, layer, index) => sum + (gone.has(layer) ? (image.layerSizes[index] ?? 0) : 0),
    0,
  )
}

/** Removes unused images: nameless ones, or `all`. */
export async function pruneImages(
  remover: Remover,
  all: boolean,
  isWanted: (image: Image) => boolean,
): Promise<{ readonly removed: readonly Removed[]; readonly bytes: number }> {
  const removed: Removed[] = []
  let bytes = 0
  for (const image of remover.catalogue.all()) {
    const references = referencesOf(image)
    if (!all && references.length > 0) continue
    if (remover.usersOf(image.id).length > 0 || !isWanted(image)) continue
    const gone: Removed[] = []
    await untag(remover, image, references, gone)
    await deleteImage(remover, image, gone)
    bytes += freedBytes(image, gone)
    removed.push(...gone)
  }
  return { removed, bytes }
}
