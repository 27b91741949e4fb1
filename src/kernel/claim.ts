/**
 * Claims of which a network namespace has one at most: a listening socket with an abstract name,
 * which ends with its process, however that ends. Nobody ever connects but to ask who it is.
 *
 * Anybody may take such a name; a holder who is not root is told apart by its user.
 */
import { createServer } from 'node:net'
import { checked, closeFd, kernelError, lastErrno, libcCalls } from './ffi.ts'
import { inNetns, type Netns } from './netns.ts'

const AF_UNIX = 1
const SOCK_STREAM_CLOEXEC_NONBLOCK = 1 | 0o2000000 | 0o4000
const SOL_SOCKET = 1
const SO_PEERCRED = 17
const EADDRINUSE = 98
const EAGAIN = 11

export interface Claim {
  release(): void
}

export interface ClaimHolder {
  /** As this process numbers it; 0 when it is in a process namespace that we cannot see. */
  readonly pid: number
  readonly uid: number
}

/** Takes the claim; undefined when somebody has it. */
export function takeClaim(ns: Netns, name: string): Claim | undefined {
  const attempted = `claim ${name}`
  const fd = openIn(ns, attempted)
  const address = addressOf(name)
  if (libcCalls.bind(fd, address, address.length) !== 0) {
    const errno = lastErrno()
    closeFd(fd)
    if (errno === EADDRINUSE) return undefined
    throw kernelError('bind', errno, attempted)
  }
  const server = createServer((asking) => asking.destroy())
  server.listen({ fd })
  server.unref()
  return { release: () => server.close() }
}

/** Who has the claim; undefined when nobody does. */
export function holderOfClaim(ns: Netns, name: string): ClaimHolder | undefined {
  const fd = openIn(ns, `ask who has ${name}`)
  try {
    const address = addressOf(name)
    if (libcCalls.connect(fd, address, address.length) !== 0) {
      // More ask than the holder has time for: it is there.
      return lastErrno() === EAGAIN ? { pid: 0, uid: 0 } : undefined
    }
    const credentials = Buffer.alloc(12)
    const length = Buffer.alloc(4)
    length.writeUInt32LE(credentials.length)
    const result = libcCalls.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, length)
    checked(result, 'getsockopt', `ask who has ${name}`)
    return { pid: credentials.readInt32LE(), uid: credentials.readUInt32LE(4) }
  } finally {
    closeFd(fd)
  }
}

function openIn(ns: Netns, attempted: string): number {
  const open = () => libcCalls.socket(AF_UNIX, SOCK_STREAM_CLOEXEC_NONBLOCK, 0)
  return inNetns(ns, () => checked(open(), 'socket', attempted))
}

/** `struct sockaddr_un` of an abstract name. */
function addressOf(name: string): Buffer {
  const bytes = Buffer.from(`\0\0\0${name}`)
  bytes.writeUInt16LE(AF_UNIX)
  return bytes
}
