/**
 * The one writer of the firewall: what waits while a transaction runs becomes the next one.
 *
 * Callers get their answer when their rules are in force (or gone). When a merged transaction is
 * refused, its changes are tried one by one, so that one bad request fails alone.
 */
import { formatAddress, parseAddress } from '../address/ip.ts'
import { Refusal } from '../base/refusal.ts'
import type { Backend, ExplainMatch, Unit, UnitChange } from './backend.ts'
import type { Guard } from './guard.ts'
import { Repairer, type WatchFirewall } from './repair.ts'
import { mergeRanges } from './ranges.ts'
import type { BridgeIntent, Firewall, LinkIntent, PortIntent } from './intent.ts'

/** A compose file of a thousand services at once; a bound, not a tuning. */
const waitingMax = 4096

interface Waiting {
  readonly id: string
  readonly unit: Unit | undefined
  resolve(): void
  reject(error: unknown): void
}

export interface WriterOptions {
  /** With it, what others change of our rules is put back … */
  readonly watch?: WatchFirewall
  /** … when this resolves. */
  readonly mayRepair?: () => Promise<void>
  /** Keeps closed what is closed while somebody flushes. */
  readonly guard?: Guard
}

export class FirewallWriter implements Firewall {
  #backend: Backend
  #waiting: Waiting[] = []
  /** Everything that was asked for so far, one after another. */
  #tail: Promise<unknown> = Promise.resolve()
  #draining = false

  readonly #options: WriterOptions
  #repairer: Repairer | undefined

  constructor(backend: Backend, options: WriterOptions = {}) {
    this.#backend = backend
    this.#options = options
    const { guard, mayRepair } = options
    if (guard === undefined) return
    guard.onChange = () => this.#repairer?.wrote()
    if (mayRepair !== undefined) guard.mayChange = mayRepair
  }

  start(): Promise<void> {
    return this.#exclusive(() => this.#backend.start())
  }

  setBridge(intent: BridgeIntent): Promise<void> {
    return this.#change(`bridge ${intent.networkId}`, { kind: 'bridge', intent })
  }

  removeBridge(networkId: string): Promise<void> {
    return this.#change(`bridge ${networkId}`, undefined)
  }

  setEndpoint(
    endpointId: string,
    ports: readonly PortIntent[],
    links: readonly LinkIntent[],
  ): Promise<void> {
    const empty = ports.length === 0 && links.length === 0
    const unit = empty ? undefined : ({
      kind: 'endpoint',
      ports: mergeRanges(ports.map((port) => ({
        ...port, hostIp: canonical(port.hostIp), containerIp: canonical(port.containerIp),
      }))),
      links: links.map((link) => ({
        ...link, parentIp: canonical(link.parentIp), childIp: canonical(link.childIp),
      })),
    } as const)
    return this.#change(`endpoint ${endpointId}`, unit)
  }

  async reconcile(): Promise<void> {
    const { watch, mayRepair, guard } = this.#options
    await this.#exclusive(async () => {
      await this.#backend.reconcile()
      this.#repairer?.wrote()
      guard?.userOpens(this.#backend.userOpens)
    })
    // Before the first comparison nobody knows what is in use.
    if (watch === undefined) return
    const repair = async () => {
      await mayRepair?.()
      await this.reconcile()
    }
    this.#repairer ??= new Repairer(watch, repair, () => guard?.isHeld === true)
  }

  plan(): Promise<readonly string[]> {
    return this.#exclusive(() => this.#backend.plan())
  }

  explain(match: ExplainMatch): Promise<readonly string[]> {
    return this.#exclusive(() => this.#backend.explain(match))
  }

  /** Also ends the watching. */
  removeAll(): Promise<void> {
    this.#repairer?.close()
    this.#repairer = undefined
    return this.#exclusive(async () => {
      await this.#backend.removeAll()
      await this.#options.guard?.clear()
    })
  }

  #exclusive<T>(task: () => Promise<T>): Promise<T> {
    const outcome = this.#tail.then(task)
    this.#tail = outcome.catch(() => undefined)
    return outcome
  }

  #change(id: string, unit: Unit | undefined): Promise<void> {
    if (this.#waiting.length >= waitingMax) {
      const sentence = `${waitingMax} firewall changes wait already: try again later`
      return Promise.reject(new Refusal('unavailable', sentence))
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ id, unit, resolve, reject })
      if (this.#draining) return
      this.#draining = true
      void this.#exclusive(() => this.#drain())
    })
  }

  /** Takes what waits now; what comes meanwhile is the next transaction, behind other tasks. */
  async #drain(): Promise<void> {
    this.#draining = false
    const batch = this.#waiting
    this.#waiting = []
    // Of several changes of one unit the last one counts, for all who asked.
    const latest = new Map(batch.map((change) => [change.id, change]))
    try {
      await this.#apply([...latest.values()])
      for (const change of batch) change.resolve()
    } catch (error) {
      if (batch.length === 1) batch[0]?.reject(error)
      else for (const change of batch) await this.#alone(change)
    }
  }

  async #apply(changes: readonly UnitChange[]): Promise<void> {
    await this.#backend.apply(changes)
    this.#repairer?.wrote()
    const { guard } = this.#options
    if (guard === undefined) return
    guard.userOpens(this.#backend.userOpens)
    await Promise.all(changes.map(({ id, unit }) => guard.set(id, unit)))
  }

  async #alone(change: Waiting): Promise<void> {
    try {
      await this.#apply([change])
      change.resolve()
    } catch (error) {
      change.reject(error)
    }
  }
}

/** As the kernel prints it, so that what is asked for and what is found compare as text. */
function canonical(address: string): string {
  const parsed = parseAddress(address)
  return parsed === undefined ? address : formatAddress(parsed)
}

/** `--iptables=false`: nothing is ever read or written. */
export const noFirewall: Firewall = {
  start: () => Promise.resolve(),
  setBridge: () => Promise.resolve(),
  removeBridge: () => Promise.resolve(),
  setEndpoint: () => Promise.resolve(),
  reconcile: () => Promise.resolve(),
  plan: () => Promise.resolve([]),
  explain: () => Promise.resolve([]),
  removeAll: () => Promise.resolve(),
}
