/**
 * The name server of one sandbox: UDP and TCP on 127.0.0.11 inside its network namespace.
 *
 * It listens on random ports; a small nft table of our own in the namespace leads port 53 of that
 * address to them, so that a program in the container can still bind port 53 itself. Where there is
 * no nftables, it listens on port 53 of that address, and a container cannot bind that port of all
 * addresses. After `close` no descriptor of ours is in the namespace, which can then end.
 */
import { createServer, type Server, type Socket } from 'node:net'
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import {
  batchSize,
  DatagramReceiver,
  sendDatagrams,
  type OutgoingDatagram,
} from '../kernel/datagrams.ts'
import { closeFd } from '../kernel/ffi.ts'
import { isKernelError } from '../kernel/error.ts'
import { openNetns, type Netns } from '../kernel/netns.ts'
import { nft } from '../kernel/nftables.ts'
import { watchReadable, type ReadinessWatch } from '../kernel/readiness.ts'
import { listenIn, type BoundSocket } from '../kernel/socket.ts'
import { frameTcp } from '../names/exchange.ts'
import { Forwarder } from '../names/forwarder.ts'
import { resolverAddress } from '../names/resolvconf.ts'
import { Resolver } from '../names/resolver.ts'
import { truncateAnswer } from '../names/wire.ts'
import type { Zones } from '../names/zones.ts'
import type { ResolverSpec } from './client.ts'
import type { ResolverPorts } from './protocol.ts'

/** Batches read at one go; then other sandboxes have their turn. */
const batchesMax = 4
/** Connections of one container; a resolver library needs one. */
const connectionsMax = 256
const connectionIdleMs = 10_000

/** All sandboxes read through one: its content is used up before the next event. */
let receiver: DatagramReceiver | undefined

/** Answers of one batch: sent before the next is read, so they need no memory of their own. */
const arena = Buffer.alloc(64 * 1024)
let arenaUsed = 0

function fromArena(bytes: number): Buffer {
  if (arenaUsed + bytes > arena.length) return Buffer.allocUnsafe(bytes)
  arenaUsed += bytes
  return arena.subarray(arenaUsed - bytes, arenaUsed)
}

export class SandboxDns {
  readonly #resolver: Resolver
  readonly #forwarder: Forwarder
  readonly #udp: BoundSocket
  readonly #watch: ReadinessWatch
  readonly #server: Server
  readonly #connections = new Set<Socket>()
  readonly netnsPath: string
  readonly #inode: number
  readonly ports: ResolverPorts
  #closed = false

  /** `wanted`: the ports it had before a restart; 0 or taken: others are chosen. */
  constructor(spec: ResolverSpec, zones: Zones, wanted: ResolverPorts) {
    this.netnsPath = spec.netnsPath
    this.#resolver = new Resolver(zones, spec)
    this.#forwarder = new Forwarder(spec.netnsPath, spec)
    const ns = openNetns(spec.netnsPath)
    let opened: Listening | undefined
    try {
      this.#inode = ns.inode
      opened = openListening(ns, wanted)
      const { udp, tcp } = opened
      this.#udp = udp
      this.ports = { udp: udp.port, tcp: tcp.port }
      this.#watch = watchReadable(this.#udp.fd, () => survive(() => this.#readable()))
      this.#server = createServer((connection) => this.#serve(connection))
      this.#server.maxConnections = connectionsMax
      this.#server.on('error', (error) => log.warn('name server', { error: messageOf(error) }))
      this.#server.listen({ fd: tcp.fd })
    } catch (error) {
      if (opened !== undefined) closeBoth(opened)
      throw error
    } finally {
      ns.close()
    }
  }

  /** New networks, links or servers; the sockets stay. */
  update(spec: ResolverSpec): void {
    this.#resolver.view = spec
    this.#forwarder.spec = spec
  }

  /** Whether the path still leads to the namespace that the sockets are in. */
  isIn(netnsPath: string): boolean {
    if (netnsPath !== this.netnsPath) return false
    const ns = openNetns(netnsPath)
    ns.close()
    return ns.inode === this.#inode
  }

