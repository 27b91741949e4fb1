/**
 * Network namespaces from one process.
 *
 * `setns` and `unshare` move the calling thread only, and JavaScript runs on one thread: a section
 * that is strictly synchronous is atomic for all JavaScript. Threads and children that are started
 * inside a section would inherit the wrong namespace, so pools are warmed first (`warmThreads`) and
 * sections never start any. If the way home is lost the process ends at once: going on would
 * run the whole daemon inside a container.
 */
import { closeSync, fstatSync, mkdirSync, openSync, rmSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { checked, closeFd, kernelError, lastErrno, libcCalls, warmForeignCalls } from './ffi.ts'
import { reserveLowDescriptors } from './low-descriptors.ts'

const CLONE_NEWNET = 0x40000000
const MS_BIND = 4096
const MNT_DETACH = 2
const EINVAL = 22
const ENOENT = 2

/** An open network namespace; it exists at least as long as this is open. */
export interface Netns {
  readonly fd: number
  /** Identity: two paths of one namespace have the same inode. */
  readonly inode: number
  /** The path it was opened by, for messages; '' for the home namespace. */
  readonly path: string
  close(): void
}

// The main thread's link would be wrong inside a Worker, hence thread-self.
const ownNamespace = '/proc/thread-self/ns/net'

let home: Netns | undefined
/** Where this thread is now; differs from home only inside a section. */
let current: Netns | undefined

/** The namespace in which this process was started. */
export function homeNetns(): Netns {
  home ??= { ...openNetns(ownNamespace), path: '', close: () => undefined }
  return home
}

/** Opens a bind-mounted namespace, `/proc/PID/ns/net`, or '' for home. */
export function openNetns(path: string): Netns {
  if (path === '') return homeNetns()
  const fd = openSync(path, 'r')
  let open = true
  const close = () => {
    if (open) closeSync(fd)
    open = false
  }
  return { fd, inode: fstatSync(fd).ino, path, close }
}

/** Opens `path`, runs `section` in it, closes it again. */
export function inNetnsAt<T>(path: string, section: () => T): T {
  const ns = openNetns(path)
  try {
    return inNetns(ns, section)
  } finally {
    ns.close()
  }
}

/**
 * Runs `section` with this thread in `ns`. Only synchronous work: no await, no Worker, no child
 * process, no asynchronous fs, no `net.listen` or `dgram.bind` with an address.
 */
export function inNetns<T>(ns: Netns, section: () => T): T {
  const before = current ?? homeNetns()
  if (before.inode === ns.inode) return refusePromise(section())
  checked(libcCalls.setns(ns.fd, CLONE_NEWNET), 'setns', `enter network namespace ${ns.path}`)
  current = ns
  try {
    return refusePromise(section())
  } finally {
    goBack(before)
  }
}

function goBack(before: Netns): void {
  if (libcCalls.setns(before.fd, CLONE_NEWNET) !== 0) process.abort()
  current = before
}

function refusePromise<T>(result: T): T {
  const isThenable =
    typeof result === 'object' && result !== null && 'then' in result
  if (isThenable) throw new TypeError('a namespace section must be synchronous')
  return result
}

/** Makes a namespace, held by a bind mount at `path`, with lo up. Refuses an existing file. */
export function createNetns(path: string): void {
  const before = current ?? homeNetns()
  mkdirSync(dirname(path), { recursive: true })
  closeSync(openSync(path, 'wx', 0o444))
  try {
    checked(libcCalls.unshare(CLONE_NEWNET), 'unshare', 'make a network namespace')
    try {
      const mounted = libcCalls.mount(ownNamespace, path, 'none', MS_BIND, null)
      checked(mounted, 'mount', `bind a network namespace to ${path}`)
      bringLoopbackUp()
    } finally {
      goBack(before)
    }
  } catch (error) {
    removeNetns(path)
    throw error
  }
}

/**
 * Lets go of the namespace at `path`; fine when it is absent. The kernel then takes down its
 * links by itself, unless a process or descriptor still holds it.
 */
export function removeNetns(path: string): void {
  if (libcCalls.umount2(path, MNT_DETACH) !== 0) {
    const errno = lastErrno()
    // EINVAL: a plain file that was never, or is no longer, mounted on.
    if (errno !== EINVAL && errno !== ENOENT) {
      throw kernelError('umount2', errno, `unmount network namespace ${path}`)
    }
  }
  rmSync(path, { force: true })
}

/** By ioctl and not by netlink: one call, and this file stays below netlink.ts. */
function bringLoopbackUp(): void {
  const AF_INET = 2
  const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000
  const SIOCSIFFLAGS = 0x8914
  const IFF_UP_RUNNING = 0x41
  const fd = checked(libcCalls.socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0), 'socket', 'open a socket')
  try {
    const request = Buffer.alloc(40)
    request.write('lo', 0, 'latin1')
    request.writeUInt16LE(IFF_UP_RUNNING, 16)
    checked(libcCalls.ioctl(fd, SIOCSIFFLAGS, request), 'ioctl', 'bring up lo')
  } finally {
    closeFd(fd)
  }
}

/**
 * Starts every thread pool that would otherwise be started at first use, perhaps inside a section.
 * To be awaited once at process start, before the first namespace is entered.
 */
export async function warmThreads(): Promise<void> {
  homeNetns()
  reserveLowDescriptors()
  // libuv makes all threads of its pool at the first request; koffi's calls run there too.
  await Promise.all([stat('/'), warmForeignCalls()])
}
