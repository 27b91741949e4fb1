/**
 * A repository in a registry, by the distribution protocol: manifests, blobs, tags.
 *
 * HTTPS, except that registries on this machine and those declared insecure may also speak plain
 * HTTP. Refusals are in the engine's words.
 */
import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { Refusal } from '../../base/refusal.ts'
import { isObject } from '../shape.ts'
import { documentBytesMax, mediaTypes, parseDocument, type Descriptor } from './documents.ts'
import { exchange, readBody, type HttpAnswer, type HttpCall } from './http.ts'
import { familiarName, familiarRepository, type Reference } from './reference.ts'
import { dialError, maySpeakPlainHttp } from './registry-hosts.ts'
import { answerChallenge, parseChallenge, type Credentials } from './registry-auth.ts'

export interface RegistryOptions {
  readonly reference: Reference
  readonly credentials: Credentials
  readonly signal: AbortSignal
  /** Hosts (with port) or address prefixes that may speak plain HTTP. */
  readonly insecureRegistries: readonly string[]
  /** Asked instead of the registry's own host: `https://mirror.example`. */
  readonly mirror?: string
  readonly actions: 'pull' | 'pull,push'
}

export interface FetchedManifest {
  readonly bytes: Buffer
  readonly descriptor: Descriptor
}

const acceptedManifests = [
  mediaTypes.dockerManifest,
  mediaTypes.dockerList,
  mediaTypes.ociManifest,
  mediaTypes.ociIndex,
].join(', ')

/** Docker Hub's registry has another host name than its images. */
const hosts: Readonly<Record<string, string>> = { 'docker.io': 'registry-1.docker.io' }

export class Registry {
  readonly #options: RegistryOptions
  readonly #mayBePlain: boolean
  #origin: string | undefined
  #authorization: string | undefined

  constructor(options: RegistryOptions) {
    const { domain } = options.reference
    this.#options = options
    const host = options.mirror === undefined ? domain : new URL(options.mirror).host
    this.#mayBePlain = maySpeakPlainHttp(host, options.insecureRegistries)
    if (options.mirror !== undefined) this.#origin = new URL(options.mirror).origin
  }

