/**
 * A firewall beside firewalld: the same rules, and every bridge in its zone. When firewalld
 * reloads, starts or stops it may flush what is not its own: rules are compared at once then.
 *
 * Without a message bus nothing is done but one look for its socket per comparison; a firewalld
 * that comes later is noticed by its signal. What firewalld refuses is logged and tried again at
 * the next comparison.
 *
 * While firewalld reloads, nothing is written: its own programs (ebtables-restore) fail when rules
 * change under their hands, and so would the reload. The wait is bounded, then we go on regardless.
 */
import { log } from '../../base/log.ts'
import { messageOf } from '../../base/refusal.ts'
import type { ExplainMatch } from '../backend.ts'
import type { BridgeIntent, Firewall, LinkIntent, PortIntent } from '../intent.ts'
import { Bus, systemBusPath } from './bus.ts'
import { Firewalld } from './firewalld.ts'

/** What `docker info` tells of firewalld. */
export interface FirewalldStatus {
  readonly running: boolean
  /** RFC 3339; '' before the first reload that we saw. */
  readonly reloadedAt: string
}

/** A reload takes one to five seconds. */
const idleWithinMs = 10_000

export class ZonedFirewall implements Firewall {
  readonly #inner: Firewall
  readonly #busPath: () => string | undefined
  readonly #bridges = new Map<string, string>()
  #bus: Bus | undefined
  #firewalld: Firewalld | undefined
  #running = false
  #reloadedAt = ''
  /** Talks with firewalld come one after another. */
  #tail: Promise<void> = Promise.resolve()

  constructor(inner: Firewall, busPath: () => string | undefined = systemBusPath) {
    this.#inner = inner
    this.#busPath = busPath
  }

  status(): FirewalldStatus {
    return { running: this.#running, reloadedAt: this.#reloadedAt }
  }

  async start(): Promise<void> {
    // Making the zone reloads firewalld, which may flush: that comes before our rules.
    await this.#inTurn('set up', () => this.#connect())
    await this.#inner.start()
  }

  /** Resolves when firewalld, if it runs, is not at work. */
  async quiet(): Promise<void> {
    if (!this.#running || this.#firewalld === undefined) return
    const late = Promise.withResolvers<void>()
    const timer = setTimeout(late.resolve, idleWithinMs).unref()
    const idle = this.#firewalld.idle().catch((error: unknown) => {
      log.warn('firewalld', { cannot: 'tell whether it is at work', error: messageOf(error) })
    })
    await Promise.race([idle, late.promise])
    clearTimeout(timer)
  }

  async setBridge(intent: BridgeIntent): Promise<void> {
    this.#bridges.set(intent.networkId, intent.bridge)
    await this.quiet()
    await this.#inner.setBridge(intent)
    await this.#talk('place a bridge', async (firewalld) => {
      const zones = await firewalld.zonesOfLinks()
      await firewalld.place(intent.bridge, zones.get(intent.bridge))
    })
  }

  async removeBridge(networkId: string): Promise<void> {
    const bridge = this.#bridges.get(networkId)
    this.#bridges.delete(networkId)
    await this.quiet()
    await this.#inner.removeBridge(networkId)
    if (bridge === undefined) return
    await this.#talk('withdraw a bridge', (firewalld) => firewalld.withdraw(bridge))
  }

  async setEndpoint(
    endpointId: string,
    ports: readonly PortIntent[],
    links: readonly LinkIntent[],
  ): Promise<void> {
    await this.quiet()
    await this.#inner.setEndpoint(endpointId, ports, links)
  }

  async reconcile(): Promise<void> {
    await this.quiet()
    await this.#inner.reconcile()
    if (this.#bus === undefined) await this.#inTurn('set up', () => this.#connect())
    await this.#talk('look after the bridges', (firewalld) => this.#placeMissing(firewalld))
  }

  plan(): Promise<readonly string[]> {
    return this.#inner.plan()
  }

  explain(match: ExplainMatch): Promise<readonly string[]> {
    return this.#inner.explain(match)
  }

  /** Zone and policy are permanent and stay, as Docker's do. */
  async removeAll(links: readonly string[]): Promise<void> {
    await this.#inTurn('set up', () => this.#connect())
    await this.#talk('withdraw the bridges', async (firewalld) => {
      // Those that the user made and lent us are known by their networks only.
      const all = new Set([...links, ...this.#bridges.values()])
      for (const link of all) await firewalld.withdraw(link)
    })
    this.#bus?.close()
    await this.#inner.removeAll(links)
  }

  async #connect(): Promise<void> {
    const path = this.#bus === undefined ? this.#busPath() : undefined
    if (path === undefined) return
    const bus = await Bus.connect(path)
    const firewalld = new Firewalld(bus)
    this.#bus = bus
    this.#firewalld = firewalld
    bus.onClose = () => {
      this.#bus = undefined
      this.#firewalld = undefined
      this.#running = false
    }
    bus.onSignal = (signal) => this.#heard(Firewalld.meaningOf(signal))
    await firewalld.subscribe()
    if (!(await firewalld.isRunning())) return
    await firewalld.prepare()
    this.#running = true
  }

  #heard(event: 'reloaded' | 'came' | 'went' | undefined): void {
    if (event === undefined) return
    this.#running = event !== 'went'
    if (event !== 'went') this.#reloadedAt = new Date().toISOString()
    log.info('firewalld', { event })
    this.#repair().catch((error: unknown) => {
      log.error('cannot compare the firewall', { error: messageOf(error) })
    })
    if (event === 'came') void this.#talk('set up', (firewalld) => firewalld.prepare())
    void this.#talk('look after the bridges', (firewalld) => this.#placeAll(firewalld))
  }

  async #repair(): Promise<void> {
    await this.quiet()
    await this.#inner.reconcile()
  }

  /** After a reload: the user may have chosen another zone. */
  async #placeAll(firewalld: Firewalld): Promise<void> {
    const zones = await firewalld.zonesOfLinks()
    for (const bridge of this.#bridges.values()) await firewalld.place(bridge, zones.get(bridge))
  }

  async #placeMissing(firewalld: Firewalld): Promise<void> {
    const zones = await firewalld.zonesOfLinks()
    for (const bridge of this.#bridges.values()) {
      if (!zones.has(bridge)) await firewalld.place(bridge, undefined)
    }
  }

  /** Does something with firewalld while it runs. */
  #talk(what: string, task: (firewalld: Firewalld) => Promise<void>): Promise<void> {
    if (!this.#running) return Promise.resolve()
    return this.#inTurn(what, async () => {
      if (this.#running && this.#firewalld !== undefined) await task(this.#firewalld)
    })
  }

  #inTurn(what: string, task: () => Promise<void>): Promise<void> {
    this.#tail = this.#tail.then(task).catch((error: unknown) => {
      log.warn('firewalld', { cannot: what, error: messageOf(error) })
    })
    return this.#tail
  }
}
