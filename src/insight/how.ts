/**
 * How a container's network is made: the ip, brctl, sysctl and iptables (or nft) lines that a
 * network engineer would type to make the same. Everything is read from the kernel at this moment;
 * what the engine wants is in `plan`. Lines that begin with `#` only explain.
 */
import type { Firewall } from '../firewall/intent.ts'
import { listAddresses, type LinkAddress } from '../kernel/address.ts'
import { listLinks, type Link } from '../kernel/link.ts'
import { homeNetns, openNetns, type Netns } from '../kernel/netns.ts'
import { nft } from '../kernel/nftables.ts'
import { listRoutes, type Route } from '../kernel/route.ts'
import { readSysctl } from '../kernel/sysctl.ts'
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
    return [`# container ${containerName} is in the host's own network: nothing was made for it`]
  }
  const links = listLinks(homeNetns())
  const bridges = new Map<string, { readonly link: Link; readonly network: string }>()
  for (const { networkId, networkName, hostInterface } of sandbox.endpoints) {
    const name = links.find((link) => link.name === hostInterface)?.master ?? ''
    const link = links.find((one) => one.name === name) ?? bridgeOf(links, networkId)
    if (link !== undefined) bridges.set(link.name, { link, network: networkName })
  }
  const lines = bridges.size > 0 ? await howBase(sources) : []
  for (const { link, network } of bridges.values()) {
    lines.push(...(await howBridge(sources, link, network)))
  }
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
  const named = options['com.docker.network.bridge.name']
  const link = bridgeOf(links, network.id) ?? links.find((one) => one.name === named)
  if (link === undefined) return [`# network ${name} (${driver}) has no link of its own here`]
  return [...(await howBase(sources)), ...(await howBridge(sources, link, name))]
}

const bridgeOf = (links: readonly Link[], networkId: string): Link | undefined =>
  links.find((link) => link.kind === 'bridge' && link.alias === `portolan:${networkId}`)

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
  const settings = [
    [`net/ipv4/conf/${name}/route_localnet`, '0'],
    [`net/ipv6/conf/${name}/disable_ipv6`, '0'],
    [`net/ipv6/conf/${name}/accept_ra`, '1'],
  ] as const
  return [
    `# network ${network}`,
    `ip link add ${name} type bridge`,
    ...sysctls(homeNetns(), '', settings),
    `ip link set ${name} address ${mac} mtu ${mtu}${alias === '' ? '' : ` alias ${alias}`} up`,
    ...addresses(homeNetns(), name).map((address) => sayAddress(address)),
    ...(await firewall.explain({ bridge: name })).filter((line) => !isEndpointRule(line)),
  ]
}

/** Rules for single ports are told with the container that they are for. */
const isEndpointRule = (line: string) => /--[ds]port /.test(line)

function sysctls(
  ns: Netns,
  inside: string,
  settings: readonly (readonly [key: string, usual: string])[],
): string[] {
  return settings.flatMap(([key, usual]) => {
    const value = readSysctl(ns, key)
    if (value === undefined || value === usual) return []
    return [`${inside}sysctl -w ${key.includes('.') ? key : key.replaceAll('/', '.')}=${value}`]
  })
}

/** Without those that the kernel gives by itself. */
function addresses(ns: Netns, link: string): readonly LinkAddress[] {
  return listAddresses(ns, link).filter(({ family, permanent, scope }) =>
    permanent && !(family === 6 && scope === scopeLink))
}

function sayAddress({ address, broadcast, link }: LinkAddress): string {
  return `ip addr add ${address}${broadcast === '' ? '' : ` brd ${broadcast}`} dev ${link}`
}

function howNamespace(name: string, sandbox: Sandbox, links: readonly Link[]): string[] {
  const path = sandbox.netnsPath
  const inside = `nsenter --net=${path} `
  const ns = openNetns(path)
  try {
    const inner = listLinks(ns)
    const lines = [
      `# container ${name}: its namespace`,
      `touch ${path}`,
      `unshare --net=${path} true`,
      `${inside}ip link set lo up`,
    ]
    for (const endpoint of sandbox.endpoints) {
      const link = inner.find((one) => one.name === endpoint.interfaceName)
      const host = links.find((one) => one.name === endpoint.hostInterface)
      if (link !== undefined) lines.push(...howLink(ns, path, endpoint, link, host, links))
    }
    for (const route of listRoutes(ns)) {
      if (route.protocol !== RTPROT_KERNEL) lines.push(`${inside}ip ${sayRoute(route)}`)
    }
    return [...lines, ...howNames(ns, inside)]
  } finally {
    ns.close()
  }
}

function howLink(
  ns: Netns,
  path: string,
  endpoint: Endpoint,
  link: Link,
  host: Link | undefined,
  links: readonly Link[],
): string[] {
  const inside = `nsenter --net=${path} `
  const { name, mac, mtu } = link
  const lines = [`# ${name} on network ${endpoint.networkName}`]
  if (host !== undefined) {
    const end = `name ${name} mtu ${mtu} address ${mac} netns ${path}`
    lines.push(`ip link add ${host.name} address ${host.mac} mtu ${host.mtu} type veth peer ${end}`)
    if (host.master !== '') lines.push(`brctl addif ${host.master} ${host.name}`)
    if (host.port?.hairpin === true) lines.push(`brctl hairpin ${host.master} ${host.name} on`)
    lines.push(`ip link set ${host.name} alias ${host.alias} up`)
  } else {
    const parent = links.find(({ index }) => index === link.linkIndex)?.name ?? 'PARENT'
    const mode = link.detail.macvlanMode === undefined ? '' : ` mode ${link.detail.macvlanMode}`
    const end = `name ${name} netns ${path} address ${mac}`
    lines.push(`ip link add link ${parent} ${end} type ${link.kind}${mode}`)
  }
  lines.push(...sysctls(ns, inside, [[`net/ipv6/conf/${name}/disable_ipv6`, '0']]))
  for (const address of addresses(ns, name)) lines.push(`${inside}${sayAddress(address)}`)
  lines.push(`${inside}ip link set ${name} up`)
  return lines
}

function sayRoute({ family, destination, gateway, link, metric }: Route): string {
  const to = destination === 'default6' ? 'default' : destination
  const via = gateway === '' ? '' : ` via ${gateway}`
  const cost = metric === 0 || (family === 6 && metric === 1024) ? '' : ` metric ${metric}`
  return `${family === 6 ? '-6 ' : ''}route add ${to}${via} dev ${link}${cost}`
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
  return lines.length === 0 ? [] : [`# published ports and links of ${name}`, ...lines]
}

/** Names: port 53 of 127.0.0.11 is led to the engine's resolver by a table inside the namespace. */
function howNames(ns: Netns, inside: string): string[] {
  if (!nft(ns, 'list tables').split('\n').includes(`table ${namesTable}`)) return []
  const text = nft(ns, `list table ${namesTable}`, { stateless: true }).trimEnd()
  return [`${inside}nft -f - <<'END'`, ...text.split('\n'), 'END']
}
