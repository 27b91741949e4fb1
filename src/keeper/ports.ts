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

/** One socket, for one host address or for every address of both families. */
interface Held {
  readonly fd: number
  readonly protocol: PortHold['protocol']
  /** What it stands for, by family of the host address. */
  readonly holds: Map<4 | 6, PortHold>
}

export class PortHolder {
  readonly #ready = new ReadinessSet()
  readonly #endpoints = new Map<string, ReadonlyMap<string, Held>>()
  readonly #tcp = new TcpRelay()
  readonly #udp = new UdpRelay(this.#ready)

  /** What is held, per endpoint. */
  get snapshot(): ReadonlyMap<string, readonly PortHold[]> {
    return new Map([...this.#endpoints].map(([id, held]) =>
      [id, [...new Set(held.values())].flatMap(({ holds }) => [...holds.values()])]))
  }

  /** Replaces the ports of an endpoint; refuses with Docker's sentences, then nothing changed. */
  async hold(endpointId: string, ports: readonly PortHold[]): Promise<void> {
    const before = this.#endpoints.get(endpointId) ?? new Map<string, Held>()
    const after = new Map<string, Held>()
    const opened: Held[] = []
    const wanted = new Map(ports.map((port) => [keyOf(port), port]))
    try {
      for (const port of ports) {
        const key = keyOf(port)
        if (wanted.get(key) !== port) throw takenTwice(port)
        if (after.has(key)) continue
        const kept = before.get(key)
        const held = kept ?? this.#open(port, twinOf(port, wanted, before), ports)
        if (kept === undefined) opened.push(held)
        for (const hold of kept === undefined ? held.holds.values() : [port]) {
          after.set(keyOf(hold), held)
        }
      }
    } catch (error) {
      for (const held of opened) this.#close(held)
      throw error
    }
    const stays = Map.groupBy(ports, (port) => after.get(keyOf(port)))
    for (const held of new Set(before.values())) if (!stays.has(held)) this.#close(held)
    for (const [held, served] of stays) if (held !== undefined) this.#assign(held, served)
    if (after.size === 0) this.#endpoints.delete(endpointId)
    else this.#endpoints.set(endpointId, after)
  }

  release(endpointId: string): void {
    for (const held of new Set(this.#endpoints.get(endpointId)?.values())) this.#close(held)
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

  /** A socket that now stands for something else ends what goes on by it. */
  #assign(held: Held, ports: readonly PortHold[]): void {
    const before = [...held.holds.values()].map(targetOf)
    if (before.some((target) => !ports.some((port) => targetOf(port) === target))) {
      this.#relayOf(held).forget(held.fd)
    }
    held.holds.clear()
    for (const port of ports) held.holds.set(familyOf(port.hostIp), port)
  }

  #relayOf({ protocol }: Held): TcpRelay | UdpRelay {
    return protocol === 'udp' ? this.#udp : this.#tcp
  }

  #open(port: PortHold, twin: PortHold | undefined, all: readonly PortHold[]): Held {
    const both = twin === undefined ? undefined : bindBoth(port)
    const holds = new Map([[familyOf(port.hostIp), port]])
    if (twin !== undefined && both !== undefined) holds.set(familyOf(twin.hostIp), twin)
    const { protocol } = port
    const held: Held = { fd: both ?? bindPort(port, all), protocol, holds }
    const relay = this.#relayOf(held)
    this.#ready.add(held.fd, () => relay.serve(held.fd, held.holds))
    return held
  }

  #close(held: Held): void {
    this.#ready.remove(held.fd)
    this.#relayOf(held).forget(held.fd)
    closeFd(held.fd)
  }
}

const targetOf = ({ hostIp, containerIp, containerPort, relay }: PortHold) =>
  `${hostIp} ${containerIp} ${containerPort} ${relay}`

const familyOf = (address: string): 4 | 6 => (address.includes(':') ? 6 : 4)

/**
 * The same port on every address of the other family, if it is new as well: one socket serves both,
 * which halves the descriptors of what is published without an address.
 */
function twinOf(
  port: PortHold,
  wanted: ReadonlyMap<string, PortHold>,
  before: ReadonlyMap<string, Held>,
): PortHold | undefined {
  const other = { '0.0.0.0': '::', '::': '0.0.0.0' }[port.hostIp]
  if (other === undefined || port.protocol !== 'tcp') return undefined
  const key = keyOf({ ...port, hostIp: other })
  return before.has(key) ? undefined : wanted.get(key)
}

/** undefined when it cannot be: bound one by one it shows which of the two is refused. */
function bindBoth({ protocol, hostPort }: PortHold): number | undefined {
  try {
    return listenIn(homeNetns(), { protocol, address: '::', port: hostPort, v6Only: false }).fd
  } catch (error) {
    if (isKernelError(error)) return undefined
    throw error
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
    const failed = `error starting userland proxy: failed to listen on ${where}`
    return new Refusal('internal', `${failed}: protocol not supported`, { cause: error })
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
