/** /images and /distribution: list, inspect, load, save, pull, import, tag, remove, prune. */
import { pipeline } from 'node:stream/promises'
import { Refusal } from '../base/refusal.ts'
import { download, sourceUrl } from '../containers/images/download.ts'
import type { Images } from '../containers/images/images.ts'
import { imageFilters, pruneFilters } from '../containers/images/list.ts'
import { parsePlatform } from '../containers/images/platform.ts'
import type { Progress } from '../containers/images/progress.ts'
import { canonicalName, familiarName, referenceOf } from '../containers/images/reference.ts'
import { imageHistory, imageInspect, imageSummary } from './image-view.ts'
import { onlyPlatform, queriedPlatform } from './platform-query.ts'
import { acceptFilters } from './query.ts'
import type { ApiRequest, Reply, Route } from './route.ts'
import { openJsonStream, type JsonStream } from './stream.ts'

export function imageRoutes(images: Images): readonly Route[] {
  const route = (
    method: Route['method'],
    pattern: string,
    handle: (images: Images, request: ApiRequest) => Promise<Reply | undefined>,
  ): Route => ({ method, pattern, handle: (request) => handle(images, request) })
  return [
    route('GET', '/images/json', list),
    route('GET', '/images/search', search),
    route('GET', '/images/get', save),
    route('POST', '/images/load', load),
    route('POST', '/images/create', createImage),
    route('POST', '/images/prune', prune),
    route('GET', '/images/{name…}/json', inspect),
    route('GET', '/images/{name…}/history', history),
    route('GET', '/images/{name…}/get', save),
    route('POST', '/images/{name…}/tag', tag),
    route('POST', '/images/{name…}/push', push),
    route('DELETE', '/images/{name…}', remove),
    route('GET', '/distribution/{name…}/json', distribution),
  ]
}

const nameOf = ({ params }: ApiRequest): string => params['name'] ?? ''

async function list(images: Images, { query, version }: ApiRequest): Promise<Reply> {
  const filters = query.filters()
  acceptFilters(filters, imageFilters)
  const shared = query.bool('shared-size')
    ? new Map(images.usage().images.map(({ image, sharedBytes }) => [image.id, sharedBytes]))
    : undefined
  const json = images
    .list(filters)
    .map((image) =>
      imageSummary(image, version, { sharedBytes: shared?.get(image.id) ?? -1, containers: -1 }),
    )
  return { status: 200, json }
}

/** API versions from which on a call looks at the platform that it is given. */
const platformSince = { push: 146, history: 148, save: 148, load: 148, inspect: 149, remove: 150 }

async function inspect(images: Images, request: ApiRequest): Promise<Reply> {
  const platform = queriedPlatform(request, platformSince.inspect)
  if (platform !== undefined && request.query.bool('manifests')) {
    const options = 'manifests and platform options'
    throw new Refusal('invalid', `conflicting options: ${options} cannot both be set`)
  }
  const image = images.findFor(nameOf(request), platform)
  return { status: 200, json: imageInspect(image, request.version) }
}

async function history(images: Images, request: ApiRequest): Promise<Reply> {
  const platform = queriedPlatform(request, platformSince.history)
  return { status: 200, json: imageHistory(images.findFor(nameOf(request), platform)) }
}

async function search(): Promise<Reply> {
  const advice = "look at the registry's own page, then docker pull"
  throw new Refusal('notImplemented', `this engine does not search registries: ${advice}`)
}

async function save(images: Images, request: ApiRequest): Promise<undefined> {
  const { query, response } = request
  const name = nameOf(request)
  const names = name === '' ? query.getAll('names') : [name]
  if (names.length === 0) throw new Refusal('invalid', 'no image names given')
  const tar = await images.save(names, queriedPlatform(request, platformSince.save))
  response.writeHead(200, { 'Content-Type': 'application/x-tar' })
  try {
    await pipeline(tar, response)
  } catch (error) {
    response.destroy() // cut short: the client sees that the tar is not whole
    if (!request.signal.aborted) throw error
  }
  return undefined
}

/** Nothing is sent before the images are there, so that a bad tar has its own status. */
async function load(images: Images, request: ApiRequest): Promise<undefined> {
  const platform = queriedPlatform(request, platformSince.load)
  const loaded = await images.load(request.body, platform)
  const stream = openJsonStream(request)
  for (const { image, names } of loaded) {
    if (names.length === 0) stream.write({ stream: `Loaded image ID: ${image.id}\n` })
    for (const name of names) stream.write({ stream: `Loaded image: ${name}\n` })
  }
  stream.end()
  return undefined
}

