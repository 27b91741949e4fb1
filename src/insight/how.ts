/**
 * How a container's network is made: the ip, brctl, sysctl and iptables (or nft) lines that a
 * network engineer would type to make the same. Everything is read from the kernel at this moment;
 * what the engine wants is in `plan`. Lines that begin with `#` only explain.
 */
import type { Firewall } from '../firewall/intent.ts'
import { listAddresses } from '../kernel/address.ts'
import { listLinks, type Link } from '../kernel/link.ts'
import { homeNetns, openNetns, type Netns } from '../kernel/netns.ts'
import { nft } from '../kernel/nftables.ts'
import { listPolicyRules } from '../kernel/policy-rule.ts'
import { listRoutes } from '../kernel/route.ts'
import { readSysctl } from '../kernel/sysctl.ts'
import { sayCreate, saySysctl, insideWords } from '../kernel/words.ts'
import { driverNamed } from '../network/drivers/drivers.ts'
import type { Endpoint, Network, Sandbox } from '../network/model.ts'
import type { Networks } from '../network/networks.ts'

export interface HowSources {
  readonly networks: Pick<Networks, 'find'>
  readonly firewall: Firewall
}

const RTPROT_KERNEL = 2
const scopeLink = 253
const namesTable = 'ip docker-dns'

/** A container's network, from its bridges to its own namespace and its firewall rules. */
export async function howContainer(
  sources: HowSources,
  containerName: string,
  sandbox: Sandbox,
): Promise<readonly string[]> {
  if (sandbox.spec.mode.kind === 'host') {
    return [comment(`container ${containerName} is in the host's own network: nothing was made`)]
  }
  const links = listLinks(homeNetns())
  const bridges = new Map<string, { readonly link: Link; readonly network: string }>()
  const parents: string[] = []
  for (const { networkId, networkName, hostInterface } of sandbox.endpoints) {
    const parent = parentOf(sources.networks.find(networkId))
    if (parent !== '') parents.push(...howParent(parent, networkName, links))
    const name = links.find((link) => link.name === hostInterface)?.master ?? ''
    const link = links.find((one) => one.name === name) ?? bridgeOf(links, networkId)
    if (link !== undefined) bridges.set(link.name, { link, network: networkName })
  }
  const lines = bridges.size > 0 ? await howBase(sources) : []
  for (const { link, network } of bridges.values()) {
    lines.push(...(await howBridge(sources, link, network)))
  }
  lines.push(...parents)
  lines.push(...howNamespace(containerName, sandbox, links))
  lines.push(...(await howEndpointRules(sources, containerName, sandbox.endpoints)))
  return lines
}

/** A network alone. */
export async function howNetwork(
  sources: HowSources,
  network: Network,
): Promise<readonly string[]> {
  const { name, options, driver } = network.spec
  const links = listLinks(homeNetns())
  const parent = parentOf(network)
  if (parent !== '') return howParent(parent, name, links)
  const named = options['com.docker.network.bridge.name']
  const link = bridgeOf(links, network.id) ?? links.find((one) => one.name === named)
  if (link === undefined) {
    return [comment(`network ${name} (${driver}) has no link of its own here`)]
  }
  return [...(await howBase(sources)), ...(await howBridge(sources, link, name))]
}

const bridgeOf = (links: readonly Link[], networkId: string): Link | undefined =>
  links.find((link) => link.kind === 'bridge' && link.alias === `portolan:${networkId}`)

const parentOf = (network: Network): string =>
  driverNamed(network.spec.driver).parentLink(network)

/** The link that a macvlan or ipvlan network is on, where it was made for it. */
function howParent(name: string, network: string, links: readonly Link[]): string[] {
  const link = links.find((one) => one.name === name)
  const say = (text: string, lines: readonly string[] = []) => [
    comment(`network ${network}${text}`),
    ...lines,
  ]
  if (link === undefined) return say(`: its parent ${name} is not there`)
  const { alias, kind, detail, linkIndex } = link
  if (!alias.startsWith('portolan:')) return say(`: its parent ${name} was there before`)
  if (kind === 'dummy' || kind === 'ifb') {
    return say(', which leads nowhere', sayCreate({ type: 'dummy', name, kind, alias }))
  }
  const parent = links.find(({ index }) => index === linkIndex)?.name ?? ''
  return say('', sayCreate({ type: 'vlan', name, parent, id: detail.vlanId ?? 0, alias }))
}

/** What all bridge networks share. */
async function howBase({ firewall }: HowSources): Promise<string[]> {
  const forward = readSysctl(homeNetns(), 'net/ipv4/ip_forward')
  return [
    '# once for all networks: forwarding, and the chains',
    ...(forward === '1' ? ['sysctl -w net.ipv4.ip_forward=1'] : []),
    ...(await firewall.explain({})),
  ]
}

async function howBridge(
  { firewall }: HowSources,
  { name, mac, mtu, alias }: Link,
  network: string,
): Promise<string[]> {
  return [
    comment(`network ${network}`),
    ...sayCreate({ type: 'bridge', name, mac, mtu, alias, adopted: false }),
    ...sysctls(homeNetns(), '', [
      [`net/ipv4/conf/${name}/route_localnet`, '0'],
      [`net/ipv6/conf/${name}/disable_ipv6`, '0'],
      [`net/ipv6/conf/${name}/accept_ra`, '1'],
    ]),
    ...addresses(homeNetns(), '', name),
    ...policyRules(name),
    ...(await firewall.explain({ bridge: name })).filter((line) => !isEndpointRule(line)),
  ]
}

