/** `docker import`: an image of one layer from the tar of a root file system. */
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { Refusal } from '../../base/refusal.ts'
import type { Catalogue, Image } from './catalogue.ts'
import { applyChanges } from './changes.ts'
import { decompressed } from './compression.ts'
import type { ContentStore } from './content.ts'
import { mediaTypes, parseDocument, parseImageConfig } from './documents.ts'
import { machinePlatform } from './platform.ts'
import { storeNewImage } from './store-image.ts'

export interface ImportRequest {
  /** Long form; '' makes a nameless image. */
  readonly name: string
  readonly message: string
  /** Dockerfile lines. */
  readonly changes: readonly string[]
  /** `linux/amd64`, …; this machine's when absent. */
  readonly platform?: {
    readonly os: string
    readonly architecture: string
    readonly variant: string
  }
}

/** Reads the tar; what is answered makes the image. */
export async function importRootfs(
  tar: Readable,
  request: ImportRequest,
  content: ContentStore,
): Promise<(catalogue: Catalogue) => Promise<Image>> {
  const config = applyChanges({}, request.changes) // refuses before anything is read
  const hash = createHash('sha256')
  const plain = await decompressed(tar)
  const hashed = async function* (): AsyncGenerator<Uint8Array> {
    for await (const piece of plain) {
      const bytes = piece instanceof Uint8Array ? piece : Buffer.from(String(piece))
      hash.update(bytes)
      yield bytes
    }
  }
  const { digest, size } = await content.write(hashed())
  if (size === 0) throw new Refusal('invalid', 'the tar to import is empty')
  const diffId = `sha256:${hash.digest('hex')}`
  const created = new Date().toISOString()
  const { os, architecture, variant } = request.platform ?? machinePlatform()
  const document = JSON.stringify({
    architecture,
    os,
    ...(variant === '' ? {} : { variant }),
    created,
    comment: request.message,
    config,
    history: [{ created, comment: request.message }],
    rootfs: { type: 'layers', diff_ids: [diffId] },
  })
  return (catalogue) =>
    storeNewImage(catalogue, content, {
      config: document,
      parsed: parseImageConfig(parseDocument(document, 'config')),
      layers: [{ mediaType: mediaTypes.layer, digest, size }],
      names: request.name === '' ? [] : [request.name],
    })
}
