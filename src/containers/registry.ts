/**
 * The containers of this engine in memory: look-up by id, name and prefix, names reserved,
 * changes written through to the store, and the waiters of each container.
 *
 * Every change of a record goes through `save`, which is durable when it resolves. What is only
 * true while this process lives (waiters, execs, timers) is in `live`.
 */
import { shortId } from '../base/id.ts'
import type { EmitEvent } from '../base/event.ts'
import { KeyedQueue } from '../base/queue.ts'
import { Refusal } from '../base/refusal.ts'
import type { Change, Store } from '../store/store.ts'
import { parseRecord } from './record.ts'
import type { ContainerRecord } from './record.ts'
import type { Exec } from './exec-record.ts'
import { Freezer } from './freezer.ts'
import { healthDocument, parseHealth, type Health } from './health-record.ts'

/** More watchers of one container than any fleet of clients has. */
const waitersMax = 4096

export interface WaitResult {
  readonly code: number
  readonly error: string
}

export type WaitCondition = 'not-running' | 'next-exit' | 'removed'

interface Waiter {
  readonly condition: WaitCondition
  resolve(result: WaitResult): void
}

/** A client that waits for the container to be started. */
export interface PendingAttacher {
  join(): Promise<void>
  cancel(): void
}

export interface Live {
  /** A stop or kill was asked for: no restart by policy, and stop is told before die. */
  stopping: 'no' | 'stop' | 'kill'
  /** Counts starts: an exit that was seen late is told from a later run's. */
  run: number
  restartTimer: NodeJS.Timeout | undefined
  oomKilled: boolean
  removing: boolean
  /** The end that comes is half of a restart. */
  restartAsked: boolean
  readonly execs: Map<string, Exec>
  readonly freezer: Freezer
  health: Health | undefined
  /** How many users hold the root file system mounted. */
  rootfsHolders: number
  /** The mount that is being made, for those who come meanwhile. */
  rootfsReady: Promise<void>
  readonly waiters: Set<Waiter>
  /** Clients that attached before the start. */
  readonly attachers: Set<PendingAttacher>
}

export interface Container {
  readonly id: string
  record: ContainerRecord
  readonly live: Live
}

const collectionName = 'containers'
const healthCollection = 'health'

export class Registry {
  readonly queue = new KeyedQueue()
  readonly #containers = new Map<string, Container>()
  readonly #idByName = new Map<string, string>()
  readonly #store: Store
  readonly #emit: EmitEvent

  constructor(store: Store, emit: EmitEvent) {
    this.#store = store
    this.#emit = emit
    const health = store.collection(healthCollection, parseHealth)
    for (const record of store.collection(collectionName, parseRecord).all()) {
      const container = newContainer(record)
      container.live.health = health.get(record.id)
      this.#containers.set(record.id, container)
      this.#idByName.set(record.name, record.id)
    }
  }

  all(): readonly Container[] {
    return [...this.#containers.values()]
  }

  get(id: string): Container | undefined {
    return this.#containers.get(id)
  }

  /** Full id, then name with or without slash, then unique id prefix. */
  find(idOrName: string): Container {
    if (idOrName === '') throw new Refusal('invalid', 'invalid name or ID supplied: ""')
    const byId = this.#containers.get(idOrName)
    if (byId !== undefined) return byId
    const named = this.#containers.get(this.#idByName.get(idOrName.replace(/^\//, '')) ?? '')
    if (named !== undefined) return named
    const matches = this.all().filter((container) => container.id.startsWith(idOrName))
    if (matches.length > 1) {
      throw new Refusal('invalid', `multiple IDs found with provided prefix: ${idOrName}`)
    }
    const [match] = matches
    if (match === undefined) throw new Refusal('notFound', `No such container: ${idOrName}`)
    return match
  }

  /** Takes a name for an id, or refuses in Docker's words. */
  reserveName(name: string, id: string): void {
    const owner = this.#idByName.get(name)
    if (owner !== undefined && owner !== id) {
      throw new Refusal(
        'conflict',
        `Conflict. The container name "/${name}" is already in use by container "${owner}". ` +
          'You have to remove (or rename) that container to be able to reuse that name.',
      )
    }
    this.#idByName.set(name, id)
  }

  nameIsFree(name: string): boolean {
    return !this.#idByName.has(name)
  }

  releaseName(name: string, id: string): void {
    if (this.#idByName.get(name) === id) this.#idByName.delete(name)
  }

  /** Puts a new container in; its name is reserved already. */
  async add(record: ContainerRecord): Promise<Container> {
    const container = newContainer(record)
    await this.#store.write([{ collection: collectionName, id: record.id, document: record }])
    this.#containers.set(record.id, container)
    return container
  }

  /** Changes the record; in memory at once, durable when it resolves. */
  async save(container: Container, change: Partial<ContainerRecord>): Promise<void> {
    await this.#store.write([this.change(container, change)])
  }

  /** The same for a commit that somebody else makes: in memory at once, durable with that. */
  change(container: Container, change: Partial<ContainerRecord>): Change {
    container.record = { ...container.record, ...change }
    const { id, record } = container
    return { collection: collectionName, id, document: record }
  }

  /** Stores its health as it is now, or that there is none. */
  async saveHealth({ id, live: { health } }: Container): Promise<void> {
    if (this.#containers.get(id) === undefined) return
    if (health !== undefined) health.storedMs = Date.now()
    const document = health === undefined ? null : healthDocument(health)
    await this.#store.write([{ collection: healthCollection, id, document }])
  }

  async delete(container: Container): Promise<void> {
    const { id } = container
    await this.#store.write([
      { collection: collectionName, id, document: null },
      { collection: healthCollection, id, document: null },
    ])
    this.#containers.delete(container.id)
    this.releaseName(container.record.name, container.id)
  }

  /** Tells an event with Docker's attributes: image, name, labels. */
  tell(container: Container, action: string, extra: Readonly<Record<string, string>> = {}): void {
    const { config, name } = container.record
    const attributes = { ...(config.Labels ?? {}), image: config.Image, name, ...extra }
    this.#emit({ type: 'container', action, id: container.id, attributes })
  }

  /** Registered when it returns; `cancel` forgets it. */
  wait(
    container: Container,
    condition: WaitCondition,
  ): { result: Promise<WaitResult>; cancel(): void } {
    const { waiters } = container.live
    if (waiters.size >= waitersMax) {
      throw new Refusal(
        'unavailable',
        `${waitersMax} clients wait for ${shortId(container.id)} already`,
      )
    }
    const { promise, resolve } = Promise.withResolvers<WaitResult>()
    const waiter = { condition, resolve }
    waiters.add(waiter)
    return {
      result: promise,
      cancel: () => {
        waiters.delete(waiter)
      },
    }
  }

  /** Wakes who waits for these conditions. */
  wake(container: Container, conditions: readonly WaitCondition[], error = ''): void {
    for (const waiter of container.live.waiters) {
      if (!conditions.includes(waiter.condition)) continue
      container.live.waiters.delete(waiter)
      waiter.resolve({ code: container.record.state.exitCode, error })
    }
  }
}

function newContainer(record: ContainerRecord): Container {
  return {
    id: record.id,
    record,
    live: {
      stopping: 'no',
      run: 0,
      restartTimer: undefined,
      oomKilled: false,
      removing: false,
      restartAsked: false,
      execs: new Map(),
      freezer: new Freezer(),
      health: undefined,
      rootfsHolders: 0,
      rootfsReady: Promise.resolve(),
      waiters: new Set(),
      attachers: new Set(),
    },
  }
}
