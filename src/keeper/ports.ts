/**
 * Holds the published ports: one bound socket each, so that no other program of the host can take
 * them, and a relay behind it for what address translation does not reach.
 *
 * All sockets of the keeper share one epoll descriptor: a port that nobody uses costs a descriptor
 * and a map entry. Every set of an endpoint is taken whole or not at all.
 */
import { Refusal, messageOf } from '../base/refusal.ts'
import { ReadinessSet } from '../kernel/epoll.ts'
import { isKernelError } from '../kernel/error.ts'
import { closeFd } from '../kernel/ffi.ts'
import { homeNetns } from '../kernel/netns.ts'
import { tellLocalAddress } from '../kernel/pktinfo.ts'
import { listenIn } from '../kernel/socket.ts'
import type { PortHold } from './client.ts'
import { TcpRelay } from './relay-tcp.ts'
import { UdpRelay } from './relay-udp.ts'

interface Held {
  hold: PortHold
  readonly fd: number
}

export class PortHolder {
  readonly #ready = new ReadinessSet()
  readonly #endpoints = new Map<string, Map<string, Held>>()
  readonly #tcp = new TcpRelay()
  readonly #udp = new UdpRelay(this.#ready)

  /** What is held, per endpoint. */
  get snapshot(): ReadonlyMap<string, readonly PortHold[]> {
    return new Map([...this.#endpoints].map(([id, held]) =>
      [id, [...held.values()].map(({ hold }) => hold)]))
  }

  /** Replaces the ports of an endpoint; refuses with Docker's sentences, then nothing changed. */
  async hold(endpointId: string, ports: readonly PortHold[]): Promise<void> {
    const before = this.#endpoints.get(endpointId) ?? new Map<string, Held>()
    const after = new Map<string, Held>()
    const opened: Held[] = []
    try {
      for (const port of ports) {
        const key = keyOf(port)
        if (after.has(key)) throw takenTwice(port)
        const kept = before.get(key)
        const held = kept ?? this.#open(port, ports)
        if (kept === undefined) opened.push(held)
        after.set(key, held)
      }
    } catch (error) {
      for (const held of opened) this.#close(held)
      throw error
    }
    for (const [key, held] of before) if (!after.has(key)) this.#close(held)
    for (const port of ports) {
      const held = after.get(keyOf(port))
      if (held !== undefined) held.hold = port
    }
    if (after.size === 0) this.#endpoints.delete(endpointId)
    else this.#endpoints.set(endpointId, after)
  }

  release(endpointId: string): void {
    for (const held of this.#endpoints.get(endpointId)?.values() ?? []) this.#close(held)
    this.#endpoints.delete(endpointId)
  }

  releaseAll(): void {
    for (const endpointId of [...this.#endpoints.keys()]) this.release(endpointId)
  }

  /** Lets go of everything; the holder cannot be used again. */
  close(): void {
    this.releaseAll()
    this.#udp.close()
    this.#ready.close()
  }

  #open(port: PortHold, all: readonly PortHold[]): Held {
    const held = { hold: port, fd: bindPort(port, all) }
    const { fd } = held
    const relay = port.protocol === 'udp' ? this.#udp : this.#tcp
    this.#ready.add(fd, () => relay.serve(fd, held.hold))
    return held
  }

  #close(held: Held): void {
    this.#ready.remove(held.fd)
    const relay = held.hold.protocol === 'udp' ? this.#udp : this.#tcp
    relay.forget(held.fd)
    closeFd(held.fd)
  }
}

const keyOf = (port: PortHold) => `${port.protocol} ${port.hostIp} ${port.hostPort}`

/** `[::]:80`, `0.0.0.0:80`. */
const shown = (address: string, port: number) =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`

function bindPort(port: PortHold, all: readonly PortHold[]): number {
  const { protocol, hostIp, hostPort } = port
  try {
    const { fd } = listenIn(homeNetns(), { protocol, address: hostIp, port: hostPort })
    if (protocol === 'udp') tellLocalAddress(fd, hostIp.includes(':') ? 6 : 4)
    return fd
  } catch (error) {
    throw refusalOf(error, port, all)
  }
}

/** Docker's words for what the kernel refused. */
function refusalOf(error: unknown, port: PortHold, all: readonly PortHold[]): Refusal {
  const { protocol, hostIp, hostPort } = port
  if (isKernelError(error, 'EPROTONOSUPPORT', 'ESOCKTNOSUPPORT')) {
    const where = shown(hostIp, hostPort)
    const sentence = `error starting userland proxy: failed to listen on ${where}: protocol not supported`
    return new Refusal('internal', sentence, { cause: error })
  }
  if (isKernelError(error, 'EADDRINUSE') && all.some((other) => overlap(port, other))) {
    return takenTwice(port)
  }
  const target = `${shown(port.containerIp, port.containerPort)}/${protocol}`
  const reason = isKernelError(error) ? error.reason : messageOf(error)
  const sentence = `failed to bind host port for ${shown(hostIp, hostPort)}:${target}: ${reason}`
  return new Refusal('internal', sentence, { cause: error })
}

/** The same port asked for twice by one container. */
function takenTwice(port: PortHold): Refusal {
  const what = `${port.protocol.toUpperCase()} socket`
  return new Refusal('internal', `failed to listen on ${what}: address already in use`)
}

function overlap(a: PortHold, b: PortHold): boolean {
  if (a === b || a.protocol !== b.protocol || a.hostPort !== b.hostPort) return false
  if (a.hostIp.includes(':') !== b.hostIp.includes(':')) return false
  const everywhere = ['0.0.0.0', '::']
  return a.hostIp === b.hostIp || everywhere.includes(a.hostIp) || everywhere.includes(b.hostIp)
}
