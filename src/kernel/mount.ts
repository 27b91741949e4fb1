/**
 * Mounts, from the option lists that fstab, containerd and OCI use.
 *
 * `mount` does what several `mount(8)` steps do: the mount itself, the remount that makes a bind
 * read-only, then propagation; a step that fails takes the earlier ones back.
 */
import { readFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { checked, kernelError, lastErrno, libcCalls } from './ffi.ts'

/** One entry of containerd's mount list. */
export interface MountSpec {
  readonly type: string
  readonly source: string
  readonly target: string
  readonly options: readonly string[]
}

const MS_RDONLY = 1
const MS_REMOUNT = 32
const MS_BIND = 4096
const MS_REC = 16384
const MS_UNBINDABLE = 1 << 17
const MS_PRIVATE = 1 << 18
const MS_SLAVE = 1 << 19
const MS_SHARED = 1 << 20
const MNT_DETACH = 2
const UMOUNT_NOFOLLOW = 8
const EINVAL = 22
const ENOENT = 2
/** The kernel copies one page of data; the terminating zero counts. */
const dataBytesMax = 4095

/** Option → [flags to set, flags to clear]. */
const flagOptions: Readonly<Record<string, readonly [set: number, clear: number]>> = {
  defaults: [0, 0],
  ro: [MS_RDONLY, 0],
  rw: [0, MS_RDONLY],
  nosuid: [2, 0],
  suid: [0, 2],
  nodev: [4, 0],
  dev: [0, 4],
  noexec: [8, 0],
  exec: [0, 8],
  sync: [16, 0],
  async: [0, 16],
  remount: [MS_REMOUNT, 0],
  mand: [64, 0],
  nomand: [0, 64],
  dirsync: [128, 0],
  noatime: [1024, 0],
  atime: [0, 1024],
  nodiratime: [2048, 0],
  diratime: [0, 2048],
  bind: [MS_BIND, 0],
  rbind: [MS_BIND | MS_REC, 0],
  silent: [1 << 15, 0],
  loud: [0, 1 << 15],
  relatime: [1 << 21, 0],
  norelatime: [0, 1 << 21],
  strictatime: [1 << 24, 0],
  nostrictatime: [0, 1 << 24],
}

const propagationOptions: Readonly<Record<string, number>> = {
  private: MS_PRIVATE,
  rprivate: MS_PRIVATE | MS_REC,
  shared: MS_SHARED,
  rshared: MS_SHARED | MS_REC,
  slave: MS_SLAVE,
  rslave: MS_SLAVE | MS_REC,
  unbindable: MS_UNBINDABLE,
  runbindable: MS_UNBINDABLE | MS_REC,
}

/** What mount(2) is called with. */
export interface MountArguments {
  readonly flags: number
  readonly propagation: readonly number[]
  readonly data: readonly string[]
}

/** Sorts options into flags, propagation and what only the file system understands. */
export function parseMountOptions(options: readonly string[]): MountArguments {
  let flags = 0
  const propagation: number[] = []
  const data: string[] = []
  for (const option of options) {
    const flag = Object.hasOwn(flagOptions, option) ? flagOptions[option] : undefined
    const isSpread = Object.hasOwn(propagationOptions, option)
    const spread = isSpread ? propagationOptions[option] : undefined
    if (flag !== undefined) flags = (flags | flag[0]) & ~flag[1]
    else if (spread !== undefined) propagation.push(spread)
    else if (option !== '') data.push(option)
  }
  return { flags, propagation, data }
}

/** Mounts one entry; the target must exist. */
export function mount(spec: MountSpec): void {
  const { flags, propagation, data } = parseMountOptions(spec.options)
  const attempted = `mount ${spec.type || 'bind'} ${spec.source} on ${spec.target}`
  const isBind = (flags & MS_BIND) !== 0
  const onlySpreads = spec.source === '' && spec.type === '' && propagation.length > 0
  if (!onlySpreads) mountWithData(spec, flags, data, attempted)
  try {
    // A bind ignores every other flag until it is remounted.
    const bindFlags = flags & ~(MS_BIND | MS_REC | MS_REMOUNT)
    if (isBind && bindFlags !== 0 && (flags & MS_REMOUNT) === 0) {
      const remount = bindFlags | MS_BIND | MS_REMOUNT
      checked(libcCalls.mount(null, spec.target, null, remount, null), 'mount', attempted)
    }
    for (const change of propagation) {
      checked(libcCalls.mount(null, spec.target, null, change, null), 'mount', attempted)
    }
  } catch (error) {
    if (!onlySpreads) libcCalls.umount2(spec.target, MNT_DETACH)
    throw error
  }
}

/** Mounts a list in order, all or none. */
export function mountAll(specs: readonly MountSpec[]): void {
  const done: MountSpec[] = []
  try {
    for (const spec of specs) {
      mount(spec)
      done.unshift(spec)
    }
  } catch (error) {
    for (const spec of done) libcCalls.umount2(spec.target, MNT_DETACH)
    throw error
  }
}

function mountWithData(
  spec: MountSpec,
  flags: number,
  data: readonly string[],
  attempted: string,
): void {
  const text = data.join(',')
  const call = (payload: string) =>
    checked(
      libcCalls.mount(spec.source, spec.target, spec.type, flags, payload === '' ? null : payload),
      'mount',
      attempted,
    )
  if (Buffer.byteLength(text) <= dataBytesMax) {
    call(text)
    return
  }
  // An overlay of many layers: name them relative to their common folder, as containerd does.
  const shorter = relativeLayers(data)
  if (shorter === undefined || Buffer.byteLength(shorter.data) > dataBytesMax) {
    throw kernelError('mount', EINVAL, `${attempted}: options exceed one page`)
  }
  const before = process.cwd()
  process.chdir(shorter.folder)
  try {
    call(shorter.data)
  } finally {
    process.chdir(before)
  }
}

/** The options with `lowerdir` relative to the folder that all its layers share. */
function relativeLayers(
  data: readonly string[],
): { readonly folder: string; readonly data: string } | undefined {
  const prefix = 'lowerdir='
  const layers = data.find((option) => option.startsWith(prefix))?.slice(prefix.length).split(':')
  const first = layers?.[0]
  if (layers === undefined || first === undefined || !first.startsWith('/')) return undefined
  let folder = dirname(first)
  while (folder !== '/' && !layers.every((layer) => layer.startsWith(`${folder}/`))) {
    folder = dirname(folder)
  }
  if (folder === '/') return undefined
  const relative = layers.map((layer) => layer.slice(folder.length + 1)).join(':')
  const options = data.map((option) => (option.startsWith(prefix) ? prefix + relative : option))
  return { folder, data: options.join(',') }
}

/** Detaches what is mounted last on `target`; true if something was, false if nothing is there. */
export function unmount(target: string): boolean {
  if (libcCalls.umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW) === 0) return true
  const errno = lastErrno()
  if (errno === EINVAL || errno === ENOENT) return false
  throw kernelError('umount2', errno, `unmount ${target}`)
}

