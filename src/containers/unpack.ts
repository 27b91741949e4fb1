/**
 * Unpacks a tar archive below a folder of a container's root, with owners, modes, times and
 * extended attributes. Each entry's parent is resolved anew inside the root, the last component is
 * never followed, and what is replaced is removed by directories held open: no archive can write,
 * or remove, outside.
 */
import {
  chmodSync,
  closeSync,
  constants,
  createWriteStream,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  symlinkSync,
  utimesSync,
} from 'node:fs'
import { posix } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { log } from '../base/log.ts'
import { Refusal, messageOf } from '../base/refusal.ts'
import { makeDevice } from '../kernel/device.ts'
import { isKernelError } from '../kernel/error.ts'
import { makeFifo } from '../kernel/fifo.ts'
import { setXattr } from '../kernel/xattr.ts'
import { decompressed } from './images/compression.ts'
import {
  fileError,
  makeFolders,
  openPlace,
  removeTree,
  withPlace,
  type Place,
  type Root,
} from './rooted-path.ts'
import type { TarEntry } from '../base/tar/header.ts'
import { readTar } from '../base/tar/read.ts'

interface UnpackOptions {
  readonly noOverwriteDirNonDir: boolean
  readonly owner: { readonly uid: number; readonly gid: number } | undefined
}

/** Seconds beyond which a Date is none. */
const secondsMax = 8.64e12

export async function unpack(
  root: Root,
  folder: string,
  source: Readable,
  options: UnpackOptions,
): Promise<void> {
  const folderTimes: { path: string; time: Date }[] = []
  try {
    for await (const { entry, content } of readTar(await decompressed(source))) {
      const inside = posix.resolve('/', nameOf(entry))
      // The folder itself stays as it is, whatever the one that was packed was like.
      if (inside === '/') continue
      const path = posix.join(folder, inside)
      await unpackOne(root, folder, path, entry, content, options)
      if (entry.kind === 'folder') folderTimes.push({ path, time: timeOf(entry) })
    }
  } catch (error) {
    if (error instanceof Refusal) throw error
    throw new Refusal('invalid', `Error processing tar file: ${messageOf(error)}`, { cause: error })
  }
  // Files put into a folder change its time: set when all is there.
  for (const { path, time } of folderTimes.reverse()) {
    withPlace(root, path, true, (place) => {
      if (place.exists) utimesSync(place.path, time, time)
    })
  }
}

function nameOf({ name }: TarEntry): string {
  const text = name.toString()
  if (Buffer.from(text).equals(name)) return text
  throw new Refusal('invalid', `cannot copy ${JSON.stringify(text)}: its name is not UTF-8`)
}

const timeOf = ({ mtime }: TarEntry): Date =>
  new Date(Math.max(-secondsMax, Math.min(secondsMax, mtime)) * 1000)

async function unpackOne(
  root: Root,
  folder: string,
  path: string,
  entry: TarEntry,
  content: AsyncIterable<Buffer>,
  options: UnpackOptions,
): Promise<void> {
  try {
    makeFolders(root, posix.dirname(path))
    const place = openPlace(root, path, false)
    try {
      const where = clearedPlace(place, folder, entry, options)
      await make(root, folder, where, entry, content)
      applyAttributes(where, entry, options)
    } finally {
      place.close()
    }
  } catch (error) {
    // The places that we work with are nothing to the user; what comes from the archive is.
    if (error instanceof Refusal || !(error instanceof Error) || !('code' in error)) throw error
    throw new Refusal('internal', `cannot write ${path}: ${reasonOf(error)}`, { cause: error })
  }
}

/** `ENOSPC: no space left on device, write` and the kernel room's words alike. */
function reasonOf(error: Error): string {
  if (isKernelError(error)) return error.reason
  return /^[A-Z]\w+: ([^,]+), /.exec(error.message)?.[1] ?? error.message
}

/** Where the entry goes; what stands there is taken away, but a folder stays for a folder. */
function clearedPlace(
  place: Place,
  folder: string,
  entry: TarEntry,
  { noOverwriteDirNonDir }: UnpackOptions,
): string {
  const before = lstatSync(place.path, { throwIfNoEntry: false })
  if (before === undefined) return place.entry
  const isFolder = entry.kind === 'folder'
  if (noOverwriteDirNonDir && before.isDirectory() !== isFolder) {
    const [kind, other] = isFolder ? ['non-directory', 'directory'] : ['directory', 'non-directory']
    throw new Refusal(
      'invalid',
      `cannot overwrite ${kind} "${place.inside}" with ${other} "${folder}"`,
    )
  }
  if (before.isDirectory() && isFolder) return place.path
  if (place.entry === '') throw fileError('EBUSY', 'something is mounted there')
  removeTree(place.parent, Buffer.from(place.entry))
  return place.entry
}

async function make(
  root: Root,
  folder: string,
  path: string,
  entry: TarEntry,
  content: AsyncIterable<Buffer>,
): Promise<void> {
  const { mode } = entry
  switch (entry.kind) {
    case 'folder':
      if (lstatSync(path, { throwIfNoEntry: false }) === undefined) mkdirSync(path, { mode })
      return
    case 'symlink':
      symlinkSync(entry.target, path)
      return
    case 'link': {
      const target = posix.join(folder, posix.join('/', entry.target.toString()))
      withPlace(root, target, false, (place) => linkSync(place.path, path))
      return
    }
    case 'fifo':
      makeFifo(path, mode)
      return
    case 'character':
    case 'block':
      makeDevice(path, mode, { kind: entry.kind, major: entry.major, minor: entry.minor })
      return
    case 'file':
      await writeFile(path, content, mode)
      return
  }
}

async function writeFile(
  path: string,
  content: AsyncIterable<Buffer>,
  mode: number,
): Promise<void> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
  const fd = openSync(path, flags, mode)
  try {
    await pipeline(Readable.from(content), createWriteStream('', { fd, autoClose: false }))
  } finally {
    closeSync(fd)
  }
}

function applyAttributes(path: string, entry: TarEntry, { owner }: UnpackOptions): void {
  // A link is the file that it is a link to.
  if (entry.kind === 'link') return
  lchownSync(path, owner?.uid ?? entry.uid, owner?.gid ?? entry.gid)
  if (entry.kind !== 'symlink') chmodSync(path, entry.mode)
  // Last: a change of owner takes capabilities away.
  for (const [name, value] of entry.xattrs) applyXattr(path, entry, name, value)
  const time = timeOf(entry)
  if (entry.kind === 'symlink') lutimesSync(path, time, time)
  else if (entry.kind !== 'folder') utimesSync(path, time, time)
}

/** What this file system or this kind of file cannot have is left out, as by dockerd. */
function applyXattr(path: string, entry: TarEntry, name: string, value: Buffer): void {
  try {
    setXattr(path, name, value)
  } catch (error) {
    if (!isKernelError(error, 'ENOTSUP', 'EOPNOTSUPP', 'EPERM')) throw error
    const fields = { file: entry.name.toString(), attribute: name, error: messageOf(error) }
    log.warn('an extended attribute could not be copied', fields)
  }
}
