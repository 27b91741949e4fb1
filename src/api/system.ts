/** The engine itself: ping, version, info, disk usage, login; and what it does not offer. */
import { Refusal } from '../base/refusal.ts'
import * as d from './decode.ts'
import { infoAt } from './info-versions.ts'
import { renderInfo, type SystemFacts } from './system-info.ts'
import type { ApiRequest, Reply, Route } from './route.ts'
import { engineVersion, newestVersion } from './version.ts'

/** What `docker system df` adds up; each part as its own list shows it. */
export interface DiskUsage {
  readonly layersBytes: number
  readonly images: readonly unknown[]
  readonly containers: readonly unknown[]
  readonly volumes: readonly unknown[]
}

export interface SystemVerbs {
  facts(): SystemFacts
  /** Only the parts named; all when none is. */
  diskUsage(parts: ReadonlySet<string>): Promise<DiskUsage>
  /** Tries the credentials; refuses with 401. */
  login(credentials: Credentials, signal: AbortSignal): Promise<void>
}

const credentials = d.struct('registry.AuthConfig', {
  username: d.string,
  password: d.string,
  serveraddress: d.string,
  identitytoken: d.string,
})

export type Credentials = d.Decoded<typeof credentials>

export function systemRoutes(system: SystemVerbs): readonly Route[] {
  const json = (render: () => unknown) => async (): Promise<Reply> => ({
    status: 200,
    json: render(),
  })
  return [
    { method: 'HEAD', pattern: '/_ping', handle: ping },
    { method: 'GET', pattern: '/_ping', handle: ping },
    { method: 'GET', pattern: '/version', handle: json(() => renderVersion(system.facts())) },
    {
      method: 'GET',
      pattern: '/info',
      handle: async ({ version }) => ({
        status: 200,
        json: infoAt(version, renderInfo(system.facts())),
      }),
    },
    { method: 'GET', pattern: '/system/df', handle: (request) => diskUsage(system, request) },
    { method: 'POST', pattern: '/auth', handle: (request) => login(system, request) },
    { method: 'GET', pattern: '/plugins', handle: json(() => []) },
    // `docker system prune` asks for it, whether there is a builder or not.
    {
      method: 'POST',
      pattern: '/build/prune',
      handle: json(() => ({ CachesDeleted: null, SpaceReclaimed: 0 })),
    },
    ...notOffered(),
    ...swarmRoutes(),
  ]
}

/** Clients negotiate by these headers; HEAD has no body, Node sees to that. */
async function ping(request: ApiRequest): Promise<undefined> {
  request.response.writeHead(200, {
    'Builder-Version': '1', // BuildKit is 2; with 1 the client sends /build and reads our sentence
    Swarm: 'inactive',
    'Cache-Control': 'no-cache, no-store, must-revalidate',
    Pragma: 'no-cache',
    'Content-Type': 'text/plain; charset=utf-8',
    'Content-Length': request.method === 'HEAD' ? 0 : 2,
  })
  request.response.end(request.method === 'HEAD' ? undefined : 'OK')
  return undefined
}

function renderVersion(facts: SystemFacts): unknown {
  const { machine, containerd, runc } = facts
  const common = {
    GitCommit: facts.commit,
    KernelVersion: machine.kernelVersion,
    BuildTime: facts.buildTime,
  }
  const platform = { Os: 'linux', Arch: machine.goArchitecture }
  const runtime = process.version
  return {
    Platform: { Name: 'Portolan' },
    Version: engineVersion,
    ApiVersion: newestVersion,
    MinAPIVersion: facts.oldestApiVersion,
    ...common,
    GoVersion: runtime,
    ...platform,
    ...(facts.experimental ? { Experimental: true } : {}),
    Components: [
      {
        Name: 'Engine',
        Version: engineVersion,
        Details: {
          ApiVersion: newestVersion,
          MinAPIVersion: facts.oldestApiVersion,
          ...common,
          ...platform,
          GoVersion: runtime,
          Experimental: String(facts.experimental),
        },
      },
      {
        Name: 'containerd',
        Version: containerd.version,
        Details: { GitCommit: containerd.commit },
      },
      { Name: 'runc', Version: runc.version, Details: { GitCommit: runc.commit } },
    ],
  }
}

/** Before this version all of it is told, whatever was asked for. */
const sinceTypes = 142

const usageParts = ['container', 'image', 'volume', 'build-cache']

