/** /volumes: list, create, inspect, remove, prune. */
import { sortedMap } from '../base/json.ts'
import { Refusal, wrap } from '../base/refusal.ts'
import type { Volume } from '../containers/volumes/record.ts'
import type { Volumes, VolumeUsage } from '../containers/volumes/volumes.ts'
import * as d from './decode.ts'
import { acceptFilters } from './query.ts'
import type { ApiRequest, Reply, Route } from './route.ts'

/** From this API version on, prune takes anonymous volumes only unless told otherwise. */
const sinceAnonymousPrune = 142

export function volumeRoutes(volumes: Volumes): readonly Route[] {
  return [
    { method: 'GET', pattern: '/volumes', handle: (request) => list(volumes, request) },
    { method: 'POST', pattern: '/volumes/create', handle: (request) => create(volumes, request) },
    { method: 'POST', pattern: '/volumes/prune', handle: (request) => prune(volumes, request) },
    { method: 'GET', pattern: '/volumes/{name…}', handle: (request) => inspect(volumes, request) },
    { method: 'PUT', pattern: '/volumes/{name…}', handle: update },
    {
      method: 'DELETE',
      pattern: '/volumes/{name…}',
      handle: (request) => remove(volumes, request),
    },
  ]
}

const nameOf = ({ params }: ApiRequest): string => params['name'] ?? ''

export function volumeView(volume: Volume): object {
  return {
    CreatedAt: volume.createdAt,
    Driver: volume.driver,
    Labels: volume.labels === null ? null : sortedMap(volume.labels),
    Mountpoint: volume.mountpoint,
    Name: volume.name,
    Options: volume.options === null ? null : sortedMap(volume.options),
    Scope: 'local',
  }
}

/** As `system df` shows it. */
export function volumeUsageView({ volume, bytes, users }: VolumeUsage): object {
  return { ...volumeView(volume), UsageData: { RefCount: users, Size: bytes } }
}

/** What cannot be read is said in words of its own here. */
function filtersOf(query: ApiRequest['query']): ReadonlyMap<string, readonly string[]> {
  try {
    return query.filters()
  } catch (error) {
    throw wrap('error reading volume filters: ', error)
  }
}

async function list(volumes: Volumes, { query }: ApiRequest): Promise<Reply> {
  const filters = filtersOf(query)
  acceptFilters(filters, ['dangling', 'name', 'driver', 'label', 'label!'])
  return { status: 200, json: { Volumes: volumes.list(filters).map(volumeView), Warnings: null } }
}

const createRequest = d.struct('volume.CreateOptions', {
  Name: d.string,
  Driver: d.string,
  DriverOpts: d.optional(d.map(d.string)),
  Labels: d.optional(d.map(d.string)),
  ClusterVolumeSpec: d.raw,
})

async function create(volumes: Volumes, request: ApiRequest): Promise<Reply> {
  const body = await request.json(createRequest)
  if (body.ClusterVolumeSpec !== undefined && body.ClusterVolumeSpec !== null) {
    throw new Refusal(
      'notImplemented',
      'cluster volumes are not offered: this engine runs on one host',
    )
  }
  const volume = await volumes.create({
    name: body.Name,
    driver: body.Driver,
    options: body.DriverOpts ?? null,
    labels: body.Labels ?? null,
  })
  return { status: 201, json: volumeView(volume) }
}

async function inspect(volumes: Volumes, request: ApiRequest): Promise<Reply> {
  return { status: 200, json: volumeView(volumes.find(nameOf(request))) }
}

async function update(): Promise<Reply> {
  throw new Refusal(
    'unavailable',
    'volume update only valid for cluster volumes, but swarm is unavailable',
  )
}

async function remove(volumes: Volumes, request: ApiRequest): Promise<Reply> {
  await volumes.remove(nameOf(request), request.query.bool('force'))
  return { status: 204 }
}

async function prune(volumes: Volumes, { query, version }: ApiRequest): Promise<Reply> {
  const filters = query.filters()
  acceptFilters(filters, ['label', 'label!', 'all'])
  const { names, bytes } = await volumes.prune(filters, version < sinceAnonymousPrune)
  return {
    status: 200,
    json: { VolumesDeleted: names, SpaceReclaimed: bytes },
  }
}
