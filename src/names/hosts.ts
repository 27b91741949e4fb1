/**
 * Texts of a container's /etc/hosts and /etc/hostname. Pure.
 *
 * Lines of ours are recognised by their whole text: connecting appends, disconnecting takes away
 * exactly those lines, and what the user wrote between them stays.
 */
import { Refusal } from '../base/refusal.ts'

export interface HostsLine {
  readonly ip: string
  /** Canonical name first. */
  readonly names: readonly string[]
}

const loopback4: readonly HostsLine[] = [{ ip: '127.0.0.1', names: ['localhost'] }]

/** Left out where lo has no ::1 (the disable_ipv6 sysctl), not merely on an IPv4-only network. */
const fixed6: readonly HostsLine[] = [
  { ip: '::1', names: ['localhost', 'ip6-localhost', 'ip6-loopback'] },
  { ip: 'fe00::', names: ['ip6-localnet'] },
  { ip: 'ff00::', names: ['ip6-mcastprefix'] },
  { ip: 'ff02::1', names: ['ip6-allnodes'] },
  { ip: 'ff02::2', names: ['ip6-allrouters'] },
]

/**
 * A new hosts file: fixed lines, then `lines` in the order in which Docker writes them: --add-host,
 * legacy links, the container's own addresses.
 */
export function hostsText(lines: readonly HostsLine[], loopback6: boolean): string {
  return [...loopback4, ...(loopback6 ? fixed6 : []), ...lines].map(formatLine).join('')
}

/** The container's own lines for one endpoint; addresses may carry a prefix length or be ''. */
export function endpointLines(
  hostname: string,
  domainname: string,
  addresses: readonly string[],
): readonly HostsLine[] {
  const names = domainname === '' ? [hostname] : [`${hostname}.${domainname}`, hostname]
  return addresses
    .map((address) => address.split('/')[0] ?? '')
    .filter((ip) => ip !== '')
    .map((ip) => ({ ip, names }))
}

/** The line of a legacy link in the parent's file: alias, short id and name of the child. */
export function linkLines(
  alias: string,
  shortId: string,
  name: string,
  addresses: readonly string[],
): readonly HostsLine[] {
  const names = [alias, shortId, name].filter((each, index, all) => all.indexOf(each) === index)
  return addresses
    .map((address) => address.split('/')[0] ?? '')
    .filter((ip) => ip !== '')
    .map((ip) => ({ ip, names }))
}

/**
 * Lines for `name:ip` and `name=ip` entries. `host-gateway` stands for `gatewayIps`, one line for
 * each; refused with Docker's sentence when there is none.
 */
export function extraHostLines(
  extraHosts: readonly string[],
  gatewayIps: readonly string[],
): readonly HostsLine[] {
  return extraHosts.flatMap((entry) => {
    const at = entry.search(/[:=]/)
    const name = entry.slice(0, at)
    const value = entry.slice(at + 1).replace(/^\[(.*)\]$/, '$1')
    if (value !== 'host-gateway') return [{ ip: value, names: [name] }]
    if (gatewayIps.length === 0) {
      throw new Refusal('internal', 'unable to derive the IP value for host-gateway')
    }
    return gatewayIps.map((ip) => ({ ip, names: [name] }))
  })
}

/** Appends `lines`; those that are there already are not repeated. */
export function addHosts(text: string, lines: readonly HostsLine[]): string {
  const present = new Set(text.split('\n'))
  const missing = lines.map(formatLine).filter((line) => !present.has(line.trimEnd()))
  const gap = text === '' || text.endsWith('\n') ? '' : '\n'
  return missing.length === 0 ? text : text + gap + missing.join('')
}

/** Takes `lines` away and leaves everything else as it is. */
export function removeHosts(text: string, lines: readonly HostsLine[]): string {
  const doomed = new Set(lines.map((line) => formatLine(line).trimEnd()))
  return text
    .split('\n')
    .filter((line) => !doomed.has(line))
    .join('\n')
}

/**
 * Puts the lines of legacy links in the place of those that name the same child by the same alias,
 * whatever address they have; those that have no place yet are appended.
 */
export function replaceLinks(text: string, lines: readonly HostsLine[]): string {
  return lines.reduce((current, line) => {
    const [alias = '', shortId = ''] = line.names
    const isOld = (each: string) => {
      const [ip = '', first, second] = each.split(/\s+/)
      return first === alias && second === shortId && ip.includes(':') === line.ip.includes(':')
    }
    const rows = current.split('\n')
    const at = rows.findIndex(isOld)
    if (at < 0) return addHosts(current, [line])
    rows[at] = formatLine(line).trimEnd()
    return rows.join('\n')
  }, text)
}

export function hostnameText(hostname: string): string {
  return `${hostname}\n`
}

function formatLine(line: HostsLine): string {
  return `${line.ip}\t${line.names.join(' ')}\n`
}
