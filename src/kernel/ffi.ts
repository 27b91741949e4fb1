/**
 * The C library, called from JavaScript: the only file that declares foreign functions of libc.
 *
 * Every descriptor made here is close-on-exec: one that leaked into containerd or a shim would pin
 * a namespace for ever. Symbols come from the running process, so glibc and musl both serve.
 * `koffi.errno()` is read right after the failing call, before any other foreign call.
 */
import koffi from 'koffi'
import { errnoName, KernelError } from './error.ts'

const libc = koffi.load(null)

/** Memory handed to a call: a Buffer (alive during the call only) or NULL. */
type Memory = Buffer | null

interface SlowCall<A extends readonly unknown[]> {
  (...args: A): number
  /** Runs on a pool thread; the callback gets the return value, errno is not available. */
  async(...args: [...A, (error: unknown, result: number) => void]): void
}

const raw: {
  readonly setns: (fd: number, kind: number) => number
  readonly unshare: (flags: number) => number
  readonly mount: (
    source: string | null,
    target: string,
    type: string | null,
    flags: number,
    data: string | null,
  ) => number
  readonly umount2: (target: string, flags: number) => number
  readonly mkfifo: (path: string, mode: number) => number
  readonly fgetxattr: (fd: number, name: string, value: Memory, size: number) => number
  readonly lsetxattr: (
    path: string,
    name: string,
    value: Memory,
    size: number,
    flags: number,
  ) => number
  readonly socket: (domain: number, type: number, protocol: number) => number
  readonly bind: (fd: number, address: Memory, length: number) => number
  readonly connect: (fd: number, address: Memory, length: number) => number
  readonly listen: (fd: number, backlog: number) => number
  readonly getsockname: (fd: number, address: Memory, length: Memory) => number
  readonly setsockopt: (
    fd: number,
    level: number,
    name: number,
    value: Memory,
    length: number,
  ) => number
  readonly getsockopt: (
    fd: number,
    level: number,
    name: number,
    value: Memory,
    length: Memory,
  ) => number
  readonly send: SlowCall<[fd: number, data: Memory, length: number, flags: number]>
  readonly sendto: (
    fd: number,
    data: Memory,
    length: number,
    flags: number,
    address: Memory,
    addressLength: number,
  ) => number
  readonly recv: (fd: number, data: Memory, length: number, flags: number) => number
  readonly recvmmsg: (
    fd: number,
    headers: Memory,
    count: number,
    flags: number,
    timeout: Memory,
  ) => number
  readonly sendmmsg: (fd: number, headers: Memory, count: number, flags: number) => number
  readonly accept4: (fd: number, address: Memory, length: Memory, flags: number) => number
  readonly epoll_create1: (flags: number) => number
  readonly epoll_ctl: (epoll: number, operation: number, fd: number, event: Memory) => number
  readonly epoll_wait: (epoll: number, events: Memory, count: number, timeoutMs: number) => number
  readonly getrlimit: (resource: number, limit: Memory) => number
  readonly setrlimit: (resource: number, limit: Memory) => number
  readonly poll: (descriptors: Memory, count: number, timeoutMs: number) => number
  readonly ioctl: (fd: number, request: number, argument: Memory) => number
  readonly madvise: (start: bigint, bytes: number, advice: number) => number
  readonly close: SlowCall<[fd: number]>
  readonly inet_pton: (family: number, text: string, address: Memory) => number
  readonly inet_ntop: (
    family: number,
    address: Memory,
    text: Memory,
    length: number,
  ) => string | null
  readonly strerror: (errno: number) => string
} = {
  setns: libc.func('int setns(int fd, int kind)'),
  unshare: libc.func('int unshare(int flags)'),
  mount: libc.func(
    'int mount(const char *source, const char *target, const char *type, ulong flags, ' +
      'const char *data)',
  ),
  umount2: libc.func('int umount2(const char *target, int flags)'),
  mkfifo: libc.func('int mkfifo(const char *path, uint mode)'),
  fgetxattr: libc.func('intptr_t fgetxattr(int fd, const char *name, void *value, size_t size)'),
  lsetxattr: libc.func(
    'int lsetxattr(const char *path, const char *name, const void *value, size_t size, int flags)',
  ),
  socket: libc.func('int socket(int domain, int type, int protocol)'),
  bind: libc.func('int bind(int fd, const void *address, uint length)'),
  connect: libc.func('int connect(int fd, const void *address, uint length)'),
  listen: libc.func('int listen(int fd, int backlog)'),
  getsockname: libc.func('int getsockname(int fd, void *address, void *length)'),
  setsockopt: libc.func(
    'int setsockopt(int fd, int level, int name, const void *value, uint length)',
  ),
  getsockopt: libc.func(
    'int getsockopt(int fd, int level, int name, void *value, void *length)',
  ),
  send: libc.func('intptr_t send(int fd, const void *data, size_t length, int flags)'),
  sendto: libc.func(
    'intptr_t sendto(int fd, const void *data, size_t length, int flags, const void *address, ' +
      'uint addressLength)',
  ),
  recv: libc.func('intptr_t recv(int fd, void *data, size_t length, int flags)'),
  recvmmsg: libc.func('int recvmmsg(int fd, void *headers, uint count, int flags, void *timeout)'),
  sendmmsg: libc.func('int sendmmsg(int fd, void *headers, uint count, int flags)'),
  accept4: libc.func('int accept4(int fd, void *address, void *length, int flags)'),
  epoll_create1: libc.func('int epoll_create1(int flags)'),
  epoll_ctl: libc.func('int epoll_ctl(int epoll, int operation, int fd, void *event)'),
  epoll_wait: libc.func('int epoll_wait(int epoll, void *events, int count, int timeoutMs)'),
  getrlimit: libc.func('int getrlimit(int resource, void *limit)'),
  setrlimit: libc.func('int setrlimit(int resource, const void *limit)'),
  poll: libc.func('int poll(void *descriptors, ulong count, int timeoutMs)'),
  ioctl: libc.func('int ioctl(int fd, ulong request, void *argument)'),
  madvise: libc.func('int madvise(uintptr_t start, size_t bytes, int advice)'),
  close: libc.func('int close(int fd)'),
  inet_pton: libc.func('int inet_pton(int family, const char *text, void *address)'),
  inet_ntop: libc.func(
    'const char *inet_ntop(int family, const void *address, void *text, uint length)',
  ),
  strerror: libc.func('const char *strerror(int errno)'),
}

