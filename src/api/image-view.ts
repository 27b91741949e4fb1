/** Images as the API shows them: list, inspect, history, disk usage. */
import { configShape } from '../containers/config.ts'
import type { HistoryEntry, ImageConfig } from '../containers/images/documents.ts'
import type { Image, ImageUsage } from '../containers/images/images.ts'
import { storageDriver } from '../containers/inspect.ts'
import { isObject } from '../containers/shape.ts'
import { epochMs, zeroTime } from '../containers/time.ts'
import type { ApiVersion } from './route.ts'

/** API versions from which on an answer changes. */
const since = {
  emptyNames: 143,
  noVirtualSize: 144,
  descriptor: 148,
  ociConfig: 150,
} as const

const unixSeconds = (time: string): number =>
  Math.floor(epochMs(time === '' ? zeroTime : time) / 1000)

/** As Go prints it: no zeros at the end of the fraction. */
const goTime = (time: string): string =>
  time === ''
    ? zeroTime
    : time.replace(/\.(\d*?)0+Z$/, (_end, kept) => (kept === '' ? 'Z' : `.${kept}Z`))

function namesOf(
  { repoTags, repoDigests }: Image,
  version: ApiVersion,
): { readonly RepoTags: readonly string[]; readonly RepoDigests: readonly string[] | null } {
  const none = version < since.emptyNames && repoDigests.length === 0
  const old = none && repoTags.length === 0
  return old
    ? { RepoTags: ['<none>:<none>'], RepoDigests: ['<none>@<none>'] }
    : { RepoTags: repoTags, RepoDigests: none ? null : repoDigests }
}

/** @param usage what only `system df` counts */
export function imageSummary(
  image: Image,
  version: ApiVersion,
  usage: { readonly sharedBytes: number; readonly containers: number } = {
    sharedBytes: -1,
    containers: -1,
  },
): object {
  return {
    Containers: usage.containers,
    Created: unixSeconds(image.created),
    Id: image.id,
    Labels: configOf(image).Labels,
    ParentId: '',
    ...namesOf(image, version),
    SharedSize: usage.sharedBytes,
    Size: image.size,
    ...(version < since.noVirtualSize ? { VirtualSize: image.size } : {}),
  }
}

const configOf = ({ config }: Image) => configShape.decode(config, 'Image.Config')

export function imageInspect(image: Image, version: ApiVersion): object {
  const { document } = image
  const config = shownConfig(configShape.show(configOf(image)), version)
  return {
    Id: image.id,
    RepoTags: image.repoTags,
    RepoDigests: image.repoDigests,
    Parent: '',
    Comment: commentOf(document),
    Created: goTime(image.created),
    // Gone since 1.45, but docker-compose 1.29 asks at the newest version and cannot do without.
    ContainerConfig: configShape.show(configShape.decode(null, '')),
    DockerVersion: document.dockerVersion,
    Author: document.author,
    Config: config,
    Architecture: document.architecture,
    ...(document.variant === '' ? {} : { Variant: document.variant }),
    Os: document.os,
    ...(document.osVersion === '' ? {} : { OsVersion: document.osVersion }),
    Size: image.size,
    ...(version < since.noVirtualSize ? { VirtualSize: image.size } : {}),
    GraphDriver: { Data: null, Name: storageDriver },
    RootFS: { Type: 'layers', Layers: document.diffIds },
    Metadata: { LastTagTime: goTime(image.taggedAt) },
    ...(version < since.descriptor ? {} : { Descriptor: image.manifestDescriptor }),
  }
}

/** Fields of OCI's image configuration and Docker's own additions, in Docker's order. */
const imageFields = [
  'User', 'ExposedPorts', 'Env', 'Entrypoint', 'Cmd', 'Volumes', 'WorkingDir', 'Labels',
  'StopSignal', 'ArgsEscaped', 'Healthcheck', 'OnBuild', 'Shell',
]

/** Newer versions leave out what an image cannot have, and what is empty. */
function shownConfig(config: unknown, version: ApiVersion): unknown {
  if (version < since.ociConfig || !isObject(config)) return config
  const isEmpty = (value: unknown) =>
    value === null || value === undefined || value === '' || value === false ||
    (typeof value === 'object' && Object.keys(value).length === 0)
  const shown = imageFields.map((name) => [name, config[name]] as const)
  return Object.fromEntries(shown.filter(([, value]) => !isEmpty(value)))
}

/** OCI has no comment of the image; the last step's takes its place. */
function commentOf({ comment, history }: ImageConfig): string {
  return comment === '' ? (history.at(-1)?.comment ?? '') : comment
}

/** Newest first. Layers without a line of history are shown with nothing but their size. */
export function imageHistory(image: Image): readonly object[] {
  const sizes = [...image.layerSizes]
  const unknown: HistoryEntry = {
    created: image.created,
    createdBy: '',
    author: '',
    comment: '',
    emptyLayer: false,
  }
  const steps =
    image.document.history.length > 0 ? image.document.history : image.layers.map(() => unknown)
  const shown = steps.map((step) => ({
    Comment: step.comment,
    Created: unixSeconds(step.created),
    CreatedBy: step.createdBy,
    Id: '<missing>',
    Size: step.emptyLayer ? 0 : (sizes.shift() ?? 0),
    Tags: null,
  }))
  const newestFirst = shown.reverse()
  const [top, ...below] = newestFirst
  if (top === undefined) return []
  return [
    { ...top, Id: image.id, Tags: image.repoTags.length === 0 ? null : image.repoTags },
    ...below,
  ]
}

/** The part of `system df` that is about images. */
export function imageUsageView(
  usage: ImageUsage,
  version: ApiVersion,
): { readonly layersBytes: number; readonly images: readonly object[] } {
  return {
    layersBytes: usage.layersBytes,
    images: usage.images.map(({ image, ...counts }) => {
      const summary = imageSummary(image, version, counts)
      // Where a list has an empty one, this has none.
      return image.repoDigests.length > 0 ? summary : { ...summary, RepoDigests: null }
    }),
  }
}
