/**
 * Many datagrams in one system call: recvmmsg and sendmmsg on a UDP descriptor.
 *
 * One object holds all memory for a batch and is used again and again. Buffers whose address is
 * written into another Buffer are kept in fields: the collector cannot see such a pointer.
 */
import { addressOf, kernelError, lastErrno, libcCalls } from './ffi.ts'

/** Messages per call; more brings nothing measurable. */
export const batchSize = 64
const MSG_DONTWAIT = 0x40
const EAGAIN = 11
/** struct mmsghdr on 64-bit systems. */
const headerBytes = 64
const iovecBytes = 16
const nameBytesMax = 28

/** Datagrams of one call. Buffers are valid until the next `receive`. */
export interface ReceivedDatagram {
  readonly data: Buffer
  /** The raw socket address of the sender, to be handed back to `send`. */
  readonly from: Buffer
}

export interface OutgoingDatagram {
  readonly data: Buffer
  readonly to: Buffer
}

/** Reads batches from one or several sockets, one call at a time. */
export class DatagramReceiver {
  readonly #headers = Buffer.alloc(batchSize * headerBytes)
  readonly #iovecs = Buffer.alloc(batchSize * iovecBytes)
  readonly #names = Buffer.alloc(batchSize * nameBytesMax)
  readonly #data: Buffer
  readonly #slotBytes: number

  /** @param slotBytes the longest datagram that arrives whole; longer ones are cut off */
  constructor(slotBytes = 4096) {
    this.#slotBytes = slotBytes
    this.#data = Buffer.alloc(batchSize * slotBytes)
    for (let slot = 0; slot < batchSize; slot++) {
      const iovec = slot * iovecBytes
      this.#iovecs.writeBigUInt64LE(addressOf(this.#data) + BigInt(slot * slotBytes), iovec)
      this.#iovecs.writeBigUInt64LE(BigInt(slotBytes), iovec + 8)
      const header = slot * headerBytes
      this.#headers.writeBigUInt64LE(addressOf(this.#names) + BigInt(slot * nameBytesMax), header)
      this.#headers.writeBigUInt64LE(addressOf(this.#iovecs) + BigInt(iovec), header + 16)
      this.#headers.writeBigUInt64LE(1n, header + 24)
    }
  }

  /** What waits on `fd`, at most `batchSize`; empty when nothing does. */
  receive(fd: number): readonly ReceivedDatagram[] {
    for (let slot = 0; slot < batchSize; slot++) {
      this.#headers.writeUInt32LE(nameBytesMax, slot * headerBytes + 8)
    }
    const count = libcCalls.recvmmsg(fd, this.#headers, batchSize, MSG_DONTWAIT, null)
    if (count < 0) {
      const errno = lastErrno()
      if (errno === EAGAIN) return []
      throw kernelError('recvmmsg', errno, `receive on socket ${fd}`)
    }
    const received: ReceivedDatagram[] = []
    for (let slot = 0; slot < count; slot++) {
      const header = slot * headerBytes
      const dataAt = slot * this.#slotBytes
      const nameAt = slot * nameBytesMax
      received.push({
        data: this.#data.subarray(dataAt, dataAt + this.#headers.readUInt32LE(header + 56)),
        from: this.#names.subarray(nameAt, nameAt + this.#headers.readUInt32LE(header + 8)),
      })
    }
    return received
  }
}

/** Used again for every batch: made anew they would be 5 KiB of garbage outside the heap each. */
const sendHeaders = Buffer.alloc(batchSize * headerBytes)
const sendIovecs = Buffer.alloc(batchSize * iovecBytes)

/**
 * Sends up to `batchSize` datagrams; answers how many the kernel took. Fewer than given: its
 * buffer is full, or the next one was refused (then calling again throws for that one).
 */
export function sendDatagrams(fd: number, datagrams: readonly OutgoingDatagram[]): number {
  const count = Math.min(datagrams.length, batchSize)
  if (count === 0) return 0
  for (let slot = 0; slot < count; slot++) {
    const datagram = datagrams[slot]
    if (datagram === undefined) break
    const iovec = slot * iovecBytes
    sendIovecs.writeBigUInt64LE(addressOf(datagram.data), iovec)
    sendIovecs.writeBigUInt64LE(BigInt(datagram.data.length), iovec + 8)
    const header = slot * headerBytes
    sendHeaders.writeBigUInt64LE(addressOf(datagram.to), header)
    sendHeaders.writeUInt32LE(datagram.to.length, header + 8)
    sendHeaders.writeBigUInt64LE(addressOf(sendIovecs) + BigInt(iovec), header + 16)
    sendHeaders.writeBigUInt64LE(1n, header + 24)
  }
  // `datagrams` is a parameter of this frame, alive until it returns.
  const sent = libcCalls.sendmmsg(fd, sendHeaders, count, MSG_DONTWAIT)
  if (sent >= 0) return sent
  const errno = lastErrno()
  if (errno === EAGAIN) return 0
  throw kernelError('sendmmsg', errno, `send on socket ${fd}`)
}
