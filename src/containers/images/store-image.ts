/** The last steps of load, import, pull and commit: unpack, refer, name. */
import { snapshotter } from '../containerd/client.ts'
import type { Catalogue, Image } from './catalogue.ts'
import type { ContentStore } from './content.ts'
import { mediaTypes, type Descriptor, type ImageConfig, type Manifest } from './documents.ts'
import { unpackLayers, type UnpackListener } from './layers.ts'

/**
 * Unpacks the layers and writes the labels by which the garbage collector finds what belongs to
 * the image: manifest → config and layers, config → snapshots.
 */
export async function unpackImage(
  content: ContentStore,
  target: Descriptor,
  manifest: Manifest,
  config: ImageConfig,
  listener?: UnpackListener,
): Promise<void> {
  const chain = await unpackLayers(content, manifest.layers, config.diffIds, listener)
  const top = chain.at(-1)
  if (top !== undefined) {
    await content.label(manifest.config.digest, {
      [`containerd.io/gc.ref.snapshot.${snapshotter}`]: top,
    })
  }
  await content.label(target.digest, referenceLabels(manifest))
}

function referenceLabels(manifest: Manifest): Readonly<Record<string, string>> {
  const labels: Record<string, string> = {
    'containerd.io/gc.ref.content.config': manifest.config.digest,
  }
  for (const [index, layer] of manifest.layers.entries()) {
    labels[`containerd.io/gc.ref.content.l.${index}`] = layer.digest
  }
  return labels
}

/** A manifest for a configuration and layers that are in the content store. */
export async function writeManifest(
  content: ContentStore,
  config: Descriptor,
  layers: readonly Descriptor[],
): Promise<{ readonly target: Descriptor; readonly manifest: Manifest }> {
  const manifest = { mediaType: mediaTypes.ociManifest, config, layers }
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, ...manifest }))
  const { digest, size } = await content.writeBytes(bytes, referenceLabels(manifest))
  return { target: { mediaType: manifest.mediaType, digest, size }, manifest }
}

export interface NewImage {
  /** The configuration document, as JSON text. */
  readonly config: string
  readonly parsed: ImageConfig
  readonly layers: readonly Descriptor[]
  /** Long forms; none makes a nameless image. */
  readonly names: readonly string[]
}

/** An image whose configuration we wrote ourselves (import, commit). */
export async function storeNewImage(
  catalogue: Catalogue,
  content: ContentStore,
  image: NewImage,
): Promise<Image> {
  const { digest, size } = await content.writeBytes(Buffer.from(image.config))
  const config = { mediaType: 'application/vnd.oci.image.config.v1+json', digest, size }
  const { target, manifest } = await writeManifest(content, config, image.layers)
  await unpackImage(content, target, manifest, image.parsed)
  return nameImage(catalogue, content, target, image.names)
}

/** Gives all names, or none. */
export async function nameImage(
  catalogue: Catalogue,
  content: ContentStore,
  target: Descriptor,
  names: readonly string[],
): Promise<Image> {
  let { image } = await catalogue.name(names[0] ?? '', target, content)
  for (const name of names.slice(1)) ({ image } = await catalogue.name(name, target, content))
  return image
}