/** Detaches everything that is stacked on `target`. */
export function unmountAll(target: string): void {
  // Bounded: nobody stacks so many; a loop without an end must not be possible.
  for (let stacked = 0; stacked < 64; stacked++) if (!unmount(target)) return
}

/** Makes `path` a mount of its own whose later submounts appear in other mount namespaces too. */
export function makeShared(path: string): void {
  if (!isMountPoint(path)) {
    mount({ type: 'none', source: path, target: path, options: ['rbind'] })
  }
  const shared = libcCalls.mount(null, path, null, MS_SHARED, null)
  checked(shared, 'mount', `make ${path} a shared mount`)
}

/** One line of /proc/PID/mountinfo. */
export interface MountEntry {
  readonly id: number
  readonly parentId: number
  readonly root: string
  readonly target: string
  readonly options: readonly string[]
  /** `shared:1`, `master:2`, … */
  readonly propagation: readonly string[]
  readonly type: string
  readonly source: string
  readonly superOptions: readonly string[]
}

/** The mounts that a process sees, in mount order. */
export function listMounts(process: number | 'self' = 'self'): readonly MountEntry[] {
  return parseMountinfo(readFileSync(`/proc/${process}/mountinfo`, 'utf8'))
}

/** Whether something is mounted exactly on `path` (absolute, without symbolic links). */
export function isMountPoint(path: string): boolean {
  return listMounts().some((entry) => entry.target === path)
}

/** Parses mountinfo(5); octal escapes in paths are undone. */
export function parseMountinfo(text: string): readonly MountEntry[] {
  const entries: MountEntry[] = []
  for (const line of text.split('\n')) {
    const fields = line.split(' ')
    const separator = fields.indexOf('-', 6)
    const [id, parentId, , root, target, options] = fields
    if (root === undefined || target === undefined || options === undefined) continue
    if (separator < 0) continue
    entries.push({
      id: Number(id),
      parentId: Number(parentId),
      root: unescapeOctal(root),
      target: unescapeOctal(target),
      options: options.split(','),
      propagation: fields.slice(6, separator),
      type: fields[separator + 1] ?? '',
      source: unescapeOctal(fields[separator + 2] ?? ''),
      superOptions: (fields[separator + 3] ?? '').split(','),
    })
  }
  return entries
}

function unescapeOctal(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, digits: string) =>
    String.fromCharCode(Number.parseInt(digits, 8)),
  )
}
