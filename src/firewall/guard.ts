/**
 * Keeps closed what is closed while somebody flushes the firewall, with iptables as with nftables:
 * the rules that drop stand a second time in tables that belong to this process, which no flush
 * and no other process can touch. They end with the process.
 *
 * It follows the firewall within a moment, in one piece: new tables first, then the old ones go.
 * Where the kernel or the library has no such tables there is no guard, and that is said once.
 */
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import type { HeldTables } from '../kernel/nftables.ts'
import type { Unit, UserOpens } from './backend.ts'
import { compileGuard, guarded } from './guard-compile.ts'
import type { FirewallSettings } from './intent.ts'

export const guardTable = 'portolan-guard'

/** Long enough for what is started together. */
const collectMs = 50
/** However many networks there are: making the tables anew takes at most this share of the time. */
const shareMax = 0.05

export type HoldTables = (commands: string) => HeldTables

export class Guard {
  readonly #settings: FirewallSettings
  readonly #hold: HoldTables
  readonly #units = new Map<string, Unit>()
  #userOpens: UserOpens = { raw: false, forward: false }
  #held: HeldTables | undefined
  /** What is held, under a name that does not change. */
  #text = ''
  #count = 0
  #timer: NodeJS.Timeout | undefined
  #tookMs = 0
  #tail: Promise<void> = Promise.resolve()
  /** Resolves when the tables before these have gone. */
  #gone: Promise<void> = Promise.resolve()
  #complaint = ''
  /** To be called when tables were made or have gone: the kernel tells of that, too. */
  onChange: () => void = () => undefined
  /** Resolves when tables may be changed. */
  mayChange: () => Promise<void> = () => Promise.resolve()

  constructor(settings: FirewallSettings, hold: HoldTables) {
    this.#settings = settings
    this.#hold = hold
  }

  /**
   * A unit's new state; resolves when it counts. For a network that is at once, and true a moment
   * later: nobody is on it yet, and what is said of one that has gone harms nobody.
   */
  set(id: string, unit: Unit | undefined): Promise<void> {
    const before = this.#units.get(id)
    if (unit === undefined) this.#units.delete(id)
    else this.#units.set(id, unit)
    if (JSON.stringify(guarded(before)) === JSON.stringify(guarded(unit))) return Promise.resolve()
    if (unit?.kind !== 'endpoint') {
      this.#schedule()
      return Promise.resolve()
    }
    // A link lets something through that the former tables drop, until they have gone.
    return unit.links.length > 0 ? this.update().then(() => this.#gone) : this.update()
  }

  /** Whether the kernel has the tables now. */
  get isHeld(): boolean {
    return this.#held !== undefined
  }

  /** What users' own rules may let through is not dropped here either. */
  userOpens(opens: UserOpens): void {
    const { raw, forward } = this.#userOpens
    if (raw === opens.raw && forward === opens.forward) return
    this.#userOpens = opens
    this.#schedule()
  }

  /** Makes the tables what they should be. */
  update(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#tail = this.#tail.then(() => this.#replace())
    return this.#tail
  }

  /** Takes the tables away; a later change makes them again. */
  async clear(): Promise<void> {
    this.#units.clear()
    await this.update()
    await this.#gone
  }

  #schedule(): void {
    const delayMs = Math.max(collectMs, this.#tookMs / shareMax)
    this.#timer ??= setTimeout(() => void this.update(), delayMs).unref()
  }

  async #replace(): Promise<void> {
    await this.mayChange()
    const compile = (name: string) =>
      compileGuard(this.#settings, [...this.#units.values()], this.#userOpens, name)
    const text = compile(guardTable)
    if (text === this.#text) return
    const started = performance.now()
    try {
      const old = this.#held
      this.#held = text === '' ? undefined : this.#hold(compile(`${guardTable}-${++this.#count}`))
      this.#text = text
      this.#tookMs = performance.now() - started
      this.onChange()
      this.#gone = old === undefined ? Promise.resolve() : this.#release(old)
    } catch (error) {
      this.#complain(error)
    }
  }

  async #release(held: HeldTables): Promise<void> {
    try {
      await held.release()
      this.onChange()
    } catch (error) {
      this.#complain(error)
    }
  }

  #complain(error: unknown): void {
    const reason = messageOf(error)
    if (reason !== this.#complaint) log.warn('no guard beside the firewall', { reason })
    this.#complaint = reason
  }
}
