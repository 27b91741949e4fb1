/**
 * Walks a folder inside a container's root without ever following a link, and packs what it
 * finds as a tar stream. Directories are held open while their children are read.
 */
import {
  createReadStream,
  closeSync,
  constants,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
} from 'node:fs'
import type { BigIntStats, Stats } from 'node:fs'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { pack, type Pack } from 'tar-stream'
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { splitDevice } from './devices.ts'

/** A sparse or growing file may give another number of bytes than its header promised. */
const padPieceBytes = 64 * 1024

/** Adds `path` (a directory is entered) under `name`, and ends nothing. */
export async function packTree(
  tar: Pack,
  path: string,
  name: string,
  skip: (inside: string) => boolean = () => false,
): Promise<void> {
  const links = new Map<string, string>()
  await packOne(tar, path, name, links, skip)
}

/**
 * Sends an archive that `fill` packs. A client that leaves early ends it without an error: nobody
 * is left to be told.
 */
export async function sendTar(sink: Writable, fill: (tar: Pack) => Promise<void>): Promise<void> {
  const tar = pack()
  tar.on('error', (error) => log.debug('an archive was not sent whole', { error: error.message }))
  const filled = fill(tar).then(
    () => tar.finalize(),
    (error: unknown) => tar.destroy(error instanceof Error ? error : new Error(messageOf(error))),
  )
  try {
    await pipeline(Readable.from(tar, { objectMode: false }), sink)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ERR_STREAM_PREMATURE_CLOSE'))
      throw error
  }
  await filled
}

type Header = Parameters<Pack['entry']>[0]

async function packOne(
  tar: Pack,
  path: string,
  name: string,
  links: Map<string, string>,
  skip: (inside: string) => boolean,
): Promise<void> {
  const stat = lstatSync(path, { bigint: false, throwIfNoEntry: false })
  if (stat === undefined || skip(name)) return
  if (stat.isDirectory()) {
    if (name !== '') await entry(tar, { ...headerOf(stat, `${name}/`), type: 'directory' })
    const fd = openSync(
      path,
      constants.O_RDONLY | constants.O_DIRECTORY | (path.endsWith('/.') ? 0 : constants.O_NOFOLLOW),
    )
    try {
      const folder = `/proc/self/fd/${fd}`
      for (const child of readdirSync(folder).sort()) {
        const childName = name === '' || name === '.' ? child : `${name}/${child}`
        await packOne(tar, `${folder}/${child}`, childName, links, skip)
      }
    } finally {
      closeSync(fd)
    }
    return
  }
  await packLeaf(tar, path, name, stat, links)
}

async function packLeaf(
  tar: Pack,
  path: string,
  name: string,
  stat: Stats,
  links: Map<string, string>,
): Promise<void> {
  const header = headerOf(stat, name)
  if (stat.isSymbolicLink())
    return entry(tar, { ...header, type: 'symlink', linkname: readlinkSync(path), size: 0 })
  if (stat.isFIFO()) return entry(tar, { ...header, type: 'fifo', size: 0 })
  if (stat.isCharacterDevice() || stat.isBlockDevice()) {
    const { major, minor } = splitDevice(stat.rdev)
    const type = stat.isCharacterDevice() ? 'character-device' : 'block-device'
    return entry(tar, { ...header, type, size: 0, devmajor: major, devminor: minor })
  }
  if (!stat.isFile()) return // sockets have no place in an archive
  if (stat.nlink > 1) {
    const key = `${stat.dev}:${stat.ino}`
    const first = links.get(key)
    if (first !== undefined)
      return entry(tar, { ...header, type: 'link', linkname: first, size: 0 })
    links.set(key, name)
  }
  await packFile(tar, path, { ...header, type: 'file', size: stat.size })
}

async function packFile(tar: Pack, path: string, header: Header): Promise<void> {
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  const size = header.size ?? 0
  const closed = Promise.withResolvers<void>()
  const sink = tar.entry(header, (error) => {
    if (error) closed.reject(error)
    else closed.resolve()
  })
  // Awaited below; until then a failure must not count as one that nobody looks at.
  closed.promise.catch(() => undefined)
  let left = size
  if (size > 0 && !tar.destroyed) {
    for await (const chunk of createReadStream('', { fd, end: size - 1, autoClose: false })) {
      const data: Buffer = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk))
      left -= data.length
      if (sink.destroyed) break
      if (!sink.write(data)) await roomIn(sink)
    }
  }
  closeSync(fd)
  for (; left > 0 && !sink.destroyed; left -= padPieceBytes)
    sink.write(Buffer.alloc(Math.min(left, padPieceBytes)))
  sink.end(null)
  await closed.promise
}

/** Until it takes more, or will never take anything again. */
function roomIn(sink: ReturnType<Pack['entry']>): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      sink.off('drain', done)
      sink.off('close', done)
      resolve()
    }
    sink.on('drain', done)
    sink.on('close', done)
  })
}

function entry(tar: Pack, header: Header): Promise<void> {
  return new Promise((resolve, reject) => {
    tar
      .entry(header, (error) => {
        if (error) reject(error)
        else resolve()
      })
      .end(null)
  })
}

function headerOf(stat: Stats, name: string): Header {
  return {
    name,
    mode: stat.mode & 0o7777,
    uid: stat.uid,
    gid: stat.gid,
    mtime: stat.mtime,
    size: 0,
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