async function createImage(images: Images, request: ApiRequest): Promise<undefined> {
  const fromImage = request.query.get('fromImage') ?? ''
  const fromSrc = request.query.get('fromSrc') ?? ''
  if (fromImage !== '') return pull(images, request, fromImage)
  if (fromSrc !== '') return importImage(images, request, fromSrc)
  throw new Refusal('invalid', 'one of fromImage and fromSrc is needed')
}

/** A stream that begins with its first line: what fails before has a status of its own. */
function lazyStream(request: ApiRequest): {
  write(line: Progress): void
  end(): void
  /** False when nothing was sent yet: then the error is answered in the ordinary way. */
  fail(error: unknown): boolean
} {
  let stream: JsonStream | undefined
  return {
    write(line) {
      stream ??= openJsonStream(request)
      stream.write(line)
    },
    end() {
      stream ??= openJsonStream(request)
      stream.end()
    },
    fail(error) {
      stream?.fail(error)
      return stream !== undefined
    },
  }
}

async function pull(images: Images, request: ApiRequest, fromImage: string): Promise<undefined> {
  const { query, registryAuth, signal } = request
  const reference = referenceOf(fromImage, query.get('tag') ?? '')
  const platform = parsePlatform(query.get('platform') ?? '')
  return streaming(request, (report) =>
    images.pull({
      reference,
      signal,
      report,
      credentials: registryAuth ?? {},
      ...(platform === undefined ? {} : { platform }),
    }),
  )
}

async function push(images: Images, request: ApiRequest): Promise<undefined> {
  const { query, registryAuth, signal } = request
  const reference = referenceOf(nameOf(request), query.get('tag') ?? '')
  const platform = queriedPlatform(request, platformSince.push)
  if (platform !== undefined) images.findFor(familiarName(reference), platform)
  return streaming(request, (report) =>
    images.push({ reference, signal, report, credentials: registryAuth ?? {} }),
  )
}

async function streaming(
  request: ApiRequest,
  work: (report: (line: Progress) => void) => Promise<unknown>,
): Promise<undefined> {
  const stream = lazyStream(request)
  try {
    await work((line) => stream.write(line))
    stream.end()
  } catch (error) {
    if (!stream.fail(error)) throw error
  }
  return undefined
}

async function importImage(
  images: Images,
  request: ApiRequest,
  source: string,
): Promise<undefined> {
  const { query, signal } = request
  const repo = query.get('repo') ?? ''
  const platform = parsePlatform(query.get('platform') ?? '')
  const name = repo === '' ? '' : canonicalName(referenceOf(repo, query.get('tag') ?? ''))
  const url = source === '-' ? undefined : sourceUrl(source)
  return streaming(request, async (report) => {
    const body = url === undefined ? request.body : await download(url, signal)
    if (url !== undefined) report({ status: `Downloading from ${url.href}` })
    const image = await images.import(body, {
      name,
      message: query.get('message') ?? '',
      changes: query.getAll('changes'),
      ...(platform === undefined ? {} : { platform }),
    })
    report({ status: image.id })
  })
}

async function tag(images: Images, request: ApiRequest): Promise<Reply> {
  const { query } = request
  const target = canonicalName(referenceOf(query.get('repo') ?? '', query.get('tag') ?? ''))
  await images.tag(nameOf(request), target)
  return { status: 201 }
}

async function remove(images: Images, request: ApiRequest): Promise<Reply> {
  const name = nameOf(request)
  const platform = onlyPlatform(request, platformSince.remove)
  if (platform !== undefined) images.findFor(name, platform)
  return { status: 200, json: await images.remove(name, request.query.bool('force')) }
}

async function prune(images: Images, { query }: ApiRequest): Promise<Reply> {
  const filters = query.filters()
  acceptFilters(filters, pruneFilters)
  const { removed, bytes } = await images.prune(filters)
  return {
    status: 200,
    json: { ImagesDeleted: removed.length === 0 ? null : removed, SpaceReclaimed: bytes },
  }
}

async function distribution(images: Images, request: ApiRequest): Promise<Reply> {
  const { registryAuth, signal } = request
  const reference = referenceOf(nameOf(request), '')
  const { descriptor, platforms } = await images.distribution({
    reference,
    signal,
    credentials: registryAuth ?? {},
  })
  return { status: 200, json: { Descriptor: descriptor, Platforms: platforms } }
}