/** The bare calls. They answer -1 on failure; `checked` turns that into an error. */
export const libcCalls = raw

let trim: ((pad: number) => number) | undefined

/** Gives free memory of glibc's allocator back; other C libraries have no such call. */
export function trimAllocator(): void {
  try {
    trim ??= libc.func('int malloc_trim(size_t pad)')
  } catch {
    trim = () => 0
  }
  trim(0)
}

let mknod: ((path: string, mode: number, device: bigint) => number) | undefined

/** glibc has it as a function since 2.33 only, so it is looked for when it is needed. */
export function mknodCall(path: string, mode: number, device: bigint): number {
  mknod ??= libc.func('int mknod(const char *path, uint mode, uint64_t device)')
  return mknod(path, mode, device)
}

interface NewMountCalls {
  readonly fsopen: (number: number, type: string, flags: number) => number
  readonly fsconfig: (
    number: number, fd: number, command: number, key: null, value: null, aux: number,
  ) => number
  readonly fsmount: (number: number, fd: number, flags: number, attributes: number) => number
}

let newMountCalls: NewMountCalls | undefined

/**
 * A procfs that is mounted nowhere, as a descriptor of its root; undefined where the kernel, or
 * what confines this process, has none for us. By number: glibc has names for these since 2.36.
 */
