/**
 * Intents → chains, sets and maps of our own nftables tables (`ip` and `ip6 docker-bridges`).
 *
 * What a port needs are elements only: adding one costs the same beside ten or ten thousand others,
 * and a packet finds it by one look-up. Every line is in the form that `nft list` prints.
 */
import { isLoopback, familyOf, isProtected } from './compile.ts'
import type { BridgeIntent, FirewallSettings, LinkIntent, PortIntent } from './intent.ts'
import type { Family } from './rules.ts'

export const nftTable = 'docker-bridges'
export const userChain = 'DOCKER-USER'

/** An element of a set (no value) or of a map. */
export interface NftElement {
  readonly family: Family
  readonly set: string
  readonly key: string
  readonly value?: string
}

export interface NftChain {
  readonly family: Family
  readonly name: string
  readonly lines: readonly string[]
}

export interface NftUnit {
  readonly chains: readonly NftChain[]
  readonly elements: readonly NftElement[]
}

export interface NftSet {
  readonly name: string
  readonly kind: 'set' | 'map'
  /** `type …`, and `flags interval` where there are ranges. */
  readonly header: readonly string[]
}

const interval = 'flags interval'

/** The sets and maps that every table has. */
export function nftSets(family: Family): readonly NftSet[] {
  const address = family === 4 ? 'ipv4_addr' : 'ipv6_addr'
  const port = 'inet_proto . inet_service'
  const set = (name: string, ...header: string[]): NftSet => ({ name, kind: 'set', header })
  const map = (name: string, ...header: string[]): NftSet => ({ name, kind: 'map', header })
  return [
    set('bridges', 'type ifname'),
    map('filter-forward-internal', 'type ifname : verdict'),
    map('filter-forward-in-jumps', 'type ifname : verdict'),
    map('filter-forward-out-jumps', 'type ifname : verdict'),
    map('nat-postrouting-jumps', `type ${address} : verdict`, interval),
    map('raw-direct-jumps', `type ${address} : verdict`, interval),
    map('dnat-any', `type ${port} : ${address} . inet_service`),
    map('dnat-any-range', `type ${port} : ${address}`, interval),
    map('dnat-address', `type ${address} . ${port} : ${address} . inet_service`),
    map('dnat-address-range', `type ${address} . ${port} : ${address}`, interval),
    set('published', `type ${address} . ${port}`),
    set('published-range', `type ${address} . ${port}`, interval),
    set('hairpin', `type ${address} . ${address} . ${port}`),
    set('hairpin-range', `type ${address} . ${address} . ${port}`, interval),
    // Packets from elsewhere to ::1 are dropped by the kernel before any rule.
    ...(family === 4 ? [set('loopback', `type ${address} . ${port}`, interval)] : []),
    set('links', `type ${address} . ${address} . ${port}`),
    set('links-back', `type ${address} . ${address} . ${port}`),
  ]
}

const ip = (family: Family) => (family === 4 ? 'ip' : 'ip6')
const toPort = 'meta l4proto . th dport'

/** The chains that every table has, but for the user's own. */
export function nftBaseChains(
  family: Family,
  settings: FirewallSettings,
  dropForwarding: boolean,
): readonly NftChain[] {
  const chain = (name: string, ...lines: string[]): NftChain => ({ family, name, lines })
  const addr = ip(family)
  const hook = (type: string, at: string, priority: string, policy = 'accept') =>
    `type ${type} hook ${at} priority ${priority}; policy ${policy};`
  const loopback = family === 4 ? '127.0.0.0/8' : '::1'
  const output = 'fib daddr type local jump nat-prerouting-and-output'
  const hairpin = (set: string) =>
    `${addr} saddr . ${addr} daddr . ${toPort} @${set} counter masquerade`
  return [
    chain('filter-FORWARD',
      hook('filter', 'forward', 'filter', dropForwarding ? 'drop' : 'accept'),
      `jump ${userChain}`,
      'iifname vmap @filter-forward-internal',
      'oifname vmap @filter-forward-in-jumps',
      'iifname vmap @filter-forward-out-jumps'),
    chain('nat-prerouting-and-output',
      ...(settings.userlandProxy ? ['iifname @bridges return'] : []),
      ...(family === 6 ? ['ip6 saddr fe80::/10 return'] : []),
      `dnat ${addr} to ${addr} daddr . ${toPort} map @dnat-address`,
      `dnat to ${addr} daddr . ${toPort} map @dnat-address-range`,
      `dnat ${addr} to ${toPort} map @dnat-any`,
      `dnat to ${toPort} map @dnat-any-range`),
    chain('nat-PREROUTING', hook('nat', 'prerouting', 'dstnat'), output),
    chain('nat-OUTPUT', hook('nat', 'output', '-100'),
      settings.userlandProxy ? `${addr} daddr != ${loopback} ${output}` : output),
    chain('nat-POSTROUTING', hook('nat', 'postrouting', 'srcnat'),
      ...(settings.userlandProxy
        ? [] : ['oifname @bridges fib saddr type local counter masquerade']),
      `${addr} saddr vmap @nat-postrouting-jumps`, hairpin('hairpin'), hairpin('hairpin-range')),
    chain('raw-PREROUTING', hook('filter', 'prerouting', 'raw'),
      ...(family === 4
        ? [`iifname != "lo" ip daddr . ${toPort} @loopback counter drop`] : []),
      ...(settings.userlandProxy || family === 6
        ? [] : ['iifname @bridges ip daddr 127.0.0.0/8 counter drop']),
      `${addr} daddr vmap @raw-direct-jumps`),
  ]
}

