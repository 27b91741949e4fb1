/**
 * The daemon's keeper: starts or adopts the process, and tells it what to hold.
 *
 * When the keeper dies a new one is started at once and told everything again; calls made meanwhile
 * wait for it. When the daemon dies the keeper goes on, and the next daemon adopts it: that daemon
 * states its facts, then calls `restored`, and what it did not state is closed. The daemon holds
 * every FIFO open beside the keeper, so that no output is lost when the keeper dies.
 */
import { closeSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { log } from '../base/log.ts'
import { messageOf, Refusal } from '../base/refusal.ts'
import { openFifo } from '../kernel/fifo.ts'
import { openAttachment } from './attachment.ts'
import { Channel, ChannelLost } from './channel.ts'
import type {
  Attachment,
  AttachOptions,
  Keeper,
  OutputChunk,
  PortHold,
  ResolverSpec,
  StdioSpec,
  ZoneRecord,
} from './client.ts'
import { Desired } from './desired.ts'
import { endKeeper, findOrStartKeeper, readMark, type KeeperPaths } from './launch.ts'
import type { Answer, Request, ResolverPorts } from './protocol.ts'

/** The keeper with the verbs that only the entry point needs. */
export interface KeeperConnection extends Keeper {
  /**
   * To be called once, when every network and container was restored: what an adopted keeper
   * holds beyond the facts stated until now is closed.
   */
  restored(): Promise<void>
  /** Ends the keeper, and with it everything it holds. */
  stop(): Promise<void>
  /** Lets go of the keeper, which goes on (live restore). */
  disconnect(): void
}

/** A request that loses its keeper twice is given up. */
const attemptsMax = 3
/** Between starts of a keeper that dies again and again; the first restart does not wait. */
const restartDelayMsMax = 5_000
/** A keeper's sockets close within moments of each other when it dies. */
const deathMsMax = 250
/** How long a call waits for a keeper to come back before it is refused. */
const outageMsMax = 10_000

/** Adopts the keeper that runs, or starts one. */
export async function startKeeper(paths: KeeperPaths): Promise<KeeperConnection> {
  const connection = new Connection(paths)
  await connection.open()
  return connection
}

class Connection implements KeeperConnection {
  readonly #paths: KeeperPaths
  readonly #desired = new Desired()
  readonly #held = new Map<string, { stdin: number | undefined; output: readonly number[] }>()
  #channel: Channel | undefined
  #arrival: PromiseWithResolvers<Channel> = Promise.withResolvers()
  #recovery: Promise<void> = Promise.resolve()
  #restored = false
  #finished = false

  constructor(paths: KeeperPaths) {
    this.#paths = paths
  }

  async open(): Promise<void> {
    await this.#adopt(await findOrStartKeeper(this.#paths))
  }

  async restored(): Promise<void> {
    this.#restored = true
    await this.#tell(this.#desired.settle())
  }

  async stop(): Promise<void> {
    this.#finished = true
    // One that is being started is ended too.
    await this.#recovery
    const mark = readMark(this.#paths.pidPath)
    this.#letGo()
    if (mark !== undefined) await endKeeper(mark)
    const { socketPath, pidPath } = this.#paths
    for (const path of [socketPath, `${socketPath}.io`, pidPath]) rmSync(path, { force: true })
  }

  disconnect(): void {
    this.#finished = true
    this.#letGo()
  }

  async setZone(
    networkId: string,
    networkName: string,
    records: readonly ZoneRecord[],
  ): Promise<void> {
    const isNew = !this.#desired.zones.has(networkId)
    const change = this.#desired.replaceZone(networkId, networkName, records)
    const whole: Request = { method: 'setZone', networkId, name: networkName, records }
    await this.#tell(isNew ? whole : change)
  }

  async changeZone(
    networkId: string,
    networkName: string,
    endpointId: string,
    record: ZoneRecord | undefined,
  ): Promise<void> {
    await this.#tell(this.#desired.changeZone(networkId, networkName, endpointId, record))
  }

  async removeZone(networkId: string): Promise<void> {
    this.#desired.zones.delete(networkId)
    await this.#tell({ method: 'removeZone', networkId })
  }

  together<T>(requests: () => T): T {
    return this.#channel === undefined ? requests() : this.#channel.together(requests)
  }

  async setResolver(spec: ResolverSpec): Promise<void> {
    const { sandboxId } = spec
    const known: ResolverPorts = this.#desired.resolvers.get(sandboxId)?.ports ?? anyPorts
    await this.#desired.whileAsked('resolvers', sandboxId, async () => {
      const answer = await this.#ask({ method: 'setResolver', spec, ports: known })
      this.#desired.resolvers.set(sandboxId, { spec, ports: answer.ports ?? anyPorts })
    })
  }

  async removeResolver(sandboxId: string): Promise<void> {
    this.#desired.resolvers.delete(sandboxId)
    await this.#tell({ method: 'removeResolver', sandboxId })
  }

  async holdPorts(endpointId: string, ports: readonly PortHold[]): Promise<void> {
    await this.#desired.whileAsked('ports', endpointId, async () => {
      await this.#ask({ method: 'holdPorts', endpointId, ports })
      this.#desired.ports.set(endpointId, ports)
    })
  }

  async releasePorts(endpointId: string): Promise<void> {
    this.#desired.ports.delete(endpointId)
    await this.#tell({ method: 'releasePorts', endpointId })
  }

  openStdio(spec: StdioSpec): Promise<void> {
    return this.#desired.whileAsked('streams', spec.streamId, () => this.#openStdio(spec))
  }

  async #openStdio(spec: StdioSpec): Promise<void> {
    this.#hold(spec)
    try {
      const opening = { spec, stdinClosed: false, attachers: 0 }
      const answer = await this.#ask({ method: 'openStdio', opening })
      const stdinClosed = answer.stdinClosed === true
      this.#desired.streams.set(spec.streamId, { ...opening, stdinClosed })
      if (stdinClosed) this.#releaseStdin(spec.streamId)
    } catch (error) {
      this.#release(spec.streamId)
      throw error
    }
  }

  async drainStdio(streamId: string, timeoutMs: number): Promise<void> {
    try {
      await this.#ask({ method: 'drainStdio', streamId, timeoutMs })
    } finally {
      this.#desired.streams.delete(streamId)
      this.#release(streamId)
    }
  }

  async closeStdio(streamId: string): Promise<void> {
    this.#desired.streams.delete(streamId)
    this.#release(streamId)
    await this.#tell({ method: 'closeStdio', streamId })
  }

  async attach(streamId: string, options: AttachOptions): Promise<Attachment> {
    let channel = await this.#connected()
    const keeperReturned = async () => {
      const died = channel.closed.then(() => true)
      if (!(await Promise.race([died, sleep(deathMsMax, false)]))) return false
      if (this.#finished || !this.#desired.streams.has(streamId)) return false
      channel = await this.#connected()
      return true
    }
    const path = `${this.#paths.socketPath}.io`
    const link = await openAttachment(path, streamId, options, keeperReturned)
    const stream = this.#desired.streams.get(streamId)
    let counted = stream !== undefined
    if (stream !== undefined) stream.attachers++
    const leave = () => {
      if (counted && stream !== undefined) stream.attachers--
      counted = false
    }
    const closeStdin = async () => {
      await link.closeStdin()
      if (stream !== undefined) stream.stdinClosed = true
      if (stream === this.#desired.streams.get(streamId)) this.#releaseStdin(streamId)
    }
    const detach = () => {
      link.detach()
      leave()
    }
    const output = whenDone(link.output, leave)
    return { output, write: (data) => link.write(data), closeStdin, detach }
  }

  /**
   * Hands over a fact that is in the desired state already: a new keeper learns it by replay. It is
   * on its way when this returns, if there is a keeper: the caller may keep this thread busy then.
   */
  async #tell(request: Request): Promise<void> {
    const channel = this.#channel ?? (await this.#connected())
    try {
      await channel.request(request)
    } catch (error) {
      if (!(error instanceof ChannelLost)) throw error
      if (!this.#finished) await this.#connected()
    }
  }

  /** Asks for something that may be refused. */
  async #ask(request: Request): Promise<Answer> {
    for (let attempt = 1; ; attempt++) {
      const channel = this.#channel ?? (await this.#connected())
      try {
        return await channel.request(request)
      } catch (error) {
        if (!(error instanceof ChannelLost) || attempt === attemptsMax) throw error
      }
    }
  }

  #connected(): Promise<Channel> {
    if (this.#channel !== undefined) return Promise.resolve(this.#channel)
    const { promise, resolve, reject } = Promise.withResolvers<Channel>()
    const advice = `see ${this.#paths.logPath}`
    const outage = new Refusal('unavailable', `the keeper is away and does not start: ${advice}`)
    const timer = setTimeout(() => reject(outage), outageMsMax)
    this.#arrival.promise.then(resolve, reject).finally(() => clearTimeout(timer))
    return promise
  }

  /** States everything to a keeper that was just found or started; then calls may go to it. */
  async #adopt(channel: Channel): Promise<void> {
    const facts = this.#desired.facts()
    const outcomes = await Promise.allSettled(facts.map((fact) => channel.request(fact)))
    for (const [index, outcome] of outcomes.entries()) {
      const fact = facts[index]
      if (outcome.status === 'fulfilled') this.#learn(fact, outcome.value)
      else log.warn('not held again', { fact: fact?.method, error: messageOf(outcome.reason) })
    }
    if (this.#restored) await channel.request(this.#desired.settle())
    this.#channel = channel
    this.#arrival.resolve(channel)
    void channel.closed.then(() => this.#lost())
  }

  #learn(fact: Request | undefined, answer: Answer): void {
    if (fact?.method !== 'setResolver' || answer.ports === undefined) return
    const resolver = this.#desired.resolvers.get(fact.spec.sandboxId)
    if (resolver !== undefined) resolver.ports = answer.ports
  }

  #lost(): void {
    this.#channel = undefined
    if (this.#finished) return
    this.#arrival = Promise.withResolvers()
    log.warn('the keeper has gone; starting it again')
    this.#recovery = this.#reopen()
  }

  async #reopen(): Promise<void> {
    let delayMs = 0
    while (!this.#finished) {
      if (delayMs > 0) await sleep(delayMs)
      try {
        const channel = await findOrStartKeeper(this.#paths)
        if (this.#finished) return channel.close()
        return await this.#adopt(channel)
      } catch (error) {
        log.error('the keeper does not start', { error: messageOf(error) })
        delayMs = Math.min(delayMs * 2 + 100, restartDelayMsMax)
      }
    }
  }

  #hold(spec: StdioSpec): void {
    const output: number[] = []
    try {
      if (spec.fifoStdout !== '') output.push(openFifo(spec.fifoStdout, 'read'))
      if (spec.fifoStderr !== '') output.push(openFifo(spec.fifoStderr, 'read'))
      const stdin = spec.fifoStdin === '' ? undefined : openFifo(spec.fifoStdin, 'readWrite')
      // Those of a process before this one, if they were not let go of.
      this.#release(spec.streamId)
      this.#held.set(spec.streamId, { stdin, output })
    } catch (error) {
      for (const fd of output) closeSync(fd)
      throw error
    }
  }

  #releaseStdin(streamId: string): void {
    const held = this.#held.get(streamId)
    if (held?.stdin === undefined) return
    closeSync(held.stdin)
    held.stdin = undefined
  }

  #release(streamId: string): void {
    this.#releaseStdin(streamId)
    for (const fd of this.#held.get(streamId)?.output ?? []) closeSync(fd)
    this.#held.delete(streamId)
  }

  #letGo(): void {
    this.#channel?.close()
    this.#arrival.promise.catch(() => undefined)
    this.#arrival.reject(new Refusal('unavailable', 'the daemon is shutting down'))
    for (const streamId of [...this.#held.keys()]) this.#release(streamId)
  }
}

/** `chunks`, and `done` once when the reader has come to its end or gone away. */
async function* whenDone(
  chunks: AsyncIterable<OutputChunk>,
  done: () => void,
): AsyncGenerator<OutputChunk> {
  try {
    yield* chunks
  } finally {
    done()
  }
}

/** 0 lets the kernel choose. */
const anyPorts: ResolverPorts = { udp: 0, tcp: 0 }
