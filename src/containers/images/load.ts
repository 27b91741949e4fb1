/**
 * `docker load`: images from a tar file, in docker-save format (of any age) or as OCI layout.
 *
 * The tar is read once, as a stream; its files go into the content store as they come and are put
 * together at the end. Nothing is written to disk besides, so no name in the tar can do harm.
 */
import { posix } from 'node:path'
import type { Readable } from 'node:stream'
import { messageOf, Refusal } from '../../base/refusal.ts'
import { isObject } from '../shape.ts'
import type { Catalogue, Image } from './catalogue.ts'
import type { Blob, ContentStore } from './content.ts'
import {
  documentBytesMax,
  isIndex,
  parseDocument,
  parseImageConfig,
  parseIndex,
  parseManifest,
  type Descriptor,
  type Manifest,
  type Platform,
} from './documents.ts'
import type { TarEntry } from '../../base/tar/header.ts'
import { readTar } from '../../base/tar/read.ts'
import { decompressed } from './compression.ts'
import { layerMediaType } from './layers.ts'
import { isOfPlatform, machinePlatform, pickPlatform, platformName } from './platform.ts'
import { canonicalName, digestPattern, parseReference } from './reference.ts'
import { nameImage, unpackImage, writeManifest } from './store-image.ts'

export interface Loaded {
  readonly image: Image
  /** As in the tar; none for an image without a name. */
  readonly names: readonly string[]
}

interface Archive {
  readonly blobs: ReadonlyMap<string, Blob>
  /** Name → what it points to. */
  readonly links: ReadonlyMap<string, string>
  /** The documents at the top, by name. */
  readonly documents: ReadonlyMap<string, string>
}

const topDocuments = ['manifest.json', 'index.json', 'oci-layout', 'repositories']
/** Files of old engines that say nothing that the others do not. */
const unneeded = ['VERSION', 'json']
/** More files than any image tar has; a bound on what a hostile one makes us remember. */
const filesMax = 65_536
const linksMax = 8

/** Writes every file of the tar into the content store. */
export async function readArchive(source: Readable, content: ContentStore): Promise<Archive> {
  const blobs = new Map<string, Blob>()
  const links = new Map<string, string>()
  const documents = new Map<string, string>()
  try {
    for await (const { entry, content: bytes } of readTar(await decompressed(source))) {
      const name = posix.normalize(entry.name.toString()).replace(/^\/+/, '')
      if (blobs.size + links.size > filesMax)
        throw new Refusal('invalid', 'the tar has too many files')
      if (entry.kind === 'link' || entry.kind === 'symlink') {
        const base = entry.kind === 'symlink' ? posix.dirname(name) : ''
        links.set(name, posix.normalize(posix.join(base, entry.target.toString())))
      } else if (entry.kind === 'file') {
        if (topDocuments.includes(name)) documents.set(name, await textOf(bytes, entry))
        else if (!unneeded.includes(posix.basename(name)))
          blobs.set(name, await content.write(bytes))
      }
    }
  } catch (error) {
    if (error instanceof Refusal) throw error
    throw new Refusal('invalid', `the tar cannot be read: ${messageOf(error)}`, { cause: error })
  }
  return { blobs, links, documents }
}

async function textOf(content: AsyncIterable<Buffer>, entry: TarEntry): Promise<string> {
  if (entry.bytes > documentBytesMax) {
    throw new Refusal('invalid', `invalid image: ${entry.name.toString()} is too large`)
  }
  const pieces: Buffer[] = []
  for await (const piece of content) pieces.push(piece)
  return Buffer.concat(pieces).toString('utf8')
}

/** The file of that name, through links: old engines link equal layers to each other. */
function blobAt(archive: Archive, name: string): Blob {
  let at = posix.normalize(name)
  for (let followed = 0; followed < linksMax; followed++) {
    const blob = archive.blobs.get(at)
    if (blob !== undefined) return blob
    const next = archive.links.get(at)
    if (next === undefined) break
    at = next
  }
  throw new Refusal('invalid', `invalid image: the tar has no file ${name}`)
}

/** Makes the images that the tar describes: of one platform only, where one is `wanted`. */
export async function loadArchive(
  archive: Archive,
  catalogue: Catalogue,
  content: ContentStore,
  wanted?: Platform,
): Promise<readonly Loaded[]> {
  const found = await loadAll(archive, catalogue, content, wanted)
  const loaded = found.filter((one) => one !== undefined)
  if (wanted !== undefined && loaded.length === 0) {
    throw new Refusal('notFound', `the archive has no image for platform ${platformName(wanted)}`)
  }
  return loaded
}

