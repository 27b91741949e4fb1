/**
 * Intents → the tables of the guard: what drops, none of what translates or lets through. A text
 * has one table per family, under a name of its own.
 *
 * What is dropped no rule of anybody could have let through either: the chain DOCKER-USER comes
 * before isolation and inter-container communication, so those parts are left out while it lets
 * anything through. The part at `raw` is asked before it.
 */
import type { Unit } from './backend.ts'
import { familiesOf, isLoopback, isProtected } from './compile.ts'
import type { BridgeIntent, FirewallSettings } from './intent.ts'
import { chainName, neighbours, nftEndpoint } from './nft-compile.ts'
import type { Family } from './rules.ts'

type BridgeFamily = BridgeIntent['families'][number]

/** The text of both tables; '' when there is nothing to guard. */
export function compileGuard(
  settings: FirewallSettings,
  units: readonly Unit[],
  forwarding: boolean,
  name: string,
): string {
  const tables = familiesOf(settings).map((family) => {
    const table = new GuardTable(settings, family)
    for (const unit of units) table.add(unit, forwarding)
    return table.text(name)
  })
  return tables.join('')
}

/** What a unit has to do with the guard; two of its states that agree in this are one to it. */
export function guarded(unit: Unit | undefined): unknown {
  if (unit === undefined || unit.kind === 'bridge') return unit
  const ports = unit.ports.filter(({ hostIp, family }) => family === 4 && isLoopback(hostIp))
  return ports.length === 0 && unit.links.length === 0 ? undefined : { ports, links: unit.links }
}

const quoted = (bridge: string) => `"${bridge}"`

class GuardTable {
  readonly #settings: FirewallSettings
  readonly #family: Family
  readonly #ip: string
  readonly #bridges = new Set<string>()
  /** Subnet or bridge → chain; chain → lines. */
  readonly #direct = new Map<string, string>()
  readonly #forward = new Map<string, string>()
  readonly #chains = new Map<string, readonly string[]>()
  readonly #sets = new Map<string, Set<string>>(
    ['loopback', 'links', 'links-back'].map((name) => [name, new Set()]),
  )

  constructor(settings: FirewallSettings, family: Family) {
    this.#settings = settings
    this.#family = family
    this.#ip = family === 4 ? 'ip' : 'ip6'
  }

  add(unit: Unit, forwarding: boolean): void {
    if (unit.kind === 'bridge') {
      const net = unit.intent.families.find(({ family }) => family === this.#family)
      if (net !== undefined) this.#addBridge(unit.intent, net, forwarding)
      return
    }
    const { elements } = nftEndpoint(unit.ports, unit.links)
    for (const { family, set, key } of elements) {
      if (family === this.#family) this.#sets.get(set)?.add(key)
    }
  }

  #addBridge(intent: BridgeIntent, net: BridgeFamily, forwarding: boolean): void {
    const { bridge } = intent
    const isInternal = intent.internal || net.mode === 'isolated'
    if (!isInternal) this.#bridges.add(quoted(bridge))
    if (!isInternal && isProtected(this.#settings, net) && intent.masquerade) {
      const open = [bridge, ...intent.trustedInterfaces].map(quoted).join(', ')
      this.#chain(this.#direct, net.subnet, chainName('direct', intent), [
        `iifname { ${open} } return`,
        // Nobody's business any more once the bridge is gone, nor what is the host's own.
        `fib daddr oifname != ${quoted(bridge)} return`,
        'drop',
      ])
    }
    const lines = forwarding ? [...this.#inward(intent, net, isInternal)] : []
    if (lines.length > 0) {
      this.#chain(this.#forward, quoted(bridge), chainName('forward', intent), lines)
    }
  }

  #chain(map: Map<string, string>, key: string, name: string, lines: readonly string[]): void {
    map.set(key, name)
    this.#chains.set(name, lines)
  }

  /** What comes to the bridge, and is not the answer to something. */
  *#inward(intent: BridgeIntent, net: BridgeFamily, isInternal: boolean): Generator<string> {
    const own = `iifname ${quoted(intent.bridge)}`
    if (!intent.icc) {
      const pair = `${this.#ip} saddr . ${this.#ip} daddr . meta l4proto`
      if (this.#family === 6) yield `${own} ${neighbours} accept`
      yield `${own} ${pair} . th dport @links accept`
      yield `${own} ${pair} . th sport @links-back accept`
      yield `${own} drop`
    }
    if (isInternal || net.mode === 'routed') return
    if (intent.icc) yield `${own} accept`
    yield 'iifname @bridges drop'
    if (!isProtected(this.#settings, net) || intent.masquerade) return
    for (const link of intent.trustedInterfaces) yield `iifname ${quoted(link)} accept`
    yield 'ct status ! dnat drop'
  }

  text(name: string): string {
    const address = this.#family === 4 ? 'ipv4_addr' : 'ipv6_addr'
    const port = `${address} . inet_proto . inet_service`
    const pair = `${address} . ${port}`
    const loopback = this.#sets.get('loopback') ?? new Set()
    if (this.#chains.size + loopback.size === 0) return ''
    const verdicts = (map: ReadonlyMap<string, string>) =>
      [...map].map(([key, chain]) => `${key} : jump ${chain}`)
    const toPort = 'meta l4proto . th dport'
    return block(`table ${this.#ip} ${name}`, [
      'flags owner;',
      set('set bridges', 'type ifname;', this.#bridges),
      set('map direct', `type ${address} : verdict; flags interval;`, verdicts(this.#direct)),
      set('map forward-in', 'type ifname : verdict;', verdicts(this.#forward)),
      ...(this.#family === 4
        ? [set('set loopback', `type ${port}; flags interval;`, loopback)] : []),
      set('set links', `type ${pair};`, this.#sets.get('links') ?? []),
      set('set links-back', `type ${pair};`, this.#sets.get('links-back') ?? []),
      ...[...this.#chains].map(([chain, lines]) => block(`chain ${chain}`, lines)),
      block('chain raw-PREROUTING', [
        'type filter hook prerouting priority raw; policy accept;',
        ...(this.#family === 4 ? [`iifname != "lo" ip daddr . ${toPort} @loopback drop`] : []),
        `${this.#ip} daddr vmap @direct`,
      ]),
      block('chain filter-FORWARD', [
        'type filter hook forward priority filter; policy accept;',
        'ct state established,related accept',
        'oifname vmap @forward-in',
      ]),
    ])
  }
}

const block = (head: string, lines: readonly string[]) => `${head} {\n${lines.join('\n')}\n}\n`

function set(head: string, type: string, elements: Iterable<string>): string {
  const list = [...elements]
  const lines = list.length === 0 ? [] : [`elements = { ${list.join(', ')} }`]
  return block(head, [type, ...lines])
}
