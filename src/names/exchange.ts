/**
 * One question to one upstream server, asked from inside a network namespace.
 *
 * Resolves with the server's own bytes, or with undefined when it does not answer in time, refuses
 * the connection or answers something else. The socket is gone when the promise settles.
 */
import { Socket } from 'node:net'
import { DatagramReceiver, sendDatagrams } from '../kernel/datagrams.ts'
import { closeFd } from '../kernel/ffi.ts'
import type { Netns } from '../kernel/netns.ts'
import { watchReadable } from '../kernel/readiness.ts'
import { connectUdpIn, encodeSocketAddress, startTcpIn } from '../kernel/socket.ts'
import { answers } from './wire.ts'

/** Docker's: 4 s to reach the server, 4 s for its answer. */
const stepTimeoutMs = 4_000
/** Longer answers by UDP do not exist in practice; by TCP they may be 64 KiB. */
const udpBytesMax = 16 * 1024
const dnsPort = 53

let receiver: DatagramReceiver | undefined

export interface Exchange {
  readonly answer: Promise<Buffer | undefined>
  /** Gives up; `answer` resolves with undefined. */
  cancel(): void
}

/** `message` must not change while the exchange runs. Throws when no socket can be made. */
export function exchangeUdp(
  ns: Netns,
  address: string,
  message: Buffer,
  questionEnd: number,
): Exchange {
  const { promise, resolve } = Promise.withResolvers<Buffer | undefined>()
  const { fd } = connectUdpIn(ns, address, dnsPort)
  let open = true
  const finish = (answer: Buffer | undefined) => {
    if (!open) return
    open = false
    clearTimeout(timer)
    watch.close()
    closeFd(fd)
    resolve(answer)
  }
  const timer = setTimeout(() => finish(undefined), stepTimeoutMs)
  const attempt = (action: () => void) => {
    try {
      action()
    } catch {
      // Refused or unreachable: the kernel tells by an error on the socket. The next one is asked.
      finish(undefined)
    }
  }
  const watch = watchReadable(fd, () =>
    attempt(() => {
      receiver ??= new DatagramReceiver(udpBytesMax)
      for (const { data } of receiver.receive(fd)) {
        if (answers(data, message, questionEnd)) return finish(Buffer.from(data))
      }
    }),
  )
  attempt(() => sendDatagrams(fd, [{ data: message, to: encodeSocketAddress(address, dnsPort) }]))
  return { answer: promise, cancel: () => finish(undefined) }
}

export function exchangeTcp(
  ns: Netns,
  address: string,
  message: Buffer,
  questionEnd: number,
): Exchange {
  const { promise, resolve } = Promise.withResolvers<Buffer | undefined>()
  const socket = new Socket({ fd: startTcpIn(ns, address, dnsPort) })
  const finish = (answer: Buffer | undefined) => {
    clearTimeout(timer)
    socket.destroy()
    resolve(answer)
  }
  let timer = setTimeout(() => finish(undefined), stepTimeoutMs)
  let received: Buffer = Buffer.alloc(0)
  socket.on('error', () => finish(undefined))
  socket.on('close', () => finish(undefined))
  socket.on('data', (chunk) => {
    received = Buffer.concat([received, chunk])
    if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return
    const answer = received.subarray(2, 2 + received.readUInt16BE(0))
    finish(answers(answer, message, questionEnd) ? answer : undefined)
  })
  socket.write(frameTcp(message), () => {
    // The kernel took the bytes: the connection stands.
    clearTimeout(timer)
    if (!socket.destroyed) timer = setTimeout(() => finish(undefined), stepTimeoutMs)
  })
  return { answer: promise, cancel: () => finish(undefined) }
}

/** A message as TCP carries it: length first. */
export function frameTcp(message: Buffer): Buffer {
  const framed = Buffer.allocUnsafe(2 + message.length)
  framed.writeUInt16BE(message.length, 0)
  message.copy(framed, 2)
  return framed
}
