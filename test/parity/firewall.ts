/**
 * The rules of two engines, rule by rule and in order: what differs must stand in the table of
 * what is meant to differ, each with its reason and with what stands in its place.
 */
import { contains, parsePrefix } from '../../src/address/prefix.ts'
import { parseAddress } from '../../src/address/ip.ts'

/** Lines of `iptables-save` and `ip6tables-save`: `4 filter -A FORWARD …`, in order. */
export type Listing = readonly string[]

interface Difference {
  readonly why: string
  /** What dockerd has here and we do not; and whether `ours` has what replaces it. */
  readonly gone?: RegExp
  readonly replaced?: (match: readonly string[], ours: Listing) => boolean
  /** What we have here and dockerd does not; and whether `theirs` gives cause for it. */
  readonly more?: RegExp
  readonly caused?: (match: readonly string[], theirs: Listing) => boolean
}

const holds = (subnet: string, address: string): boolean => {
  const prefix = parsePrefix(subnet)?.prefix
  const parsed = parseAddress(address)
  return prefix !== undefined && parsed !== undefined && contains(prefix, parsed)
}

/** Whether one of the lines matches, `ADDRESS` in the pattern being a subnet that holds `address`. */
const covers = (lines: Listing, pattern: string, address: string): boolean =>
  lines.some((line) => holds(new RegExp(`^${pattern}$`).exec(line)?.[1] ?? '', address))

const subnet = '([0-9a-f.:]+/[0-9]+)'
const onlyTranslated = (bridge: string) => `filter -A DOCKER-BRIDGE ! -i ${bridge} -o ${bridge} -m conntrack ! --ctstate DNAT -j DROP`
const masquerades = (lines: Listing, family: string, bridge: string): boolean =>
  lines.some((line) => new RegExp(`^${family} nat -A POSTROUTING -s ${subnet} ! -o ${bridge} `).test(line))

/** A rule that is there on both sides, in another place of its chain. */
function movedIn(place: string, form: RegExp): Omit<Difference, 'why'> {
  const pattern = new RegExp(`^. ${place} ${form.source}$`)
  const isThere = ([line = '']: readonly string[], lines: Listing) => lines.includes(line)
  return { gone: pattern, replaced: isThere, more: pattern, caused: isThere }
}

/** What is meant to differ from dockerd 28.2.2. */
export const differences: readonly Difference[] = [
  {
    why: 'direct routing is kept out once per network, so that an attach without ports needs no call to the firewall',
    gone: /^(.) raw -A PREROUTING -d ([^ /]+)\/\d+ ! -i (\S+) -j DROP$/,
    replaced: ([, family = '', address = '', bridge = ''], ours) =>
      covers(ours, `${family} raw -A PREROUTING -d ${subnet} ! -i ${bridge} -m addrtype ! --dst-type LOCAL -j DROP`, address) ||
      ours.includes(`${family} ${onlyTranslated(bridge)}`),
  },
  {
    why: '… and a network has it before its first container',
    more: /^(.) raw -A PREROUTING -d \S+ ! -i (\S+) -m addrtype ! --dst-type LOCAL -j DROP$/,
    caused: ([, family = '', bridge = ''], theirs) => masquerades(theirs, family, bridge),
  },
  {
    why: '… for which the raw table is there from the start, or needed by nobody',
    more: /^. raw :(PREROUTING|OUTPUT) ACCEPT$/,
    gone: /^. raw :(PREROUTING|OUTPUT) ACCEPT$/,
  },
  {
    why: 'so are the interfaces that may route directly',
    gone: /^(.) raw -A PREROUTING -d ([^ /]+)\/\d+ -i (\S+) -j ACCEPT$/,
    replaced: ([, family = '', address = '', link = ''], ours) =>
      covers(ours, `${family} raw -A PREROUTING -d ${subnet} -i ${link} -m comment --comment portolan -j ACCEPT`, address) ||
      ours.some((line) => line.startsWith(`${family} filter -A DOCKER-BRIDGE -i ${link} -o `)),
  },
  {
    why: '… with our mark, for the form could be anybody\'s',
    more: /^(.) raw -A PREROUTING -d (\S+) -i (\S+) -m comment --comment portolan -j ACCEPT$/,
    caused: ([, family = '', net = ''], theirs) => theirs.some((line) => line.startsWith(`${family} nat -A POSTROUTING -s ${net} `)),
  },
  {
    why: 'without the relay the kernel routes packets to 127.0.0.0/8 on a bridge: what containers send there is dropped',
    more: /^4 raw -A PREROUTING -d 127\.0\.0\.0\/8 -i (\S+) -j DROP$/,
    caused: ([, bridge = ''], theirs) => theirs.includes(`4 nat -A POSTROUTING -o ${bridge} -m addrtype --src-type LOCAL -j MASQUERADE`),
  },
  {
    why: 'internal networks come first: with Docker they reach a routed network that was made after them',
    ...movedIn('filter -A DOCKER-ISOLATION-STAGE-1', /(! -[sd] \S+ (! -\S \S+ )?-[io] \S+ (! -\S \S+ )?-j DROP|-i \S+ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT|-o \S+ -j RETURN)/),
  },
  {
    why: 'what lets ICMP through stands before all that drops, so that either can be put back when somebody has taken it',
    ...movedIn('filter -A DOCKER', /(-o \S+ -p (ipv6-)?icmp -j ACCEPT|! -i \S+ -o \S+ -j DROP)/),
  },
  {
    why: 'without masquerading answers from outside carry container addresses: there what is new and not translated is dropped',
    more: /^(.) filter -A DOCKER-BRIDGE (?:! -i (\S+) -o \2 -m conntrack ! --ctstate DNAT -j DROP|-i \S+ -o (\S+) -j DOCKER)$/,
    caused: ([, family = '', one, other], theirs) => !masquerades(theirs, family, one ?? other ?? ''),
  },
  {
    why: 'a container reaches its own published port by the host, with the relay or without',
    more: /^(.) nat -A POSTROUTING -s (\S+)\/\d+ -d \2\/\d+ -p (\w+) -m \3 --dport (\d+) -j MASQUERADE$/,
    caused: ([, family = '', address = '', protocol = '', port = ''], theirs) => theirs.some((line) =>
      line.startsWith(`${family} nat -A DOCKER `) && line.includes(`-p ${protocol} `) &&
      new RegExp(` (${address.replaceAll('.', '\\.')}|\\[${address}\\]):${port}$`).test(line)),
  },
  {
    why: 'with icc=false neighbours may ask for each other, as ARP does for IPv4: no link could work over IPv6 without',
    more: /^6 filter -A DOCKER-FORWARD -i (\S+) -o \1 -p ipv6-icmp -m icmp6 --icmpv6-type 13[56] -j ACCEPT$/,
    caused: ([, bridge = ''], theirs) => theirs.includes(`6 filter -A DOCKER-FORWARD -i ${bridge} -o ${bridge} -j DROP`),
  },
  {
    why: 'without the relay what masquerades the host comes before what masquerades subnets, of all networks, for the same reason',
    ...movedIn('nat -A POSTROUTING', /-s \S+ ! -o \S+ -j (MASQUERADE|SNAT .*)/),
  },
  {
    why: 'bindings of one container port stand as they were given; no two of them match the same packet',
    ...movedIn('nat -A DOCKER', /(! -s fe80::\/10 )?(-d \S+ )?(! -i \S+ )?-p \w+ -m \w+ --dport \d+ -j DNAT --to-destination \S+/),
  },
  { why: 'the chain of Docker\'s ingress network is there, and empty, without a swarm, too', more: /^. filter :DOCKER-INGRESS -$/ },
]

