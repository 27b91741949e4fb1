/**
 * Datagrams together with the local address that they were sent to, so that an answer from a
 * socket bound to every address leaves from that same address: clients drop it otherwise.
 */
import { addressOf, checked, kernelError, lastErrno, libcCalls } from './ffi.ts'

const IPPROTO_IP = 0
const IP_PKTINFO = 8
const IPPROTO_IPV6 = 41
const IPV6_RECVPKTINFO = 49
const IPV6_PKTINFO = 50
const MSG_DONTWAIT = 0x40
const EAGAIN = 11
/** struct mmsghdr and struct cmsghdr on 64-bit systems. */
const headerBytes = 64
const controlHeaderBytes = 16
const controlBytesMax = 64
const nameBytesMax = 28
/** The longest datagram that UDP can carry. */
const datagramBytesMax = 65_507

export interface AddressedDatagram {
  /** Valid until the next `receive`. */
  readonly data: Buffer
  /** The sender's raw socket address; a copy. */
  readonly from: Buffer
  /** Our own address as the control message that `send` takes; a copy, may be empty. */
  readonly local: Buffer
}

/** Makes the kernel tell the local address of each datagram. */
export function tellLocalAddress(fd: number, family: 4 | 6): void {
  const on = Buffer.from([1, 0, 0, 0])
  const [level, option] = family === 4 ? [IPPROTO_IP, IP_PKTINFO] : [IPPROTO_IPV6, IPV6_RECVPKTINFO]
  const result = libcCalls.setsockopt(fd, level, option, on, on.length)
  checked(result, 'setsockopt', `ask for local addresses on socket ${fd}`)
}

/** One set of buffers, used for one call at a time. */
export class AddressedDatagrams {
  readonly #header = Buffer.alloc(headerBytes)
  readonly #vector = Buffer.alloc(16)
  readonly #control = Buffer.alloc(controlBytesMax)
  readonly #name = Buffer.alloc(nameBytesMax)
  readonly #data = Buffer.alloc(datagramBytesMax)

  /** The next datagram, or undefined when none waits. */
  receive(fd: number): AddressedDatagram | undefined {
    this.#point(this.#data, this.#name, this.#control)
    const count = libcCalls.recvmmsg(fd, this.#header, 1, MSG_DONTWAIT, null)
    if (count < 0) {
      const errno = lastErrno()
      if (errno === EAGAIN) return undefined
      throw kernelError('recvmmsg', errno, `receive on socket ${fd}`)
    }
    const nameBytes = this.#header.readUInt32LE(8)
    const controlBytes = Number(this.#header.readBigUInt64LE(40))
    return {
      data: this.#data.subarray(0, this.#header.readUInt32LE(56)),
      from: Buffer.from(this.#name.subarray(0, nameBytes)),
      local: localOf(this.#control.subarray(0, controlBytes)),
    }
  }

  /** Sends to a raw socket address, from `local`; answers false when it was not taken. */
  send(fd: number, data: Buffer, to: Buffer, local: Buffer): boolean {
    this.#point(data, to, local)
    return libcCalls.sendmmsg(fd, this.#header, 1, MSG_DONTWAIT) === 1
  }

  #point(data: Buffer, name: Buffer, control: Buffer): void {
    this.#vector.writeBigUInt64LE(data.length === 0 ? 0n : addressOf(data), 0)
    this.#vector.writeBigUInt64LE(BigInt(data.length), 8)
    this.#header.fill(0)
    this.#header.writeBigUInt64LE(addressOf(name), 0)
    this.#header.writeUInt32LE(name.length, 8)
    this.#header.writeBigUInt64LE(addressOf(this.#vector), 16)
    this.#header.writeBigUInt64LE(1n, 24)
    if (control.length === 0) return
    this.#header.writeBigUInt64LE(addressOf(control), 32)
    this.#header.writeBigUInt64LE(BigInt(control.length), 40)
  }
}

/** The packet-info message for an answer: the same local address, by whatever link leads back. */
function localOf(control: Buffer): Buffer {
  if (control.length < controlHeaderBytes) return Buffer.alloc(0)
  const length = Number(control.readBigUInt64LE(0))
  const [level, type] = [control.readInt32LE(8), control.readInt32LE(12)]
  const known = (level === IPPROTO_IP && type === IP_PKTINFO) ||
    (level === IPPROTO_IPV6 && type === IPV6_PKTINFO)
  if (!known || length > control.length) return Buffer.alloc(0)
  const copy = Buffer.alloc(Math.ceil(length / 8) * 8)
  control.copy(copy, 0, 0, length)
  if (level === IPPROTO_IP) copy.writeInt32LE(0, controlHeaderBytes)
  // A link-local address means nothing without its link.
  else if (copy[controlHeaderBytes] !== 0xfe) copy.writeInt32LE(0, controlHeaderBytes + 16)
  return copy
}
