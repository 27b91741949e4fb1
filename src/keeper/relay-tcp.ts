/**
 * The TCP half of the relay: accepts, connects to the container, copies both ways; each side's
 * end of data is passed on alone, an error ends both once the client has what came before it. A
 * source that the firewall's rules would not let in is reset. SCTP ports are only held: their
 * connections are reset too.
 */
import { connect, Socket } from 'node:net'
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { acceptConnection } from '../kernel/epoll.ts'
import type { PortHold } from './client.ts'
import { RelaySources } from './relay-sources.ts'

/** Connections at once over all ports: two descriptors and about 20 KiB each. */
const connectionsMax = 16_384
/** Taken from one port in a turn, so that a flood on it does not starve the others. */
const acceptsPerTurn = 64
/** A container that does not answer its own host. */
const connectTimeoutMs = 10_000
/** A client that does not take the rest of what it was sent. */
const restTimeoutMs = 10_000

/** What one socket stands for, by family of the host address. */
export type PortHolds = ReadonlyMap<4 | 6, PortHold>

/** How an IPv4 client appears on a socket of both families. */
const mapped = /^::ffff:(?=\d+\.)/

export class TcpRelay {
  readonly #sources = new RelaySources()
  /** Listening descriptor → the clients' ends that came by it. */
  readonly #clients = new Map<number, Set<Socket>>()
  #open = 0

  /** Takes what waits on a listening descriptor. */
  serve(fd: number, holds: PortHolds): void {
    for (let i = 0; i < acceptsPerTurn; i++) {
      const accepted = this.#next(fd)
      if (accepted === undefined) return
      const client = new Socket({ fd: accepted.fd, allowHalfOpen: true })
      client.on('error', () => client.destroy())
      const source = accepted.from.address.replace(mapped, '')
      const hold = holds.get(source.includes(':') ? 6 : 4)
      const served = hold?.relay && hold.protocol === 'tcp' &&
        this.#open < connectionsMax && this.#sources.accepts(hold, source, accepted.from.link)
      if (served) this.#relay(fd, client, hold)
      else client.resetAndDestroy()
    }
  }

  /** Ends the connections that came by this descriptor: its port is published no more. */
  forget(fd: number): void {
    for (const client of this.#clients.get(fd) ?? []) client.destroy()
    this.#clients.delete(fd)
  }

  #next(fd: number): ReturnType<typeof acceptConnection> {
    try {
      return acceptConnection(fd)
    } catch (error) {
      // Out of descriptors, most likely: those who wait are taken when some are free again.
      log.warn('a published port cannot accept', { error: messageOf(error) })
      return undefined
    }
  }

  #relay(fd: number, client: Socket, hold: PortHold): void {
    const upstream = connect({
      host: hold.containerIp, port: hold.containerPort, allowHalfOpen: true,
    })
    const clients = this.#clients.get(fd) ?? new Set<Socket>()
    this.#clients.set(fd, clients)
    clients.add(client)
    this.#open++
    upstream.setNoDelay(true)
    client.setNoDelay(true)
    upstream.setTimeout(connectTimeoutMs, () => upstream.destroy())
    let isConnected = false
    upstream.on('connect', () => {
      isConnected = true
      upstream.setTimeout(0)
    })
    // Refused by the container is refused to the client, in the same way.
    upstream.on('error', () => {
      if (!isConnected) client.resetAndDestroy()
    })
    // A reset would take from the client what it has not read yet.
    upstream.on('close', () => {
      client.setTimeout(restTimeoutMs, () => client.destroy())
      client.destroySoon()
    })
    client.on('close', () => {
      upstream.destroy()
      this.#open--
      clients.delete(client)
    })
    client.pipe(upstream)
    upstream.pipe(client)
  }
}
