/**
 * Kernel state as engines can be compared by: links, addresses, routes, forwarding entries and
 * sysctls as sorted lines, and the rules of the nat table.
 *
 * Left out is what no two runs have in common (indexes, timers, neighbours that traffic left), and
 * link-local addresses, which follow from the MAC address; docker0's and lo's are there.
 */

/** A shell line: everything about the links of this namespace. No single quotes in it. */
export const state = [
  'ip -j -d addr', 'ip -j route show table all', 'ip -j -6 route show table all', 'bridge -j fdb',
  'ip -j neigh show nud permanent', 'ip -j -6 neigh show nud permanent', 'ip -j rule',
  'cd /proc/sys/net; grep -s . ipv4/conf/*/* ipv6/conf/*/* ipv4/ip_forward ipv4/neigh/*/app_solicit ' +
    'ipv4/ip_unprivileged_port_start ipv4/ping_group_range core/somaxconn || true',
].join('; echo ----; ')

/** The same of a container's namespace, with the files that it sees. */
export const stateInside = `${state}; for file in hosts hostname resolv.conf; do echo ----; ` +
  'cat /proc/$PID/root/etc/$file; done'

/** Takes out of a text what no two runs have in common. */
export type Clean = (text: string) => string

/** What `state` printed, by subject, each as a set of lines: what only one has shows by itself. */
export const networkState = (text: string, clean: Clean): unknown => stateOf(text, clean, false)

/** The same for containers on several networks: which one is eth0 Docker leaves to chance. */
export const networkStateByAddress = (text: string, clean: Clean): unknown =>
  stateOf(text, clean, true)

function stateOf(text: string, clean: Clean, byAddress: boolean): unknown {
  const asSet = (lines: readonly string[]) => counted(lines.map(clean))
  const parts = text.split('----\n').map((part) => part.trim())
  const [addr, route4, route6, fdb, neigh4, neigh6, rule, sysctls] = parts
  const names = linkNames(addr ?? '', byAddress)
  const tables = [...jsonList(route4), ...jsonList(route6)]
  const seen = {
    links: asSet(jsonList(addr).map((link) => linkText(link, names))),
    queues: asSet(jsonList(addr).flatMap((link) => queueTexts(link, names))),
    addresses: asSet(jsonList(addr).flatMap((link) => addressTexts(link, names))),
    routes: asSet(tables.map((route) => routeText(route, names)).filter((line) => line !== '')),
    fdb: asSet(jsonList(fdb).map((entry) => fdbText(entry, names)).filter((line) => line !== '')),
    neighbours: asSet([...jsonList(neigh4), ...jsonList(neigh6)].map((entry) =>
      words(entry, ['dst', 'dev', 'lladdr'], names))),
    rules: asSet(jsonList(rule).map((entry) => JSON.stringify(entry))),
    sysctls: sysctlsOf(sysctls ?? '', names, clean),
  }
  const [hosts, hostname, resolv] = parts.slice(8).map(clean)
  if (hosts === undefined) return seen
  // The order of hosts lines is that of attachment, which Docker leaves to chance.
  return { ...seen, hosts: counted(hosts.split('\n')), hostname, resolv: resolv?.split('\n') }
}

type Entry = Readonly<Record<string, unknown>>

/** Veths by the bridge they are on: their own names are drawn by lot. */
function linkNames(text: string, byAddress: boolean): ReadonlyMap<string, string> {
  const names = new Map<string, string>()
  const numbered = jsonList(text).filter((link) => /^eth\d/.test(String(link['ifname'])))
  for (const link of byAddress ? numbered : []) {
    const addresses = Array.isArray(link['addr_info']) ? link['addr_info'].filter(isEntry) : []
    const first = addresses.find((address) => isOfThePlan(address))
    names.set(String(link['ifname']), `eth with ${String(first?.['local'] ?? 'no address')}`)
  }
  for (const link of jsonList(text)) {
    const name = String(link['ifname'])
    if (/^<?veth/.test(name)) names.set(name, `veth on ${String(link['master'] ?? 'nothing')}`)
  }
  return names
}

function linkText(link: Entry, names: ReadonlyMap<string, string>): string {
  const info = isEntry(link['linkinfo']) ? link['linkinfo'] : {}
  const data = { ...dataOf(info['info_data']), ...dataOf(info['info_slave_data']) }
  const flags = (Array.isArray(link['flags']) ? link['flags'].map(String) : [])
    .filter((flag) => !['LOWER_UP', 'NO-CARRIER', 'M-DOWN'].includes(flag))
  const details = Object.entries(data).filter(([key]) => set.has(key))
    .map(([key, value]) => `${key}=${JSON.stringify(value)}`)
  return [
    nameOf(link['ifname'], names), info['info_kind'] ?? '', `mtu ${String(link['mtu'])}`,
    String(link['address']), flags.sort().join(','),
    `qdisc ${String(link['qdisc'])}`, link['promiscuity'] === 0 ? '' : 'promiscuous',
    link['inet6_addr_gen_mode'], ...details.sort(),
  ].filter((word) => word !== '').join(' ')
}

