/**
 * Sockets made inside a network namespace, as bare descriptors.
 *
 * A socket belongs for ever to the namespace it was made in, while its number is valid for the
 * whole process: hand it to `dgram` (`bind({ fd })`) or `net` (`listen({ fd })`), or use it with
 * `datagrams.ts`. All are non-blocking and close-on-exec, and belong to the caller.
 */
import { checked, closeFd, lastErrno, libcCalls } from './ffi.ts'
import { AF_INET, AF_INET6, bytesToIp, ipToBytes } from './ipbytes.ts'
import { inNetns, type Netns } from './netns.ts'

const SOCK_STREAM = 1
const SOCK_DGRAM = 2
const SOCK_NONBLOCK_CLOEXEC = 0o4000 | 0o2000000
const SOL_SOCKET = 1
const SO_REUSEADDR = 2
const SO_RCVBUFFORCE = 33
const SO_BINDTODEVICE = 25
const IPPROTO_SCTP = 132
const IPPROTO_IPV6 = 41
const IPV6_V6ONLY = 26
const EINPROGRESS = 115

export interface SocketAddress {
  readonly address: string
  readonly port: number
  /** Number of the link that a link-local address is on. */
  readonly link?: number
}

export interface BoundSocket extends SocketAddress {
  readonly fd: number
}

export interface ListenOptions {
  readonly protocol: 'tcp' | 'udp' | 'sctp'
  /** 0.0.0.0, ::, or one address. */
  readonly address: string
  /** 0: the kernel chooses; the answer says which. */
  readonly port: number
  /** IPv6 sockets take IPv4 too when false. Default true. */
  readonly v6Only?: boolean
  /** Default true for TCP and SCTP; on UDP two sockets could share a port, so false there. */
  readonly reuseAddress?: boolean
  readonly backlog?: number
  /** Only traffic of this interface. */
  readonly device?: string
  readonly receiveBufferBytes?: number
}

/** Dockerd and the kernel's default agree on this; a burst of connects must not be refused. */
const backlogDefault = 4096

/** Makes, binds and (TCP, SCTP) listens. A port that is taken is a KernelError `EADDRINUSE`. */
export function listenIn(ns: Netns, options: ListenOptions): BoundSocket {
  const { protocol, address, port } = options
  const shown = address.includes(':') ? `[${address}]` : address
  const attempted = `listen on ${shown}:${port}/${protocol}`
  return inNetns(ns, () => {
    const fd = openSocket(address, protocol, attempted)
    try {
      prepare(fd, options, attempted)
      const name = encodeSocketAddress(address, port)
      checked(libcCalls.bind(fd, name, name.length), 'bind', attempted)
      if (protocol !== 'udp') {
        checked(libcCalls.listen(fd, options.backlog ?? backlogDefault), 'listen', attempted)
      }
      return { fd, ...localAddress(fd) }
    } catch (error) {
      closeFd(fd)
      throw error
    }
  })
}

/** A UDP socket in `ns` that talks to one server only: the kernel drops what others send. */
export function connectUdpIn(ns: Netns, address: string, port: number): BoundSocket {
  const attempted = `connect to ${address} port ${port}/udp`
  return inNetns(ns, () => {
    const fd = openSocket(address, 'udp', attempted)
    try {
      const name = encodeSocketAddress(address, port)
      checked(libcCalls.connect(fd, name, name.length), 'connect', attempted)
      return { fd, ...localAddress(fd) }
    } catch (error) {
      closeFd(fd)
      throw error
    }
  })
}

/**
 * Starts a TCP connection from inside `ns`. `new net.Socket({ fd })` may take it at once: reads
 * and writes wait until it stands, and a refusal arrives as the first error.
 */
export function startTcpIn(ns: Netns, address: string, port: number): number {
  const attempted = `connect to ${address} port ${port}/tcp`
  return inNetns(ns, () => {
    const fd = openSocket(address, 'tcp', attempted)
    try {
      const name = encodeSocketAddress(address, port)
      const result = libcCalls.connect(fd, name, name.length)
      if (result !== 0 && lastErrno() !== EINPROGRESS) checked(result, 'connect', attempted)
      return fd
    } catch (error) {
      closeFd(fd)
      throw error
    }
  })
}

/** The address that a socket is bound to. */
export function localAddress(fd: number): SocketAddress {
  const name = Buffer.alloc(28)
  const length = Buffer.alloc(4)
  length.writeUInt32LE(name.length)
  const attempted = `ask socket ${fd} for its address`
  checked(libcCalls.getsockname(fd, name, length), 'getsockname', attempted)
  return decodeSocketAddress(name)
}

/** `struct sockaddr_in` or `sockaddr_in6`; the address decides which. */
export function encodeSocketAddress(address: string, port: number): Buffer {
  const bytes = ipToBytes(address)
  const isV4 = bytes.length === 4
  const name = Buffer.alloc(isV4 ? 16 : 28)
  name.writeUInt16LE(isV4 ? AF_INET : AF_INET6)
  name.writeUInt16BE(port, 2)
  bytes.copy(name, isV4 ? 4 : 8)
  return name
}

/** The reverse, for what the kernel has filled in. */
export function decodeSocketAddress(name: Buffer): SocketAddress {
  const isV4 = name.readUInt16LE() === AF_INET
  const bytes = isV4 ? name.subarray(4, 8) : name.subarray(8, 24)
  const link = isV4 ? 0 : name.readUInt32LE(24)
  const address = { address: bytesToIp(bytes), port: name.readUInt16BE(2) }
  return link === 0 ? address : { ...address, link }
}

function openSocket(
  address: string,
  protocol: ListenOptions['protocol'],
  attempted: string,
): number {
  const domain = address.includes(':') ? AF_INET6 : AF_INET
  const type = (protocol === 'udp' ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK_CLOEXEC
  const number = protocol === 'sctp' ? IPPROTO_SCTP : 0
  return checked(libcCalls.socket(domain, type, number), 'socket', attempted)
}

function prepare(fd: number, options: ListenOptions, attempted: string): void {
  const set = (level: number, name: number, value: Buffer) =>
    checked(libcCalls.setsockopt(fd, level, name, value, value.length), 'setsockopt', attempted)
  if (options.reuseAddress ?? options.protocol !== 'udp') set(SOL_SOCKET, SO_REUSEADDR, int(1))
  if (options.address.includes(':')) {
    set(IPPROTO_IPV6, IPV6_V6ONLY, int(options.v6Only === false ? 0 : 1))
  }
  if (options.device !== undefined) {
    set(SOL_SOCKET, SO_BINDTODEVICE, Buffer.from(`${options.device}\0`))
  }
  if (options.receiveBufferBytes !== undefined) {
    set(SOL_SOCKET, SO_RCVBUFFORCE, int(options.receiveBufferBytes))
  }
}

function int(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeInt32LE(value)
  return bytes
}