  /** The manifest or index behind the tag or digest; its digest is checked. */
  async manifest(tagOrDigest: string): Promise<FetchedManifest> {
    const answer = await this.#call('GET', `manifests/${tagOrDigest}`, {
      Accept: acceptedManifests,
    })
    if (answer.status !== 200) throw await this.#refusal(answer, tagOrDigest)
    const bytes = await readBody(answer, documentBytesMax)
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
    if (tagOrDigest.includes(':') && tagOrDigest !== digest) {
      throw new Refusal('internal', `manifest verification failed for digest ${tagOrDigest}`)
    }
    const type =
      String(answer.headers['content-type'] ?? '')
        .split(';')[0]
        ?.trim() ?? ''
    const { mediaType } = parseDocument(bytes, 'the manifest')
    const described = typeof mediaType === 'string' && mediaType !== '' ? mediaType : type
    return { bytes, descriptor: { mediaType: described, digest, size: bytes.length } }
  }

  /** The blob from `offset` on; its first byte is at `begin`, which may be 0 all the same. */
  async blob(
    digest: string,
    offset: number,
  ): Promise<{ readonly begin: number; readonly body: HttpAnswer['body'] }> {
    const headers = offset > 0 ? { Range: `bytes=${offset}-` } : {}
    const answer = await this.#call('GET', `blobs/${digest}`, headers)
    if (answer.status === 206) return { begin: offset, body: answer.body }
    if (answer.status === 200) return { begin: 0, body: answer.body }
    throw await this.#refusal(answer, digest)
  }

  async hasBlob(digest: string): Promise<boolean> {
    const answer = await this.#call('HEAD', `blobs/${digest}`, {})
    answer.body.resume()
    if (answer.status === 200) return true
    if (answer.status === 404) return false
    throw await this.#refusal(answer, digest)
  }

  async tags(): Promise<readonly string[]> {
    const answer = await this.#call('GET', 'tags/list', {})
    if (answer.status !== 200) throw await this.#refusal(answer, '')
    const { tags } = parseDocument(await readBody(answer, documentBytesMax), 'the list of tags')
    return Array.isArray(tags) ? tags.filter((tag) => typeof tag === 'string') : []
  }

  async pushBlob({ digest, size }: Descriptor, body: Readable): Promise<void> {
    const begun = await this.#call('POST', 'blobs/uploads/', { 'Content-Length': '0' })
    const location = begun.headers.location
    if (begun.status !== 202 || location === undefined) throw await this.#refusal(begun, digest)
    begun.body.resume()
    const url = new URL(location, begun.url)
    url.searchParams.set('digest', digest)
    const headers = { 'Content-Type': 'application/octet-stream', 'Content-Length': String(size) }
    const answer = await this.#send('PUT', url, headers, body)
    if (answer.status !== 201) throw await this.#refusal(answer, digest)
    answer.body.resume()
  }

  async pushManifest(tag: string, bytes: Buffer, mediaType: string): Promise<void> {
    const headers = { 'Content-Type': mediaType, 'Content-Length': String(bytes.length) }
    const answer = await this.#call('PUT', `manifests/${tag}`, headers, bytes)
    if (answer.status !== 201) throw await this.#refusal(answer, tag)
    answer.body.resume()
  }

  /** GET /v2/: whether the credentials are good. */
  async checkLogin(): Promise<void> {
    const origin = await this.#findOrigin()
    const answer = await this.#authorized('GET', new URL('/v2/', origin), {})
    answer.body.resume()
    if (answer.status !== 200) {
      const why =
        answer.status === 401
          ? 'unauthorized: incorrect username or password'
          : `status ${answer.status}`
      throw new Refusal('unauthorized', `Get "${origin}/v2/": ${why}`)
    }
  }

  async #call(
    method: HttpCall['method'],
    path: string,
    headers: Readonly<Record<string, string>>,
    body?: Buffer,
  ): Promise<HttpAnswer> {
    const origin = await this.#findOrigin()
    const url = new URL(`/v2/${this.#options.reference.path}/${path}`, origin)
    return this.#authorized(method, url, headers, body)
  }

  /** Once more with what the challenge asks for. */
  async #authorized(
    method: HttpCall['method'],
    url: URL,
    headers: Readonly<Record<string, string>>,
    body?: Buffer,
  ): Promise<HttpAnswer> {
    const first = await this.#send(method, url, headers, body)
    if (first.status !== 401) return first
    const challenge = parseChallenge(first.headers['www-authenticate'])
    if (challenge === undefined) return first
    const { reference, actions, credentials, signal } = this.#options
    const scope = `repository:${reference.path}:${actions}`
    const authorization = await answerChallenge(challenge, scope, credentials, {
      signal,
      insecure: this.#mayBePlain,
    })
    if (authorization === undefined || authorization === this.#authorization) return first
    first.body.resume()
    this.#authorization = authorization
    return this.#send(method, url, headers, body)
  }

  async #send(
    method: HttpCall['method'],
    url: URL,
    headers: Readonly<Record<string, string>>,
    body?: Buffer | Readable,
  ): Promise<HttpAnswer> {
    const { signal } = this.#options
    const own =
      this.#authorization === undefined || url.origin !== this.#origin
        ? {}
        : { Authorization: this.#authorization }
    try {
      return await exchange({
        method,
        url,
        headers: { ...headers, ...own },
        signal,
        insecure: this.#mayBePlain,
        ...(body === undefined ? {} : { body }),
      })
    } catch (error) {
      if (error instanceof Refusal || signal.aborted) throw error
      throw dialError(url, method, error)
    }
  }

  /** HTTPS where it answers; plain HTTP only where that is allowed. */
  async #findOrigin(): Promise<string> {
    if (this.#origin !== undefined) return this.#origin
    const { domain } = this.#options.reference
    const host = hosts[domain] ?? domain
    const secure = `https://${host}`
    if (this.#mayBePlain && !(await this.#answers(secure))) this.#origin = `http://${host}`
    else this.#origin = secure
    return this.#origin
  }

  async #answers(origin: string): Promise<boolean> {
    const { signal } = this.#options
    try {
      const url = new URL('/v2/', origin)
      const answer = await exchange({ method: 'GET', url, headers: {}, signal, insecure: true })
      answer.body.resume()
      return true
    } catch (error) {
      if (signal.aborted) throw error
      return false // not HTTPS, or nobody there: plain HTTP says which
    }
  }

  /** The registry's own error in the engine's words. */
  async #refusal(answer: HttpAnswer, what: string): Promise<Refusal> {
    const text = (await readBody(answer, documentBytesMax)).toString('utf8')
    const { code, message } = firstError(text)
    const { reference } = this.#options
    const said =
      code === ''
        ? `unexpected status ${answer.status}`
        : `${code.toLowerCase().replaceAll('_', ' ')}: ${message}`
    const repository = familiarRepository(reference)
    if (code === 'MANIFEST_UNKNOWN') {
      const named = what.includes(':')
        ? { ...reference, digest: what }
        : { ...reference, tag: what }
      return new Refusal('notFound', `manifest for ${familiarName(named)} not found: ${said}`)
    }
    if (code === 'NAME_UNKNOWN')
      return new Refusal('notFound', `repository ${repository} not found: ${said}`)
    if (
      code === 'DENIED' ||
      code === 'UNAUTHORIZED' ||
      answer.status === 401 ||
      answer.status === 403
    ) {
      const verb = this.#options.actions === 'pull' ? 'pull' : 'push'
      const tail = `repository does not exist or may require 'docker login'`
      return new Refusal('notFound', `${verb} access denied for ${repository}, ${tail}: ${said}`)
    }
    const kind = answer.status === 404 ? 'notFound' : 'internal'
    return new Refusal(kind, `${repository}: the registry answers ${what}: ${said}`)
  }
}

function firstError(text: string): { readonly code: string; readonly message: string } {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return { code: '', message: '' } // a proxy's page: the status says what we know
  }
  const errors: unknown = isObject(value) ? value['errors'] : undefined
  const first: unknown = Array.isArray(errors) ? errors[0] : undefined
  if (!isObject(first)) return { code: '', message: '' }
  return { code: String(first['code'] ?? ''), message: String(first['message'] ?? '') }
}
