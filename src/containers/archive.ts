/**
 * docker cp: stat, tar out, tar in. Paths are resolved inside the container's root; no link in it,
 * and no name in the archive, leads out of it.
 */
import { basename, posix } from 'node:path'
import { lstatSync, readlinkSync } from 'node:fs'
import type { Readable, Writable } from 'node:stream'
import { errorCode } from '../base/error-code.ts'
import { Refusal } from '../base/refusal.ts'
import { formatTime } from './time.ts'
import { fileError, openPlace, withPlace, type Root } from './rooted-path.ts'
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

/** As Go cleans it: from the root, without `..`, and with the slash or dot that it ends with. */
function cleaned(path: string): string {
  const clean = posix.resolve('/', path)
  const slashed = clean === '/' ? clean : `${clean}/`
  if (posix.basename(path) === '.') return `${slashed}.`
  return path.endsWith('/') ? slashed : clean
}

/** What the entry is called, and its children below. */
const nameIn = (clean: string): string => (clean === '/' ? '/' : basename(clean))

const wantsFolder = (clean: string): boolean => /\/\.?$/.test(clean)

const notThere = ({ shownAs }: Target, path: string) =>
  new Refusal('notFound', `Could not find the file ${path} in container ${shownAs}`)

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
  const clean = cleaned(path)
  return inside(target, path, () =>
    withPlace(root, clean, wantsFolder(clean), (place) => {
      if (!place.exists) throw notThere(target, path)
      const stat = lstatSync(place.path, { bigint: true })
      if (wantsFolder(clean) && !stat.isDirectory()) throw fileError('ENOTDIR', 'not a directory')
      return {
        name: nameIn(clean),
        size: Number(stat.size),
        mode: goMode(stat),
        mtime: formatTime(stat.mtimeNs),
        linkTarget: stat.isSymbolicLink() ? linkTarget(root, clean) : '',
      }
    }),
  )
}

/** Where a link ends, as seen inside. */
function linkTarget(root: Root, path: string): string {
  try {
    return withPlace(root, path, true, (place) => place.inside)
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error
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
    const code = errorCode(error)
    if (code === 'ENOTDIR') throw new Refusal('internal', `lstat ${cleaned(path)}: not a directory`)
    if (code === 'ENOENT' || code === 'ELOOP') throw notThere(target, path)
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
  const clean = cleaned(path)
  await withRootfs(context, target.container, async () => {
    const { stat, place } = lookInside(context, target.container, (root) => ({
      stat: statInside(root, target, path),
      place: inside(target, path, () => openPlace(root, clean, wantsFolder(clean))),
    }))
    context.registry.tell(target.container, 'archive-path')
    try {
      await sendTar(ready(stat), packTree(place.path, nameIn(clean)))
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
  context.registry.tell(target.container, 'extract-to-dir')
}

function folderInside(root: Root, target: Target, path: string): string {
  return inside(target, path, () =>
    withPlace(root, cleaned(path), true, (place) => {
      if (!place.exists) throw notThere(target, path)
      if (!lstatSync(place.path).isDirectory()) {
        if (wantsFolder(cleaned(path))) throw fileError('ENOTDIR', 'not a directory')
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
    throw new Refusal('invalid', 'mounted volume is marked read-only')
  if (point === undefined && record.hostConfig.ReadonlyRootfs) {
    throw new Refusal('invalid', 'container rootfs is marked read-only')
  }
}