/** How long its queue is, and how many it has. */
function queueTexts(link: Entry, names: ReadonlyMap<string, string>): string[] {
  const name = nameOf(link['ifname'], names)
  const { info_kind: kind = 'link' } = isEntry(link['linkinfo']) ? link['linkinfo'] : {}
  return [
    `${name} ${String(link['txqlen'] ?? 0)}`,
    `${name} ${String(kind)} numtxqueues ${String(link['num_tx_queues'])}`,
  ]
}

/** What an engine may set of bridges, their ports and other links; the rest is the kernel's. */
const set = new Set([
  'stp_state', 'priority', 'vlan_filtering', 'vlan_default_pvid', 'group_fwd_mask', 'nf_call_iptables',
  'nf_call_ip6tables', 'nf_call_arptables', 'mcast_snooping', 'mcast_querier', 'mcast_router',
  'ageing_time', 'forward_delay', 'hello_time', 'max_age', 'hairpin', 'guard', 'fastleave', 'learning',
  'flood', 'bcast_flood', 'mcast_flood', 'mcast_to_unicast', 'proxy_arp', 'proxy_arp_wifi', 'isolated',
  'neigh_suppress', 'locked', 'cost', 'mode', 'flags', 'protocol', 'id',
])

function dataOf(value: unknown): Entry {
  return isEntry(value) ? value : {}
}

function addressTexts(link: Entry, names: ReadonlyMap<string, string>): string[] {
  const infos = Array.isArray(link['addr_info']) ? link['addr_info'].filter(isEntry) : []
  return infos.filter(isOfThePlan).map((info) =>
    `${nameOf(link['ifname'], names)} ${words(info, ['local', 'prefixlen', 'broadcast', 'scope', 'nodad', 'noprefixroute'], names)}`)
}

function isOfThePlan(info: Entry): boolean {
  return !/^fe80::(?!1$)/.test(String(info['local']))
}

function routeText(route: Entry, names: ReadonlyMap<string, string>): string {
  const text = words(route, ['type', 'dst', 'gateway', 'dev', 'table', 'protocol', 'scope', 'prefsrc', 'metric'], names)
  // Of every link, by its MAC address: said already by the link's mode.
  return /fe80::|ff00::/.test(text) ? '' : text
}

function fdbText(entry: Entry, names: ReadonlyMap<string, string>): string {
  const flags = Array.isArray(entry['flags']) ? entry['flags'].join(',') : ''
  const text = `${words(entry, ['mac', 'ifname', 'master', 'vlan', 'state'], names)} ${flags}`
  // What the bridge learned from traffic, and the multicast groups every host joins.
  return entry['state'] === 'permanent' && !/33:33|01:00:5e/.test(text) ? text : ''
}

function words(entry: Entry, keys: readonly string[], names: ReadonlyMap<string, string>): string {
  return keys.filter((key) => entry[key] !== undefined)
    .map((key) => `${key} ${nameOf(entry[key], names)}`).join(' ')
}

function nameOf(value: unknown, names: ReadonlyMap<string, string>): string {
  return names.get(String(value)) ?? String(value)
}

/** By interface, then by key: one that only one side has is one difference. */
function sysctlsOf(
  text: string, names: ReadonlyMap<string, string>, clean: Clean,
): Record<string, Record<string, string>> {
  const found: Record<string, Record<string, string>> = {}
  const note = (of: string, key: string, value: string) => {
    found[of] = { ...found[of], [key]: value }
  }
  for (const line of text.split('\n')) {
    const [, family = '', kind = '', name = '', key = '', value = ''] =
      /^(ipv4|ipv6)\/(conf|neigh)\/([^/]+)\/([^:]+):(.*)$/.exec(line) ?? []
    if (key === 'stable_secret' || key === '') continue
    note(clean(nameOf(name, names)), `${family} ${kind} ${key}`, value)
  }
  for (const line of text.split('\n')) {
    const [, key, value] = /^((?:ipv4|core)\/[^/:]+):(.*)$/.exec(line) ?? []
    if (key !== undefined && value !== undefined) note('all of it', key, value)
  }
  return found
}

function jsonList(text: string | undefined): Entry[] {
  if (text === undefined || text === '') return []
  const found: unknown = JSON.parse(text)
  return Array.isArray(found) ? found.filter(isEntry) : []
}

function isEntry(value: unknown): value is Entry {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Lines with how often they come: one that only one side has shows by itself. */
export function counted(lines: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const line of lines) counts[line] = (counts[line] ?? 0) + 1
  return counts
}

/** Lines, sorted; whether a carrier has been noticed yet is a matter of time. */
export function lines(text: string, clean: Clean): unknown {
  return clean(text).split('\n').map((line) => line.trim().replace(/ linkdown$/, '')).filter((line) => line !== '').sort()
}

/** Rules of `iptables-save`, as a set: chains of both layouts are named alike in nat. */
export function natRules(text: string, clean: Clean): unknown {
  return counted(clean(text).split('\n').filter((line) => line.startsWith('-A')))
}
