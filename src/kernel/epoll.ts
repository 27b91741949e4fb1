/**
 * Thousands of descriptors behind one: an epoll instance that the event loop watches as a single
 * descriptor. A socket that only waits costs a map entry here, not a handle of the event loop.
 */
import { checked, closeFd, lastErrno, libcCalls, kernelError } from './ffi.ts'
import { watchReadable } from './readiness.ts'
import type { ReadinessWatch } from './readiness.ts'
import { decodeSocketAddress } from './socket.ts'
import type { SocketAddress } from './socket.ts'

const EPOLL_CLOEXEC = 0o2000000
const EPOLL_CTL_ADD = 1
const EPOLL_CTL_DEL = 2
const EPOLLIN = 1
const SOCK_NONBLOCK_CLOEXEC = 0o4000 | 0o2000000
const EAGAIN = 11
const EINTR = 4
const ECONNABORTED = 103
/** Descriptors that are told of in one turn of the event loop; the rest comes in the next one. */
const eventsMax = 256
/** `struct epoll_event` is packed to 12 bytes on x86-64 only. */
const eventBytes = process.arch === 'x64' ? 12 : 16
const dataAt = eventBytes - 8

export class ReadinessSet {
  readonly #fd = checked(libcCalls.epoll_create1(EPOLL_CLOEXEC), 'epoll_create1', 'make an epoll')
  readonly #callbacks = new Map<number, () => void>()
  readonly #events = Buffer.alloc(eventsMax * eventBytes)
  readonly #watch: ReadinessWatch

  constructor() {
    this.#watch = watchReadable(this.#fd, () => this.#dispatch())
  }

  /** Calls back as long as there is something to read on `fd` (level-triggered). */
  add(fd: number, readable: () => void): void {
    const event = Buffer.alloc(eventBytes)
    event.writeUInt32LE(EPOLLIN)
    event.writeInt32LE(fd, dataAt)
    const result = libcCalls.epoll_ctl(this.#fd, EPOLL_CTL_ADD, fd, event)
    checked(result, 'epoll_ctl', `watch descriptor ${fd}`)
    this.#callbacks.set(fd, readable)
  }

  /** To be called before `fd` is closed. */
  remove(fd: number): void {
    if (!this.#callbacks.delete(fd)) return
    const result = libcCalls.epoll_ctl(this.#fd, EPOLL_CTL_DEL, fd, Buffer.alloc(eventBytes))
    checked(result, 'epoll_ctl', `forget descriptor ${fd}`)
  }

  get size(): number {
    return this.#callbacks.size
  }

  close(): void {
    this.#watch.close()
    this.#callbacks.clear()
    closeFd(this.#fd)
  }

  #dispatch(): void {
    const count = libcCalls.epoll_wait(this.#fd, this.#events, eventsMax, 0)
    if (count < 0 && lastErrno() === EINTR) return
    checked(count, 'epoll_wait', 'wait for descriptors')
    const ready: number[] = []
    for (let i = 0; i < count; i++) ready.push(this.#events.readInt32LE(i * eventBytes + dataAt))
    // An earlier callback may have removed a later descriptor.
    for (const fd of ready) this.#callbacks.get(fd)?.()
  }
}

export interface Accepted {
  readonly fd: number
  readonly from: SocketAddress
}

/** The next connection that waits on a listening descriptor, or undefined when none does. */
export function acceptConnection(fd: number): Accepted | undefined {
  const name = Buffer.alloc(28)
  const length = Buffer.alloc(4)
  length.writeUInt32LE(name.length)
  const accepted = libcCalls.accept4(fd, name, length, SOCK_NONBLOCK_CLOEXEC)
  if (accepted >= 0) return { fd: accepted, from: decodeSocketAddress(name) }
  const errno = lastErrno()
  if (errno === EAGAIN || errno === EINTR || errno === ECONNABORTED) return undefined
  throw kernelError('accept4', errno, `accept on descriptor ${fd}`)
}