async function diskUsage(system: SystemVerbs, { query, version }: ApiRequest): Promise<Reply> {
  const asked = version < sinceTypes ? [] : query.getAll('type')
  for (const part of asked) {
    if (!usageParts.includes(part)) throw new Refusal('invalid', `unknown object type: ${part}`)
  }
  const parts = new Set(asked.length === 0 ? usageParts : asked)
  const usage = await system.diskUsage(parts)
  const shown = (part: string, list: readonly unknown[]) => (parts.has(part) ? list : null)
  const json = {
    LayersSize: usage.layersBytes,
    Images: shown('image', usage.images),
    Containers: shown('container', usage.containers),
    Volumes: shown('volume', usage.volumes),
    BuildCache: shown('build-cache', []),
  }
  return { status: 200, json }
}

async function login(system: SystemVerbs, request: ApiRequest): Promise<Reply> {
  await system.login(await request.json(credentials), request.signal)
  return { status: 200, json: { Status: 'Login Succeeded', IdentityToken: '' } }
}

/** A sentence is better than «page not found» for what people do try. */
function notOffered(): readonly Route[] {
  const refuse = (method: Route['method'], pattern: string, sentence: string): Route => ({
    method,
    pattern,
    handle: async () => {
      throw new Refusal('notImplemented', sentence)
    },
  })
  const build =
    'this engine does not build images: build elsewhere, then docker load or docker pull'
  const plugins = 'this engine has no plugins to install: network and volume drivers are built in'
  const noPlugin = (method: Route['method'], pattern: string): Route => ({
    method,
    pattern,
    async handle({ params }) {
      throw new Refusal('notFound', `plugin "${params['name'] ?? ''}" not found`)
    },
  })
  return [
    refuse('POST', '/build', build),
    refuse('POST', '/build/cancel', build),
    refuse('POST', '/session', build),
    refuse('POST', '/grpc', build),
    refuse('GET', '/plugins/privileges', plugins),
    refuse('POST', '/plugins/pull', plugins),
    refuse('POST', '/plugins/create', plugins),
    noPlugin('GET', '/plugins/{name…}/json'),
    noPlugin('DELETE', '/plugins/{name…}'),
    ...['enable', 'disable', 'upgrade', 'push', 'set'].map((verb) =>
      noPlugin('POST', `/plugins/{name…}/${verb}`),
    ),
    refuse('POST', '/swarm/init', 'this engine runs on one host: swarm mode is not offered'),
    refuse('POST', '/swarm/join', 'this engine runs on one host: swarm mode is not offered'),
    refuse('POST', '/containers/{name…}/checkpoints', 'checkpoints are not offered'),
    refuse('GET', '/containers/{name…}/checkpoints', 'checkpoints are not offered'),
  ]
}

const notManager =
  'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" ' +
  'to connect this node to swarm and try again.'

/** All that dockerd has, and nothing else: other paths are not found. */
const swarmPaths: readonly (readonly [method: Route['method'], pattern: string])[] = [
  ['GET', '/swarm'],
  ['GET', '/swarm/unlockkey'],
  ['POST', '/swarm/update'],
  ['POST', '/swarm/unlock'],
  ['GET', '/nodes'],
  ['GET', '/nodes/{id}'],
  ['DELETE', '/nodes/{id}'],
  ['POST', '/nodes/{id}/update'],
  ['GET', '/services'],
  ['GET', '/services/{id}'],
  ['DELETE', '/services/{id}'],
  ['POST', '/services/create'],
  ['POST', '/services/{id}/update'],
  ['GET', '/services/{id}/logs'],
  ['GET', '/tasks'],
  ['GET', '/tasks/{id}'],
  ['GET', '/tasks/{id}/logs'],
  ...['secrets', 'configs'].flatMap((resource): (readonly [Route['method'], string])[] => [
    ['GET', `/${resource}`],
    ['GET', `/${resource}/{id}`],
    ['DELETE', `/${resource}/{id}`],
    ['POST', `/${resource}/create`],
    ['POST', `/${resource}/{id}/update`],
  ]),
]

function swarmRoutes(): readonly Route[] {
  const refuse = (sentence: string) => async () => {
    throw new Refusal('unavailable', sentence)
  }
  const leave = refuse('This node is not part of a swarm')
  return [
    { method: 'POST', pattern: '/swarm/leave', handle: leave },
    ...swarmPaths.map(([method, pattern]) => ({ method, pattern, handle: refuse(notManager) })),
  ]
}
