/**
 * Parts of volumes (`volume-subpath`). Who may write into the volume could turn a folder into a
 * link to anywhere, so the part is opened first, then looked at where it is, and mounted by its
 * descriptor: what is mounted is what was looked at.
 */
import { closeSync, constants, openSync, readlinkSync, realpathSync } from 'node:fs'
import { join } from 'node:path'
import { Refusal, messageOf } from '../base/refusal.ts'
import type { MountPoint } from './record.ts'

/** A descriptor that only names a place; Node has no word for it. */
const O_PATH = 0o10000000

export interface Subpaths {
  /** Destination → a path that leads to the part, while it is open. */
  readonly sources: ReadonlyMap<string, string>
  /** To be called when the container's mounts are made. */
  close(): void
}

/** Refuses a part that is not there, or that leads out of its volume. */
export function openSubpaths(points: readonly MountPoint[]): Subpaths {
  const sources = new Map<string, string>()
  const descriptors: number[] = []
  const close = () => {
    for (const descriptor of descriptors) closeSync(descriptor)
  }
  try {
    for (const point of points) {
      if (point.subpath === '') continue
      const descriptor = openPart(point)
      descriptors.push(descriptor)
      const root = realpathSync(point.Source)
      const place = readlinkSync(`/proc/self/fd/${descriptor}`)
      if (place !== root && !place.startsWith(`${root}/`)) {
        throw new Refusal('invalid', `subpath ${point.subpath} leads out of volume ${point.Name}`)
      }
      sources.set(point.Destination, `/proc/${process.pid}/fd/${descriptor}`)
    }
    return { sources, close }
  } catch (error) {
    close()
    throw error
  }
}

function openPart({ Source, Name, subpath }: MountPoint): number {
  try {
    return openSync(join(Source, subpath), O_PATH | constants.O_RDONLY)
  } catch (error) {
    const gone = error instanceof Error && 'code' in error && error.code === 'ENOENT'
    const why = gone ? 'no such file or directory' : messageOf(error)
    throw new Refusal('invalid', `cannot access path ${subpath} of volume ${Name}: ${why}`, {
      cause: error,
    })
  }
}
