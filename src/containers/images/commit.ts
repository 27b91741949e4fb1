/** `docker commit`: what a container has changed, as one more layer on its image. */
import { randomUUID } from 'node:crypto'
import { layersOf } from '../changes.ts'
import { snapshotter, unlessNotFound, type Containerd } from '../containerd/client.ts'
import { layersAreIndirect, packLayer } from '../layer.ts'
import type { Catalogue, Image } from './catalogue.ts'
import type { ContentStore } from './content.ts'
import { mediaTypes, parseDocument, parseImageConfig, type Descriptor } from './documents.ts'
import { storeNewImage } from './store-image.ts'

type MountList = Awaited<ReturnType<Containerd['snapshots']['mounts']>>['mounts']

export interface CommitRequest {
  /** The container's snapshot: its id. */
  readonly snapshotKey: string
  /** The id of the image that the container was made from. */
  readonly imageId: string
  /** The new image's whole `config`, changes made. */
  readonly config: Readonly<Record<string, unknown>>
  /** Long form; '' makes a nameless image. */
  readonly name: string
  readonly author: string
  readonly comment: string
  /** What ran in the container, for the history. */
  readonly createdBy: string
}

export async function commitContainer(
  request: CommitRequest,
  catalogue: Catalogue,
  content: ContentStore,
): Promise<Image> {
  const parent = catalogue.find(request.imageId)
  const layer = await diffLayer(request.snapshotKey, parent.topChainId, content)
  const raw = parseDocument(await content.readBytes(parent.id), 'config')
  const created = new Date().toISOString()
  const { author, comment, createdBy } = request
  const history = Array.isArray(raw['history']) ? raw['history'] : []
  const document = JSON.stringify({
    ...raw,
    created,
    author,
    comment,
    config: request.config,
    container_config: undefined,
    container: undefined,
    history: [...history, { created, created_by: createdBy, author, comment }],
    // The layer is stored uncompressed, so its digest is the layer id too.
    rootfs: { type: 'layers', diff_ids: [...parent.document.diffIds, layer.digest] },
  })
  return storeNewImage(catalogue, content, {
    config: document,
    parsed: parseImageConfig(parseDocument(document, 'config')),
    layers: [...parent.manifest.layers, layer],
    names: request.name === '' ? [] : [request.name],
  })
}

async function diffLayer(key: string, parent: string, content: ContentStore): Promise<Descriptor> {
  const { snapshots } = content.containerd
  const { mounts } = await snapshots.mounts({ snapshotter, key })
  if (layersAreIndirect()) return comparedLayer(mounts, parent, content)
  const { digest, size } = await content.write(packLayer(layersOf(mounts)))
  return { mediaType: mediaTypes.layer, digest, size }
}

/** containerd mounts both and compares all files. */
async function comparedLayer(
  mounts: MountList,
  parent: string,
  content: ContentStore,
): Promise<Descriptor> {
  const { snapshots, diff } = content.containerd
  const viewKey = `commit-${randomUUID()}`
  const lower = await snapshots.view({ snapshotter, key: viewKey, parent }, content.options)
  try {
    const { diff: layer } = await diff.diff(
      {
        left: lower.mounts,
        right: mounts,
        mediaType: mediaTypes.layer,
        ref: viewKey,
        labels: {},
      },
      content.options,
    )
    if (layer === undefined) throw new Error('containerd answered no layer')
    return { mediaType: layer.mediaType, digest: layer.digest, size: Number(layer.size) }
  } finally {
    await unlessNotFound(snapshots.remove({ snapshotter, key: viewKey }))
  }
}
