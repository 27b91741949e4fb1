/**
 * Which images there are: containerd's records in memory, by id and by name.
 *
 * An image's id is the digest of its configuration; containerd's target is the manifest. Every
 * image has at least one record in containerd, because only records keep blobs and snapshots from
 * the garbage collector: one whose last name is taken over by another image gets a nameless one.
 */
import { create } from '@bufbuild/protobuf'
import { timestampDate } from '@bufbuild/protobuf/wkt'
import { log } from '../../base/log.ts'
import { messageOf, Refusal } from '../../base/refusal.ts'
import {
  isAlreadyExists,
  snapshotter,
  unlessNotFound,
  type Containerd,
} from '../containerd/client.ts'
import { throughRestart } from '../containerd/away.ts'
import { ImageSchema, type Image as ImageMessage } from '../containerd/gen/images_pb.ts'
import { ContentStore } from './content.ts'
import {
  parseDocument,
  parseImageConfig,
  parseManifest,
  type Descriptor,
  type ImageConfig,
  type Manifest,
} from './documents.ts'
import { chainIds } from './layers.ts'
import {
  canonicalName,
  digestPattern,
  familiarName,
  parseReference,
  withDefaultTag,
} from './reference.ts'

export interface Image {
  /** `sha256:…`, the digest of the configuration. */
  readonly id: string
  /** Names in containerd, long forms and nameless ones, each with the manifest it stands for. */
  readonly names: ReadonlyMap<string, Descriptor>
  /** As shown: `busybox:latest`. */
  readonly repoTags: readonly string[]
  /** As shown: `busybox@sha256:…`. */
  readonly repoDigests: readonly string[]
  /** RFC 3339, as the image says; '' when it does not. */
  readonly created: string
  /** Bytes of all layers, unpacked. */
  readonly size: number
  readonly layerSizes: readonly number[]
  /** The `config` of the OCI image configuration, as JSON. */
  readonly config: unknown
  readonly document: ImageConfig
  readonly manifest: Manifest
  readonly manifestDescriptor: Descriptor
  /** Snapshot names, lowest first. */
  readonly layers: readonly string[]
  /** The snapshot that a container's is made on; '' for an image without layers. */
  readonly topChainId: string
  readonly taggedAt: string
}

const namelessPrefix = 'nameless@'
const isNameless = (name: string): boolean => name.startsWith(namelessPrefix)

export class Catalogue {
  readonly containerd: Containerd
  readonly #content: ContentStore
  readonly #images = new Map<string, Image>()
  readonly #byName = new Map<string, string>()

  constructor(containerd: Containerd) {
    this.containerd = containerd
    this.#content = new ContentStore(containerd, '')
  }

  /** Reads everything anew from containerd. */
  async reload(): Promise<void> {
    const { images } = await this.containerd.images.list({ filters: [] })
    this.#images.clear()
    this.#byName.clear()
    for (const message of images) {
      try {
        await this.#register(message)
      } catch (error) {
        log.warn('an image cannot be read and is left out', {
          name: message.name,
          why: messageOf(error),
        })
      }
    }
  }

  all(): readonly Image[] {
    return [...this.#images.values()]
  }

  get(id: string): Image | undefined {
    return this.#images.get(id)
  }

  /** The image that has exactly this long name. */
  named(name: string): Image | undefined {
    return this.#images.get(this.#byName.get(name) ?? '')
  }

  /** By name, name@digest, id or the beginning of an id; refuses with «No such image: x:y». */
  find(text: string): Image {
    if (digestPattern.test(text)) {
      const image = this.#images.get(text)
      if (image !== undefined) return image
      throw new Refusal('notFound', `No such image: ${text}`)
    }
    const prefixed = /^[0-9a-f]{64}$/.test(text) ? this.#images.get(`sha256:${text}`) : undefined
    if (prefixed !== undefined) return prefixed
    if (/^[0-9a-f]{64}$/.test(text)) throw new Refusal('notFound', `No such image: ${text}`)
    const reference = withDefaultTag(parseReference(text))
    const image = this.named(canonicalName(reference)) ?? this.#byPrefix(text)
    if (image !== undefined) return image
    throw new Refusal('notFound', `No such image: ${familiarName(reference)}`)
  }

  /** True when `text` is (the beginning of) the id, not a name. */
  isIdPrefix(image: Image, text: string): boolean {
    return image.id.startsWith(text) || image.id.startsWith(`sha256:${text}`)
  }

  #byPrefix(text: string): Image | undefined {
    if (!/^(sha256:)?[0-9a-f]+$/.test(text)) return undefined
    const found = this.all().filter((image) => this.isIdPrefix(image, text))
    return found.length === 1 ? found[0] : undefined
  }

