/**
 * The iptables backend: rules of `compile.ts` kept in the kernel by `iptables-restore`.
 *
 * A change usually costs one process and reads nothing: the rules are known to be there, and the
 * restore itself checks that the jumps into our chains still exist. When it fails (somebody has
 * flushed), the tables are read and patched instead. Until the first `reconcile` nothing surplus is
 * removed, so that a restarted daemon takes over what its containers use.
 */
import { Refusal, messageOf } from '../base/refusal.ts'
import { log } from '../base/log.ts'
import type { Backend, ExplainMatch, FormerState, Unit, UnitChange, UserOpens } from './backend.ts'
import { mentions } from './backend.ts'
import { compileBase, compileBridge, compileEndpoint, familiesOf } from './compile.ts'
import { diffTable } from './diff.ts'
import type { TableChange } from './diff.ts'
import type { FirewallSettings } from './intent.ts'
import { commandOf, keyOf, ownChains, owns, tables } from './rules.ts'
import type { Family, Rule, Table } from './rules.ts'
import { Ruleset } from './ruleset.ts'
import type { NetChange } from './ruleset.ts'
import { parseSave } from './save.ts'
import type { SavedChain, SavedTable, SavedTables } from './save.ts'
import { emptyChains } from './teardown.ts'

/** Reads and writes the kernel's tables; `kernel/iptables.ts` in one namespace. */
export interface TableAccess {
  /** Text of iptables-save; fails when the family is not available. */
  save(family: Family): Promise<string>
  /** iptables-restore --noflush: atomic per table. */
  restore(family: Family, text: string): Promise<void>
}

export interface IptablesOptions {
  readonly settings: FirewallSettings
  readonly access: TableAccess
  /** Whether the engine itself switched forwarding on: then FORWARD drops what nobody accepts. */
  readonly dropForwarding: (family: Family) => boolean
  readonly former: FormerState
}

/** Somebody else may write between our reading and writing; then it is read again. */
const attemptsMax = 3

const baseUnit = 'base'

/** Targets after which the next rule is asked, or that drop; any other may let through. */
const goesOn = new Set([
  'DROP', 'REJECT', 'RETURN', 'LOG', 'NFLOG', 'MARK', 'CONNMARK', 'TCPMSS', 'CT', 'TRACE', 'SET',
])

/** Whether rules, or those of the chains that they go to, could let a packet through. */
function mayLetThrough(
  rules: readonly string[],
  chains: SavedTable | undefined,
  seen = new Set<string>(),
): boolean {
  return rules.some((spec) => {
    const target = /-[jg] (\S+)/.exec(spec)?.[1]
    if (target === undefined || goesOn.has(target) || seen.has(target)) return false
    const chain = chains?.get(target)
    return chain === undefined || mayLetThrough(chain.rules, chains, seen.add(target))
  })
}

export class IptablesBackend implements Backend {
  #options: IptablesOptions
  #settings: FirewallSettings
  #ruleset = new Ruleset()
  /** Families whose rules are in the kernel as far as we know. */
  #verified = new Set<Family>()
  /** Families whose FORWARD policy is as it should be. */
  #policyKnown = new Map<Family, boolean>()
  #reconciled = false
  /** Families in which rules of the user's let something through before ours are asked. */
  #opened = { raw: new Set<Family>(), forward: new Set<Family>() }

  constructor(options: IptablesOptions) {
    this.#options = options
    this.#settings = options.settings
  }

