/**
 * The images of this engine: the verbs behind /images and /commit. containerd keeps blobs,
 * snapshots and names; what is needed to answer at once is in memory.
 *
 * Whatever makes an image works under a lease; making the last step and removing take turns, so
 * that no snapshot is collected just before an image refers to it.
 */
import type { Readable } from 'node:stream'
import type { EmitEvent } from '../../base/event.ts'
import { KeyedQueue } from '../../base/queue.ts'
import { Refusal } from '../../base/refusal.ts'
import type { Containerd } from '../containerd/client.ts'
import type { Filters } from '../label-filter.ts'
import { truthFilter } from '../truth-filter.ts'
import { Catalogue, type Image } from './catalogue.ts'
import { commitContainer, type CommitRequest } from './commit.ts'
import { ContentStore, dropStaleLeases, withLease } from './content.ts'
import { labelsOf, type Platform } from './documents.ts'
import { importRootfs, type ImportRequest } from './import.ts'
import { imageCondition, listImages } from './list.ts'
import { loadArchive, readArchive, type Loaded } from './load.ts'
import { isOfPlatform, platformName, requirePlatform } from './platform.ts'
import { canonicalName, familiarName, parseReference, withDefaultTag } from './reference.ts'
import { pruneImages, removeImage, type ImageUser, type Removed } from './remove.ts'
import {
  Remote,
  type Distribution,
  type RemotePull,
  type RemotePush,
  type RemoteRequest,
} from './remote.ts'
import type { Credentials } from './registry-auth.ts'
import { saveImages } from './save.ts'
import { defaultTransfers, type TransferSettings } from './transfers.ts'
export type { Image } from './catalogue.ts'
export type { CommitRequest } from './commit.ts'
export type { ImportRequest } from './import.ts'
export type { Loaded } from './load.ts'
export type { ImageUser, Removed } from './remove.ts'

export interface ImagesOptions {
  readonly containerd: Containerd
  readonly emit: EmitEvent
  /** The containers made from an image; asked before one is removed. */
  readonly usersOf: (imageId: string) => readonly ImageUser[]
  /** Asked at every pull and push: the daemon's configuration may be read again. */
  readonly transfers?: () => TransferSettings
}

export interface ImageUsage {
  /** Bytes of all layers of all images, each counted once. */
  readonly layersBytes: number
  readonly images: readonly {
    readonly image: Image
    readonly sharedBytes: number
    readonly containers: number
  }[]
}

/** Reads what containerd has and clears away what a crash left behind. */
export async function openImages(options: ImagesOptions): Promise<Images> {
  await dropStaleLeases(options.containerd)
  const catalogue = new Catalogue(options.containerd)
  await catalogue.reload()
  return new Images(options, catalogue)
}

const storeKey = 'store'

export class Images {
  readonly catalogue: Catalogue
  readonly #options: ImagesOptions
  readonly #queue = new KeyedQueue()
  readonly #remote: Remote