/** A name that nft takes: bridges may be called almost anything. */
export const chainName = (prefix: string, intent: BridgeIntent) =>
  `${prefix}__${/^[\w.-]+$/.test(intent.bridge) ? intent.bridge : intent.networkId.slice(0, 12)}`

export function nftBridge(settings: FirewallSettings, intent: BridgeIntent): NftUnit {
  const chains: NftChain[] = []
  const elements: NftElement[] = []
  for (const net of intent.families) {
    const { family } = net
    const add = (
      map: string, key: string, prefix: string, verb: 'jump' | 'goto', lines: readonly string[],
    ) => {
      const name = chainName(prefix, intent)
      chains.push({ family, name, lines })
      elements.push({ family, set: map, key, value: `${verb} ${name}` })
    }
    const name = `"${intent.bridge}"`
    const inward = [...forwardIn(settings, intent, net)]
    add('filter-forward-in-jumps', name, 'filter-forward-in', 'jump', inward)
    if (intent.internal || net.mode === 'isolated') {
      const outward = [`oifname != ${name} counter drop`]
      add('filter-forward-internal', name, 'filter-forward-internal', 'jump', outward)
      continue
    }
    elements.push({ family, set: 'bridges', key: name })
    add('filter-forward-out-jumps', name, 'filter-forward-out', 'jump', ['counter accept'])
    if (intent.masquerade && net.mode !== 'routed') {
      const target = net.hostAddress === undefined ? 'masquerade' : `snat to ${net.hostAddress}`
      const lines = [`oifname != ${name} counter ${target}`]
      add('nat-postrouting-jumps', net.subnet, 'nat-postrouting-out', 'jump', lines)
    }
    if (isProtected(settings, net) && intent.masquerade) {
      const open = [intent.bridge, ...intent.trustedInterfaces]
      const lines = [
        ...open.map((link) => `iifname "${link}" return`), 'fib daddr type local return',
        'counter drop',
      ]
      add('raw-direct-jumps', net.subnet, 'raw-direct', 'jump', lines)
    }
  }
  return { chains, elements }
}

/** What passes between containers that may not talk, as ARP does: no link could work without. */
export const neighbours = 'icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }'

