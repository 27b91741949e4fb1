/**
 * The UDP half of the relay: each client gets a socket of its own towards the container, so that
 * answers find their way back, from the address that it had asked. A flow ends after 90 seconds
 * without a datagram, as in Docker.
 */
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import type { ReadinessSet } from '../kernel/epoll.ts'
import { closeFd, libcCalls } from '../kernel/ffi.ts'
import { homeNetns } from '../kernel/netns.ts'
import { AddressedDatagrams, type AddressedDatagram } from '../kernel/pktinfo.ts'
import { connectUdpIn, decodeSocketAddress } from '../kernel/socket.ts'
import type { PortHold } from './client.ts'
import type { PortHolds } from './relay-tcp.ts'
import { RelaySources } from './relay-sources.ts'

const idleMs = 90_000
const sweepMs = 10_000
/** Clients at once on one port; a new one beyond that is not served until an old one is idle. */
const flowsMax = 4096
/** Taken from one socket in a turn, so that a flood on it does not starve the others. */
const datagramsPerTurn = 64
const MSG_DONTWAIT = 0x40

interface Flow {
  readonly fd: number
  /** The client's raw socket address. */
  readonly client: Buffer
  /** The address of ours that the client talks to. */
  readonly local: Buffer
  usedAtMs: number
}

export class UdpRelay {
  readonly #ready: ReadinessSet
  readonly #sources = new RelaySources()
  /** Descriptor of a published port → flows by client. */
  readonly #flows = new Map<number, Map<string, Flow>>()
  readonly #datagrams = new AddressedDatagrams()
  #sweep: NodeJS.Timeout | undefined
  readonly #idleMs: number

  /** @param flowIdleMs shorter in tests only */
  constructor(ready: ReadinessSet, flowIdleMs = idleMs) {
    this.#ready = ready
    this.#idleMs = flowIdleMs
  }

  /** Takes what waits on the descriptor of a published port. */
  serve(fd: number, holds: PortHolds): void {
    const hold = [...holds.values()][0]
    try {
      for (let i = 0; i < datagramsPerTurn; i++) {
        const received = this.#datagrams.receive(fd)
        if (received === undefined) return
        const flow = hold?.relay === true ? this.#flow(fd, hold, received) : undefined
        if (flow === undefined) continue
        flow.usedAtMs = performance.now()
        // A datagram that the container does not take now is lost, as datagrams are.
        libcCalls.send(flow.fd, received.data, received.data.length, MSG_DONTWAIT)
      }
    } catch (error) {
      // An ICMP error for an earlier answer; the socket itself is fine.
      log.debug('udp relay', { port: hold?.hostPort, error: messageOf(error) })
    }
  }

  /** Ends the flows of a port that is published no more, or for another container. */
  forget(fd: number): void {
    for (const flow of this.#flows.get(fd)?.values() ?? []) this.#end(flow)
    this.#flows.delete(fd)
  }

  close(): void {
    for (const fd of [...this.#flows.keys()]) this.forget(fd)
    clearInterval(this.#sweep)
  }

  #flow(fd: number, hold: PortHold, { from, local }: AddressedDatagram): Flow | undefined {
    const flows = this.#flows.get(fd) ?? new Map<string, Flow>()
    this.#flows.set(fd, flows)
    const key = flowKey(from, local)
    const known = flows.get(key)
    if (known !== undefined) return known
    if (flows.size >= flowsMax) return undefined
    const source = decodeSocketAddress(from)
    if (!this.#sources.accepts(hold, source.address, source.link)) return undefined
    const flow = this.#open(fd, hold, from, local)
    if (flow !== undefined) flows.set(key, flow)
    return flow
  }

  #open(fd: number, hold: PortHold, client: Buffer, local: Buffer): Flow | undefined {
    try {
      const socket = connectUdpIn(homeNetns(), hold.containerIp, hold.containerPort)
      const flow: Flow = { fd: socket.fd, client, local, usedAtMs: performance.now() }
      this.#ready.add(socket.fd, () => this.#answer(fd, flow))
      this.#sweep ??= setInterval(() => this.#dropIdle(), Math.min(sweepMs, this.#idleMs))
      this.#sweep.unref()
      return flow
    } catch (error) {
      log.warn('udp relay cannot reach a container', { error: messageOf(error) })
      return undefined
    }
  }

  #answer(portFd: number, flow: Flow): void {
    try {
      for (let i = 0; i < datagramsPerTurn; i++) {
        const received = this.#datagrams.receive(flow.fd)
        if (received === undefined) return
        flow.usedAtMs = performance.now()
        this.#datagrams.send(portFd, received.data, flow.client, flow.local)
      }
    } catch (error) {
      // The container refuses: nothing listens there now. The next datagram opens a new flow.
      log.debug('udp relay', { error: messageOf(error) })
      this.#drop(portFd, flow)
    }
  }

  #dropIdle(): void {
    const before = performance.now() - this.#idleMs
    for (const [fd, flows] of this.#flows) {
      for (const flow of flows.values()) if (flow.usedAtMs < before) this.#drop(fd, flow)
    }
  }

  #drop(portFd: number, flow: Flow): void {
    if (this.#flows.get(portFd)?.delete(flowKey(flow.client, flow.local))) this.#end(flow)
  }

  #end(flow: Flow): void {
    this.#ready.remove(flow.fd)
    closeFd(flow.fd)
  }
}

const flowKey = (client: Buffer, local: Buffer) =>
  `${client.toString('latin1')} ${local.toString('latin1')}`
