/**
 * Between a container's configuration and the network room: which networks it wants, the
 * sandbox that a start asks for, and the docking of containers in another one's namespace.
 */
import { isIP } from 'node:net'
import { shortId } from '../base/id.ts'
import { Refusal, wrap } from '../base/refusal.ts'
import type { EndpointSpec, LegacyLink, PublicationSpec, SandboxSpec } from '../network/model.ts'
import type { EndpointSettings, HostConfig } from './config.ts'
import { endpointSettingsOf } from './config.ts'
import { legacyLinks } from './links.ts'
import { isUserNetwork, kindOf, modeKind, modeName, type ModeKind } from './network-mode.ts'
import { containerPaths } from './paths.ts'
import { exposedPorts, parsePortKey } from './port-keys.ts'
import { hasProcess } from './record.ts'
import type { ContainerRecord } from './record.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'

/** The wishes of EndpointSettings in the words of the network room. */
export function endpointSpec(network: string, settings: EndpointSettings): EndpointSpec {
  const ipam = settings.IPAMConfig
  return {
    network,
    // Written as IPv6, an IPv4 address is one, too.
    ...(ipam !== null && ipam.IPv4Address !== ''
      ? { ipv4Address: ipam.IPv4Address.replace(/^::ffff:(?=\d+\.)/i, '') }
      : {}),
    ...(ipam !== null && ipam.IPv6Address !== '' ? { ipv6Address: ipam.IPv6Address } : {}),
    ...(settings.MacAddress === '' ? {} : { macAddress: settings.MacAddress }),
    linkLocalIps: ipam?.LinkLocalIPs ?? [],
    aliases: settings.Aliases ?? [],
    links: settings.Links ?? [],
    driverOpts: settings.DriverOpts ?? {},
    gwPriority: settings.GwPriority,
  }
}

/** The names under which a container is found on a network, Docker's order; the first answers PTR. */
export function dnsNames(
  { id, name, config }: Pick<ContainerRecord, 'id' | 'name' | 'config'>,
  { Aliases }: EndpointSettings,
): readonly string[] {
  return [...new Set([name, ...(Aliases ?? []), shortId(id), config.Hostname])]
}

/** The same as they are kept and shown: null on networks that have no names. */
export function keptDnsNames(
  record: Pick<ContainerRecord, 'id' | 'name' | 'config'>,
  network: string,
  settings: EndpointSettings,
): readonly string[] | null {
  return isUserNetwork(network) ? dnsNames(record, settings) : null
}

/** The networks of a new container, by name: those that were named, else that of its mode. */
export function wantedNetworks(
  context: Context,
  networkMode: string,
  disabled: boolean,
  given: Readonly<Record<string, EndpointSettings | null>>,
): Readonly<Record<string, EndpointSettings>> {
  const kind = modeKind(networkMode, disabled)
  if (kind === 'disabled' || kind === 'container') return {}
  const wanted: Record<string, EndpointSettings> = {}
  const own = networkName(context, modeName(networkMode))
  const entries = Object.entries(given).map(([name, settings]) => {
    if (settings === null) {
      throw new Refusal('invalid', `invalid config for network ${name}: EndpointsConfig is nil`)
    }
    // An id says it more exactly than the name beside it.
    const { NetworkID: id } = settings
    return [networkName(context, id === '' ? modeName(name) : id), settings] as const
  })
  // The main network goes first: it is eth0 where nothing else decides.
  if (entries.length === 0 || entries.some(([name]) => name === own)) {
    wanted[own] = endpointSettingsOf({})
  }
  for (const [name, settings] of entries) wanted[name] = { ...settings, NetworkID: '' }
  return wanted
}

/** A network's name for its id, id prefix or name; what was given when there is none (yet). */
export function networkName(context: Context, idOrName: string): string {
  try {
    return context.networks.find(idOrName).spec.name
  } catch (error) {
    if (error instanceof Refusal) return idOrName
    throw error
  }
}

/** A mode given by an id prefix is the whole id once the container has started, as with Docker. */
export function settledMode(context: Context, hostConfig: HostConfig): HostConfig {
  const { NetworkMode: mode } = hostConfig
  if (!isUserNetwork(mode) || networkName(context, mode) === mode) return hostConfig
  return { ...hostConfig, NetworkMode: context.networks.find(mode).id }
}

