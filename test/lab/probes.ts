/**
 * Packets sent all the while, one way and as connections, and real listeners that count what
 * arrives. All sockets are this process's own, in the namespaces of others.
 */
import { createSocket } from 'node:dgram'
import { createServer } from 'node:net'
import { closeFd, libcCalls } from '../../src/kernel/ffi.ts'
import { openNetns, type Netns } from '../../src/kernel/netns.ts'
import { connectUdpIn, listenIn, startTcpIn } from '../../src/kernel/socket.ts'
import { sleep } from './lab.ts'

export interface Path {
  readonly name: string
  /** Namespace and address from where to where. */
  readonly from: string
  readonly to: string
  readonly port: number
  /** Who listens, and on which port, when that is another one. */
  readonly at: string
  readonly listens?: number
}

/** Between two rounds of packets on all paths. */
const roundMs = 15
/** A connection that is not there after so many rounds is given up. */
const roundsPerConnection = 12

/** How often each path was gone: datagrams that arrived, and connections that stood. */
export class Probes {
  readonly #counts = new Map<string, number>()
  readonly #spaces = new Map<string, Netns>()
  readonly #closers: (() => void)[] = []
  #stopped = false

  arrived(name: string): number {
    return this.#counts.get(name) ?? 0
  }

  /** Names of the paths by which anything came. */
  get gone(): readonly string[] {
    return [...this.#counts.keys()].sort()
  }

  /** A second of packets on every path, over and over, until `stop`. */
  async run(paths: readonly Path[]): Promise<void> {
    for (const path of paths) this.#listen(path)
    const senders = paths.map((path) => this.#sender(path))
    for (let round = 0; !this.#stopped; round++) {
      for (const send of senders) send(round)
      await sleep(roundMs)
    }
    for (const close of this.#closers) close()
    for (const ns of this.#spaces.values()) ns.close()
  }

  stop(): void {
    this.#stopped = true
  }

  #count(name: string): void {
    this.#counts.set(name, this.arrived(name) + 1)
  }

  #space(path: string): Netns {
    const ns = this.#spaces.get(path) ?? openNetns(path)
    this.#spaces.set(path, ns)
    return ns
  }

  #listen({ name, at, port, listens = port }: Path): void {
    const ns = this.#space(at)
    const options = { address: '::', port: listens, v6Only: false } as const
    const udp = createSocket('udp6')
    udp.bind({ fd: listenIn(ns, { protocol: 'udp', ...options }).fd })
    udp.on('message', () => this.#count(name))
    const tcp = createServer((client) => {
      this.#count(name)
      client.resetAndDestroy()
    })
    tcp.listen({ fd: listenIn(ns, { protocol: 'tcp', ...options }).fd })
    this.#closers.push(() => udp.close(), () => tcp.close())
  }

  /** What has no route yet, or not any more, is tried again in the next round. */
  #sender({ from, to, port }: Path): (round: number) => void {
    const ns = this.#space(from)
    const datagram = Buffer.from('x')
    let udp: number | undefined
    let tcp: number | undefined
    const quietly = (open: () => number): number | undefined => {
      try {
        return open()
      } catch {
        return undefined // unreachable is as good as dropped
      }
    }
    this.#closers.push(() => {
      for (const fd of [udp, tcp]) if (fd !== undefined) closeFd(fd)
    })
    return (round) => {
      udp ??= quietly(() => connectUdpIn(ns, to, port).fd)
      if (udp !== undefined) libcCalls.send(udp, datagram, 1, 0x4000)
      if (round % roundsPerConnection !== 0) return
      if (tcp !== undefined) closeFd(tcp)
      tcp = quietly(() => startTcpIn(ns, to, port))
    }
  }
}
