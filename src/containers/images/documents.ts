/**
 * Manifests, indexes and image configurations as they stand in registries and tar files, parsed
 * once and checked as far as we rely on them. What we do not know is kept in `raw`.
 */
import { Refusal } from '../../base/refusal.ts'
import { isObject } from '../shape.ts'
import { digestPattern } from './reference.ts'

export interface Descriptor {
  readonly mediaType: string
  readonly digest: string
  readonly size: number
}

export interface Platform {
  readonly os: string
  readonly architecture: string
  readonly variant: string
}

export interface Manifest {
  readonly mediaType: string
  readonly config: Descriptor
  readonly layers: readonly Descriptor[]
}

export interface Index {
  readonly entries: readonly (Descriptor & {
    readonly platform: Platform | undefined
    readonly annotations: Readonly<Record<string, string>>
  })[]
}

export interface HistoryEntry {
  readonly created: string
  readonly createdBy: string
  readonly author: string
  readonly comment: string
  readonly emptyLayer: boolean
}

export interface ImageConfig extends Platform {
  readonly created: string
  readonly author: string
  readonly comment: string
  readonly dockerVersion: string
  readonly osVersion: string
  /** Docker's and OCI's `config`: Cmd, Env, …; as it stands there. */
  readonly config: Readonly<Record<string, unknown>>
  readonly diffIds: readonly string[]
  readonly history: readonly HistoryEntry[]
}

export const mediaTypes = {
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar',
  dockerLayer: 'application/vnd.docker.image.rootfs.diff.tar',
} as const

/** Far above any real manifest or configuration; what claims more is refused unread. */
export const documentBytesMax = 8 * 1024 * 1024

type Fields = Readonly<Record<string, unknown>>

const bad = (what: string): Refusal => new Refusal('invalid', `invalid image: ${what}`)
const text = (fields: Fields, name: string): string => {
  const value = fields[name]
  return typeof value === 'string' ? value : ''
}
const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])

/** JSON text as an object. */
export function parseDocument(bytes: Uint8Array | string, what: string): Fields {
  let value: unknown
  try {
    value = JSON.parse(typeof bytes === 'string' ? bytes : Buffer.from(bytes).toString('utf8'))
  } catch (error) {
    throw new Refusal('invalid', `invalid image: ${what} is not JSON`, { cause: error })
  }
  if (!isObject(value)) throw bad(`${what} is not a JSON object`)
  return value
}

function descriptor(value: unknown, what: string): Descriptor {
  if (!isObject(value)) throw bad(`${what} is no descriptor`)
  const digest = text(value, 'digest')
  const size = value['size']
  if (!digestPattern.test(digest)) throw bad(`${what} has no sha256 digest`)
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
    throw bad(`${what} has no size`)
  return { mediaType: text(value, 'mediaType'), digest, size }
}

export function isIndex(document: Fields): boolean {
  return Array.isArray(document['manifests'])
}

export function parseManifest(document: Fields): Manifest {
  if (document['schemaVersion'] === 1) {
    throw new Refusal(
      'invalid',
      'manifest schema version 1 is not supported any more; push the image again',
    )
  }
  const layers = document['layers']
  if (!Array.isArray(layers)) throw bad('the manifest has no layers')
  const mediaType = text(document, 'mediaType')
  return {
    mediaType: mediaType === '' ? mediaTypes.ociManifest : mediaType,
    config: descriptor(document['config'], 'the config of the manifest'),
    layers: layers.map((layer: unknown) => descriptor(layer, 'a layer of the manifest')),
  }
}

export function parseIndex(document: Fields): Index {
  const entries = listOf(document['manifests']).map((entry) => {
    const { platform, annotations } = isObject(entry) ? entry : {}
    return {
      ...descriptor(entry, 'an entry of the index'),
      platform: isObject(platform) ? platformOf(platform) : undefined,
      annotations: stringsOf(annotations),
    }
  })
  return { entries }
}

function platformOf(fields: Fields): Platform {
  return {
    os: text(fields, 'os'),
    architecture: text(fields, 'architecture'),
    variant: text(fields, 'variant'),
  }
}

function stringsOf(value: unknown): Readonly<Record<string, string>> {
  if (!isObject(value)) return {}
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, String(entry)]))
}

export function parseImageConfig(document: Fields): ImageConfig {
  const rootfs = document['rootfs']
  const diffIds = listOf(isObject(rootfs) ? rootfs['diff_ids'] : undefined).map(String)
  for (const id of diffIds) if (!digestPattern.test(id)) throw bad(`${id} is no layer id`)
  const config = document['config']
  return {
    ...platformOf(document),
    created: text(document, 'created'),
    author: text(document, 'author'),
    comment: text(document, 'comment'),
    dockerVersion: text(document, 'docker_version'),
    osVersion: text(document, 'os.version'),
    config: isObject(config) ? config : {},
    diffIds,
    history: listOf(document['history'])
      .filter(isObject)
      .map((entry) => ({
        created: text(entry, 'created'),
        createdBy: text(entry, 'created_by'),
        author: text(entry, 'author'),
        comment: text(entry, 'comment'),
        emptyLayer: entry['empty_layer'] === true,
      })),
  }
}

/** The labels of an image: those of its configuration. */
export function labelsOf(config: ImageConfig): Readonly<Record<string, string>> {
  return stringsOf(config.config['Labels'])
}