/**
 * Where only other networks were named than that of the mode, these decide. Where the daemon has no
 * default bridge (`--bridge none`), its containers have only lo.
 */
function kindNow(context: Context, record: ContainerRecord): ModeKind {
  const kind = kindOf(record)
  const names = Object.keys(record.networks)
  if (kind === 'none' && names.length > 0 && !names.includes('none')) return 'networks'
  if (kind === 'networks' && names.includes('none')) return 'none'
  const wantsBridge = kind === 'networks' && names.length === 1 && names[0] === 'bridge'
  if (!wantsBridge) return kind
  return context.networks.list().some(({ spec }) => spec.name === 'bridge') ? kind : 'disabled'
}

/** Everything that a start asks of the network room. */
export function sandboxSpec(
  context: Context,
  record: ContainerRecord,
  links: readonly LegacyLink[],
): SandboxSpec {
  const { config, hostConfig } = record
  const kind = kindNow(context, record)
  const mode: SandboxSpec['mode'] =
    kind === 'container'
      ? { kind, containerId: hostConfig.NetworkMode.slice('container:'.length) }
      : { kind }
  const sysctls = Object.entries(hostConfig.Sysctls ?? {}).filter(([key]) => key.startsWith('net.'))
  const defaults =
    kind === 'host'
      ? []
      : [
          ['net.ipv4.ip_unprivileged_port_start', '0'],
          ['net.ipv4.ping_group_range', '0 2147483647'],
        ]
  return {
    containerId: record.id,
    containerName: record.name,
    hostname: config.Hostname,
    domainname: config.Domainname,
    mode,
    endpoints: Object.entries(record.networks).map(([name, settings]) =>
      endpointSpec(name, settings),
    ),
    publications: kind === 'networks' ? publications(record) : [],
    exposed: exposedPorts(config),
    publishAll: kind === 'networks' && hostConfig.PublishAllPorts,
    dns: hostConfig.Dns ?? [],
    dnsSearch: hostConfig.DnsSearch ?? [],
    dnsOptions: hostConfig.DnsOptions ?? [],
    extraHosts: (hostConfig.ExtraHosts ?? []).map(normalizeExtraHost),
    links,
    sysctls: kind === 'host' ? {} : Object.fromEntries([...defaults, ...sysctls]),
    filesDir: containerPaths(context.config, record.id).dir,
  }
}

/** `name=ip` is `name:ip`; brackets around IPv6 are dropped. */
export function normalizeExtraHost(entry: string): string {
  const at = entry.includes('=') ? entry.indexOf('=') : entry.indexOf(':')
  const address = entry.slice(at + 1).replace(/^\[(.*)\]$/, '$1')
  return `${entry.slice(0, at)}:${address}`
}

export const isExtraHost = (entry: string): boolean => {
  const at = entry.includes('=') ? entry.indexOf('=') : entry.indexOf(':')
  const address = entry.slice(at + 1).replace(/^\[(.*)\]$/, '$1')
  return at > 0 && (address === 'host-gateway' || isIP(address) !== 0)
}

const protocolOf = (text: string): PublicationSpec['protocol'] | undefined => {
  const lower = text.toLowerCase()
  return lower === 'tcp' || lower === 'udp' || lower === 'sctp' ? lower : undefined
}

/** Docker's PortBindings as a flat list; an empty list of bindings is one ephemeral one. */
export function publications(record: ContainerRecord): readonly PublicationSpec[] {
  const specs: PublicationSpec[] = []
  for (const [key, bindings] of Object.entries(record.hostConfig.PortBindings ?? {})) {
    const port = parsePortKey(key)
    const protocol = protocolOf(port?.protocol ?? '')
    if (port === undefined || protocol === undefined) {
      throw new Refusal('internal', `invalid port specification: ${JSON.stringify(key)}`)
    }
    const wanted =
      bindings === null || bindings.length === 0 ? [{ HostIp: '', HostPort: '' }] : bindings
    for (const binding of wanted) {
      const host = parsePortKey(binding.HostPort === '' ? '0' : binding.HostPort)
      if (host === undefined) {
        throw new Refusal(
          'internal',
          `invalid port specification: ${JSON.stringify(binding.HostPort)}`,
        )
      }
      specs.push({
        protocol,
        containerPort: port.first,
        hostIp: binding.HostIp,
        hostPortFirst: host.first,
        hostPortLast: host.last,
      })
    }
  }
  return specs
}

