/**
 * The vocabulary of the iptables backend: tables, chains, and rules with their place.
 *
 * A rule's text is exactly what `iptables-save` prints for it, so that desired and found rules
 * compare as strings. `rank` says what must stand before what inside a chain; rules of one rank
 * may stand in any order, `at` only chooses where among them a new one goes.
 */
import { quoteWord } from '../kernel/words.ts'

export type Family = 4 | 6
export type Table = 'raw' | 'filter' | 'nat'

/** Order in which tables are written when adding; removing goes the other way. */
export const tables: readonly Table[] = ['raw', 'filter', 'nat']

export interface Rule {
  readonly family: Family
  readonly table: Table
  readonly chain: string
  /** Matches and target as iptables-save prints them, without `-A CHAIN`. */
  readonly spec: string
  readonly rank: number
  readonly at: 'front' | 'end'
}

/** Chains of ours, in the order in which they are made. */
export const ownChains: Readonly<Record<Table, readonly string[]>> = {
  raw: [],
  filter: [
    'DOCKER',
    'DOCKER-BRIDGE',
    'DOCKER-CT',
    'DOCKER-FORWARD',
    'DOCKER-INGRESS',
    'DOCKER-ISOLATION-STAGE-1',
    'DOCKER-ISOLATION-STAGE-2',
    'DOCKER-USER',
  ],
  nat: ['DOCKER'],
}

/** The mark of a rule that could otherwise not be told from somebody else's. */
const mark = '-m comment --comment portolan '

/** `spec` with our mark, in front of its target. */
export function marked(spec: string): string {
  const target = spec.lastIndexOf('-j ')
  return spec.slice(0, target) + mark + spec.slice(target)
}

/** Names that only a Docker engine gives to bridges. */
const engineBridge = /^(docker0|docker_gwbridge|br-[0-9a-f]{12})$/

/** True for a bridge whose rules in shared chains need the mark. */
export function needsMark(bridge: string): boolean {
  return !engineBridge.test(bridge)
}

/** One key per rule and place; equal keys are the same rule. */
export function keyOf(rule: Rule): string {
  return `${rule.family} ${rule.table} ${rule.chain} ${rule.spec}`
}

/** The rule as a person would type it, safe to paste whatever a bridge is called. */
export function commandOf(family: Family, table: Table, line: string): string {
  const program = family === 4 ? 'iptables' : 'ip6tables'
  const words = line.split(' ').map((word) => (word === '!' ? word : quoteWord(word))).join(' ')
  return table === 'filter' ? `${program} ${words}` : `${program} -t ${table} ${words}`
}

const net = '[0-9a-f.:/]+'
const port = '(?:-p (?:tcp|udp|sctp) -m (?:tcp|udp|sctp) --[ds]port [0-9:]+)'
const est = '-m conntrack --ctstate RELATED,ESTABLISHED'

/** Every form of rule that this backend writes; `(IF)` captures the bridge in shared chains. */
const forms: Readonly<Record<string, readonly string[]>> = {
  'filter FORWARD': ['-j DOCKER-USER', '-j DOCKER-FORWARD'],
  'filter DOCKER-FORWARD': [
    '-j DOCKER-CT',
    '-j DOCKER-ISOLATION-STAGE-1',
    '-j DOCKER-BRIDGE',
    '-i IF -j ACCEPT',
    '-i IF ! -o IF -j ACCEPT',
    '-i IF -o IF -j (?:ACCEPT|DROP)',
    '-i IF -o IF -p ipv6-icmp -m icmp6 --icmpv6-type 13[56] -j ACCEPT',
  ],
  'filter DOCKER-CT': [`-o IF ${est} -j ACCEPT`],
  'filter DOCKER-BRIDGE': [
    '-o IF -j DOCKER',
    '-i IF -o IF -j DOCKER',
    '! -i IF -o IF -m conntrack ! --ctstate DNAT -j DROP',
  ],
  'filter DOCKER': [
    `-d ${net} ! -i IF -o IF ${port} -j ACCEPT`,
    `-s ${net} -d ${net} -i IF -o IF ${port} -j ACCEPT`,
    '-o IF -p (?:icmp|ipv6-icmp) -j ACCEPT',
    '! -i IF -o IF -j (?:ACCEPT|DROP)',
  ],
  'filter DOCKER-ISOLATION-STAGE-1': [
    '-i IF ! -o IF -j DOCKER-ISOLATION-STAGE-2',
    `! -s ${net} (?:! -i IF )?-o IF -j DROP`,
    `! -d ${net} -i IF (?:! -o IF )?-j DROP`,
    `-i IF ${est} -j ACCEPT`,
    '-o IF -j RETURN',
  ],
  'filter DOCKER-ISOLATION-STAGE-2': ['-o IF -j DROP'],
  'nat PREROUTING': ['-m addrtype --dst-type LOCAL -j DOCKER'],
  'nat OUTPUT': [`(?:! -d ${net} )?-m addrtype --dst-type LOCAL -j DOCKER`],
  'nat POSTROUTING': [
    `-s ${net} ! -o (IF) -j (?:MASQUERADE|SNAT --to-source ${net})`,
    '-o (IF) -m addrtype --src-type LOCAL -j MASQUERADE',
    `-s (?<own>${net}/(?:32|128)) -d \\k<own> ${port} -j MASQUERADE`,
  ],
  'nat DOCKER': [
    '-i IF -j RETURN',
    `(?:! -s fe80::/10 )?(?:-d ${net} )?(?:! -i IF )?${port} -j DNAT --to-destination [^ ]+`,
  ],
  'raw PREROUTING': [
    `-d ${net} ! -i (IF) -m addrtype ! --dst-type LOCAL -j DROP`,
    `-d ${net} -i (IF) -j ACCEPT`,
    '-d 127.0.0.0/8 -i (IF) -j DROP',
    `-d 127[0-9.]+/32 ! -i lo ${port} -j DROP`,
  ],
}

const compiled = new Map(
  Object.entries(forms).map(([place, patterns]) => [
    place,
    patterns.map((pattern) => new RegExp(`^${pattern.replaceAll('IF', '[^ ]+')}$`)),
  ]),
)

/**
 * Whether a rule found in the kernel is of ours. `shared`: another engine works in chains of the
 * same names, then only rules with our mark are.
 */
export function owns(table: Table, chain: string, spec: string, shared: boolean): boolean {
  const hasMark = spec.includes(mark)
  if (shared && !hasMark) return false
  const bare = spec.replace(mark, '')
  for (const form of compiled.get(`${table} ${chain}`) ?? []) {
    const match = form.exec(bare)
    if (match === null) continue
    const bridge = match[1]
    const named = bridge === undefined || match.groups?.['own'] !== undefined
    return hasMark || named || !needsMark(bridge)
  }
  return false
}
