/**
 * Parts of volumes (`volume-subpath`). Who may write into the volume could turn a folder into a
 * link to anywhere, so the part is opened first, then looked at where it is, and mounted by its
 * descriptor, at a place of ours until the container has it: what is mounted is what was looked at.
 *
 * A crash between leaves such a mount behind; the daemon's next start takes it away.
 */
import {
  closeSync,
  constants,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  rmSync,
  rmdirSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { errorCode } from '../base/error-code.ts'
import { Refusal, messageOf } from '../base/refusal.ts'
import { mount, unmountAll } from '../kernel/mount.ts'
import type { MountPoint } from './record.ts'

/** A descriptor that only names a place; Node has no word for it. */
const O_PATH = 0o10000000

export interface Subpaths {
  /** Destination → where the part is mounted until `close`. */
  readonly sources: ReadonlyMap<string, string>
  /** To be called when the container's mounts are made. */
  close(): void
}

/**
 * Refuses a part that is not there, or that leads out of its volume.
 * @param folder of this container alone
 */
export function openSubpaths(folder: string, points: readonly MountPoint[]): Subpaths {
  const sources = new Map<string, string>()
  const close = () => {
    for (const place of sources.values()) putAway(place)
    if (sources.size > 0) rmdirSync(folder)
  }
  try {
    for (const point of points) {
      if (point.subpath === '') continue
      const place = join(folder, String(sources.size))
      sources.set(point.Destination, place)
      mountPart(point, place)
    }
    return { sources, close }
  } catch (error) {
    close()
    throw error
  }
}

/**
 * Takes away what starts left behind that were cut off. To be called while none goes on.
 * @param folder with those of all containers
 */
export function dropSubpaths(folder: string): void {
  for (const container of namesIn(folder)) {
    for (const name of namesIn(join(folder, container))) putAway(join(folder, container, name))
    rmdirSync(join(folder, container))
  }
}

function namesIn(folder: string): readonly string[] {
  return existsSync(folder) ? readdirSync(folder) : []
}

function mountPart(point: MountPoint, place: string): void {
  putAway(place)
  mkdirSync(join(place, '..'), { recursive: true, mode: 0o700 })
  const descriptor = openPart(point)
  try {
    const root = realpathSync(point.Source)
    const real = readlinkSync(`/proc/self/fd/${descriptor}`)
    if (real !== root && !real.startsWith(`${root}/`)) {
      throw new Refusal('invalid', `subpath ${point.subpath} leads out of volume ${point.Name}`)
    }
    if (fstatSync(descriptor).isDirectory()) mkdirSync(place)
    else writeFileSync(place, '')
    const source = `/proc/self/fd/${descriptor}`
    mount({ type: '', source, target: place, options: ['rbind', 'rprivate'] })
  } finally {
    closeSync(descriptor)
  }
}

/** Never deletes below a mount: what could not be unmounted is the volume itself. */
function putAway(place: string): void {
  unmountAll(place)
  try {
    rmdirSync(place)
  } catch (error) {
    const code = errorCode(error)
    if (code === 'ENOTDIR') rmSync(place)
    else if (code !== 'ENOENT') throw error
  }
}

function openPart({ Source, Name, subpath }: MountPoint): number {
  try {
    return openSync(join(Source, subpath), O_PATH | constants.O_RDONLY)
  } catch (error) {
    const gone = errorCode(error) === 'ENOENT'
    const why = gone ? 'no such file or directory' : messageOf(error)
    throw new Refusal('invalid', `cannot access path ${subpath} of volume ${Name}: ${why}`, {
      cause: error,
    })
  }
}
