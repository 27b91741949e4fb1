/**
 * Intents → iptables rules: the layout of Docker 28 with the changes that this engine makes to it
 * (hairpin masquerade for every port, protection against direct routing once per network).
 *
 * Pure. Three units can be compiled apart from each other, so that one endpoint costs the rules of
 * one endpoint: the base, a bridge, an endpoint.
 */
import type { BridgeIntent, FirewallSettings, LinkIntent, PortIntent } from './intent.ts'
import { marked, needsMark } from './rules.ts'
import type { Family, Rule, Table } from './rules.ts'

const established = '-m conntrack --ctstate RELATED,ESTABLISHED'

/** Where a rule goes: table, chain, rank, end of the rank. `owns` knows the forms. */
interface Place {
  readonly table: Table
  readonly chain: string
  readonly rank: number
  readonly at: 'front' | 'end'
}

const place = (table: Table, chain: string, rank: number, at: 'front' | 'end'): Place =>
  ({ table, chain, rank, at })

const stage1 = 'DOCKER-ISOLATION-STAGE-1'
const stage2 = 'DOCKER-ISOLATION-STAGE-2'

const places = {
  user: place('filter', 'FORWARD', 0, 'front'),
  forward: place('filter', 'FORWARD', 1, 'front'),
  dispatchCt: place('filter', 'DOCKER-FORWARD', 0, 'front'),
  dispatchIsolation: place('filter', 'DOCKER-FORWARD', 1, 'front'),
  dispatchBridge: place('filter', 'DOCKER-FORWARD', 2, 'front'),
  neighbours: place('filter', 'DOCKER-FORWARD', 3, 'end'),
  outgoing: place('filter', 'DOCKER-FORWARD', 4, 'end'),
  ct: place('filter', 'DOCKER-CT', 0, 'end'),
  trustedRouted: place('filter', 'DOCKER-BRIDGE', 0, 'front'),
  onlyTranslated: place('filter', 'DOCKER-BRIDGE', 1, 'front'),
  bridge: place('filter', 'DOCKER-BRIDGE', 2, 'end'),
  accept: place('filter', 'DOCKER', 0, 'front'),
  link: place('filter', 'DOCKER', 1, 'end'),
  icmp: place('filter', 'DOCKER', 2, 'end'),
  unpublished: place('filter', 'DOCKER', 3, 'end'),
  internal: place('filter', stage1, 0, 'front'),
  routed: place('filter', stage1, 1, 'front'),
  isolate: place('filter', stage1, 2, 'end'),
  isolated: place('filter', stage2, 0, 'front'),
  prerouting: place('nat', 'PREROUTING', 0, 'end'),
  output: place('nat', 'OUTPUT', 0, 'end'),
  masqueradeHost: place('nat', 'POSTROUTING', 0, 'front'),
  masquerade: place('nat', 'POSTROUTING', 1, 'front'),
  hairpin: place('nat', 'POSTROUTING', 2, 'end'),
  skip: place('nat', 'DOCKER', 0, 'front'),
  dnat: place('nat', 'DOCKER', 1, 'end'),
  trusted: place('raw', 'PREROUTING', 0, 'front'),
  direct: place('raw', 'PREROUTING', 1, 'end'),
  loopback: place('raw', 'PREROUTING', 1, 'end'),
} as const

/** Collects the rules of one family; `shared` puts our mark on every rule. */
class Collector {
  readonly rules: Rule[] = []
  readonly #family: Family
  readonly #shared: boolean

  constructor(family: Family, shared: boolean) {
    this.#family = family
    this.#shared = shared
  }

  add(to: Place, spec: string, mark = false): void {
    this.rules.push({
      family: this.#family,
      ...to,
      spec: this.#shared || mark ? marked(spec) : spec,
    })
  }
}

export function familiesOf(settings: FirewallSettings): readonly Family[] {
  return [...(settings.ipv4 ? [4 as const] : []), ...(settings.ipv6 ? [6 as const] : [])]
}

/** Jumps into our chains: what must be there before any network. */
export function compileBase(settings: FirewallSettings): readonly Rule[] {
  return familiesOf(settings).flatMap((family) => {
    const to = new Collector(family, settings.sharedChains)
    to.add(places.user, '-j DOCKER-USER')
    to.add(places.forward, '-j DOCKER-FORWARD')
    to.add(places.dispatchCt, '-j DOCKER-CT')
    to.add(places.dispatchIsolation, `-j ${stage1}`)
    to.add(places.dispatchBridge, '-j DOCKER-BRIDGE')
    const local = '-m addrtype --dst-type LOCAL -j DOCKER'
    const loopback = family === 4 ? '127.0.0.0/8' : '::1/128'
    to.add(places.prerouting, local)
    to.add(places.output, settings.userlandProxy ? `! -d ${loopback} ${local}` : local)
    return to.rules
  })
}

