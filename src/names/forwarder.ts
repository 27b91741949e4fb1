/**
 * Asks upstream servers what a sandbox's own names do not answer.
 *
 * Up to three servers in order, by the transport that the client used, the query as it came. A
 * server that fails or refuses is passed over; «no such name» and empty answers are final. Servers
 * of the host's resolv.conf are asked from the host's namespace, the user's own from the
 * container's. A bounded number of questions runs at a time, a bounded number waits.
 */
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { homeNetns, openNetns } from '../kernel/netns.ts'
import { exchangeTcp, exchangeUdp, type Exchange } from './exchange.ts'
import { failure, overload } from './resolver.ts'
import { resolverAddress } from './resolvconf.ts'
import { answerCode, rcode, type Query } from './wire.ts'

export interface UpstreamSpec {
  readonly upstreams: readonly { readonly address: string; readonly fromHost: boolean }[]
  /** False: every network is internal, so the host's namespace is not used. */
  readonly hostUpstreamsAllowed: boolean
}

const serversMax = 3
/** Docker's number of questions under way for one sandbox. */
const concurrentMax = 1024
/** More than these wait only when every upstream is dead; they are refused at once. */
const waitingMax = 4096
const slotTimeoutMs = 4_000

export class Forwarder {
  readonly #netnsPath: string
  readonly #running = new Set<Exchange>()
  readonly #waiting = new Set<(granted: boolean) => void>()
  #spec: UpstreamSpec
  #taken = 0
  #closed = false

  constructor(netnsPath: string, spec: UpstreamSpec) {
    this.#netnsPath = netnsPath
    this.#spec = spec
  }

  set spec(spec: UpstreamSpec) {
    this.#spec = spec
  }

  /** Resolves with the message for the client, always. `message` must not change meanwhile. */
  async forward(message: Buffer, query: Query, transport: 'udp' | 'tcp'): Promise<Buffer> {
    if (!(await this.#acquire())) return overload(message, query)
    try {
      return (await this.#askAll(message, query, transport)) ?? failure(message, query)
    } finally {
      this.#release()
    }
  }

  /** Ends every question that runs; no socket in the sandbox is left. */
  close(): void {
    this.#closed = true
    for (const exchange of [...this.#running]) exchange.cancel()
    for (const grant of [...this.#waiting]) grant(false)
  }

  async #askAll(
    message: Buffer,
    query: Query,
    transport: 'udp' | 'tcp',
  ): Promise<Buffer | undefined> {
    for (const server of this.#servers()) {
      if (this.#closed) return undefined
      const answer = await this.#ask(server, message, query, transport)
      if (answer === undefined) continue
      const code = answerCode(answer)
      if (code === rcode.serverFailure || code === rcode.refused) continue
      return answer
    }
    return undefined
  }

  #servers(): UpstreamSpec['upstreams'] {
    const { upstreams, hostUpstreamsAllowed } = this.#spec
    return upstreams
      .filter(({ address, fromHost }) =>
        fromHost ? hostUpstreamsAllowed : address !== resolverAddress,
      )
      .slice(0, serversMax)
  }

  async #ask(
    server: UpstreamSpec['upstreams'][number],
    message: Buffer,
    query: Query,
    transport: 'udp' | 'tcp',
  ): Promise<Buffer | undefined> {
    let exchange: Exchange
    try {
      // Opened for this moment only: an open descriptor would keep the namespace alive.
      const ns = server.fromHost ? homeNetns() : openNetns(this.#netnsPath)
      try {
        const start = transport === 'udp' ? exchangeUdp : exchangeTcp
        exchange = start(ns, server.address, message, query.questionEnd)
      } finally {
        ns.close()
      }
    } catch (error) {
      log.debug('upstream not asked', { server: server.address, error: messageOf(error) })
      return undefined
    }
    this.#running.add(exchange)
    try {
      return await exchange.answer
    } finally {
      this.#running.delete(exchange)
    }
  }

  #acquire(): Promise<boolean> {
    if (this.#closed) return Promise.resolve(false)
    if (this.#taken < concurrentMax) {
      this.#taken++
      return Promise.resolve(true)
    }
    if (this.#waiting.size >= waitingMax) return Promise.resolve(false)
    return new Promise((resolve) => {
      const grant = (granted: boolean) => {
        clearTimeout(timer)
        this.#waiting.delete(grant)
        resolve(granted)
      }
      const timer = setTimeout(() => grant(false), slotTimeoutMs)
      this.#waiting.add(grant)
    })
  }

  /** The slot goes to whoever waits longest. */
  #release(): void {
    const [next] = this.#waiting
    if (next === undefined) this.#taken--
    else next(true)
  }
}
