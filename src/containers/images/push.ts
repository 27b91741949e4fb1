/** `docker push`: the blobs that the registry lacks, then the manifest under its tag. */
import { Readable } from 'node:stream'
import type { Image } from './catalogue.ts'
import type { ContentStore } from './content.ts'
import type { Descriptor } from './documents.ts'
import { counted, layerId, type Report } from './progress.ts'
import { defaultTag, repositoryName, type Reference } from './reference.ts'
import type { Registry } from './registry.ts'
import { eachOf } from './transfers.ts'

export interface PushManner {
  readonly reference: Reference
  readonly report: Report
  readonly uploadsAtOnce: number
}

export async function pushImage(
  image: Image,
  target: Descriptor,
  { reference, report, uploadsAtOnce }: PushManner,
  registry: Registry,
  content: ContentStore,
): Promise<void> {
  const { layers, config } = image.manifest
  const bytes = await content.readBytes(target.digest)
  // The first request is the one that may be refused; nothing is reported before it.
  const hasConfig = await registry.hasBlob(config.digest)
  report({ status: `The push refers to repository [${repositoryName(reference)}]` })
  const ids = new Map<Descriptor, string>()
  for (const [index, layer] of layers.entries()) {
    const id = layerId(image.document.diffIds[index] ?? layer.digest)
    ids.set(layer, id)
    report({ status: 'Preparing', id, progressDetail: {} })
  }
  await eachOf(layers, uploadsAtOnce, async (layer) => {
    const id = ids.get(layer) ?? ''
    if (await registry.hasBlob(layer.digest)) {
      report({ status: 'Layer already exists', id, progressDetail: {} })
      return
    }
    await pushBlob(layer, registry, content, (current, total) =>
      report({ status: 'Pushing', id, progressDetail: { current, total } }),
    )
    report({ status: 'Pushed', id, progressDetail: {} })
  })
  if (!hasConfig) await pushBlob(config, registry, content, () => undefined)
  const tag = reference.tag ?? defaultTag
  await registry.pushManifest(tag, bytes, target.mediaType)
  report({ status: `${tag}: digest: ${target.digest} size: ${target.size}` })
  report({
    status: '',
    progressDetail: {},
    aux: { Tag: tag, Digest: target.digest, Size: target.size },
  })
}

async function pushBlob(
  blob: Descriptor,
  registry: Registry,
  content: ContentStore,
  report: (current: number, total: number) => void,
): Promise<void> {
  const bytes = counted(content.read(blob.digest), 0, blob.size, report)
  await registry.pushBlob(blob, Readable.from(bytes, { objectMode: false }))
}
