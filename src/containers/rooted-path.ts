/**
 * Paths inside a container's root file system, resolved so that nothing can lead out of it.
 *
 * Every component is opened by itself below a directory that is held open, never following a
 * symbolic link; links are read and walked by us, `..` goes back to a directory held already. A
 * container that swaps a directory for a link meanwhile gains nothing.
 */
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  readlinkSync,
  rmdirSync,
  unlinkSync,
} from 'node:fs'
import type { Stats } from 'node:fs'
import { errorCode } from '../base/error-code.ts'

const O_PATH = 0x20_0000
const linksMax = 255 // as the kernel's own limit is 40, but links in images are made by hand

/** A place inside the root: an open parent directory and the name in it ('' for the root). */
export interface Place {
  /** Usable with any file call while the place is open. */
  readonly path: string
  /** The same as a name in its parent, to be removed by; '' for the root and what is mounted. */
  readonly entry: string
  /** Descriptor of that parent; -1 where there is none. */
  readonly parent: number
  /** Path as seen inside the container. */
  readonly inside: string
  readonly exists: boolean
  close(): void
}

export interface Root {
  /** Host path of the root file system, or /proc/PID/root. */
  readonly path: string
  /** Destination inside → host path, for what is mounted only while it runs. */
  readonly mounts: ReadonlyMap<string, string>
}

interface Level {
  readonly fd: number
  readonly inside: string
  readonly entry: string
}

export function fileError(code: string, message: string): Error {
  return Object.assign(new Error(message), { code })
}

/**
 * Resolves `path`; with `followLast` a link at the end is followed too. A missing last component
 * is fine (`exists` false), a missing directory before it is ENOENT.
 */
export function openPlace(root: Root, path: string, followLast: boolean): Place {
  const walk = new Walk(root)
  try {
    return walk.to(path, followLast)
  } catch (error) {
    walk.closeAll()
    throw error
  }
}

/** Runs a synchronous section with a resolved place. */
export function withPlace<T>(
  root: Root,
  path: string,
  followLast: boolean,
  section: (place: Place) => T,
): T {
  const place = openPlace(root, path, followLast)
  try {
    return section(place)
  } finally {
    place.close()
  }
}

/** The text of a file inside the root, undefined when there is none. */
export function readInside(root: Root, path: string): string | undefined {
  try {
    return withPlace(root, path, true, (place) =>
      lstatSync(place.path).isFile() ? readFileSync(place.path, 'utf8') : undefined,
    )
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}

/** `mkdir -p` inside the root. Answers the paths that it made, outermost first. */
export function makeFolders(root: Root, path: string, mode = 0o755): readonly string[] {
  const made: string[] = []
  let soFar = ''
  for (const part of path.split('/').filter((component) => component !== '')) {
    soFar += `/${part}`
    withPlace(root, soFar, true, (place) => {
      if (place.exists) {
        if (!lstatSync(place.path).isDirectory())
          throw fileError('ENOTDIR', `not a directory: ${soFar}`)
        return
      }
      mkdirSync(place.path, { mode })
      made.push(place.inside)
    })
  }
  return made
}

/**
 * `rm -r` of an entry in a folder that is held open, which follows no link, whatever somebody puts
 * into its way meanwhile. Where something is mounted in it, nothing is removed: the kernel would
 * take a mount of another namespace away together with its place.
 */
export function removeTree(folder: number, path: Buffer): void {
  if (hasMounts(path, mountIdOf(folder))) throw fileError('EBUSY', 'something is mounted there')
  removeAll(path)
}

function hasMounts(path: Buffer, mountId: string): boolean {
  const fd = openSync(path, O_PATH | constants.O_NOFOLLOW)
  try {
    if (mountIdOf(fd) !== mountId) return true
    const stat = fstatSync(fd)
    if (!stat.isDirectory()) return false
    const folder = `/proc/self/fd/${fd}/`
    const children = readdirSync(folder, { encoding: 'buffer' })
    return children.some((child) => hasMounts(Buffer.concat([Buffer.from(folder), child]), mountId))
  } finally {
    closeSync(fd)
  }
}

/** Which mount a file is on: two of the same file system differ in this only. */
function mountIdOf(fd: number): string {
  return /^mnt_id:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? ''
}

function removeAll(path: Buffer): void {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return
  if (!stat.isDirectory()) {
    unlinkSync(path)
    return
  }
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW)
  try {
    const folder = `/proc/self/fd/${fd}`
    for (const child of readdirSync(folder, { encoding: 'buffer' })) {
      removeAll(Buffer.concat([Buffer.from(`${folder}/`), child]))
    }
  } finally {
    closeSync(fd)
  }
  rmdirSync(path)
}

