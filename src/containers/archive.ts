/**
 * docker cp: stat, tar out, tar in. Paths are resolved inside the container's root; no link in it,
 * and no name in the archive, leads out of it.
 */
import { basename, posix } from 'node:path'
import { lstatSync, readlinkSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'
import { Refusal } from '../base/refusal.ts'
import { formatTime } from './time.ts'
import { openPlace, withPlace, type Root } from './rooted-path.ts'
import { lookInside, withRootfs } from './rootfs.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'
import { goMode, packTree, sendTar } from './tree.ts'
import { unpack } from './unpack.ts'
import { lookUpUser } from './user.ts'

export interface PathStat {
  readonly name: string
  readonly size: number
  readonly mode: number
  readonly mtime: string
  readonly linkTarget: string
}

/** A container, and what the request called it: refusals say it again. */
export interface Target {
  readonly container: Container
  readonly shownAs: string
}

const wantsFolder = (path: string): boolean => /\/\.?$/.test(path)

const notThere = ({ shownAs }: Target, path: string) =>
  new Refusal('notFound', `Could not find the file ${path} in container ${shownAs}`)

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}

/** HEAD archive. */
export function statPath(context: Context, target: Target, path: string): Promise<PathStat> {
  return withRootfs(context, target.container, async () =>
    lookInside(context, target.container, (root) => statInside(root, target, path)),
  )
}

/** Before the container is looked up. */
export function checkPath(path: string): void {
  if (path === '') throw new Refusal('invalid', 'bad parameter: pathcannot be empty')
}

function statInside(root: Root, target: Target, path: string): PathStat {
  return inside(target, path, () =>
    withPlace(root, path, wantsFolder(path), (place) => {
      if (!place.exists) throw notThere(target, path)
      const stat = lstatSync(place.path, { bigint: true })
      return {
        name: path === '/' ? '/' : wantsFolder(path) && path.endsWith('.') ? '.' : basename(path),
        size: Number(stat.size),
        mode: goMode(stat),
        mtime: formatTime(stat.mtimeNs),
        linkTarget: stat.isSymbolicLink() ? linkTarget(root, path) : '',
      }
    }),
  )
}

/** Where a link ends, as seen inside. */
function linkTarget(root: Root, path: string): string {
  try {
    return withPlace(root, path, true, (place) => place.inside)
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error
    // It leads nowhere: the way as it is written, which the client is then told is not there.
    const target = withPlace(root, path, false, (place) => readlinkSync(place.path))
    return posix.resolve('/', posix.dirname(path), target)
  }
}

/** Missing things become Docker's 404. */
function inside<T>(target: Target, path: string, section: () => T): T {
  try {
    return section()
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(codeOf(error))) throw notThere(target, path)
    throw error
  }
}

/** GET archive: `ready` is told the stat before the first byte. */
export async function readArchive(
  context: Context,
  target: Target,
  path: string,
  ready: (stat: PathStat) => Writable,
): Promise<void> {
  await withRootfs(context, target.container, async () => {
    const { stat, place } = lookInside(context, target.container, (root) => ({
      stat: statInside(root, target, path),
      place: inside(target, path, () => openPlace(root, path, wantsFolder(path))),
    }))
    try {
      const name =
        path === '/' ? '' : wantsFolder(path) && path.endsWith('.') ? '.' : basename(path)
      await sendTar(ready(stat), (tar) => packTree(tar, place.path, name))
    } finally {
      place.close()
    }
  })
}

export interface WriteOptions {
  readonly noOverwriteDirNonDir: boolean
  /** Files belong to the container's user. */
  readonly copyUidGid: boolean
}

/** PUT archive. */
export async function writeArchive(
  context: Context,
  target: Target,
  path: string,
  source: Readable,
  options: WriteOptions,
): Promise<void> {
  await withRootfs(context, target.container, async () => {
    const { root, folder } = lookInside(context, target.container, (seen) => ({
      root: seen,
      folder: folderInside(seen, target, path),
    }))
    checkWritable(target.container, folder)
    const { User } = target.container.record.config
    const owner = options.copyUidGid && User !== '' ? lookUpUser(root, User, []) : undefined
    await unpack(root, folder, source, {
      noOverwriteDirNonDir: options.noOverwriteDirNonDir,
      owner,
    })
  })
}

function folderInside(root: Root, target: Target, path: string): string {
  return inside(target, path, () =>
    withPlace(root, path, true, (place) => {
      if (!place.exists) throw notThere(target, path)
      if (!lstatSync(place.path).isDirectory()) {
        throw new Refusal('invalid', 'extraction point is not a directory')
      }
      return place.inside
    }),
  )
}

function checkWritable({ record }: Container, folder: string): void {
  const covers = (destination: string) =>
    folder === destination || folder.startsWith(`${destination}/`)
  const point = [...record.mounts]
    .filter((candidate) => covers(posix.normalize(candidate.Destination)))
    .sort((a, b) => b.Destination.length - a.Destination.length)[0]
  if (point !== undefined && !point.RW)
    throw new Refusal('forbidden', 'mounted volume is marked read-only')
  if (point === undefined && record.hostConfig.ReadonlyRootfs) {
    throw new Refusal('forbidden', 'container rootfs is marked read-only')
  }
}
