/**
 * `docker save`: one tar that is an OCI layout and has Docker's manifest.json beside it. Blobs
 * stand under their digests, each once however many images share it.
 */
import { posix } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import { pack, type Pack } from 'tar-stream'
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

const epoch = new Date(0)
const blobPath = (digest: string): string => `blobs/${digest.replace(':', '/')}`

/** The tar as a stream; an error on the way breaks it off. */
export function saveImages(
  content: ContentStore,
  catalogue: Catalogue,
  wanted: readonly Wanted[],
): Readable {
  const tar = pack()
  const out = new PassThrough()
  const saved = gather(catalogue, wanted)
  writeAll(content, tar, saved).catch((error: unknown) => {
    out.destroy(error instanceof Error ? error : new Error(String(error)))
  })
  const copy = async function* () {
    for await (const piece of tar) if (piece instanceof Uint8Array) yield piece
  }
  out.on('close', () => tar.destroy())
  Readable.from(copy(), { objectMode: false })
    .on('error', (error) => out.destroy(error))
    .pipe(out)
  return out
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

async function writeAll(content: ContentStore, tar: Pack, saved: readonly Saved[]): Promise<void> {
  const blobs = new Map<string, Descriptor>()
  for (const { image, target } of saved) {
    for (const blob of [target, image.manifest.config, ...image.manifest.layers])
      blobs.set(blob.digest, blob)
  }
  for (const folder of ['blobs', 'blobs/sha256']) {
    tar.entry({ name: `${folder}/`, type: 'directory', mode: 0o755, mtime: epoch })
  }
  for (const blob of [...blobs.values()].sort((a, b) => (a.digest < b.digest ? -1 : 1))) {
    await writeBlob(content, tar, blob)
  }
  const document = (name: string, value: unknown) => {
    tar.entry({ name, mode: 0o644, mtime: epoch }, JSON.stringify(value))
  }
  document('index.json', indexOf(saved))
  document(
    'manifest.json',
    saved.map(({ image, tags }) => ({
      Config: blobPath(image.id),
      RepoTags: tags.length === 0 ? null : tags,
      Layers: image.manifest.layers.map(({ digest }) => blobPath(digest)),
    })),
  )
  document('oci-layout', { imageLayoutVersion: '1.0.0' })
  tar.finalize()
}

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

async function writeBlob(
  content: ContentStore,
  tar: Pack,
  { digest, size }: Descriptor,
): Promise<void> {
  const name = posix.normalize(blobPath(digest))
  await new Promise<void>((resolve, reject) => {
    const entry = tar.entry({ name, size, mode: 0o644, mtime: epoch }, (error) => {
      if (error instanceof Error) reject(error)
      else resolve()
    })
    const copy = async () => {
      for await (const piece of content.read(digest)) {
        if (!entry.write(piece)) await new Promise<void>((go) => entry.once('drain', () => go()))
        if (entry.destroyed) return
      }
      entry.end(null)
    }
    entry.on('close', () => resolve())
    copy().catch(reject)
  })
}