class Walk {
  readonly #root: Root
  #levels: Level[] = []
  #links = 0

  constructor(root: Root) {
    this.#root = root
    this.#levels = [{ fd: openFolder(`${root.path}/`), inside: '/', entry: '' }]
  }

  to(path: string, followLast: boolean): Place {
    const waiting = path.split('/').filter((part) => part !== '' && part !== '.')
    while (waiting.length > 0) {
      const part = waiting.shift() ?? ''
      if (part === '..') {
        this.#up()
        continue
      }
      const here = this.#top()
      const child = `/proc/self/fd/${here.fd}/${part}`
      const inside = here.inside === '/' ? `/${part}` : `${here.inside}/${part}`
      const isLast = waiting.length === 0
      const mounted = this.#root.mounts.get(inside)
      if (mounted !== undefined) {
        const isFile = isLast && !lstatSync(mounted).isDirectory()
        if (isFile) return this.#place(mounted, inside, true, '', -1)
        this.#levels.push({ fd: openFolder(`${mounted}/`), inside, entry: '' })
        continue
      }
      const stat = statOf(child)
      if (stat === undefined) {
        if (isLast) return this.#place(child, inside, false, child, here.fd)
        throw fileError('ENOENT', `no such file or directory: ${inside}`)
      }
      if (stat.isSymbolicLink() && (!isLast || followLast)) {
        this.#follow(readlinkSync(child), waiting)
        continue
      }
      if (isLast && !stat.isDirectory()) return this.#place(child, inside, true, child, here.fd)
      if (!stat.isDirectory()) throw fileError('ENOTDIR', `not a directory: ${inside}`)
      this.#levels.push({ fd: openFolder(child), inside, entry: child })
    }
    const { fd, inside, entry } = this.#top()
    const parent = this.#levels.at(-2)?.fd ?? -1
    return this.#place(`/proc/self/fd/${fd}/.`, inside, true, entry, parent)
  }

  closeAll(): void {
    for (const level of this.#levels) closeSync(level.fd)
    this.#levels = []
  }

  #place(path: string, inside: string, exists: boolean, entry: string, parent: number): Place {
    return { path, entry, parent, inside, exists, close: () => this.closeAll() }
  }

  #top(): Level {
    const level = this.#levels.at(-1)
    if (level === undefined) throw new Error('a path was used after it was closed')
    return level
  }

  #up(): void {
    if (this.#levels.length <= 1) return
    const level = this.#levels.pop()
    if (level !== undefined) closeSync(level.fd)
  }

  #follow(target: string, waiting: string[]): void {
    if (++this.#links > linksMax) throw fileError('ELOOP', 'too many levels of symbolic links')
    if (target.startsWith('/')) while (this.#levels.length > 1) this.#up()
    waiting.unshift(...target.split('/').filter((part) => part !== '' && part !== '.'))
  }
}

function openFolder(path: string): number {
  return openSync(
    path,
    O_PATH | constants.O_DIRECTORY | (path.endsWith('/') ? 0 : constants.O_NOFOLLOW),
  )
}

function statOf(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false })
}