/** Undefined stands for an image of another platform. */
type Found = readonly (Loaded | undefined)[]

async function loadAll(
  archive: Archive,
  catalogue: Catalogue,
  content: ContentStore,
  wanted: Platform | undefined,
): Promise<Found> {
  const manifest = archive.documents.get('manifest.json')
  if (manifest !== undefined) return loadDocker(manifest, archive, catalogue, content, wanted)
  const index = archive.documents.get('index.json')
  if (index !== undefined) return loadLayout(index, catalogue, content, wanted)
  throw new Refusal(
    'invalid',
    archive.documents.has('repositories')
      ? 'the tar is in the format of engines before 1.10: load it there and save it again'
      : 'invalid archive: does not contain a manifest.json',
  )
}

async function loadDocker(
  text: string,
  archive: Archive,
  catalogue: Catalogue,
  content: ContentStore,
  wanted: Platform | undefined,
): Promise<Found> {
  const { entries } = parseDocument(`{"entries":${text}}`, 'manifest.json')
  if (!Array.isArray(entries))
    throw new Refusal('invalid', 'invalid image: manifest.json is not a list')
  const loaded: (Loaded | undefined)[] = []
  for (const entry of entries.filter(isObject)) {
    const names = stringList(entry['RepoTags'])
    const long = names.map((name) => canonicalName(parseReference(name)))
    const config = blobAt(archive, String(entry['Config']))
    const layers = stringList(entry['Layers']).map((name) => {
      const { digest, size, head } = blobAt(archive, name)
      return { mediaType: layerMediaType(head), digest, size }
    })
    const described = {
      mediaType: 'application/vnd.oci.image.config.v1+json',
      digest: config.digest,
      size: config.size,
    }
    const { target, manifest } = await writeManifest(content, described, layers)
    loaded.push(await finish(catalogue, content, { target, manifest, long, names, wanted }))
  }
  return loaded
}

async function loadLayout(
  text: string,
  catalogue: Catalogue,
  content: ContentStore,
  wanted: Platform | undefined,
): Promise<Found> {
  const loaded: (Loaded | undefined)[] = []
  for (const entry of parseIndex(parseDocument(text, 'index.json')).entries) {
    const target = await manifestOf(entry, content, wanted)
    const manifest = parseManifest(await documentOf(target, content))
    const full = entry.annotations['io.containerd.image.name']
    const short = entry.annotations['org.opencontainers.image.ref.name'] ?? ''
    const name = full ?? (/[/:]/.test(short) ? short : '')
    const names = name === '' ? [] : [name]
    const long = names.map((each) => canonicalName(parseReference(each)))
    loaded.push(await finish(catalogue, content, { target, manifest, long, names, wanted }))
  }
  return loaded
}

async function manifestOf(
  entry: Descriptor,
  content: ContentStore,
  wanted: Platform | undefined,
): Promise<Descriptor> {
  const document = await documentOf(entry, content)
  if (!isIndex(document)) return entry
  const { mediaType, digest, size } = pickPlatform(parseIndex(document), wanted ?? machinePlatform())
  return { mediaType, digest, size }
}

async function documentOf({ digest }: Descriptor, content: ContentStore) {
  if (!digestPattern.test(digest) || !(await content.has(digest))) {
    throw new Refusal('invalid', `invalid image: the tar has no blob ${digest}`)
  }
  return parseDocument(await content.readBytes(digest), digest)
}

interface Described {
  readonly target: Descriptor
  readonly manifest: Manifest
  /** Names in full, and as they stand in the tar. */
  readonly long: readonly string[]
  readonly names: readonly string[]
  readonly wanted: Platform | undefined
}

async function finish(
  catalogue: Catalogue,
  content: ContentStore,
  { target, manifest, long, names, wanted }: Described,
): Promise<Loaded | undefined> {
  const config = parseImageConfig(
    parseDocument(await content.readBytes(manifest.config.digest), 'config'),
  )
  if (wanted !== undefined && !isOfPlatform(config, wanted)) return undefined
  await unpackImage(content, target, manifest, config)
  return { image: await nameImage(catalogue, content, target, long), names }
}

function stringList(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((entry) => typeof entry === 'string') : []
}
