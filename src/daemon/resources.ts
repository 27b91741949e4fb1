/** The resources of the API, each from the rooms that it needs. */
import { commitRoutes } from '../api/commit.ts'
import { containerArchiveRoutes } from '../api/container-archive.ts'
import { containerStreamRoutes } from '../api/container-streams.ts'
import { containerRoutes } from '../api/containers.ts'
import { execRoutes } from '../api/exec.ts'
import { imageUsageView } from '../api/image-view.ts'
import { imageRoutes } from '../api/images.ts'
import { networkRoutes } from '../api/networks.ts'
import { portolanRoutes } from '../api/portolan.ts'
import type { Route } from '../api/route.ts'
import type { DiskUsage } from '../api/system.ts'
import { newestVersion, toApiVersion } from '../api/version.ts'
import { volumeRoutes, volumeUsageView } from '../api/volumes.ts'
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

export function routesOf(resources: Resources): readonly Route[] {
  const { networks, firewall, containers, images, volumes } = resources
  return [
    ...containerStreamRoutes(containers),
    ...containerArchiveRoutes(containers),
    ...containerRoutes(containers),
    ...execRoutes(containers),
    ...imageRoutes(images),
    ...commitRoutes(images, containers),
    ...volumeRoutes(volumes),
    ...networkRoutes(networks, containers),
    ...portolanRoutes({
      networks,
      firewall,
      findContainer: (name) => containers.find(name).record,
    }),
  ]
}

/** What `docker system df` shows. */
export async function diskUsage(
  { containers, images, volumes }: Resources,
  parts: ReadonlySet<string>,
): Promise<DiskUsage> {
  const apiVersion = toApiVersion(newestVersion)
  const everything = { all: true, limit: 0, size: true, filters: new Map(), apiVersion }
  const nothing = { layersBytes: 0, images: [] }
  const ofImages = parts.has('image') ? imageUsageView(images.usage(), apiVersion) : nothing
  return {
    ...ofImages,
    containers: parts.has('container') ? await containers.list(everything) : [],
    volumes: parts.has('volume') ? (await volumes.usage()).map(volumeUsageView) : [],
  }
}
