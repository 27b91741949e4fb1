/**
 * The nftables backend: the same guarantees as iptables, in two tables of our own. A port is a few
 * map elements, so that publishing and looking up cost the same beside ten thousand others.
 *
 * `accept` in these tables does not overrule a `drop` in somebody else's; users put their rules
 * into the chain DOCKER-USER of each table, which is never touched.
 */
import { log } from '../base/log.ts'
import { Refusal, messageOf } from '../base/refusal.ts'
import type { Backend, ExplainMatch, Unit, UnitChange, UserOpens } from './backend.ts'
import { quoteWord } from '../kernel/words.ts'
import { familiesOf } from './compile.ts'
import type { FirewallSettings } from './intent.ts'
import { nftBaseChains, nftBridge, nftEndpoint, userChain } from './nft-compile.ts'
import type { NftUnit } from './nft-compile.ts'
import { NftDesired } from './nft-desired.ts'
import type { NftChange } from './nft-desired.ts'
import { changeCommands, diffListing, explainBase, explainMatch, tableName } from './nft-diff.ts'
import { parseTable } from './nft-text.ts'
import type { Family } from './rules.ts'

export interface NftAccess {
  /** Runs commands as one transaction and answers what they print; throws with nft's words. */
  run(commands: string): string | Promise<string>
}

export interface NftablesOptions {
  readonly settings: FirewallSettings
  readonly access: NftAccess
  readonly dropForwarding: (family: Family) => boolean
}

const baseUnit = 'base'

/** Verdicts after which rules of ours may never be asked. */
const opensNft = /\b(accept|jump|goto|queue|vmap)\b/

export class NftablesBackend implements Backend {
  #options: NftablesOptions
  #desired = new NftDesired()
  #verified = new Set<Family>()
  #reconciled = false
  /** Families whose user chain lets something through. */
  #opened = new Set<Family>()

  constructor(options: NftablesOptions) {
    this.#options = options
  }

  get userOpens(): UserOpens {
    return { raw: false, forward: this.#opened.size > 0 }
  }

  async start(): Promise<void> {
    this.#setBase()
    const keep = { goneChains: [], goneElements: [] }
    for (const family of this.#families()) await this.#patch(family, keep)
  }

  async apply(changes: readonly UnitChange[]): Promise<void> {
    // The policy may have to change with the first network of a family.
    if (this.#setBase().chains.length > 0) this.#verified.clear()
    const before = new Map(changes.map(({ id }) => [id, this.#desired.unit(id)]))
    const after = new Map(changes.map(({ id, unit }) => [id, this.#compile(unit)]))
    const change = this.#desired.replace(after)
    try {
      for (const family of this.#families()) {
        if (await this.#commit(family, change)) continue
        // Somebody has been at it, perhaps at the tables of both families.
        const surplus = this.#reconciled ? 'all' : change
        for (const other of this.#families()) await this.#patch(other, surplus)
        break
      }
    } catch (error) {
      await this.#undo(this.#desired.replace(before))
      throw new Refusal('internal', messageOf(error), { cause: error })
    }
  }

  async reconcile(): Promise<void> {
    this.#reconciled = true
    this.#setBase()
    for (const family of this.#families()) await this.#patch(family, 'all')
  }

  async plan(): Promise<readonly string[]> {
    const commands: string[] = []
    for (const family of this.#families()) {
      const lines = this.#diff(family, await this.#list(family), 'all')
      commands.push(...lines.map((line) => `nft ${quoteWord(line)}`))
    }
    return commands
  }

  async explain(match: ExplainMatch): Promise<readonly string[]> {
    const commands: string[] = []
    for (const family of this.#families()) {
      const listed = parseTable((await this.#list(family)) ?? '')
      const lines = match.bridge === undefined && match.address === undefined
        ? explainBase(family, listed)
        : explainMatch(family, listed, match)
      commands.push(...lines.map((line) => `nft ${quoteWord(line)}`))
    }
    return commands
  }

  async removeAll(): Promise<void> {
    this.#desired = new NftDesired()
    this.#verified.clear()
    for (const family of this.#families()) {
      const listing = await this.#list(family)
      if (listing === undefined) continue
      const users = parseTable(listing).chains.get(userChain) ?? []
      const table = tableName(family)
      const kept = users.map((rule) => `add rule ${table} ${userChain} ${rule}`)
      const keep = [`add table ${table}`, `add chain ${table} ${userChain}`, ...kept]
      await this.#run([`delete table ${table}`, ...(kept.length > 0 ? keep : [])])
    }
  }

  #families(): readonly Family[] {
    return familiesOf(this.#options.settings)
  }

  #setBase(): NftChange {
    const { settings, dropForwarding } = this.#options
    const chains = this.#families().flatMap((family) =>
      nftBaseChains(family, settings, dropForwarding(family)))
    return this.#desired.replace(new Map([[baseUnit, { chains, elements: [] }]]))
  }

  #compile(unit: Unit | undefined): NftUnit | undefined {
    if (unit === undefined) return undefined
    const families = this.#families()
    const { chains, elements } = unit.kind === 'bridge'
      ? nftBridge(this.#options.settings, unit.intent)
      : nftEndpoint(unit.ports, unit.links)
    return {
      chains: chains.filter(({ family }) => families.includes(family)),
      elements: elements.filter(({ family }) => families.includes(family)),
    }
  }

  /** One family's share of a change; answers false when the kernel is not as we left it. */
  async #commit(family: Family, change: NftChange): Promise<boolean> {
    const commands = changeCommands(family, change)
    if (commands.length === 0) return true
    if (!this.#verified.has(family) || !this.#reconciled) {
      await this.#patch(family, this.#reconciled ? 'all' : change)
      return true
    }
    try {
      await this.#run(commands)
      return true
    } catch (error) {
      const reason = messageOf(error)
      log.debug('firewall differs from what was written, reading it', { family, reason })
      return false
    }
  }

  async #patch(
    family: Family,
    surplus: 'all' | Pick<NftChange, 'goneChains' | 'goneElements'>,
  ): Promise<void> {
    this.#verified.delete(family)
    const listing = await this.#list(family)
    const users = parseTable(listing ?? '').chains.get(userChain) ?? []
    if (users.some((line) => opensNft.test(line))) this.#opened.add(family)
    else this.#opened.delete(family)
    await this.#run(this.#diff(family, listing, surplus))
    this.#verified.add(family)
  }

  #diff(
    family: Family,
    listing: string | undefined,
    surplus: 'all' | Pick<NftChange, 'goneChains' | 'goneElements'>,
  ): string[] {
    const desired = this.#desired
    return diffListing(family, desired.chains(family), desired.elements(family), listing, surplus)
  }

  async #undo(change: NftChange): Promise<void> {
    for (const family of this.#families()) {
      try {
        await this.#patch(family, this.#reconciled ? 'all' : change)
      } catch (error) {
        log.error('firewall could not be put back', { family, error: messageOf(error) })
      }
    }
  }

  /** The table's listing; undefined when there is none. */
  async #list(family: Family): Promise<string | undefined> {
    const tables = await this.#options.access.run('list tables')
    if (!tables.split('\n').includes(`table ${tableName(family)}`)) return undefined
    return this.#options.access.run(`list table ${tableName(family)}`)
  }

  async #run(commands: readonly string[]): Promise<void> {
    if (commands.length > 0) await this.#options.access.run(`${commands.join('\n')}\n`)
  }
}
