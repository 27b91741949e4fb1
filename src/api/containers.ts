/** /containers: list, create, inspect, the verbs of a container's life, prune. */
import { Refusal } from '../base/refusal.ts'
import { configFields, createShape, updateShape } from '../containers/config.ts'
import type { Containers } from '../containers/containers.ts'
import { parsePlatform } from '../containers/images/platform.ts'
import { unknownFieldWarnings } from '../containers/no-effect.ts'
import { isObject } from '../containers/shape.ts'
import type { Decoder } from './decode.ts'
import type { ApiRequest, Reply, Route } from './route.ts'

export function containerRoutes(containers: Containers): readonly Route[] {
  const id = ({ params }: ApiRequest): string => params['id'] ?? ''
  const done: Reply = { status: 204 }
  const verb = (name: string, act: (request: ApiRequest) => Promise<unknown>): Route => ({
    method: 'POST',
    pattern: `/containers/{id…}/${name}`,
    handle: async (request) => {
      await act(request)
      return done
    },
  })
  return [
    { method: 'GET', pattern: '/containers/json', handle: (request) => list(containers, request) },
    {
      method: 'POST',
      pattern: '/containers/create',
      handle: (request) => create(containers, request),
    },
    {
      method: 'POST',
      pattern: '/containers/prune',
      handle: (request) => prune(containers, request),
    },
    {
      method: 'GET',
      pattern: '/containers/{id…}/json',
      handle: (request) => inspect(containers, request),
    },
    {
      method: 'GET',
      pattern: '/containers/{id…}/top',
      handle: (request) => top(containers, request),
    },
    {
      method: 'GET',
      pattern: '/containers/{id…}/changes',
      handle: (request) => changes(containers, request),
    },
    {
      method: 'POST',
      pattern: '/containers/{id…}/update',
      handle: (request) => update(containers, request),
    },
    {
      method: 'DELETE',
      // With `link`, the id is a path: parent/alias.
      pattern: '/containers/{id…}',
      handle: (request) => remove(containers, request),
    },
    verb('start', (request) => start(containers, request)),
    verb('stop', (request) => containers.stop(id(request), stopOptions(request))),
    verb('restart', (request) => containers.restart(id(request), stopOptions(request))),
    verb('kill', (request) => containers.kill(id(request), request.query.get('signal') ?? '')),
    verb('pause', (request) => containers.pause(id(request))),
    verb('unpause', (request) => containers.unpause(id(request))),
    verb('rename', (request) => containers.rename(id(request), request.query.get('name') ?? '')),
    {
      method: 'POST',
      pattern: '/containers/{id…}/resize',
      handle: async (request) => {
        const { height, width } = terminalSize(request)
        await containers.resize(id(request), height, width)
        return { status: 200 }
      },
    },
  ]
}

/** The kernel has 16 bits for each side of a terminal. */
const sideMax = 65_535

/** `h` and `w` of a resize. */
export function terminalSize({ query }: ApiRequest): {
  readonly height: number
  readonly width: number
} {
  const sides = { h: 'height', w: 'width' } as const
  const side = (name: keyof typeof sides): number => {
    const text = query.get(name) ?? ''
    const isNumber = /^\d+$/.test(text)
    if (!isNumber || Number(text) > sideMax) {
      const why = isNumber ? 'value out of range' : 'invalid syntax'
      throw new Refusal('invalid', `invalid resize ${sides[name]} ${JSON.stringify(text)}: ${why}`)
    }
    return Number(text)
  }
  return { height: side('h'), width: side('w') }
}

async function list(containers: Containers, { query, version }: ApiRequest): Promise<Reply> {
  const json = await containers.list({
    all: query.bool('all'),
    limit: query.int('limit') ?? 0,
    size: query.bool('size'),
    filters: query.filters(),
    apiVersion: version,
  })
  return { status: 200, json }
}

type CreateBody = ReturnType<typeof createShape.decode>

/** A body without any field of Config is refused in words of its own. */
interface Create {
  readonly request: CreateBody
  readonly hasConfig: boolean
  readonly warnings: readonly string[]
}

const configNames = new Set(Object.keys(configFields).map((name) => name.toLowerCase()))

const createDecoder: Decoder<Create> = {
  decode(value) {
    if (value === undefined) {
      throw new Refusal('invalid', 'invalid JSON: got EOF while reading request body')
    }
    const hasConfig =
      isObject(value) && Object.keys(value).some((key) => configNames.has(key.toLowerCase()))
    const request = createShape.decode(value, 'CreateRequest')
    return { request, hasConfig, warnings: unknownFieldWarnings(value) }
  },
}

async function create(containers: Containers, request: ApiRequest): Promise<Reply> {
  const body = await request.json(createDecoder)
  if (!body.hasConfig) {
    throw new Refusal('invalid', 'config cannot be empty in order to create a container')
  }
  const { id, warnings } = await containers.create(body.request, {
    name: request.query.get('name') ?? '',
    apiVersion: request.version,
    platform: parsePlatform(request.query.get('platform') ?? ''),
  })
  return { status: 201, json: { Id: id, Warnings: [...body.warnings, ...warnings] } }
}

/** A few bytes are what old clients send for nothing: `null` or an empty HostConfig. */
const startBodyBytesMax = 7

async function start(containers: Containers, request: ApiRequest): Promise<void> {
  const length = Number(request.raw.headers['content-length'] ?? 0)
  if (length > startBodyBytesMax || request.raw.headers['transfer-encoding'] !== undefined) {
    throw new Refusal(
      'invalid',
      'starting container with non-empty request body was deprecated ' +
        'since API v1.22 and removed in v1.24',
    )
  }
  await containers.start(request.params['id'] ?? '')
}

function stopOptions({ query }: ApiRequest): {
  readonly signal: string
  readonly seconds: number | undefined
} {
  return { signal: query.get('signal') ?? '', seconds: query.int('t') }
}

async function inspect(
  containers: Containers,
  { params, query, version }: ApiRequest,
): Promise<Reply> {
  const options = { size: query.bool('size'), apiVersion: version }
  return { status: 200, json: await containers.inspect(params['id'] ?? '', options) }
}

async function top(containers: Containers, { params, query }: ApiRequest): Promise<Reply> {
  return { status: 200, json: await containers.top(params['id'] ?? '', query.get('ps_args') ?? '') }
}

async function changes(containers: Containers, { params }: ApiRequest): Promise<Reply> {
  return { status: 200, json: await containers.changes(params['id'] ?? '') }
}

const updateDecoder: Decoder<ReturnType<typeof updateShape.decode>> = {
  decode: (value) => updateShape.decode(value, 'UpdateConfig'),
}

async function update(containers: Containers, request: ApiRequest): Promise<Reply> {
  const warnings = await containers.update(
    request.params['id'] ?? '',
    await request.json(updateDecoder),
  )
  return { status: 200, json: { Warnings: warnings.length === 0 ? null : warnings } }
}

async function remove(containers: Containers, { params, query }: ApiRequest): Promise<Reply> {
  const id = params['id'] ?? ''
  if (query.bool('link')) {
    await containers.removeLink(id)
    return { status: 204 }
  }
  await containers.remove(id, { force: query.bool('force'), volumes: query.bool('v') })
  return { status: 204 }
}

async function prune(containers: Containers, { query }: ApiRequest): Promise<Reply> {
  const { ids, bytes } = await containers.prune(query.filters())
  const json = { ContainersDeleted: ids.length === 0 ? null : ids, SpaceReclaimed: bytes }
  return { status: 200, json }
}
