/**
 * hosts, hostname and resolv.conf of one container, in its folder. Written in place (they are
 * bind-mounted into the container). A start writes all anew; a connect or disconnect adds or takes
 * away our own lines of hosts, and rewrites resolv.conf only while nobody has edited it.
 */
import {
  closeSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { shortId } from '../base/id.ts'
import {
  addHosts,
  endpointLines,
  extraHostLines,
  hostnameText,
  hostsText,
  linkLines,
  removeHosts,
  replaceLinks,
  type HostsLine,
} from '../names/hosts.ts'
import {
  chooseSource,
  contentHash,
  generateResolvConf,
  isUnedited,
  resolvedUpstreamPath,
  type ResolvConfResult,
} from '../names/resolvconf.ts'
import type { Endpoint, Sandbox } from './model.ts'
import type { Room } from './room.ts'
import { isWithoutIpv6 } from './without-ipv6.ts'

const fileNames = { hosts: 'hosts', hostname: 'hostname', resolvConf: 'resolv.conf' } as const

/** What a container's resolv.conf says, without writing it. */
export function resolvConfOf(room: Room, sandbox: Sandbox, internal: boolean): ResolvConfResult {
  const { spec } = sandbox
  const { config } = room
  const either = (own: readonly string[], daemons: readonly string[]) =>
    own.length > 0 ? own : daemons
  const dns = either(spec.dns, config.dns)
  const dnsSearch = either(spec.dnsSearch, config.dnsSearch)
  const dnsOptions = either(spec.dnsOptions, config.dnsOptions)
  const overridden = dns.length + dnsSearch.length + dnsOptions.length > 0
  const mode = spec.mode.kind === 'host' ? 'host' : internal ? 'internal' : 'legacy'
  const hostText = readIfThere(config.hostResolvConf) ?? ''
  const resolved = mode === 'legacy' ? readIfThere(resolvedUpstreamPath) : undefined
  const source = chooseSource(mode, hostText, resolved, overridden)
  const ipv6 = sandbox.endpoints.some((endpoint) => endpoint.ipv6 !== '')
  return generateResolvConf({ mode, source, dns, dnsSearch, dnsOptions, ipv6 })
}

/** Writes all three files anew; answers the hash of resolv.conf. */
export function writeFiles(room: Room, sandbox: Sandbox, resolvConf: ResolvConfResult): string {
  const { spec } = sandbox
  mkdirSync(spec.filesDir, { recursive: true })
  const write = (name: string, text: string) => writeFileSync(join(spec.filesDir, name), text)
  if (spec.mode.kind === 'disabled') {
    write(fileNames.hosts, '')
    write(fileNames.resolvConf, '')
    write(fileNames.hostname, hostnameText(spec.hostname))
    return contentHash('')
  }
  write(fileNames.hostname, hostnameText(spec.hostname))
  write(fileNames.hosts, hostsOf(room, sandbox))
  write(fileNames.resolvConf, resolvConf.text)
  return contentHash(resolvConf.text)
}

function hostsOf(room: Room, sandbox: Sandbox): string {
  const { spec, endpoints } = sandbox
  const extra = extraHostLines(spec.extraHosts, hostGateways(room, spec.extraHosts))
  if (spec.mode.kind === 'host' && extra.length === 0) {
    return readIfThere(room.config.hostHosts) ?? hostsText([], true)
  }
  const own = endpoints.flatMap((endpoint) => linesOf(sandbox, endpoint))
  const lines = [...extra, ...linkedLines(room, sandbox), ...own]
  return hostsText(lines, !isWithoutIpv6(spec))
}

/** `host-gateway`: as configured, else the addresses of the default bridge. */
function hostGateways(room: Room, extraHosts: readonly string[]): readonly string[] {
  if (!extraHosts.some((entry) => entry.endsWith('host-gateway'))) return []
  if (room.config.hostGatewayIps.length > 0) return room.config.hostGatewayIps
  const bridge = room.state.list().find(({ spec }) => spec.name === 'bridge')
  return (bridge?.pools ?? []).flatMap(({ gateway }) => (gateway === null ? [] : [gateway]))
}

function linkedLines(room: Room, { spec }: Sandbox): readonly HostsLine[] {
  return spec.links.flatMap(({ containerId, containerName, alias }) => {
    const child = room.state.sandbox(containerId)
    const addresses = (child?.endpoints ?? [])
      .filter(({ networkName }) => networkName === 'bridge')
      .flatMap(({ ipv4, ipv6 }) => [ipv4, ipv6])
    const name = child?.spec.containerName ?? containerName
    return linkLines(alias, shortId(containerId), name, addresses)
  })
}

function linesOf({ spec }: Sandbox, { ipv4, ipv6 }: Endpoint): readonly HostsLine[] {
  return endpointLines(spec.hostname, spec.domainname, [ipv4, ipv6])
}

/** Adds or takes away the lines of an endpoint. */
export function changeHosts(sandbox: Sandbox, endpoint: Endpoint, present: boolean): void {
  editHosts(sandbox, (text) => {
    const lines = linesOf(sandbox, endpoint)
    return present ? addHosts(text, lines) : removeHosts(text, lines)
  })
}

/**
 * Puts the lines of legacy links in the place of the old ones. The line of a child that does not
 * run stays until its next start, as with Docker.
 */
export function changeLinkHosts(sandbox: Sandbox, room: Room): void {
  editHosts(sandbox, (text) => replaceLinks(text, linkedLines(room, sandbox)))
}

function editHosts(sandbox: Sandbox, edit: (text: string) => string): void {
  const path = join(sandbox.spec.filesDir, fileNames.hosts)
  const before = readIfThere(path)
  if (before === undefined) return
  const after = edit(before)
  if (after !== before) overwrite(path, after)
}

/** Rewrites resolv.conf unless the user edited it; answers the hash that counts from now on. */
export function updateResolvConf(
  sandbox: Sandbox,
  resolvConf: ResolvConfResult,
  hash: string,
): string {
  const path = join(sandbox.spec.filesDir, fileNames.resolvConf)
  const current = readIfThere(path)
  if (current === undefined || !isUnedited(current, hash)) return hash
  if (current !== resolvConf.text) overwrite(path, resolvConf.text)
  return contentHash(resolvConf.text)
}

/**
 * The new text over the old one. To empty the file first would take away its lines for a moment,
 * and file systems then write it out when it is closed, for those who never call fsync.
 */
function overwrite(path: string, text: string): void {
  const bytes = Buffer.from(text)
  const fd = openSync(path, 'r+')
  try {
    writeSync(fd, bytes, 0, bytes.length, 0)
    ftruncateSync(fd, bytes.length)
  } finally {
    closeSync(fd)
  }
}

function readIfThere(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined
}
