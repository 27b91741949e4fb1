/**
 * docker diff: what the writable layer holds, compared with the layers below it.
 *
 * Mount points that the engine itself makes (hosts, resolv.conf, /dev, …) are not the container's
 * doing and are left out.
 */
import { lstatSync, readdirSync } from 'node:fs'
import type { Stats } from 'node:fs'
import { join } from 'node:path'
import { snapshotter } from './containerd/client.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'

export interface Change {
  readonly Path: string
  /** 0 modified, 1 added, 2 deleted. */
  readonly Kind: 0 | 1 | 2
}

const modified = 0
const added = 1
const deleted = 2

const ours = new Set([
  '/dev/console',
  '/dev/pts',
  '/dev/shm',
  '/dev/mqueue',
  '/etc/hosts',
  '/etc/hostname',
  '/etc/resolv.conf',
  '/etc/mtab',
  '/proc',
  '/sys',
  '/.dockerenv',
  '/sbin/docker-init',
])
/** Changed by our own mount points; shown only when something else in them changed. */
const touched = new Set(['/dev', '/etc', '/sbin'])

export async function changesOf(
  context: Context,
  container: Container,
): Promise<readonly Change[] | null> {
  const { mounts } = await context.containerd.snapshots.mounts({ snapshotter, key: container.id })
  const [mount] = mounts
  const option = (name: string) =>
    mount?.options.find((entry) => entry.startsWith(`${name}=`))?.slice(name.length + 1) ?? ''
  const upper = mount?.type === 'overlay' ? option('upperdir') : (mount?.source ?? '')
  const lowers = option('lowerdir')
    .split(':')
    .filter((path) => path !== '')
  const hidden = new Set([...ours, ...container.record.mounts.map((point) => point.Destination)])
  const found: Change[] = []
  walk(upper, lowers, '', hidden, found)
  return found.length === 0 ? null : found
}

function walk(
  upper: string,
  lowers: readonly string[],
  inside: string,
  hidden: ReadonlySet<string>,
  found: Change[],
): void {
  for (const name of readdirSync(join(upper, inside)).sort()) {
    const path = `${inside}/${name}`
    const stat = lstatSync(join(upper, path), { throwIfNoEntry: false })
    if (stat === undefined || hidden.has(path)) continue
    if (stat.isCharacterDevice() && stat.rdev === 0) {
      found.push({ Path: path, Kind: deleted })
      continue
    }
    const below = inLowers(lowers, path)
    const at = found.length
    if (below === undefined) found.push({ Path: path, Kind: added })
    else if (!isSameFolder(stat, below)) found.push({ Path: path, Kind: modified })
    const own = found.length
    if (stat.isDirectory()) walk(upper, lowers, path, hidden, found)
    // Nothing but our own mount points in it.
    const emptied = found.length === own && own > at
    if (emptied && (touched.has(path) || leadsToHidden(path, hidden))) found.length = at
  }
}

function leadsToHidden(path: string, hidden: ReadonlySet<string>): boolean {
  return [...hidden].some((entry) => entry.startsWith(`${path}/`))
}

/** The entry as the layers below show it; a whiteout hides what is further down. */
function inLowers(lowers: readonly string[], path: string): Stats | undefined {
  for (const lower of lowers) {
    const stat = lstatSync(join(lower, path), { throwIfNoEntry: false })
    if (stat === undefined) continue
    return stat.isCharacterDevice() && stat.rdev === 0 ? undefined : stat
  }
  return undefined
}

function isSameFolder(stat: Stats, below: Stats): boolean {
  return (
    stat.isDirectory() &&
    below.isDirectory() &&
    stat.mtimeMs === below.mtimeMs &&
    stat.mode === below.mode &&
    stat.uid === below.uid &&
    stat.gid === below.gid
  )
}