  /**
   * Gives the manifest a name, long form; '' for none. An image that loses its last name by it
   * stays, nameless. Answers the image, and the one that had the name before.
   */
  async name(
    name: string,
    target: Descriptor,
    content: ContentStore,
  ): Promise<{ readonly image: Image; readonly before: Image | undefined }> {
    const manifest = parseManifest(
      parseDocument(await content.readBytes(target.digest), 'manifest'),
    )
    const id = manifest.config.digest
    const wanted = name === '' ? namelessPrefix + id : name
    const before = name === '' ? undefined : this.named(name)
    if (before !== undefined && before.id !== id && before.names.size === 1) {
      await this.keepNameless(before)
    }
    const known = this.#images.get(id)
    if (name === '' && known !== undefined) return { image: known, before: undefined }
    const message = await this.#put(wanted, target)
    const image = await this.#register(message)
    if (!isNameless(wanted) && image.names.has(namelessPrefix + id)) {
      await this.dropName(namelessPrefix + id, false)
    }
    return { image: this.#images.get(id) ?? image, before: before?.id === id ? undefined : before }
  }

  /** Takes a name away. `collect` waits until containerd has removed what nothing refers to. */
  async dropName(name: string, collect: boolean): Promise<void> {
    const request = { name, sync: collect }
    await unlessNotFound(throughRestart(() => this.containerd.images.delete(request)))
    this.#forgetName(name)
  }

  /** Keeps the image without any name. */
  async keepNameless(image: Image): Promise<void> {
    await this.#register(await this.#put(namelessPrefix + image.id, image.manifestDescriptor))
  }

  #put(name: string, target: Descriptor): Promise<ImageMessage> {
    return throughRestart(() => this.#putOnce(name, target))
  }

  async #putOnce(name: string, target: Descriptor): Promise<ImageMessage> {
    const { mediaType, digest, size } = target
    const image = create(ImageSchema, {
      name,
      labels: {},
      target: { mediaType, digest, size: BigInt(size), annotations: {} },
    })
    try {
      const answer = await this.containerd.images.create({ image })
      return answer.image ?? image
    } catch (error) {
      if (!isAlreadyExists(error)) throw error
      const answer = await this.containerd.images.update({
        image,
        updateMask: { paths: ['target'] },
      })
      return answer.image ?? image
    }
  }

  #forgetName(name: string): void {
    const id = this.#byName.get(name)
    this.#byName.delete(name)
    const image = id === undefined ? undefined : this.#images.get(id)
    if (image === undefined) return
    const names = new Map(image.names)
    names.delete(name)
    if (names.size === 0) this.#images.delete(image.id)
    else this.#images.set(image.id, { ...image, names, ...shownNames(names) })
  }

  async #register(message: ImageMessage): Promise<Image> {
    const target = descriptorOf(message)
    const manifest = parseManifest(
      parseDocument(await this.#content.readBytes(target.digest), 'manifest'),
    )
    const id = manifest.config.digest
    const before = this.#byName.get(message.name)
    if (before !== undefined && before !== id) this.#forgetName(message.name)
    const known = this.#images.get(id)
    const names = new Map(known?.names).set(message.name, target)
    const taggedAt =
      message.updatedAt === undefined ? '' : timestampDate(message.updatedAt).toISOString()
    const facts = known ?? (await this.#read(id, manifest, target))
    const image = { ...facts, names, ...shownNames(names), taggedAt }
    this.#images.set(id, image)
    this.#byName.set(message.name, id)
    return image
  }

  async #read(
    id: string,
    manifest: Manifest,
    manifestDescriptor: Descriptor,
  ): Promise<Omit<Image, 'names' | 'repoTags' | 'repoDigests' | 'taggedAt'>> {
    const document = parseImageConfig(parseDocument(await this.#content.readBytes(id), 'config'))
    const layers = chainIds(document.diffIds)
    const usages = layers.map((key) => this.containerd.snapshots.usage({ snapshotter, key }))
    const layerSizes = (await Promise.all(usages)).map(({ size }) => Number(size))
    return {
      id,
      created: document.created,
      size: layerSizes.reduce((sum, bytes) => sum + bytes, 0),
      layerSizes,
      config: document.config,
      document,
      manifest,
      manifestDescriptor,
      layers,
      topChainId: layers.at(-1) ?? '',
    }
  }
}

function descriptorOf({ name, target }: ImageMessage): Descriptor {
  if (target === undefined) throw new Error(`containerd's image ${name} has no target`)
  return { mediaType: target.mediaType, digest: target.digest, size: Number(target.size) }
}

function shownNames(
  names: ReadonlyMap<string, Descriptor>,
): Pick<Image, 'repoTags' | 'repoDigests'> {
  const references = [...names.keys()]
    .filter((name) => !isNameless(name))
    .sort()
    .map(parseReference)
  return {
    repoTags: references.filter(({ digest }) => digest === undefined).map(familiarName),
    repoDigests: references.filter(({ digest }) => digest !== undefined).map(familiarName),
  }
}
