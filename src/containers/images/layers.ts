/** From layer blobs to committed snapshots, one per chain of layers, each unpacked only once. */
import { createHash, randomUUID } from 'node:crypto'
import { Refusal, messageOf } from '../../base/refusal.ts'
import { isAlreadyExists, snapshotter, unlessNotFound } from '../containerd/client.ts'
import type { ContentStore } from './content.ts'
import { mediaTypes, type Descriptor } from './documents.ts'

/** The name of the snapshot of each layer on top of those before it. */
export function chainIds(diffIds: readonly string[]): readonly string[] {
  const chain: string[] = []
  for (const diffId of diffIds) {
    const parent = chain.at(-1)
    const hash = (text: string) => `sha256:${createHash('sha256').update(text).digest('hex')}`
    chain.push(parent === undefined ? diffId : hash(`${parent} ${diffId}`))
  }
  return chain
}

/** The media type of a layer whose description does not say how it is compressed. */
export function layerMediaType(head: Uint8Array): string {
  if (head[0] === 0x1f && head[1] === 0x8b) return `${mediaTypes.layer}+gzip`
  const isZstd = head[0] === 0x28 && head[1] === 0xb5 && head[2] === 0x2f && head[3] === 0xfd
  return isZstd ? `${mediaTypes.layer}+zstd` : mediaTypes.layer
}

export interface UnpackListener {
  readonly onBegin: (layer: Descriptor) => void
  readonly onEnd: (layer: Descriptor) => void
}

/** Unpacks what is not there yet; answers the chain ids. */
export async function unpackLayers(
  content: ContentStore,
  layers: readonly Descriptor[],
  diffIds: readonly string[],
  listener?: UnpackListener,
): Promise<readonly string[]> {
  if (layers.length !== diffIds.length) {
    const counts = `${layers.length} layers, but ${diffIds.length} layer ids in its config`
    const text = `invalid image: ${counts}`
    throw new Refusal('invalid', text)
  }
  const chain = chainIds(diffIds)
  for (const [index, layer] of layers.entries()) {
    const name = chain[index] ?? ''
    listener?.onBegin(layer)
    await unpackLayer(content, layer, diffIds[index] ?? '', name, chain[index - 1] ?? '')
    listener?.onEnd(layer)
  }
  return chain
}

async function unpackLayer(
  content: ContentStore,
  layer: Descriptor,
  diffId: string,
  name: string,
  parent: string,
): Promise<void> {
  const { snapshots, diff } = content.containerd
  // Leased first, looked at then: it may have been about to be collected.
  await content.lease(name, `snapshots/${snapshotter}`)
  if ((await unlessNotFound(snapshots.stat({ snapshotter, key: name }))) !== undefined) return
  const key = `unpack-${randomUUID()} ${name}`
  const prepared = await snapshots.prepare({ snapshotter, key, parent }, content.options)
  try {
    const { mediaType, digest, size } = layer
    const described = { mediaType, digest, size: BigInt(size), annotations: {} }
    const request = { diff: described, mounts: prepared.mounts }
    const { applied } = await diff.apply(request, content.options).catch(unpackingFailed)
    if (applied?.digest !== diffId) {
      throw new Refusal(
        'invalid',
        `invalid image: the layer ${digest} is not ${diffId} when unpacked`,
      )
    }
    await snapshots.commit({ snapshotter, name, key, labels: {} }, content.options)
  } catch (error) {
    await unlessNotFound(snapshots.remove({ snapshotter, key }))
    if (!isAlreadyExists(error)) throw error
  }
}

/** Where containerd had the layer mounted meanwhile is nothing to the user. */
function unpackingFailed(error: unknown): never {
  if (error instanceof Refusal || isAlreadyExists(error)) throw error
  const text = messageOf(error).replace(/^mount callback failed on \S+: /, '')
  throw new Refusal('invalid', `the layer cannot be unpacked: ${text}`, { cause: error })
}