  constructor(options: ImagesOptions, catalogue: Catalogue) {
    this.#options = options
    this.catalogue = catalogue
    this.#remote = new Remote({
      catalogue,
      containerd: options.containerd,
      settings: options.transfers ?? (() => defaultTransfers),
      storing: (task) => this.storing(task),
    })
  }

  /** By name, id or the beginning of an id; refuses with «No such image: x:y». */
  find(reference: string): Image {
    return this.catalogue.find(reference)
  }

  list(filters: Filters = new Map()): readonly Image[] {
    return listImages(this.catalogue, filters)
  }

  /** The same; refuses one of another platform than this, if any. */
  findFor(reference: string, platform: Platform | undefined): Image {
    const image = this.find(reference)
    requirePlatform(reference, image.document, platform)
    return image
  }

  /** Makes the images of a docker-save or OCI tar: those of this machine's, or of one platform. */
  load(tar: Readable, platform?: Platform): Promise<readonly Loaded[]> {
    return withLease(this.#options.containerd, async (content) => {
      const archive = await readArchive(tar, content)
      const loaded = await this.storing(() =>
        loadArchive(archive, this.catalogue, content, platform),
      )
      for (const { image } of loaded) this.tell('load', image, image.id)
      return loaded
    })
  }

  /** A tar of these images, in both formats; refuses before the first byte when one is missing. */
  async save(references: readonly string[], platform?: Platform): Promise<Readable> {
    const images = references.map((reference) => ({ reference, image: this.#named(reference) }))
    if (platform !== undefined && !images.every(({ image }) => isOfPlatform(image.document, platform))) {
      const text = `no suitable export target found for platform ${platformName(platform)}`
      throw new Refusal('notFound', text)
    }
    const content = new ContentStore(this.#options.containerd, '')
    // Whether containerd is there is known before the first byte is sent.
    for (const { image } of images) await content.has(image.id)
    for (const { image } of images) this.tell('save', image, image.id)
    return saveImages(content, this.catalogue, images)
  }

  /** Refused under the name as it was given. */
  #named(reference: string): Image {
    try {
      return this.find(reference)
    } catch (error) {
      if (!(error instanceof Refusal) || error.kind !== 'notFound') throw error
      throw new Refusal('notFound', `No such image: ${reference}`, { cause: error })
    }
  }

  /** An image of one layer from a tar of a root file system. */
  import(tar: Readable, request: ImportRequest): Promise<Image> {
    return withLease(this.#options.containerd, async (content) => {
      const make = await importRootfs(tar, request, content)
      const image = await this.storing(() => make(this.catalogue))
      this.tell('import', image, image.id)
      return image
    })
  }

  /** An image of a container's root file system as it is now. Pausing it is the caller's. */
  commit(request: CommitRequest): Promise<Image> {
    return withLease(this.#options.containerd, (content) =>
      this.storing(async () => {
        const image = await commitContainer(request, this.catalogue, content)
        this.tell('create', image, image.id)
        const { name } = request
        if (name !== '') this.tell('tag', image, familiarName(parseReference(name)))
        return image
      }),
    )
  }

  /** Fetches from a registry, reporting in Docker's words. */
  async pull(request: RemotePull): Promise<void> {
    for (const { image, name } of await this.#remote.pull(request)) this.tell('pull', image, name)
  }

  async push(request: RemotePush): Promise<void> {
    await this.#remote.push(request)
    const name = familiarName(request.reference)
    this.#options.emit({ type: 'image', action: 'push', id: name, attributes: { name } })
  }

  /** What a registry has under a name. */
  distribution(request: RemoteRequest): Promise<Distribution> {
    return this.#remote.distribution(request)
  }

  /** Tries credentials; refuses with 401 when they are wrong. */
  login(server: string, credentials: Credentials, signal: AbortSignal): Promise<void> {
    return this.#remote.login(server, credentials, signal)
  }

  /** One more name. */
  async tag(source: string, target: string): Promise<void> {
    const image = this.find(source)
    const reference = withDefaultTag(parseReference(target))
    if (reference.digest !== undefined) {
      throw new Refusal('invalid', 'refusing to create a tag with a digest reference')
    }
    const content = new ContentStore(this.#options.containerd, '')
    await this.storing(() =>
      this.catalogue.name(canonicalName(reference), image.manifestDescriptor, content),
    )
    this.tell('tag', image, familiarName(reference))
  }

  remove(reference: string, force: boolean): Promise<readonly Removed[]> {
    return this.storing(() => removeImage(this.#remover(), reference, force))
  }

  /** Without the filter dangling=false only nameless images. */
  async prune(
    filters: Filters,
  ): Promise<{ readonly removed: readonly Removed[]; readonly bytes: number }> {
    const all = truthFilter('dangling', filters.get('dangling')) === false
    const isWanted = imageCondition(filters)
    const pruned = await this.storing(() => pruneImages(this.#remover(), all, isWanted))
    const attributes = { reclaimed: String(pruned.bytes) }
    this.#options.emit({ type: 'image', action: 'prune', id: '', attributes })
    return pruned
  }

  usersOf(image: Image): readonly ImageUser[] {
    return this.#options.usersOf(image.id)
  }

  /** What `docker system df` says of images. */
  usage(): ImageUsage {
    const images = this.catalogue.all()
    const holders = new Map<string, number>()
    const sizes = new Map<string, number>()
    for (const { layers, layerSizes } of images) {
      for (const [index, layer] of layers.entries()) {
        holders.set(layer, (holders.get(layer) ?? 0) + 1)
        sizes.set(layer, layerSizes[index] ?? 0)
      }
    }
    const shared = (image: Image): number =>
      image.layers.reduce(
        (sum, layer) => sum + ((holders.get(layer) ?? 0) > 1 ? (sizes.get(layer) ?? 0) : 0),
        0,
      )
    return {
      layersBytes: [...sizes.values()].reduce((sum, bytes) => sum + bytes, 0),
      images: images.map((image) => ({
        image,
        sharedBytes: shared(image),
        containers: this.usersOf(image).length,
      })),
    }
  }

  /** Runs what makes or removes images, one after another. */
  storing<T>(task: () => Promise<T>): Promise<T> {
    return this.#queue.run(storeKey, task)
  }

  tell(action: string, image: Image, name: string): void {
    const attributes = { ...labelsOf(image.document), name }
    const id = action === 'pull' ? name : image.id
    this.#options.emit({ type: 'image', action, id, attributes })
  }

  /** Of one that is gone nobody knows the labels any more. */
  #tellGone(action: 'untag' | 'delete', image: Image): void {
    if (action === 'untag') return this.tell(action, image, image.id)
    const { id } = image
    this.#options.emit({ type: 'image', action, id, attributes: { name: id } })
  }

  #remover() {
    return {
      catalogue: this.catalogue,
      usersOf: this.#options.usersOf,
      tell: (action: 'untag' | 'delete', image: Image) => this.#tellGone(action, image),
    }
  }
}
