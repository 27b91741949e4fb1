/**
 * The UDP half of the relay: each client gets a socket of its own towards the container, so that
 * answers find their way back. A flow ends after 90 seconds without a datagram, as in Docker.
 */
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { DatagramReceiver, sendDatagrams } from '../kernel/datagrams.ts'
import type { ReadinessSet } from '../kernel/epoll.ts'
import { closeFd, libcCalls } from '../kernel/ffi.ts'
import { homeNetns } from '../kernel/netns.ts'
import { connectUdpIn, decodeSocketAddress } from '../kernel/socket.ts'
import type { PortHold } from './client.ts'
import { RelaySources } from './relay-sources.ts'

const idleMs = 90_000
const sweepMs = 10_000
/** Clients at once on one port; a new one beyond that is not served until an old one is idle. */
const flowsMax = 4096
/** The longest datagram that UDP can carry. */
const datagramBytesMax = 65_507
const MSG_DONTWAIT = 0x40

interface Flow {
  readonly fd: number
  /** The client's raw socket address. */
  readonly client: Buffer
  usedAtMs: number
}

export class UdpRelay {
  readonly #ready: ReadinessSet
  readonly #sources = new RelaySources()
  /** Descriptor of a published port → flows by client. */
  readonly #flows = new Map<number, Map<string, Flow>>()
  /** 4 MiB, made when the first datagram comes. */
  #receiver: DatagramReceiver | undefined
  #sweep: NodeJS.Timeout | undefined
  readonly #idleMs: number

  /** @param flowIdleMs shorter in tests only */
  constructor(ready: ReadinessSet, flowIdleMs = idleMs) {
    this.#ready = ready
    this.#idleMs = flowIdleMs
  }

  /** Takes what waits on the descriptor of a published port. */
  serve(fd: number, hold: PortHold): void {
    this.#receiver ??= new DatagramReceiver(datagramBytesMax)
    let received: ReturnType<DatagramReceiver['receive']>
    try {
      received = this.#receiver.receive(fd)
    } catch (error) {
      // An ICMP error for an earlier answer; the socket itself is fine.
      log.debug('udp relay', { port: hold.hostPort, error: messageOf(error) })
      return
    }
    for (const { data, from } of received) {
      const flow = hold.relay ? this.#flow(fd, hold, from) : undefined
      if (flow === undefined) continue
      flow.usedAtMs = performance.now()
      // A datagram that the container does not take now is lost, as datagrams are.
      libcCalls.send(flow.fd, data, data.length, MSG_DONTWAIT)
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

  #flow(fd: number, hold: PortHold, from: Buffer): Flow | undefined {
    const flows = this.#flows.get(fd) ?? new Map<string, Flow>()
    this.#flows.set(fd, flows)
    const key = from.toString('latin1')
    const known = flows.get(key)
    if (known !== undefined) return known
    if (flows.size >= flowsMax) return undefined
    if (!this.#sources.accepts(hold, decodeSocketAddress(from).address)) return undefined
    const flow = this.#open(fd, hold, Buffer.from(from))
    if (flow !== undefined) flows.set(key, flow)
    return flow
  }

  #open(fd: number, hold: PortHold, client: Buffer): Flow | undefined {
    try {
      const socket = connectUdpIn(homeNetns(), hold.containerIp, hold.containerPort)
      const flow: Flow = { fd: socket.fd, client, usedAtMs: performance.now() }
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
      const received = this.#receiver?.receive(flow.fd) ?? []
      if (received.length === 0) return
      flow.usedAtMs = performance.now()
      sendDatagrams(portFd, received.map(({ data }) => ({ data, to: flow.client })))
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
    if (this.#flows.get(portFd)?.delete(flow.client.toString('latin1'))) this.#end(flow)
  }

  #end(flow: Flow): void {
    this.#ready.remove(flow.fd)
    closeFd(flow.fd)
  }
}