  /** `keepNamespace`: the container goes on without names, so the redirect is taken out too. */
  close(keepNamespace: boolean): void {
    if (this.#closed) return
    this.#closed = true
    this.#watch.close()
    closeFd(this.#udp.fd)
    this.#server.close()
    for (const connection of this.#connections) connection.destroy()
    this.#forwarder.close()
    if (keepNamespace) removeRedirect(this.netnsPath)
  }

  #readable(): void {
    receiver ??= new DatagramReceiver()
    for (let batch = 0; batch < batchesMax && !this.#closed; batch++) {
      const received = receiver.receive(this.#udp.fd)
      const answers: OutgoingDatagram[] = []
      arenaUsed = 0
      for (const { data, from } of received) {
        const outcome = this.#resolver.resolve(data, 'udp', fromArena)
        if (outcome.kind === 'answer') answers.push({ data: outcome.message, to: from })
        if (outcome.kind !== 'forward') continue
        const { query } = outcome
        const to = Buffer.from(from)
        const forwarded = this.#forwarder.forward(Buffer.from(data), query, 'udp')
        void forwarded.then((answer) => {
          const fits = answer.length <= query.udpBytesMax
          this.#send([{ data: fits ? answer : truncateAnswer(answer), to }])
        }, complain)
      }
      this.#send(answers)
      if (received.length < batchSize) return
    }
  }

  /** What the kernel does not take is lost, as datagrams may be: the client asks again. */
  #send(answers: readonly OutgoingDatagram[]): void {
    for (let from = 0; from < answers.length && !this.#closed; ) {
      try {
        const sent = sendDatagrams(this.#udp.fd, answers.slice(from, from + batchSize))
        if (sent === 0) return
        from += sent
      } catch (error) {
        log.debug('answer not sent', { error: messageOf(error) })
        from++
      }
    }
  }

  #serve(connection: Socket): void {
    this.#connections.add(connection)
    connection.setTimeout(connectionIdleMs, () => connection.destroy())
    connection.on('error', () => connection.destroy())
    connection.on('close', () => this.#connections.delete(connection))
    let waiting: Buffer = Buffer.alloc(0)
    connection.on('data', (chunk) => {
      waiting = waiting.length === 0 ? chunk : Buffer.concat([waiting, chunk])
      while (waiting.length >= 2 && waiting.length >= 2 + waiting.readUInt16BE(0)) {
        const end = 2 + waiting.readUInt16BE(0)
        const message = waiting.subarray(2, end)
        survive(() => this.#answerTcp(connection, message))
        waiting = waiting.subarray(end)
      }
    })
  }

  #answerTcp(connection: Socket, message: Buffer): void {
    const reply = (answer: Buffer) => {
      if (connection.writable) connection.write(frameTcp(answer))
    }
    const outcome = this.#resolver.resolve(message, 'tcp')
    if (outcome.kind === 'answer') reply(outcome.message)
    else if (outcome.kind === 'drop') connection.destroy()
    else {
      const forwarded = this.#forwarder.forward(Buffer.from(message), outcome.query, 'tcp')
      void forwarded.then(reply, complain)
    }
  }
}

function listen(ns: Netns, protocol: 'udp' | 'tcp', port: number): BoundSocket {
  const options = { protocol, address: resolverAddress } as const
  try {
    return listenIn(ns, { ...options, port })
  } catch (error) {
    if (port === 0 || !isKernelError(error, 'EADDRINUSE')) throw error
    return listenIn(ns, { ...options, port: 0 })
  }
}

/** A packet of one container must never end the process that serves them all. */
function survive(action: () => void): void {
  try {
    action()
  } catch (error) {
    complain(error)
  }
}

function complain(error: unknown): void {
  log.error('a query was not answered', { error: messageOf(error) })
}

interface Listening {
  readonly udp: BoundSocket
  readonly tcp: BoundSocket
}

const dnsPort = 53
let complained = false

/** On the wanted ports or others, with port 53 led there; or on port 53 itself. */
function openListening(ns: Netns, wanted: ResolverPorts): Listening {
  const free = (port: number) => (port === dnsPort ? 0 : port)
  const listening = both(
    () => listen(ns, 'udp', free(wanted.udp)),
    () => listen(ns, 'tcp', free(wanted.tcp)),
  )
  try {
    nft(ns, redirectTable({ udp: listening.udp.port, tcp: listening.tcp.port }))
    return listening
  } catch (error) {
    closeBoth(listening)
    if (!isKernelError(error)) throw error
    const direct = onPort53(ns, error)
    if (!complained) {
      log.warn('containers with a resolver cannot bind port 53 of all addresses', {
        reason: messageOf(error),
      })
    }
    complained = true
    return direct
  }
}

/** @param reason why it cannot be led elsewhere; thrown where the container has the port itself */
function onPort53(ns: Netns, reason: Error): Listening {
  const options = { address: resolverAddress, port: dnsPort } as const
  const at = (protocol: 'udp' | 'tcp') => listenIn(ns, { ...options, protocol })
  try {
    return both(() => at('udp'), () => at('tcp'))
  } catch (error) {
    if (isKernelError(error, 'EADDRINUSE')) throw reason
    throw error
  }
}

/** Both sockets, or none. */
function both(udp: () => BoundSocket, tcp: () => BoundSocket): Listening {
  const first = udp()
  try {
    return { udp: first, tcp: tcp() }
  } catch (error) {
    closeFd(first.fd)
    throw error
  }
}

function closeBoth({ udp, tcp }: Listening): void {
  for (const { fd } of [udp, tcp]) closeFd(fd)
}

/** One transaction; replaces the table of a keeper before this one. */
function redirectTable(ports: ResolverPorts): string {
  return `add table ip docker-dns
delete table ip docker-dns
table ip docker-dns {
  chain dns-dnat {
    type nat hook output priority -100; policy accept;
    ip daddr ${resolverAddress} udp dport 53 dnat to ${resolverAddress}:${ports.udp}
    ip daddr ${resolverAddress} tcp dport 53 dnat to ${resolverAddress}:${ports.tcp}
  }
}
`
}

function removeRedirect(netnsPath: string): void {
  try {
    const ns = openNetns(netnsPath)
    try {
      nft(ns, 'add table ip docker-dns\ndelete table ip docker-dns\n')
    } finally {
      ns.close()
    }
  } catch (error) {
    // The namespace is gone, and the table with it.
    log.debug('redirect not removed', { path: netnsPath, error: messageOf(error) })
  }
}