export function mountProc(): number | undefined {
  newMountCalls ??= {
    fsopen: libc.func('syscall', 'long', ['long', 'str', 'uint']),
    fsconfig: libc.func('syscall', 'long', ['long', 'int', 'uint', 'str', 'str', 'int']),
    fsmount: libc.func('syscall', 'long', ['long', 'int', 'uint', 'uint']),
  }
  const [SYS_fsopen, SYS_fsconfig, SYS_fsmount] = [430, 431, 432]
  const [FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC, FSCONFIG_CMD_CREATE] = [1, 1, 6]
  const { fsopen, fsconfig, fsmount } = newMountCalls
  const context = fsopen(SYS_fsopen, 'proc', FSOPEN_CLOEXEC)
  if (context < 0) return undefined
  try {
    if (fsconfig(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, null, null, 0) < 0) return undefined
    const root = fsmount(SYS_fsmount, context, FSMOUNT_CLOEXEC, 0)
    return root < 0 ? undefined : root
  } finally {
    raw.close(context)
  }
}

/** The number of the last failed call on this thread. */
export function lastErrno(): number {
  return koffi.errno()
}

/** libc's words for an errno, lower case at the start so that they fit into a sentence. */
export function describeErrno(errno: number): string {
  const words = raw.strerror(errno)
  if (words.startsWith('Unknown error')) return errnoName(errno)
  return /^[A-Z][a-z]/.test(words) ? words[0]?.toLowerCase() + words.slice(1) : words
}

/** The error for a call that failed with `errno`. */
export function kernelError(call: string, errno: number, attempted: string): KernelError {
  return new KernelError(call, errno, attempted, describeErrno(errno))
}

/** Passes a non-negative result on; throws a KernelError otherwise. */
export function checked(result: number, call: string, attempted: string): number {
  if (result >= 0) return result
  throw kernelError(call, koffi.errno(), attempted)
}

/** `send` on a pool thread: the kernel may hold the caller for an RCU grace period. */
export function sendOnPool(fd: number, data: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    raw.send.async(fd, data, data.length, 0, (error, result) => {
      if (error) reject(error)
      else resolve(result)
    })
  })
}

/** Waits, with this thread, until there is something to read or the time is over. */
export function waitReadable(fd: number, timeoutMs: number): void {
  const POLLIN = 1
  const EINTR = 4
  const deadline = performance.now() + timeoutMs
  const descriptor = Buffer.alloc(8)
  descriptor.writeInt32LE(fd)
  descriptor.writeInt16LE(POLLIN, 4)
  for (;;) {
    const leftMs = Math.max(0, Math.ceil(deadline - performance.now()))
    const ready = raw.poll(descriptor, 1, leftMs)
    // A signal, such as that of a child that ended.
    if (ready < 0 && koffi.errno() === EINTR) continue
    checked(ready, 'poll', 'wait for an answer')
    return
  }
}

/** Starts the threads on which `sendOnPool` runs. */
export function warmForeignCalls(): Promise<void> {
  return new Promise((resolve, reject) => {
    // A send on no descriptor: harmless, and the same path as the real one.
    raw.send.async(-1, Buffer.alloc(1), 1, 0, (error) => {
      if (error) reject(error)
      else resolve()
    })
  })
}

/** The address of a Buffer's memory. The Buffer must be kept referenced while it is in use. */
export function addressOf(buffer: Buffer): bigint {
  return koffi.address(buffer)
}

/** Closes a descriptor that is not wrapped in a Node object. */
export function closeFd(fd: number): void {
  checked(raw.close(fd), 'close', `close descriptor ${fd}`)
}

/** Closes on a pool thread, for sockets whose closing makes the kernel wait for a grace period. */
export function closeOnPool(fd: number): void {
  // Whatever close answers, the number is free afterwards: there is nothing to act on.
  raw.close.async(fd, () => undefined)
}
