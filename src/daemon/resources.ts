/** The resources of the API, each from the rooms that it needs. */
import { containerArchiveRoutes } from '../api/container-archive.ts'
import { containerStreamRoutes } from '../api/container-streams.ts'
import { containerRoutes } from '../api/containers.ts'
import { execRoutes } from '../api/exec.ts'
import { networkRoutes } from '../api/networks.ts'
import { portolanRoutes } from '../api/portolan.ts'
import type { Route } from '../api/route.ts'
import type { DiskUsage } from '../api/system.ts'
import { newestVersion, toApiVersion } from '../api/version.ts'
import type { Containers } from '../containers/containers.ts'
import type { Images } from '../containers/images/images.ts'
import type { Volumes } from '../containers/volumes/volumes.ts'
import type { Firewall } from '../firewall/intent.ts'
import type { NetworkEngine } from '../network/engine.ts'

export interface Resources {
  readonly networks: NetworkEngine
  readonly firewall: Firewall
  readonly volumes: Volumes
  readonly images: Images
  readonly containers: Containers
}

export function routesOf({ networks, firewall, containers, images }: Resources): readonly Route[] {
  return [
    ...containerStreamRoutes(containers),
    ...containerArchiveRoutes(containers),
    ...containerRoutes(containers),
    ...execRoutes(containers),
    ...networkRoutes(networks, containers),
    ...portolanRoutes({
      networks,
      firewall,
      findContainer: (name) => containers.find(name).record,
    }),
    { method: 'POST', pattern: '/images/load', handle: async (r) => { await images.load(r.body); return { status: 200, json: {} } } },
  ]
}

/** What `docker system df` shows. */
export async function diskUsage(
  { containers, images, volumes }: Resources,
  parts: ReadonlySet<string>,
): Promise<DiskUsage> {
  const everything = {
    all: true,
    limit: 0,
    size: true,
    filters: new Map(),
    apiVersion: toApiVersion(newestVersion),
  }
  const layersBytes = parts.has('image') ? images.usage().layersBytes : 0
  return {
    layersBytes,
    images: [],
    containers: parts.has('container') ? await containers.list(everything) : [],
    volumes: parts.has('volume') ? await volumes.usage() : [],
  }
}
