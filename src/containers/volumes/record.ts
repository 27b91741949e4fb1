/** A volume as it is stored and shown. */
import { isObject, nullable, object, string, stringMap, type Of } from '../shape.ts'

const shape = object({
  name: string,
  driver: string,
  /** null where the request had none: inspect shows the difference. */
  labels: nullable(stringMap),
  options: nullable(stringMap),
  createdAt: string,
})
export type VolumeRecord = Of<typeof shape>

export interface Volume extends VolumeRecord {
  /** Where the data is; absolute. */
  readonly mountpoint: string
}

/** Reads a stored document; throws when it is none of ours. */
export function parseVolume(document: unknown): VolumeRecord {
  const record = shape.decode(document, 'Volume')
  if (!isObject(document) || record.name === '') throw new Error('not a volume document')
  return record
}

/** The label that the engine and clients put on volumes without a name of the user's. */
export const anonymousLabel = 'com.docker.volume.anonymous'

export function isAnonymous(volume: VolumeRecord): boolean {
  return Object.hasOwn(volume.labels ?? {}, anonymousLabel)
}
