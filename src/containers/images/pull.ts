/**
 * `docker pull`: the manifest for this platform, its configuration, and its layers, several at a
 * time, straight into the content store. An interrupted layer goes on where it stopped.
 */
import { KeyedQueue } from '../../base/queue.ts'
import { Refusal } from '../../base/refusal.ts'
import { isAlreadyExists, isFailedPrecondition } from '../containerd/client.ts'
import type { Catalogue, Image } from './catalogue.ts'
import type { ContentStore } from './content.ts'
import {
  isIndex,
  parseDocument,
  parseImageConfig,
  parseIndex,
  parseManifest,
  type Descriptor,
  type ImageConfig,
  type Manifest,
  type Platform,
} from './documents.ts'
import { bytesIn } from './http.ts'
import { machinePlatform, pickPlatform } from './platform.ts'
import { counted, layerId, type Report } from './progress.ts'
import {
  canonicalName,
  defaultTag,
  familiarName,
  repositoryName,
  type Reference,
} from './reference.ts'
import type { Registry } from './registry.ts'
import { nameImage, unpackImage } from './store-image.ts'
import { eachOf, type TransferSettings } from './transfers.ts'

export interface PullRequest {
  /** With a tag or a digest. */
  readonly reference: Reference
  readonly platform?: Platform
  readonly report: Report
  readonly signal: AbortSignal
  readonly settings: TransferSettings
}

export interface Pulled {
  readonly image: Image
  /** As shown. */
  readonly name: string
}


const retryDelayMs = 250

/** One at a time for each digest: two pulls of the same layer do not fetch it twice. */
const downloads = new KeyedQueue()

interface Resolved {
  /** Of what the name stands for: the index, if there is one. */
  readonly digest: string
  readonly target: Descriptor
  readonly manifest: Manifest
  readonly config: ImageConfig
}

export async function pullImage(
  request: PullRequest,
  registry: Registry,
  catalogue: Catalogue,
  content: ContentStore,
  storing: <T>(task: () => Promise<T>) => Promise<T>,
): Promise<Pulled> {
  const { reference, report } = request
  const wanted = reference.digest ?? reference.tag ?? defaultTag
  const resolved = await resolve(request, wanted, registry, content)
  const { manifest, config, target, digest } = resolved
  const before = catalogue.named(canonicalName(reference))
  const present = await downloadLayers(request, manifest.layers, registry, content)
  const names = namesFor(reference, digest)
  const image = await storing(async () => {
    const tell = (status: string) => (layer: Descriptor) => {
      if (!present.has(layer.digest))
        report({ status, id: layerId(layer.digest), progressDetail: {} })
    }
    const listener = { onBegin: tell('Extracting'), onEnd: tell('Pull complete') }
    await unpackImage(content, target, manifest, config, listener)
    return nameImage(catalogue, content, target, names)
  })
  report({ status: `Digest: ${digest}` })
  const isNew = before?.id !== image.id
  const name = familiarName(reference)
  report({
    status: isNew
      ? `Status: Downloaded newer image for ${name}`
      : `Status: Image is up to date for ${name}`,
  })
  return { image, name }
}

function namesFor(reference: Reference, digest: string): readonly string[] {
  const byDigest = `${repositoryName(reference)}@${digest}`
  return reference.digest === undefined ? [canonicalName(reference), byDigest] : [byDigest]
}

async function resolve(
  { reference, platform, report, settings }: PullRequest,
  wanted: string,
  registry: Registry,
  content: ContentStore,
): Promise<Resolved> {
  const named = await registry.manifest(wanted)
  const document = parseDocument(named.bytes, 'the manifest')
  let fetched = named
  if (isIndex(document)) {
    const entry = pickPlatform(parseIndex(document), platform ?? machinePlatform())
    fetched = await registry.manifest(entry.digest)
  }
  const manifest = parseManifest(parseDocument(fetched.bytes, 'the manifest'))
  report({ status: `Pulling from ${reference.path}`, id: wanted })
  const { digest: configDigest } = manifest.config
  const quietly = { attemptsMax: settings.attemptsMax, report: () => undefined }
  await downloadBlob(manifest.config, registry, content, quietly)
  const config = parseImageConfig(parseDocument(await content.readBytes(configDigest), 'config'))
  if (platform !== undefined && config.architecture !== platform.architecture) {
    const has = `${config.os}/${config.architecture}`
    const asked = `${platform.os}/${platform.architecture}`
    throw new Refusal(
      'notFound',
      `image with reference ${familiarName(reference)} was found but its ` +
        `platform (${has}) does not match the specified platform (${asked})`,
    )
  }
  await content.writeBytes(fetched.bytes)
  return { digest: named.descriptor.digest, target: fetched.descriptor, manifest, config }
}

