/**
 * Intents → the tables of the guard: what drops, none of what translates or lets through. A text
 * has one table per family, under a name of its own.
 *
 * What is dropped no rule of anybody could have let through either: where rules of the user's come
 * before ours (in DOCKER-USER, or PREROUTING of `raw`) and let anything through, that part is left
 * out.
 */
import type { Unit, UserOpens } from './backend.ts'
import { familiesOf, isLoopback, isProtected } from './compile.ts'
import type { BridgeIntent, FirewallSettings } from './intent.ts'
import { chainName, neighbours, nftEndpoint } from './nft-compile.ts'
import type { Family } from './rules.ts'

type BridgeFamily = BridgeIntent['families'][number]

/** The text of both tables; '' when there is nothing to guard. */
export function compileGuard(
  settings: FirewallSettings,
  units: readonly Unit[],
  opens: UserOpens,
  name: string,
): string {
  const tables = familiesOf(settings).map((family) => {
    const table = new GuardTable(settings, family)
    for (const unit of units) table.add(unit, opens)
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

const quoted = (link: string) => `"${link}"`

/** In this order in the text: rules name sets that are there. */
const setNames = [
  'bridges', 'isolated', 'same', 'direct', 'trusted', 'loopback', 'links', 'links-back', 'inward',
] as const
type SetName = (typeof setNames)[number]

/** Sets grow with networks, chains only with those whose containers may not talk to each other. */
class GuardTable {
  readonly #settings: FirewallSettings
  readonly #family: Family
  readonly #ip: string
  readonly #chains = new Map<string, readonly string[]>()
  readonly #sets: Readonly<Record<SetName, Set<string>>> = {
    bridges: new Set(),
    isolated: new Set(),
    same: new Set(),
    direct: new Set(),
    trusted: new Set(),
    inward: new Set(),
    loopback: new Set(),
    links: new Set(),
    'links-back': new Set(),
  }

  constructor(settings: FirewallSettings, family: Family) {
    this.#settings = settings
    this.#family = family
    this.#ip = family === 4 ? 'ip' : 'ip6'
  }

  add(unit: Unit, opens: UserOpens): void {
    if (unit.kind === 'bridge') {
      const net = unit.intent.families.find(({ family }) => family === this.#family)
      if (net !== undefined) this.#addBridge(unit.intent, net, opens)
      return
    }
    for (const { family, set, key } of nftEndpoint(unit.ports, unit.links).elements) {
      const isKept = set === 'loopback' || set === 'links' || set === 'links-back'
      if (family === this.#family && isKept) this.#sets[set].add(key)
    }
  }

  #addBridge(intent: BridgeIntent, net: BridgeFamily, opens: UserOpens): void {
    const name = quoted(intent.bridge)
    const isInternal = intent.internal || net.mode === 'isolated'
    const isClosed = !isInternal && isProtected(this.#settings, net)
    if (!isInternal) this.#sets.bridges.add(name)
    if (isClosed && intent.masquerade && !opens.raw) {
      this.#sets.direct.add(net.subnet)
      for (const link of intent.trustedInterfaces) {
        this.#sets.trusted.add(`${quoted(link)} . ${net.subnet}`)
      }
    }
    if (opens.forward) return
    if (!isInternal && net.mode !== 'routed') {
      this.#sets.isolated.add(name)
      this.#sets.same.add(`${name} . ${name}`)
    }
    const lines = [
      ...(intent.icc ? [] : this.#betweenContainers(name)),
      ...(isClosed && !intent.masquerade ? onlyTranslated(intent) : []),
    ]
    if (lines.length === 0) return
    const chain = chainName('inward', intent)
    this.#chains.set(chain, lines)
    this.#sets.inward.add(`${name} : jump ${chain}`)
  }

  #betweenContainers(name: string): readonly string[] {
    const own = `iifname ${name}`
    const pair = `${this.#ip} saddr . ${this.#ip} daddr . meta l4proto`
    return [
      ...(this.#family === 6 ? [`${own} ${neighbours} accept`] : []),
      `${own} ${pair} . th dport @links accept`,
      `${own} ${pair} . th sport @links-back accept`,
      `${own} drop`,
    ]
  }

  text(name: string): string {
    const sets = this.#sets
    if (sets.bridges.size + sets.inward.size + sets.loopback.size === 0) return ''
    const address = this.#family === 4 ? 'ipv4_addr' : 'ipv6_addr'
    const port = 'inet_proto . inet_service'
    const types: Readonly<Record<SetName, string>> = {
      bridges: 'type ifname;',
      isolated: 'type ifname;',
      same: 'type ifname . ifname;',
      direct: `type ${address}; flags interval;`,
      trusted: `type ifname . ${address}; flags interval;`,
      inward: 'type ifname : verdict;',
      loopback: `type ${address} . ${port}; flags interval;`,
      links: `type ${address} . ${address} . ${port};`,
      'links-back': `type ${address} . ${address} . ${port};`,
    }
    const to = `${this.#ip} daddr`
    return block(`table ${this.#ip} ${name}`, [
      'flags owner;',
      ...setNames.map((key) =>
        set(`${key === 'inward' ? 'map' : 'set'} ${key}`, types[key], sets[key])),
      ...[...this.#chains].map(([chain, lines]) => block(`chain ${chain}`, lines)),
      block('chain raw-PREROUTING', [
        'type filter hook prerouting priority raw; policy accept;',
        `iifname != "lo" ${to} . meta l4proto . th dport @loopback drop`,
        `iifname . ${to} @trusted accept`,
        // What the host itself is asked for passes, and what goes back where it came from.
        `${to} @direct fib daddr type != local fib daddr . iif oif missing drop`,
      ]),
      block('chain filter-FORWARD', [
        'type filter hook forward priority filter; policy accept;',
        'ct state established,related accept',
        'oifname @isolated iifname @bridges iifname . oifname != @same drop',
        'oifname vmap @inward',
      ]),
    ])
  }
}

function onlyTranslated({ bridge, trustedInterfaces }: BridgeIntent): readonly string[] {
  return [
    ...trustedInterfaces.map((link) => `iifname ${quoted(link)} accept`),
    `iifname != ${quoted(bridge)} ct status ! dnat drop`,
  ]
}

const block = (head: string, lines: readonly string[]) => `${head} {\n${lines.join('\n')}\n}\n`

function set(head: string, type: string, elements: ReadonlySet<string>): string {
  const lines = elements.size === 0 ? [] : [`elements = { ${[...elements].join(', ')} }`]
  return block(head, [type, ...lines])
}