type BridgeFamily = BridgeIntent['families'][number]

/** What holds for one network, whether it has endpoints or not. */
export function compileBridge(settings: FirewallSettings, intent: BridgeIntent): readonly Rule[] {
  const families = familiesOf(settings)
  return intent.families
    .filter((net) => families.includes(net.family))
    .flatMap((net) => {
      const to = new Collector(net.family, settings.sharedChains)
      if (intent.internal || net.mode === 'isolated') {
        internalBridge(to, intent, net)
      } else {
        filterBridge(to, intent, net)
        natBridge(to, settings, intent, net)
        if (isProtected(settings, net)) protectBridge(to, intent, net)
      }
      return to.rules
    })
}

/** Whether routed hosts are kept from reaching container addresses directly. */
export function isProtected(settings: FirewallSettings, net: BridgeFamily): boolean {
  return net.mode === 'nat' && !settings.allowDirectRouting
}

function internalBridge(to: Collector, intent: BridgeIntent, net: BridgeFamily): void {
  const br = intent.bridge
  const [notIn, notOut] = net.family === 6 ? [`! -i ${br} `, `! -o ${br} `] : ['', '']
  // Each goes to the front: the last one is listed first, as with Docker.
  to.add(places.internal, `! -d ${net.subnet} -i ${br} ${notOut}-j DROP`)
  to.add(places.internal, `! -s ${net.subnet} ${notIn}-o ${br} -j DROP`)
  if (!intent.icc) allowNeighbours(to, br, net)
  to.add(places.outgoing, `-i ${br} -o ${br} -j ${intent.icc ? 'ACCEPT' : 'DROP'}`)
}

/**
 * What asks for MAC addresses passes, as ARP does for IPv4, though containers may not reach each
 * other: without it no rule could let a link through.
 */
function allowNeighbours(to: Collector, br: string, net: BridgeFamily): void {
  if (net.family === 4) return
  for (const type of [135, 136]) {
    const match = `-i ${br} -o ${br} -p ipv6-icmp -m icmp6 --icmpv6-type ${type}`
    to.add(places.neighbours, `${match} -j ACCEPT`)
  }
}

function filterBridge(to: Collector, intent: BridgeIntent, net: BridgeFamily): void {
  const br = intent.bridge
  to.add(places.ct, `-o ${br} ${established} -j ACCEPT`)
  to.add(places.bridge, `-o ${br} -j DOCKER`)
  if (net.mode === 'routed') {
    to.add(places.icmp, `-o ${br} -p ${net.family === 4 ? 'icmp' : 'ipv6-icmp'} -j ACCEPT`)
    // Each goes to the front, as with internal networks.
    to.add(places.routed, `-o ${br} -j RETURN`)
    to.add(places.routed, `-i ${br} ${established} -j ACCEPT`)
  }
  const verdict = net.mode === 'nat-unprotected' ? 'ACCEPT' : 'DROP'
  to.add(places.unpublished, `! -i ${br} -o ${br} -j ${verdict}`)
  to.add(places.isolate, `-i ${br} ! -o ${br} -j ${stage2}`)
  to.add(places.isolated, `-o ${br} -j DROP`)
  if (intent.icc) {
    to.add(places.outgoing, `-i ${br} -j ACCEPT`)
  } else {
    allowNeighbours(to, br, net)
    to.add(places.outgoing, `-i ${br} -o ${br} -j DROP`)
    to.add(places.outgoing, `-i ${br} ! -o ${br} -j ACCEPT`)
  }
}

function natBridge(
  to: Collector,
  settings: FirewallSettings,
  intent: BridgeIntent,
  net: BridgeFamily,
): void {
  const br = intent.bridge
  const mark = needsMark(br)
  if (intent.masquerade && net.mode !== 'routed') {
    const { hostAddress } = net
    const target = hostAddress === undefined ? 'MASQUERADE' : `SNAT --to-source ${hostAddress}`
    to.add(places.masquerade, `-s ${net.subnet} ! -o ${br} -j ${target}`, mark)
  }
  if (!settings.userlandProxy) {
    // route_localnet is on for this bridge: what listens on the host's loopback stays its own.
    if (net.family === 4) to.add(places.loopback, `-d 127.0.0.0/8 -i ${br} -j DROP`, mark)
    to.add(places.masqueradeHost, `-o ${br} -m addrtype --src-type LOCAL -j MASQUERADE`, mark)
  } else if (intent.masquerade) {
    to.add(places.skip, `-i ${br} -j RETURN`)
  }
}

