/**
 * Walks a folder inside a container's root without ever following a link, and packs what it finds
 * as a tar archive, piece by piece. Directories are held open while their children are read. Of the
 * extended attributes those go along that Docker takes: a file's capabilities.
 */
import {
  closeSync,
  constants,
  lstatSync,
  openSync,
  read as readWithCallback,
  readdirSync,
  readlinkSync,
} from 'node:fs'
import type { BigIntStats, Stats } from 'node:fs'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import { errorCode } from '../base/error-code.ts'
import { getXattr } from '../kernel/xattr.ts'
import { splitDevice } from './devices.ts'
import { encodeEntry, endOfArchive, paddingOf, type TarEntry } from '../base/tar/header.ts'

const read = promisify(readWithCallback)
const pieceBytes = 64 * 1024
const capabilities = 'security.capability'

/**
 * The archive of `path`; a directory is entered. `name` is what its entry is called, and what the
 * names of its children begin with; '' leaves its own entry out.
 */
export async function* packTree(path: string, name: string): AsyncGenerator<Buffer> {
  yield* packOne(Buffer.from(path), Buffer.from(name), new Map())
  yield endOfArchive
}

/** Sends an archive. A client that leaves early ends it without an error: nobody is left to tell. */
export async function sendTar(sink: Writable, archive: AsyncIterable<Buffer>): Promise<void> {
  try {
    await pipeline(Readable.from(archive, { objectMode: false }), sink)
  } catch (error) {
    if (errorCode(error) !== 'ERR_STREAM_PREMATURE_CLOSE') throw error
  }
}

/** Paths of files that have several names, by what the kernel knows them by. */
export type Links = Map<string, Buffer>

const slash = Buffer.from('/')
export const below = (folder: Buffer, name: Buffer): Buffer => Buffer.concat([folder, slash, name])

async function* packOne(path: Buffer, name: Buffer, links: Links): AsyncGenerator<Buffer> {
  const stat = lstatSync(path, { bigint: false, throwIfNoEntry: false })
  if (stat === undefined) return // gone since it was listed
  if (name.length > 0) yield* packEntry(path, name, stat, links)
  if (!stat.isDirectory()) return
  // Our own path of a folder that is held open ends so; any other must not have become a link.
  const held = path.subarray(-2).toString() === '/.'
  const follow = held ? 0 : constants.O_NOFOLLOW
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | follow)
  try {
    const folder = Buffer.from(`/proc/self/fd/${fd}`)
    const prefix = name.equals(slash) ? Buffer.alloc(0) : name
    // As bytes: what is no UTF-8 is a name, too.
    for (const child of readdirSync(folder, { encoding: 'buffer' }).sort(Buffer.compare)) {
      const childName = name.length === 0 ? child : below(prefix, child)
      yield* packOne(below(folder, child), childName, links)
    }
  } finally {
    closeSync(fd)
  }
}

/** One entry: of a folder, not what is in it. */
export async function* packEntry(
  path: Buffer,
  name: Buffer,
  stat: Stats,
  links: Links,
): AsyncGenerator<Buffer> {
  const entry = { ...entryOf(stat, name), bytes: 0 }
  if (stat.isDirectory()) {
    const own = name.equals(slash) ? name : Buffer.concat([name, slash])
    yield encodeEntry({ ...entry, kind: 'folder', name: own })
  } else if (stat.isSymbolicLink()) {
    const target = readlinkSync(path, { encoding: 'buffer' })
    yield encodeEntry({ ...entry, kind: 'symlink', target })
  } else if (stat.isFIFO()) {
    yield encodeEntry({ ...entry, kind: 'fifo' })
  } else if (stat.isCharacterDevice() || stat.isBlockDevice()) {
    const kind = stat.isCharacterDevice() ? 'character' : 'block'
    yield encodeEntry({ ...entry, kind, ...splitDevice(stat.rdev) })
  } else if (stat.isFile()) {
    yield* packFile(path, entryOf(stat, name), stat, links)
  }
  // Sockets have no place in an archive.
}

async function* packFile(
  path: Buffer,
  entry: TarEntry,
  stat: Stats,
  links: Links,
): AsyncGenerator<Buffer> {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    const xattrs = xattrsOf(fd)
    const key = `${stat.dev}:${stat.ino}`
    const first = stat.nlink > 1 ? links.get(key) : undefined
    if (first !== undefined) {
      // With the attributes: many programs change the owner after they linked, which drops them.
      yield encodeEntry({ ...entry, kind: 'link', target: first, bytes: 0, xattrs })
      return
    }
    if (stat.nlink > 1) links.set(key, entry.name)
    yield encodeEntry({ ...entry, xattrs })
    let left = entry.bytes
    while (left > 0) {
      const piece = Buffer.allocUnsafe(Math.min(left, pieceBytes))
      // Waited for here, so that nothing is read any more from what is closed below.
      const { bytesRead } = await read(fd, piece, 0, piece.length, entry.bytes - left)
      if (bytesRead === 0) break
      left -= bytesRead
      yield piece.subarray(0, bytesRead)
    }
    // It has become shorter than its header promised.
    for (; left > 0; left -= pieceBytes) yield Buffer.alloc(Math.min(left, pieceBytes))
    yield Buffer.alloc(paddingOf(entry.bytes))
  } finally {
    closeSync(fd)
  }
}

/** Those of another user namespace (revision 3) are written as the ones of this (revision 2). */
function xattrsOf(fd: number): ReadonlyMap<string, Buffer> {
  const value = getXattr(fd, capabilities)
  if (value === undefined) return new Map()
  const isThird = value.length === 24 && value[3] === 3
  if (!isThird) return new Map([[capabilities, value]])
  const second = Buffer.from(value.subarray(0, 20))
  second[3] = 2
  return new Map([[capabilities, second]])
}

function entryOf(stat: Stats, name: Buffer): TarEntry {
  return {
    kind: 'file',
    name,
    mode: stat.mode & 0o7777,
    uid: stat.uid,
    gid: stat.gid,
    bytes: stat.size,
    mtime: Math.floor(stat.mtimeMs / 1000),
    target: Buffer.alloc(0),
    major: 0,
    minor: 0,
    xattrs: new Map(),
  }
}

/** Go's os.FileMode: the type and special bits are at the top, not where stat has them. */
export function goMode(stat: Stats | BigIntStats): number {
  const mode = Number(stat.mode)
  let bits = mode & 0o777
  if (stat.isDirectory()) bits += 2 ** 31
  if (stat.isSymbolicLink()) bits += 2 ** 27
  if (stat.isBlockDevice()) bits += 2 ** 26
  if (stat.isCharacterDevice()) bits += 2 ** 26 + 2 ** 21
  if (stat.isFIFO()) bits += 2 ** 25
  if (stat.isSocket()) bits += 2 ** 24
  if ((mode & 0o4000) !== 0) bits += 2 ** 23
  if ((mode & 0o2000) !== 0) bits += 2 ** 22
  if ((mode & 0o1000) !== 0) bits += 2 ** 20
  return bits
}