/** What keeps an internal network from being routed. */
function policyRules(bridge: string): string[] {
  const rules = listPolicyRules(homeNetns())
  if (rules.length === 0) return []
  const routes = listRoutes(homeNetns()).filter(({ link }) => link === bridge)
  const subnets = new Set(routes.map(({ destination }) => destination))
  return rules.filter(({ iif, to }) => iif === bridge || subnets.has(to)).flatMap(sayCreate)
}

/** Rules for single ports are told with the container that they are for. */
const isEndpointRule = (line: string) => /--[ds]port /.test(line)

/** A name of the user must not end the comment. */
const comment = (text: string) => `# ${text.replace(/[^ -~]+/g, '?')}`

function sysctls(
  ns: Netns,
  netns: string,
  settings: readonly (readonly [key: string, usual: string])[],
): string[] {
  return settings.flatMap(([key, usual]) => {
    const value = readSysctl(ns, key)
    return value === undefined || value === usual ? [] : [saySysctl({ netns, key, value })]
  })
}

/** Without those that the kernel gives by itself. */
function addresses(ns: Netns, netns: string, link: string): string[] {
  return listAddresses(ns, link)
    .filter(({ family, permanent, scope }) => permanent && !(family === 6 && scope === scopeLink))
    .flatMap(({ address }) => sayCreate({ type: 'address', netns, link, address }))
}

function howNamespace(name: string, sandbox: Sandbox, links: readonly Link[]): string[] {
  const netns = sandbox.netnsPath
  const ns = openNetns(netns)
  try {
    const inner = listLinks(ns)
    const lines = [
      comment(`container ${name}: its namespace`),
      ...sayCreate({ type: 'netns', path: netns }),
    ]
    for (const endpoint of sandbox.endpoints) {
      const { interfaceName, hostInterface, networkName } = endpoint
      const link = inner.find((one) => one.name === interfaceName)
      if (link === undefined) continue
      lines.push(comment(`${interfaceName} on network ${networkName}`))
      const host = links.find((one) => one.name === hostInterface)
      lines.push(...(host === undefined
        ? howChild(netns, link, links)
        : howVeth(netns, link, host)))
      const setting = (key: string) => `net/ipv6/conf/${interfaceName}/${key}`
      const settings = [[setting('disable_ipv6'), '0'], [setting('accept_ra'), '1']] as const
      lines.push(...sysctls(ns, netns, settings))
      lines.push(...addresses(ns, netns, interfaceName))
    }
    for (const route of listRoutes(ns)) {
      const { destination, gateway, link, protocol } = route
      if (protocol === RTPROT_KERNEL) continue
      const via = gateway === '' ? {} : { gateway }
      lines.push(...sayCreate({ type: 'route', netns, destination, ...via, link }))
    }
    return [...lines, ...howNames(ns, netns)]
  } finally {
    ns.close()
  }
}

function howVeth(netns: string, { name, mac }: Link, host: Link): readonly string[] {
  return sayCreate({
    type: 'veth',
    name: host.name,
    master: host.master,
    mtu: host.mtu,
    hairpin: host.port?.hairpin === true,
    alias: host.alias,
    peer: { netns, name, mac },
  })
}

/** A link of its own on a parent; with ipvlan the parent's MAC is its own. */
function howChild(netns: string, link: Link, links: readonly Link[]): readonly string[] {
  const { name, mac, mtu, kind, detail, linkIndex } = link
  const above = links.find(({ index }) => index === linkIndex)
  const common = { netns, name, parent: above?.name ?? '', ...(mtu === above?.mtu ? {} : { mtu }) }
  const { macvlanMode, ipvlanMode, ipvlanFlag } = detail
  if (macvlanMode !== undefined) {
    const own = macvlanMode === 'passthru' ? {} : { mac }
    return sayCreate({ type: 'macvlan', ...common, mode: macvlanMode, ...own })
  }
  if (ipvlanMode === undefined || ipvlanFlag === undefined) {
    return [comment(`${name} is of kind ${kind}, which was not made for this network`)]
  }
  return sayCreate({ type: 'ipvlan', ...common, mode: ipvlanMode, flag: ipvlanFlag })
}

async function howEndpointRules(
  { firewall }: HowSources,
  name: string,
  endpoints: readonly Endpoint[],
): Promise<string[]> {
  const lines: string[] = []
  for (const { ipv4, ipv6 } of endpoints) {
    for (const address of [ipv4, ipv6]) {
      if (address === '') continue
      lines.push(...(await firewall.explain({ address: address.split('/')[0] ?? '' })))
    }
  }
  return lines.length === 0 ? [] : [comment(`published ports and links of ${name}`), ...lines]
}

/** Names: port 53 of 127.0.0.11 is led to the engine's resolver by a table inside the namespace. */
function howNames(ns: Netns, netns: string): string[] {
  if (!nft(ns, 'list tables').split('\n').includes(`table ${namesTable}`)) return []
  const text = nft(ns, `list table ${namesTable}`, { stateless: true }).trimEnd()
  return [`${insideWords(netns)}nft -f - <<'END'`, ...text.split('\n'), 'END']
}