  get userOpens(): UserOpens {
    return { raw: this.#opened.raw.size > 0, forward: this.#opened.forward.size > 0 }
  }

  async start(): Promise<void> {
    await this.#demandPrograms()
    if (this.#settings.ipv6) {
      try {
        await this.#options.access.save(6)
      } catch (error) {
        log.warn('ip6tables is not usable: IPv6 has no firewall rules', { error: messageOf(error) })
        this.#settings = { ...this.#settings, ipv6: false }
      }
    }
    this.#ruleset.replace(new Map([[baseUnit, compileBase(this.#settings)]]))
    for (const family of this.#families()) {
      await this.#rememberForeignChains(family)
      await this.#patch(family, new Set())
    }
  }

  /** Beside another engine: the chains that it had before our first start are never deleted. */
  async #rememberForeignChains(family: Family): Promise<void> {
    const { access, former } = this.#options
    if (!this.#settings.sharedChains || former.get(`chains${family}`) !== undefined) return
    const saved = parseSave(await access.save(family))
    const found = tables.flatMap((table) =>
      [...(saved.get(table)?.keys() ?? [])].map((chain) => `${table}/${chain}`))
    await former.set(`chains${family}`, found.join(' '))
  }

  async #demandPrograms(): Promise<void> {
    if (!this.#settings.ipv4) return
    try {
      await this.#options.access.save(4)
    } catch (error) {
      const advice = 'install the package iptables, or choose --firewall-backend nftables'
      const sentence = `iptables cannot be used: ${messageOf(error)}; ${advice}`
      throw new Refusal('internal', sentence, { cause: error })
    }
  }

  async apply(changes: readonly UnitChange[]): Promise<void> {
    const before = new Map(changes.map(({ id }) => [id, this.#ruleset.unit(id)]))
    const after = new Map(changes.map(({ id, unit }) => [id, this.#compile(unit)]))
    const change = this.#ruleset.replace(after)
    try {
      for (const family of this.#families()) {
        if (await this.#commit(family, change)) continue
        // Somebody has been at it, perhaps at every table of both families.
        for (const other of this.#families()) await this.#patch(other, this.#surplus(change))
        break
      }
    } catch (error) {
      await this.#undo(this.#ruleset.replace(before))
      throw new Refusal('internal', messageOf(error), { cause: error })
    }
  }

  async reconcile(): Promise<void> {
    this.#reconciled = true
    for (const family of this.#families()) await this.#patch(family, 'all')
  }

  async plan(): Promise<readonly string[]> {
    const commands: string[] = []
    for (const family of this.#families()) {
      const saved = parseSave(await this.#options.access.save(family))
      const changes = this.#diff(family, saved, 'all')
      const say = (table: Table, line: string) =>
        commands.push(commandOf(family, table, line.replace(/^:(\S+) .*$/, '-N $1')))
      for (const [table, change] of changes) for (const line of change.additions) say(table, line)
      if (this.#wantsDrop(family, saved)) say('filter', '-P FORWARD DROP')
      for (const [table, change] of changes.toReversed()) {
        for (const line of change.removals) say(table, line)
      }
    }
    return commands
  }

  async explain(match: ExplainMatch): Promise<readonly string[]> {
    const base = match.bridge === undefined && match.address === undefined
    const baseKeys = new Set(base ? compileBase(this.#settings).map(keyOf) : [])
    const commands: string[] = []
    for (const family of this.#families()) {
      const saved = parseSave(await this.#options.access.save(family))
      for (const table of tables) {
        const chains = saved.get(table) ?? new Map<string, SavedChain>()
        for (const chain of base ? ownChains[table] : []) {
          if (chains.has(chain)) commands.push(commandOf(family, table, `-N ${chain}`))
        }
        for (const [chain, { rules }] of chains) {
          for (const spec of rules) {
            const concerned = base
              ? baseKeys.has(`${family} ${table} ${chain} ${spec}`)
              : mentions(spec, match) && owns(table, chain, spec, this.#settings.sharedChains)
            if (concerned) commands.push(commandOf(family, table, `-A ${chain} ${spec}`))
          }
        }
      }
    }
    return commands
  }

  async removeAll(): Promise<void> {
    this.#ruleset = new Ruleset()
    for (const family of this.#families()) {
      const saved = parseSave(await this.#options.access.save(family))
      const foreign = new Set(this.#options.former.get(`chains${family}`)?.split(' '))
      const sections: Section[] = []
      for (const table of tables.toReversed()) {
        const found: SavedTable = saved.get(table) ?? new Map()
        const { removals } = diffTable(table, [], found, this.#settings.sharedChains)
        const emptied = emptyChains(table, found, removals).filter((chain) => !foreign.has(`${table}/${chain}`))
        const lines = [...removals, ...emptied.map((chain) => `-X ${chain}`)]
        if (table === 'filter') lines.push(...this.#restorePolicy(family))
        sections.push({ table, lines })
      }
      await this.#restore(family, sections)
      await this.#options.former.set(family, undefined)
      await this.#options.former.set(`chains${family}`, undefined)
    }
    this.#verified.clear()
  }

  #families(): readonly Family[] {
    return familiesOf(this.#settings)
  }

  #compile(unit: Unit | undefined): readonly Rule[] {
    if (unit === undefined) return []
    if (unit.kind === 'bridge') return compileBridge(this.#settings, unit.intent)
    return compileEndpoint(this.#settings, unit.ports, unit.links)
  }

  /**
   * One family's share of a change: blindly if that is possible, else read and patched. Answers
   * false when the kernel is not as we left it.
   */
  async #commit(family: Family, change: NetChange): Promise<boolean> {
    const added = change.added.filter((rule) => rule.family === family)
    const removed = change.removed.filter((rule) => rule.family === family)
    if (added.length === 0 && removed.length === 0) return true
    const blind = this.#blind(family, added, removed)
    if (blind === undefined) {
      await this.#patch(family, this.#surplus(change))
      return true
    }
    try {
      await this.#restore(family, blind)
      return true
    } catch (error) {
      const reason = messageOf(error)
      log.debug('firewall differs from what was written, reading it', { family, reason })
      return false
    }
  }

  /** What a patch may remove: until it is known what is in use, only what was just taken back. */
  #surplus(change: NetChange): ReadonlySet<string> | 'all' {
    return this.#reconciled ? 'all' : new Set(change.removed.map((rule) => rule.spec))
  }

  /** The restore for a change whose surroundings are known, or undefined. */
  #blind(
    family: Family,
    added: readonly Rule[],
    removed: readonly Rule[],
  ): readonly Section[] | undefined {
    // In shared chains the other engine's rules decide where ours can go.
    if (!this.#verified.has(family) || !this.#reconciled) return undefined
    if (this.#settings.sharedChains) return undefined
    if (this.#policyKnown.get(family) !== this.#options.dropForwarding(family)) return undefined
    const sections: Section[] = []
    for (const table of tables) {
      const ofTable = added.filter((rule) => rule.table === table)
      if (ofTable.length === 0) continue
      const lines = this.#ruleset.place(ofTable)
      if (lines === undefined) return undefined
      sections.push({ table, lines: [...guards[table], ...lines] })
    }
    for (const table of tables.toReversed()) {
      const ofTable = removed.filter((rule) => rule.table === table)
      const lines = ofTable.map((rule) => `-D ${rule.chain} ${rule.spec}`)
      sections.push({ table, lines })
    }
    return sections
  }

  /** Reads the family's tables and writes what differs. */
  async #patch(family: Family, surplus: ReadonlySet<string> | 'all'): Promise<void> {
    this.#verified.delete(family)
    const drop = this.#options.dropForwarding(family)
    for (let attempt = 1; ; attempt++) {
      const saved = parseSave(await this.#options.access.save(family))
      this.#lookAtUsers(family, saved)
      const changes = this.#diff(family, saved, surplus)
      const sections = changes.map(([table, { additions }]) => ({ table, lines: [...additions] }))
      if (this.#wantsDrop(family, saved)) {
        const policy = saved.get('filter')?.get('FORWARD')?.policy ?? 'ACCEPT'
        await this.#options.former.set(family, policy)
        sections.find(({ table }) => table === 'filter')?.lines.push('-P FORWARD DROP')
      }
      for (const [table, { removals }] of changes.toReversed()) {
        sections.push({ table, lines: [...removals] })
      }
      try {
        await this.#restore(family, sections)
        this.#verified.add(family)
        this.#policyKnown.set(family, drop)
        return
      } catch (error) {
        if (attempt === attemptsMax) throw error
      }
    }
  }

  #lookAtUsers(family: Family, saved: SavedTables): void {
    const shared = this.#settings.sharedChains
    const { rules: all = [] } = saved.get('raw')?.get('PREROUTING') ?? {}
    const first = all.findIndex((spec) => owns('raw', 'PREROUTING', spec, shared))
    const note = (place: 'raw' | 'forward', table: Table, rules: readonly string[]) => {
      if (mayLetThrough(rules, saved.get(table))) this.#opened[place].add(family)
      else this.#opened[place].delete(family)
    }
    note('raw', 'raw', first < 0 ? all : all.slice(0, first))
    note('forward', 'filter', saved.get('filter')?.get('DOCKER-USER')?.rules ?? [])
  }

  #diff(
    family: Family,
    saved: SavedTables,
    surplus: ReadonlySet<string> | 'all',
  ): [Table, TableChange][] {
    return tables.map((table) => {
      const desired = this.#ruleset.rules(family, table)
      const found: SavedTable = saved.get(table) ?? new Map()
      const change = diffTable(table, desired, found, this.#settings.sharedChains)
      if (surplus === 'all') return [table, change]
      const removals = change.removals.filter((line) => surplus.has(specOf(line)))
      return [table, { additions: change.additions, removals }]
    })
  }

  #wantsDrop(family: Family, saved: SavedTables): boolean {
    if (!this.#options.dropForwarding(family)) return false
    return saved.get('filter')?.get('FORWARD')?.policy !== 'DROP'
  }

  #restorePolicy(family: Family): readonly string[] {
    const policy = this.#options.former.get(family)
    return policy === undefined ? [] : [`-P FORWARD ${policy}`]
  }

  async #undo(change: NetChange): Promise<void> {
    for (const family of this.#families()) {
      try {
        await this.#patch(family, this.#surplus(change))
      } catch (error) {
        log.error('firewall could not be put back', { family, error: messageOf(error) })
      }
    }
  }

  async #restore(family: Family, sections: readonly Section[]): Promise<void> {
    const text = restoreText(sections)
    if (text !== '') await this.#options.access.restore(family, text)
  }
}

interface Section {
  readonly table: Table
  readonly lines: readonly string[]
}

/** Jumps whose absence says that somebody has flushed: a failing `-C` stops the restore. */
const guards: Readonly<Record<Table, readonly string[]>> = {
  raw: [],
  filter: ['-C FORWARD -j DOCKER-FORWARD', '-C DOCKER-FORWARD -j DOCKER-BRIDGE'],
  nat: ['-C PREROUTING -m addrtype --dst-type LOCAL -j DOCKER'],
}

/** Sections in order; neighbours of one table are one transaction. Empty ones are left out. */
function restoreText(sections: readonly Section[]): string {
  const lines: string[] = []
  let open: Table | undefined
  for (const section of sections) {
    if (section.lines.length === 0) continue
    if (open !== section.table) {
      if (open !== undefined) lines.push('COMMIT')
      lines.push(`*${section.table}`)
      open = section.table
    }
    lines.push(...section.lines)
  }
  return open === undefined ? '' : [...lines, 'COMMIT', ''].join('\n')
}

const specOf = (deletion: string) => deletion.replace(/^-D \S+ /, '')