/** @param names by the first twelve digits of a network's id */
export function listingOf(text: string, names: ReadonlyMap<string, string>): Listing {
  let [family, table] = ['4', '']
  return text.split('\n').flatMap((line) => {
    if (line === '---') family = '6'
    if (line.startsWith('*')) table = line.slice(1)
    if (!/^(:|-A)/.test(line)) return []
    const named = line.replace(/br-([0-9a-f]{12})/g, (bridge, id: string) => names.get(id) ?? bridge)
    return [`${family} ${table} ${named.replace(/ \[\d+:\d+\]$/, '')}`]
  })
}

const ported = /^(.*--dport )(\d+):(\d+)( .*?)(?:(--to-destination \S+:)(\d+)-\d+\/\d+)?$/

/** Our ranges as the single rules that dockerd has in their place: new ACCEPT rules go in front. */
export function withoutRanges(lines: Listing): Listing {
  return lines.flatMap((line) => {
    const [, head, first = '', last = '', tail = '', target, to = ''] = ported.exec(line) ?? []
    if (head === undefined) return [line]
    const singles = Array.from({ length: Number(last) - Number(first) + 1 }, (_, index) =>
      `${head}${Number(first) + index}${tail}${target === undefined ? '' : `${target}${Number(to) + index}`}`)
    return line.includes(' filter -A DOCKER ') ? singles.reverse() : singles
  })
}

/** Lines on one side only, those of dockerd with `-`, ours with `+`, and which rows explain them. */
export function compare(theirs: Listing, ours: Listing, used: Set<Difference>): readonly string[] {
  const { gone, more } = unlike(theirs, ours)
  const isMeant = (line: string, side: 'gone' | 'more') => differences.some((row) => {
    const match = row[side]?.exec(line)
    if (match === null || match === undefined) return false
    const holdsTrue = side === 'gone' ? row.replaced?.(match, ours) : row.caused?.(match, theirs)
    if (holdsTrue === false) return false
    used.add(row)
    return true
  })
  return [
    ...gone.filter((line) => !isMeant(line, 'gone')).map((line) => `- ${line}`),
    ...more.filter((line) => !isMeant(line, 'more')).map((line) => `+ ${line}`),
  ]
}

/** By the longest common sequence: a rule in another place counts as one gone and one more. */
function unlike(theirs: Listing, ours: Listing): { gone: readonly string[]; more: readonly string[] } {
  const lengths = Array.from({ length: theirs.length + 1 }, () => new Array<number>(ours.length + 1).fill(0))
  const at = (i: number, j: number) => lengths[i]?.[j] ?? 0
  for (let i = theirs.length - 1; i >= 0; i--) {
    for (let j = ours.length - 1; j >= 0; j--) {
      const row = lengths[i]
      if (row !== undefined) row[j] = theirs[i] === ours[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1))
    }
  }
  const [gone, more]: [string[], string[]] = [[], []]
  let [i, j] = [0, 0]
  while (i < theirs.length || j < ours.length) {
    if (i < theirs.length && theirs[i] === ours[j]) [i, j] = [i + 1, j + 1]
    else if (j >= ours.length || (i < theirs.length && at(i + 1, j) >= at(i, j + 1))) gone.push(theirs[i++] ?? '')
    else more.push(ours[j++] ?? '')
  }
  return { gone, more }
}