/** The network namespace and files that a container starts in. */
export interface OpenedNetwork {
  /** '' = the host's own. */
  readonly netnsPath: string
  readonly filesDir: string
}

/** Makes the container's network, or finds the donor's. Failures carry Docker's wrapper. */
export async function openNetwork(context: Context, container: Container): Promise<OpenedNetwork> {
  const { record } = container
  const kind = kindOf(record)
  if (kind === 'container') return donorNetwork(context, container)
  checkNameservers(record.hostConfig)
  const isLinked = kind === 'networks' && 'bridge' in record.networks
  const links = isLinked ? legacyLinks(context, record) : []
  try {
    checkMixture(record)
    checkModeNetwork(context, record)
    const sandbox = await context.networks.open(sandboxSpec(context, record, links))
    return {
      netnsPath: kind === 'host' ? '' : sandbox.netnsPath,
      filesDir: containerPaths(context.config, record.id).dir,
    }
  } catch (error) {
    throw wrap('failed to set up container networking: ', error)
  }
}

/** Unlike other mistakes, Docker finds this one only now. */
function checkNameservers({ Dns: servers }: HostConfig): void {
  const stray = (servers ?? []).find((address) => isIP(address) === 0)
  if (stray === undefined) return
  const why = `ParseAddr(${JSON.stringify(stray)}): unable to parse IP`
  throw new Refusal('internal', `bad nameserver address ${stray}: ${why}`)
}

/** The network of the mode must be there, also where the container is on others only. */
function checkModeNetwork(context: Context, { hostConfig, networks }: ContainerRecord): void {
  const { NetworkMode: mode } = hostConfig
  if (!isUserNetwork(mode) || networkName(context, mode) in networks) return
  try {
    context.networks.find(mode)
  } catch (error) {
    throw wrap(`could not find a network matching network mode ${mode}: `, error)
  }
}

function checkMixture(record: ContainerRecord): void {
  const names = Object.keys(record.networks)
  const isHost = kindOf(record) === 'host'
  if (!isHost && names.includes('host')) {
    throw new Refusal(
      'invalid',
      'cannot connect container to host network - container must be created in host network mode',
    )
  }
  if (isHost && names.some((name) => name !== 'host')) {
    throw new Refusal(
      'invalid',
      'container sharing network namespace with another container or ' +
        'host cannot be connected to any other network',
    )
  }
  if (names.length > 1 && names.includes('none')) {
    throw new Refusal(
      'invalid',
      'container cannot be connected to multiple networks with one of ' +
        'the networks in private (none) mode',
    )
  }
}

/** The container whose network namespace this one shares. */
export function donorOf(context: Context, container: Container): Container {
  const wanted = container.record.hostConfig.NetworkMode.slice('container:'.length)
  let donor: Container
  try {
    donor = context.registry.find(wanted)
  } catch (error) {
    throw new Refusal(
      'internal',
      `joining network namespace of container: No such container: ${wanted}`,
      { cause: error },
    )
  }
  if (donor.id === container.id) throw new Refusal('internal', 'cannot join own network namespace')
  const { status } = donor.record.state
  if (!hasProcess(status)) {
    const state = status === 'restarting' ? 'restarting' : status
    throw new Refusal(
      'conflict',
      'cannot join network namespace of a non running container: ' +
        `container ${donor.record.name} is ${state}`,
    )
  }
  return donor
}

function donorNetwork(context: Context, container: Container): OpenedNetwork {
  const donor = donorOf(context, container)
  const filesDir = containerPaths(context.config, donor.id).dir
  if (kindOf(donor.record) === 'host') return { netnsPath: '', filesDir }
  // The namespace itself, not a path of the donor's: a donor may share one, too.
  return { netnsPath: `/proc/${donor.record.state.pid}/ns/net`, filesDir }
}
