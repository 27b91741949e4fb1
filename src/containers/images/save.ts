/**
 * `docker save`: one tar that is an OCI layout and has Docker's manifest.json beside it. Blobs
 * stand under their digests, each once however many images share it.
 */
import { Readable } from 'node:stream'
import {
  encodeEntry,
  encodeFile,
  endOfArchive,
  entryNamed,
  paddingOf,
} from '../../base/tar/header.ts'
import type { Catalogue, Image } from './catalogue.ts'
import type { ContentStore } from './content.ts'
import type { Descriptor } from './documents.ts'
import { mediaTypes } from './documents.ts'
import { canonicalName, familiarName, familiarRepository, parseReference } from './reference.ts'

interface Wanted {
  /** As the user typed it; an id saves all names of the image. */
  readonly reference: string
  readonly image: Image
}

interface Saved {
  readonly image: Image
  readonly target: Descriptor
  readonly tags: readonly string[]
}

const blobPath = (digest: string): string => `blobs/${digest.replace(':', '/')}`

/** The tar as a stream; an error on the way breaks it off. */
export function saveImages(
  content: ContentStore,
  catalogue: Catalogue,
  wanted: readonly Wanted[],
): Readable {
  return Readable.from(archiveOf(content, gather(catalogue, wanted)), { objectMode: false })
}

/** One entry per image, with the names that were asked for. */
function gather(catalogue: Catalogue, wanted: readonly Wanted[]): readonly Saved[] {
  const byId = new Map<string, { image: Image; tags: Set<string> }>()
  for (const { reference, image } of wanted) {
    const entry = byId.get(image.id) ?? { image, tags: new Set<string>() }
    byId.set(image.id, entry)
    const isId = catalogue.isIdPrefix(image, reference) && !image.names.has(longName(reference))
    for (const tag of isId ? [] : tagsOf(image, reference)) entry.tags.add(tag)
  }
  return [...byId.values()].map(({ image, tags }) => ({
    image,
    target: image.manifestDescriptor,
    tags: [...tags].sort(),
  }))
}

function longName(text: string): string {
  return /^(sha256:)?[0-9a-f]{64}$/.test(text) ? '' : canonicalName(parseReference(text))
}

/** `docker save busybox` without a tag saves every tag of the repository that the image has. */
function tagsOf(image: Image, text: string): readonly string[] {
  const reference = parseReference(text)
  if (reference.digest !== undefined) return []
  if (reference.tag !== undefined) return [familiarName(reference)]
  const repository = familiarRepository(reference)
  return image.repoTags.filter((tag) => familiarRepository(parseReference(tag)) === repository)
}

async function* archiveOf(
  content: ContentStore,
  saved: readonly Saved[],
): AsyncGenerator<Uint8Array> {
  const blobs = new Map<string, Descriptor>()
  for (const { image, target } of saved) {
    for (const blob of [target, image.manifest.config, ...image.manifest.layers])
      blobs.set(blob.digest, blob)
  }
  for (const folder of ['blobs', 'blobs/sha256']) {
    yield encodeEntry(entryNamed(`${folder}/`, { kind: 'folder', mode: 0o755 }))
  }
  for (const { digest, size } of [...blobs.values()].sort(byDigest)) {
    yield encodeEntry(entryNamed(blobPath(digest), { bytes: size }))
    yield* content.read(digest)
    yield Buffer.alloc(paddingOf(size))
  }
  const document = (name: string, value: unknown) =>
    encodeFile(name, Buffer.from(JSON.stringify(value)))
  yield document('index.json', indexOf(saved))
  yield document(
    'manifest.json',
    saved.map(({ image, tags }) => ({
      Config: blobPath(image.id),
      RepoTags: tags.length === 0 ? null : tags,
      Layers: image.manifest.layers.map(({ digest }) => blobPath(digest)),
    })),
  )
  yield document('oci-layout', { imageLayoutVersion: '1.0.0' })
  yield endOfArchive
}

const byDigest = (one: Descriptor, other: Descriptor): number => (one.digest < other.digest ? -1 : 1)

function indexOf(saved: readonly Saved[]): unknown {
  const manifests = saved.flatMap(({ target, tags }) =>
    (tags.length === 0 ? [undefined] : tags).map((tag) => ({
      mediaType: target.mediaType,
      digest: target.digest,
      size: target.size,
      ...(tag === undefined
        ? {}
        : {
            annotations: {
              'io.containerd.image.name': canonicalName(parseReference(tag)),
              'org.opencontainers.image.ref.name': parseReference(tag).tag ?? '',
            },
          }),
    })),
  )
  return { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests }
}
