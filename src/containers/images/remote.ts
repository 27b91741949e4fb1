/** What images have to do with registries: pull, push, distribution, login. */
import { log } from '../../base/log.ts'
import { messageOf, Refusal } from '../../base/refusal.ts'
import type { Containerd } from '../containerd/client.ts'
import type { Catalogue, Image } from './catalogue.ts'
import { ContentStore, withLease } from './content.ts'
import {
  isIndex,
  mediaTypes,
  parseDocument,
  parseImageConfig,
  parseIndex,
  parseManifest,
  type Descriptor,
  type Platform,
} from './documents.ts'
import { readBody } from './http.ts'
import { pullImage, type Pulled } from './pull.ts'
import type { Report } from './progress.ts'
import { pushImage } from './push.ts'
import {
  canonicalName,
  familiarRepository,
  parseReference,
  withDefaultTag,
  type Reference,
} from './reference.ts'
import { Registry } from './registry.ts'
import type { Credentials } from './registry-auth.ts'
import type { TransferSettings } from './transfers.ts'

export interface RemoteRequest {
  readonly reference: Reference
  readonly credentials: Credentials
  readonly signal: AbortSignal
}

export interface RemotePull extends RemoteRequest {
  readonly report: Report
  readonly platform?: Platform
}

export interface RemotePush extends RemoteRequest {
  readonly report: Report
}

export interface Distribution {
  readonly descriptor: Descriptor
  readonly platforms: readonly object[]
}

export interface RemoteOptions {
  readonly containerd: Containerd
  readonly catalogue: Catalogue
  readonly settings: () => TransferSettings
  readonly storing: <T>(task: () => Promise<T>) => Promise<T>
}

const configBytesMax = 8 * 1024 * 1024

export class Remote {
  readonly #options: RemoteOptions

  constructor(options: RemoteOptions) {
    this.#options = options
  }

  /** Without a tag, every tag of the repository. Mirrors of Docker Hub are asked first. */
  async pull(request: RemotePull): Promise<readonly Pulled[]> {
    const isHub = request.reference.domain === 'docker.io'
    const mirrors = isHub ? this.#options.settings().mirrors : []
    for (const mirror of mirrors) {
      try {
        return await this.#pullFrom(request, this.#registry(request, 'pull', mirror))
      } catch (error) {
        if (request.signal.aborted) throw error
        log.warn('a registry mirror does not serve', { mirror, why: messageOf(error) })
      }
    }
    return this.#pullFrom(request, this.#registry(request, 'pull'))
  }

  async #pullFrom(request: RemotePull, registry: Registry): Promise<readonly Pulled[]> {
    const { reference } = request
    const references =
      reference.tag === undefined && reference.digest === undefined
        ? (await registry.tags()).map((tag) => ({ ...reference, tag }))
        : [reference]
    const { containerd, catalogue, storing } = this.#options
    const settings = this.#options.settings()
    const pulled: Pulled[] = []
    for (const one of references) {
      pulled.push(
        await withLease(containerd, (content) =>
          pullImage({ ...request, reference: one, settings }, registry, catalogue, content, storing),
        ),
      )
    }
    return pulled
  }

  /** Without a tag, every tag of the repository that is here. */
  async push(request: RemotePush): Promise<void> {
    const { catalogue, containerd } = this.#options
    const repository = familiarRepository(request.reference)
    const all = catalogue
      .all()
      .flatMap(({ repoTags }) => repoTags)
      .map(parseReference)
      .filter((reference) => familiarRepository(reference) === repository)
    const references = request.reference.tag === undefined ? all : [request.reference]
    if (references.length === 0) {
      throw new Refusal('notFound', `An image does not exist locally with the tag: ${repository}`)
    }
    const content = new ContentStore(containerd, '')
    const { report } = request
    const { uploadsAtOnce } = this.#options.settings()
    for (const reference of references) {
      const { image, target } = this.#local(reference)
      const registry = this.#registry({ ...request, reference }, 'pull,push')
      const push = { reference, report, uploadsAtOnce }
      await pushImage(image, target, push, registry, content)
    }
  }

  #local(reference: Reference): { readonly image: Image; readonly target: Descriptor } {
    const name = canonicalName(reference)
    const image = this.#options.catalogue.named(name)
    const target = image?.names.get(name)
    if (image === undefined || target === undefined) {
      const text = `An image does not exist locally with the tag: ${familiarRepository(reference)}`
      throw new Refusal('notFound', text)
    }
    return { image, target }
  }

  /** What a registry has under the name, without fetching it. */
  async distribution(request: RemoteRequest): Promise<Distribution> {
    const registry = this.#registry(request, 'pull')
    const { tag, digest } = withDefaultTag(request.reference)
    const { bytes, descriptor } = await registry.manifest(digest ?? tag ?? '')
    const document = parseDocument(bytes, 'the manifest')
    if (isIndex(document)) {
      const platforms = parseIndex(document).entries.flatMap(({ platform }) =>
        platform === undefined ? [] : [shown(platform)],
      )
      return { descriptor, platforms }
    }
    const { config } = parseManifest(document)
    const { body } = await registry.blob(config.digest, 0)
    const answer = { body, status: 200, headers: {}, url: new URL('http://registry/') }
    const platform = parseImageConfig(
      parseDocument(await readBody(answer, configBytesMax), 'config'),
    )
    const { mediaType } = descriptor
    return {
      descriptor: {
        ...descriptor,
        mediaType: mediaType === '' ? mediaTypes.ociManifest : mediaType,
      },
      platforms: [shown(platform)],
    }
  }

  /** Refuses with 401 when the registry does not take the credentials. */
  async login(server: string, credentials: Credentials, signal: AbortSignal): Promise<void> {
    const host = server.replace(/^https?:\/\//, '').replace(/\/.*$/, '')
    const domain = host === '' || host === 'index.docker.io' ? 'docker.io' : host
    const reference = { domain, path: 'login' }
    await this.#registry({ reference, credentials, signal }, 'pull').checkLogin()
  }

  #registry(
    { reference, credentials, signal }: RemoteRequest,
    actions: 'pull' | 'pull,push',
    mirror?: string,
  ): Registry {
    const { insecureRegistries } = this.#options.settings()
    const options = { reference, signal, insecureRegistries, actions }
    // Credentials are for the registry itself, not for who mirrors it.
    return mirror === undefined
      ? new Registry({ ...options, credentials })
      : new Registry({ ...options, credentials: {}, mirror })
  }
}

function shown({ os, architecture, variant }: Platform): object {
  return { architecture, os, ...(variant === '' ? {} : { variant }) }
}
