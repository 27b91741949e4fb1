/**
 * Unpacks a tar stream below a folder of a container's root. Each entry's parent is resolved anew
 * inside the root, the last component is never followed: no archive can write outside.
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
  rmSync,
  symlinkSync,
  utimesSync,
} from 'node:fs'
import { posix } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { extract, type Header } from 'tar-stream'
import { Refusal, messageOf } from '../base/refusal.ts'
import { makeFifo } from '../kernel/fifo.ts'
import { openPlace, makeFolders, withPlace, type Root } from './rooted-path.ts'

interface UnpackOptions {
  readonly noOverwriteDirNonDir: boolean
  readonly owner: { readonly uid: number; readonly gid: number } | undefined
}

export async function unpack(
  root: Root,
  folder: string,
  source: Readable,
  options: UnpackOptions,
): Promise<void> {
  const tar = extract()
  const folderTimes: { path: string; mtime: Date }[] = []
  const reading = (async () => {
    for await (const entry of tar) {
      const { header } = entry
      if (await unpackOne(root, folder, header, Readable.from(entry), options)) {
        folderTimes.push({ path: posix.join(folder, header.name), mtime: header.mtime })
      }
      entry.resume()
    }
  })()
  try {
    const bytes = await decompressed(source)
    bytes.once('error', (error) => tar.destroy(error))
    bytes.pipe(tar)
    await reading
  } catch (error) {
    if (error instanceof Refusal) throw error
    throw new Refusal('invalid', `Error processing tar file: ${messageOf(error)}`, { cause: error })
  }
  // Files put into a folder change its time: set when all is there.
  for (const { path, mtime } of folderTimes.reverse()) {
    withPlace(root, path, true, (place) => {
      if (place.exists) utimesSync(place.path, mtime, mtime)
    })
  }
}

/** Plain or gzip, told by the first bytes. */
async function decompressed(source: Readable): Promise<Readable> {
  const iterator = source[Symbol.asyncIterator]()
  const first = await iterator.next()
  if (first.done === true) return Readable.from([])
  const head: unknown = first.value
  const whole = Readable.from(
    (async function* () {
      yield head
      for (let next = await iterator.next(); next.done !== true; next = await iterator.next())
        yield next.value as unknown
    })(),
  )
  const isGzip = Buffer.isBuffer(head) && head[0] === 0x1f && head[1] === 0x8b
  return isGzip ? whole.pipe(createGunzip()) : whole
}

/** True for a directory. */
async function unpackOne(
  root: Root,
  folder: string,
  header: Header,
  content: Readable,
  options: UnpackOptions,
): Promise<boolean> {
  const path = posix.join(folder, posix.join('/', header.name))
  if (path === folder) return header.type === 'directory'
  makeFolders(root, posix.dirname(path))
  const place = openPlace(root, path, false)
  try {
    const before = lstatSync(place.path, { throwIfNoEntry: false })
    const isFolder = header.type === 'directory'
    if (before !== undefined) {
      if (options.noOverwriteDirNonDir && before.isDirectory() !== isFolder) {
        const [kind, other] = isFolder
          ? ['non-directory', 'directory']
          : ['directory', 'non-directory']
        throw new Refusal(
          'invalid',
          `cannot overwrite ${kind} "${place.inside}" with ${other} "${folder}"`,
        )
      }
      if (!(before.isDirectory() && isFolder)) rmSync(place.path, { recursive: true, force: true })
    }
    await make(root, folder, place.path, header, content, before?.isDirectory() === true)
    applyOwner(place.path, header, options)
    return isFolder
  } finally {
    place.close()
  }
}

async function make(
  root: Root,
  folder: string,
  path: string,
  header: Header,
  content: Readable,
  isFolderAlready: boolean,
): Promise<void> {
  const { mode } = header
  switch (header.type) {
    case 'directory':
      if (!isFolderAlready) mkdirSync(path, { mode })
      return
    case 'symlink':
      symlinkSync(header.linkname, path)
      return
    case 'link':
      withPlace(root, posix.join(folder, posix.join('/', header.linkname)), false, (target) =>
        linkSync(target.path, path),
      )
      return
    case 'fifo':
      makeFifo(path, mode)
      return
    case 'file':
    case 'contiguous-file':
      await writeFile(path, content, mode)
      return
    default:
      throw new Refusal(
        'invalid',
        `cannot copy ${header.name}: entries of type ${header.type} are not offered`,
      )
  }
}

async function writeFile(path: string, content: Readable, mode: number): Promise<void> {
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW
  const fd = openSync(path, flags, mode)
  try {
    await pipeline(content, createWriteStream('', { fd, autoClose: false }))
  } finally {
    closeSync(fd)
  }
}

function applyOwner(path: string, header: Header, { owner }: UnpackOptions): void {
  const uid = owner?.uid ?? header.uid
  const gid = owner?.gid ?? header.gid
  lchownSync(path, uid, gid)
  if (header.type === 'symlink') {
    lutimesSync(path, header.mtime, header.mtime)
    return
  }
  if (header.type === 'link') return
  chmodSync(path, header.mode & 0o7777)
  if (header.type !== 'directory') utimesSync(path, header.mtime, header.mtime)
}