function* forwardIn(
  settings: FirewallSettings,
  intent: BridgeIntent,
  net: BridgeIntent['families'][number],
): Generator<string> {
  const name = `"${intent.bridge}"`
  const addr = ip(net.family)
  const icc = `iifname ${name} counter ${intent.icc ? 'accept' : 'drop'}`
  const asking = `iifname ${name} ${neighbours} counter accept`
  if (intent.internal || net.mode === 'isolated') {
    yield `iifname != ${name} counter drop`
    if (!intent.icc && net.family === 6) yield asking
    yield icc
    return
  }
  yield 'ct state established,related counter accept'
  if (net.mode === 'routed') {
    yield `meta l4proto ${net.family === 4 ? 'icmp' : 'ipv6-icmp'} counter accept`
  }
  const pair = `${addr} saddr . ${addr} daddr . meta l4proto`
  if (!intent.icc) {
    if (net.family === 6) yield asking
    yield `iifname ${name} ${pair} . th dport @links counter accept`
    yield `iifname ${name} ${pair} . th sport @links-back counter accept`
  }
  yield icc
  if (net.mode !== 'routed') yield 'iifname @bridges counter drop'
  if (isProtected(settings, net) && !intent.masquerade) {
    for (const link of intent.trustedInterfaces) {
      yield `iifname "${link}" ${addr} daddr . ${toPort} @published counter accept`
      yield `iifname "${link}" ${addr} daddr . ${toPort} @published-range counter accept`
    }
    yield 'ct status ! dnat counter drop'
  }
  yield `${addr} daddr . ${toPort} @published counter accept`
  yield `${addr} daddr . ${toPort} @published-range counter accept`
  yield net.mode === 'nat-unprotected' ? 'counter accept' : 'counter drop'
}

export function nftEndpoint(ports: readonly PortIntent[], links: readonly LinkIntent[]): NftUnit {
  const elements: NftElement[] = []
  const inside = new Map<string, Span[]>()
  for (const port of ports) {
    const { family, containerIp, mode } = port
    // What was asked for on an address of the other family is the keeper's to relay.
    if (familyOf(port.hostIp) !== family || familyOf(containerIp) !== family) continue
    const span = { first: port.containerPort, last: port.containerPort + port.count - 1 }
    const note = (set: string, key: string) => {
      const id = `${family} ${set} ${key}`
      inside.set(id, [...(inside.get(id) ?? []), span])
    }
    if (mode !== 'nat-unprotected') note('published', `${containerIp} . ${port.protocol}`)
    if (mode === 'routed' || mode === 'isolated') continue
    note('hairpin', `${containerIp} . ${containerIp} . ${port.protocol}`)
    elements.push(...translation(port))
  }
  for (const [id, spans] of inside) {
    const [family = '', set = '', ...key] = id.split(' ')
    for (const span of merge(spans)) {
      elements.push({
        family: family === '4' ? 4 : 6, set: span.first === span.last ? set : `${set}-range`,
        key: `${key.join(' ')} . ${spanText(span)}`,
      })
    }
  }
  for (const { parentIp, childIp, protocol, port } of links) {
    const family = familyOf(childIp)
    elements.push(
      { family, set: 'links', key: `${parentIp} . ${childIp} . ${protocol} . ${port}` },
      { family, set: 'links-back', key: `${childIp} . ${parentIp} . ${protocol} . ${port}` },
    )
  }
  return { chains: [], elements }
}

interface Span {
  readonly first: number
  readonly last: number
}

const spanText = ({ first, last }: Span) => (first === last ? `${first}` : `${first}-${last}`)

/** Touching and overlapping ranges as one: a set of intervals refuses overlaps. */
function merge(spans: readonly Span[]): readonly Span[] {
  const merged: Span[] = []
  for (const span of spans.toSorted((a, b) => a.first - b.first)) {
    const last = merged.at(-1)
    if (last === undefined || span.first > last.last + 1) merged.push(span)
    else merged[merged.length - 1] = { first: last.first, last: Math.max(last.last, span.last) }
  }
  return merged
}

/** A range on the same numbers is one element; a shifted one is an element per port. */
function translation(port: PortIntent): NftElement[] {
  const { family, protocol, hostIp, hostPort, containerIp, containerPort, count } = port
  const everywhere = hostIp === '0.0.0.0' || hostIp === '::'
  const map = everywhere ? 'dnat-any' : 'dnat-address'
  const prefix = everywhere ? protocol : `${hostIp} . ${protocol}`
  const elements: NftElement[] = []
  const hostSpan = spanText({ first: hostPort, last: hostPort + count - 1 })
  if (count > 1 && hostPort === containerPort) {
    const key = `${prefix} . ${hostSpan}`
    elements.push({ family, set: `${map}-range`, key, value: containerIp })
  } else {
    for (let i = 0; i < count; i++) {
      const value = `${containerIp} . ${containerPort + i}`
      elements.push({ family, set: map, key: `${prefix} . ${hostPort + i}`, value })
    }
  }
  if (family === 4 && isLoopback(hostIp)) {
    elements.push({ family, set: 'loopback', key: `${hostIp} . ${protocol} . ${hostSpan}` })
  }
  return elements
}