/**
 * Packets for the subnet that came in by another link are dropped, but for the subnet's own local
 * addresses. Where nothing is masqueraded, answers from outside carry container addresses too:
 * there only new connections that were not translated are dropped, which needs connection state.
 */
function protectBridge(to: Collector, intent: BridgeIntent, net: BridgeFamily): void {
  const br = intent.bridge
  if (!intent.masquerade) {
    for (const trusted of intent.trustedInterfaces) {
      to.add(places.trustedRouted, `-i ${trusted} -o ${br} -j DOCKER`)
    }
    const spec = `! -i ${br} -o ${br} -m conntrack ! --ctstate DNAT -j DROP`
    to.add(places.onlyTranslated, spec)
    return
  }
  for (const trusted of intent.trustedInterfaces) {
    to.add(places.trusted, `-d ${net.subnet} -i ${trusted} -j ACCEPT`, true)
  }
  const notLocal = '-m addrtype ! --dst-type LOCAL'
  to.add(places.direct, `-d ${net.subnet} ! -i ${br} ${notLocal} -j DROP`, needsMark(br))
}

/** The published ports and legacy links of one endpoint. */
export function compileEndpoint(
  settings: FirewallSettings,
  ports: readonly PortIntent[],
  links: readonly LinkIntent[],
): readonly Rule[] {
  const found = new Map<string, Rule>()
  for (const family of familiesOf(settings)) {
    const to = new Collector(family, settings.sharedChains)
    for (const port of ports) if (port.family === family) publish(to, settings, port)
    for (const link of links) if (familyOf(link.childIp) === family) openLink(to, link)
    // Bindings of one container port on several host addresses share rules.
    for (const rule of to.rules) found.set(`${family} ${rule.chain} ${rule.spec}`, rule)
  }
  return [...found.values()]
}

export function familyOf(address: string): Family {
  return address.includes(':') ? 6 : 4
}

const host = (address: string) => `${address}/${familyOf(address) === 4 ? 32 : 128}`

const span = (first: number, count: number, between: string) =>
  count === 1 ? String(first) : `${first}${between}${first + count - 1}`

function publish(to: Collector, settings: FirewallSettings, port: PortIntent): void {
  const { bridge: br, protocol, family, containerIp } = port
  // What was asked for on an address of the other family is the keeper's to relay.
  if (familyOf(port.hostIp) !== family || familyOf(containerIp) !== family) return
  const match = `-p ${protocol} -m ${protocol} --dport`
  const inside = `${match} ${span(port.containerPort, port.count, ':')}`
  if (port.mode !== 'nat-unprotected') {
    to.add(places.accept, `-d ${host(containerIp)} ! -i ${br} -o ${br} ${inside} -j ACCEPT`)
  }
  if (port.mode === 'routed' || port.mode === 'isolated') return
  const everywhere = port.hostIp === '0.0.0.0' || port.hostIp === '::'
  const source = family === 6 ? '! -s fe80::/10 ' : ''
  const destination = everywhere ? '' : `-d ${host(port.hostIp)} `
  const notIn = settings.userlandProxy ? `! -i ${br} ` : ''
  const outside = `${match} ${span(port.hostPort, port.count, ':')}`
  const spec = `${source}${destination}${notIn}${outside} -j DNAT --to-destination ${target(port)}`
  to.add(places.dnat, spec)
  to.add(places.hairpin, `-s ${host(containerIp)} -d ${host(containerIp)} ${inside} -j MASQUERADE`)
  // Packets from elsewhere to ::1 are dropped by the kernel before any rule.
  if (family === 4 && isLoopback(port.hostIp)) {
    to.add(places.loopback, `-d ${host(port.hostIp)} ! -i lo ${outside} -j DROP`)
  }
}

/** `172.18.0.2:80`, or for a range `172.18.0.2:80-89/8080`: consecutive from 8080 on. */
function target(port: PortIntent): string {
  const address = port.family === 4 ? port.containerIp : `[${port.containerIp}]`
  const base = port.count === 1 ? '' : `/${port.hostPort}`
  return `${address}:${span(port.containerPort, port.count, '-')}${base}`
}

export function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1'
}

function openLink(to: Collector, link: LinkIntent): void {
  const { bridge: br, protocol } = link
  const [parent, child] = [host(link.parentIp), host(link.childIp)]
  const by = `-i ${br} -o ${br} -p ${protocol} -m ${protocol}`
  to.add(places.link, `-s ${parent} -d ${child} ${by} --dport ${link.port} -j ACCEPT`)
  to.add(places.link, `-s ${child} -d ${parent} ${by} --sport ${link.port} -j ACCEPT`)
}
