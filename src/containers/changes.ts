/**
 * docker diff: what the writable layer makes of the layers below it, as a comparison of the two
 * trees shows it. Whiteouts and opaque folders of overlay are read in every layer.
 *
 * Mount points that the engine itself makes (hosts, resolv.conf, /dev, …) are not the container's
 * doing and are left out. Folders that the kernel was told to redirect (`redirect_dir`, which
 * nobody turns on by default) are shown as new.
 */
import { closeSync, constants, lstatSync, openSync, readdirSync } from 'node:fs'
import type { BigIntStats } from 'node:fs'
import { getXattr } from '../kernel/xattr.ts'
import { snapshotter } from './containerd/client.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'
import { below } from './tree.ts'

/** As the API has it. */
export interface Change {
  readonly Path: string
  /** 0 modified, 1 added, 2 deleted. */
  readonly Kind: 0 | 1 | 2
}

/** With the path as the bytes that it is. */
export interface LayerChange {
  readonly path: Buffer
  readonly kind: Change['Kind']
}

const modified = 0
const added = 1
export const deleted = 2
const nsPerSecond = 1_000_000_000n

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
/** Made for our own mount points where an image lacks them; shown when something else is in them. */
const touched = new Set(['/dev', '/etc', '/sbin'])

export async function changesOf(
  context: Context,
  container: Container,
): Promise<readonly Change[] | null> {
  const { mounts } = await context.containerd.snapshots.mounts({ snapshotter, key: container.id })
  const found = layerChanges(layersOf(mounts))
  return found.length === 0
    ? null
    : found.map(({ path, kind }) => ({ Path: path.toString(), Kind: kind }))
}

export interface Layers {
  /** Folder of the writable layer. */
  readonly upper: string
  /** Those of the layers below it, the one on top first. */
  readonly lowers: readonly string[]
}

interface Mount {
  readonly type: string
  readonly source: string
  readonly options: readonly string[]
}

/** The layers of a container's root, from how it is mounted. */
export function layersOf([mount]: readonly Mount[]): Layers {
  const option = (name: string) =>
    mount?.options.find((entry) => entry.startsWith(`${name}=`))?.slice(name.length + 1) ?? ''
  return {
    upper: mount?.type === 'overlay' ? option('upperdir') : (mount?.source ?? ''),
    lowers: option('lowerdir')
      .split(':')
      .filter((path) => path !== ''),
  }
}

/** In the order of their paths, folders before what is in them. */
export function layerChanges({ upper, lowers }: Layers): readonly LayerChange[] {
  const folder = {
    upper: Buffer.from(upper),
    lowers: lowers.map((path) => Buffer.from(path)),
    inside: Buffer.alloc(0),
    isDetached: false,
  }
  return walk(folder)
}

interface Folder {
  readonly upper: Buffer
  /** The same folder in the layers below that show through, the one on top first. */
  readonly lowers: readonly Buffer[]
  readonly inside: Buffer
  /** Nothing shows through: what is not in the writable layer has been removed. */
  readonly isDetached: boolean
}

function walk(folder: Folder): readonly LayerChange[] {
  const { upper, lowers, inside, isDetached } = folder
  const mine = list(upper)
  const gone = isDetached ? namesIn(lowers).filter((name) => !includes(mine, name)) : []
  return [...mine, ...gone].sort(Buffer.compare).flatMap((name) => {
    const path = below(inside, name)
    if (ours.has(path.toString())) return []
    const own = lookAt(below(upper, name))
    const before = lookUp(lowers, name)
    if (own === undefined || isWhiteout(own)) {
      return before === undefined ? [] : [{ path, kind: deleted } as const]
    }
    return changesAt(own, before, { ...folder, upper: below(upper, name), inside: path })
  })
}

function changesAt(
  own: BigIntStats,
  before: Found | undefined,
  { upper, inside, isDetached }: Folder,
): readonly LayerChange[] {
  const within: Folder = {
    upper,
    lowers: before?.folders ?? [],
    inside,
    isDetached: isDetached || (own.isDirectory() && isOpaque(upper)),
  }
  const children = own.isDirectory() ? walk(within) : []
  if (before === undefined) {
    const isOurs = touched.has(inside.toString()) && children.length === 0
    return isOurs ? [] : [{ path: inside, kind: added }, ...children]
  }
  const isChanged = children.length > 0 || differs(own, before, upper)
  return isChanged ? [{ path: inside, kind: modified }, ...children] : []
}

interface Found {
  readonly stat: BigIntStats
  readonly path: Buffer
  /** Where it is a folder, in all layers that make it up. */
  readonly folders: readonly Buffer[]
}

/** An entry as the layers show it together; undefined where they show none. */
function lookUp(parents: readonly Buffer[], name: Buffer): Found | undefined {
  let first: { readonly stat: BigIntStats; readonly path: Buffer } | undefined
  const folders: Buffer[] = []
  for (const parent of parents) {
    const path = below(parent, name)
    const stat = lookAt(path)
    if (stat === undefined) continue
    if (isWhiteout(stat)) break
    if (first !== undefined && !stat.isDirectory()) break
    first ??= { stat, path }
    if (!stat.isDirectory()) break
    folders.push(path)
    if (isOpaque(path)) break
  }
  return first === undefined ? undefined : { ...first, folders }
}

const list = (folder: Buffer): readonly Buffer[] => readdirSync(folder, { encoding: 'buffer' })

const includes = (names: readonly Buffer[], wanted: Buffer): boolean =>
  names.some((name) => name.equals(wanted))

/** All names that the layers show. */
function namesIn(folders: readonly Buffer[]): readonly Buffer[] {
  const names = folders.flatMap(list)
  const unique = new Map(names.map((name) => [name.toString('latin1'), name]))
  return [...unique.values()].filter((name) => lookUp(folders, name) !== undefined)
}

const lookAt = (path: Buffer): BigIntStats | undefined =>
  lstatSync(path, { bigint: true, throwIfNoEntry: false })

const isWhiteout = (stat: BigIntStats): boolean => stat.isCharacterDevice() && stat.rdev === 0n

function isOpaque(folder: Buffer): boolean {
  return attribute(folder, 'trusted.overlay.opaque')?.toString() === 'y'
}

function attribute(path: Buffer, name: string): Buffer | undefined {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    return getXattr(fd, name)
  } finally {
    closeSync(fd)
  }
}

/** A folder's own time says only that something was in it. */
function differs(own: BigIntStats, before: Found, path: Buffer): boolean {
  const { stat } = before
  if (own.mode !== stat.mode || own.uid !== stat.uid || own.gid !== stat.gid) return true
  if (own.isDirectory()) return false
  if (own.size !== stat.size || own.rdev !== stat.rdev || !isSameTime(own, stat)) return true
  return own.isFile() && capabilities(path) !== capabilities(before.path)
}

/** What came from an archive has whole seconds. */
function isSameTime(one: BigIntStats, other: BigIntStats): boolean {
  const [first, second] = [one.mtimeNs, other.mtimeNs]
  const isCut = first % nsPerSecond === 0n || second % nsPerSecond === 0n
  return first === second || (isCut && first / nsPerSecond === second / nsPerSecond)
}

const capabilities = (path: Buffer): string | undefined =>
  attribute(path, 'security.capability')?.toString('hex')