/** Answers the digests of those that were there before. */
async function downloadLayers(
  { report, signal, settings }: PullRequest,
  layers: readonly Descriptor[],
  registry: Registry,
  content: ContentStore,
): Promise<ReadonlySet<string>> {
  const unique = [...new Map(layers.map((layer) => [layer.digest, layer])).values()]
  const present = new Set<string>()
  for (const { digest } of unique) {
    const isHere = await content.has(digest)
    if (isHere) present.add(digest)
    const status = isHere ? 'Already exists' : 'Pulling fs layer'
    report({ status, id: layerId(digest), progressDetail: {} })
  }
  // All settle before a failure is told: nothing writes into the store behind our back.
  await eachOf(unique, settings.downloadsAtOnce, async (layer) => {
    signal.throwIfAborted()
    const id = layerId(layer.digest)
    await downloadBlob(layer, registry, content, {
      attemptsMax: settings.attemptsMax,
      report: (current, total) =>
        report({ status: 'Downloading', id, progressDetail: { current, total } }),
    })
    if (!present.has(layer.digest)) report({ status: 'Download complete', id, progressDetail: {} })
  })
  return present
}

interface Manner {
  readonly attemptsMax: number
  readonly report: (current: number, total: number) => void
}

/** Fetches what is missing of the blob; harmless when it is there. */
function downloadBlob(
  blob: Descriptor,
  registry: Registry,
  content: ContentStore,
  { attemptsMax, report }: Manner,
): Promise<void> {
  return downloads.run(blob.digest, async () => {
    for (let attempt = 1; ; attempt++) {
      try {
        await attemptDownload(blob, registry, content, report)
        return
      } catch (error) {
        if (isAlreadyExists(error)) return
        // Wrong bytes must not be the beginning of the next attempt.
        if (isFailedPrecondition(error)) await content.abort(refOf(blob))
        if (attempt === attemptsMax || isFinal(error)) throw error
        await new Promise((wake) => setTimeout(wake, retryDelayMs * attempt))
      }
    }
  })
}

const isFinal = (error: unknown): boolean =>
  (error instanceof Refusal && error.kind === 'notFound') ||
  (error instanceof Error && error.name === 'AbortError')

const refOf = ({ digest }: Descriptor): string => `layer-${digest}`

async function attemptDownload(
  blob: Descriptor,
  registry: Registry,
  content: ContentStore,
  report: (current: number, total: number) => void,
): Promise<void> {
  const ref = refOf(blob)
  const offset = await content.resumeOffset(ref, blob)
  if (offset >= blob.size) {
    await content.writeKnown(ref, blob, offset, (async function* () {})())
    return
  }
  const { begin, body } = await registry.blob(blob.digest, offset)
  try {
    const rest = limited(skipped(bytesIn(body), offset - begin), blob, offset)
    await content.writeKnown(ref, blob, offset, counted(rest, offset, blob.size, report))
  } finally {
    body.destroy()
  }
}

/** For servers that do not know ranges: what is there already is passed over. */
async function* skipped(
  source: AsyncIterable<Uint8Array>,
  bytes: number,
): AsyncGenerator<Uint8Array> {
  let left = bytes
  for await (const piece of source) {
    const kept = piece.subarray(Math.min(left, piece.length))
    left -= piece.length - kept.length
    if (kept.length > 0) yield kept
  }
}

/** Never more than was announced: a registry cannot fill the disk. */
async function* limited(
  source: AsyncIterable<Uint8Array>,
  { digest, size }: Descriptor,
  begin: number,
): AsyncGenerator<Uint8Array> {
  let at = begin
  for await (const piece of source) {
    at += piece.length
    if (at > size)
      throw new Refusal('internal', `${digest} is longer than the ${size} bytes announced`)
    yield piece
  }
}
