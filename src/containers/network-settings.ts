/** What inspect and ps show of a container's networks: the stored wishes and what is so now. */
import { shortId } from '../base/id.ts'
import type { Endpoint } from '../network/model.ts'
import type { EndpointSettings } from './config.ts'
import { isUserNetwork, kindOf } from './network-mode.ts'
import { parsePortKey } from './port-keys.ts'
import { hasProcess } from './record.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'

interface Address {
  readonly ip: string
  readonly length: number
}

function split(address: string): Address {
  const [ip = '', length = '0'] = address.split('/')
  return { ip, length: Number(length) }
}

/** One entry of NetworkSettings.Networks, all keys present, in Docker's order. */
function endpointView(
  container: Container,
  network: string,
  settings: EndpointSettings,
  endpoint: Endpoint | undefined,
  apiVersion: number,
) {
  const v4 = split(endpoint?.ipv4 ?? '')
  const v6 = split(endpoint?.ipv6 ?? '')
  const ipam = settings.IPAMConfig
  return {
    IPAMConfig: ipam === null ? null : withoutEmpty(ipam),
    Links: settings.Links,
    Aliases: shownAliases(container, network, settings, apiVersion),
    // What was asked for until the first start, what is so from then on.
    MacAddress: endpoint?.macAddress ?? (container.record.everStarted ? '' : settings.MacAddress),
    DriverOpts: settings.DriverOpts,
    GwPriority: settings.GwPriority,
    NetworkID: endpoint?.networkId ?? settings.NetworkID,
    EndpointID: endpoint?.id ?? '',
    Gateway: endpoint?.gateway4 ?? '',
    IPAddress: v4.ip,
    IPPrefixLen: v4.length,
    IPv6Gateway: endpoint?.gateway6 ?? '',
    GlobalIPv6Address: v6.ip,
    GlobalIPv6PrefixLen: v6.length,
    DNSNames: settings.DNSNames,
  }
}

export type EndpointView = ReturnType<typeof endpointView>

function withoutEmpty(ipam: NonNullable<EndpointSettings['IPAMConfig']>): object {
  return {
    ...(ipam.IPv4Address === '' ? {} : { IPv4Address: ipam.IPv4Address }),
    ...(ipam.IPv6Address === '' ? {} : { IPv6Address: ipam.IPv6Address }),
    ...((ipam.LinkLocalIPs ?? []).length === 0 ? {} : { LinkLocalIPs: ipam.LinkLocalIPs }),
  }
}

/** On user networks the short id is among them, as older tutorials rely on. */
function shownAliases(
  { id, record }: Container,
  network: string,
  { Aliases }: EndpointSettings,
  apiVersion: number,
): readonly string[] | null {
  if (!isUserNetwork(network)) return Aliases
  const { Hostname } = record.config
  const hostname = apiVersion < 145 && Hostname !== '' ? [Hostname] : []
  return [...new Set([...(Aliases ?? []), shortId(id), ...hostname])]
}

export function endpointViews(
  context: Context,
  container: Container,
  apiVersion: number,
): Readonly<Record<string, EndpointView>> {
  const endpoints = context.networks.sandbox(container.id)?.endpoints ?? []
  const names = Object.keys(container.record.networks).sort()
  return Object.fromEntries(
    names.flatMap((name) => {
      const settings = container.record.networks[name]
      if (settings === undefined) return []
      const endpoint = endpoints.find((candidate) => candidate.networkName === name)
      return [[name, endpointView(container, name, settings, endpoint, apiVersion)]]
    }),
  )
}

/** The same for `docker ps`, where Docker leaves out what was asked for. */
export function endpointSummaries(
  context: Context,
  container: Container,
): Readonly<Record<string, EndpointView>> {
  const views = Object.entries(endpointViews(context, container, 0))
  const unset = { Links: null, Aliases: null, DriverOpts: null, DNSNames: null }
  return Object.fromEntries(views.map(([name, view]) => [name, { ...view, ...unset }]))
}

/** `80/tcp` → bindings, null for exposed only; {} for what does not run. */
export function portsView(
  context: Context,
  container: Container,
): Readonly<Record<string, readonly { HostIp: string; HostPort: string }[] | null>> {
  const ports = context.networks.sandbox(container.id)?.ports ?? {}
  const keys = Object.keys(ports).sort(comparePorts)
  return Object.fromEntries(
    keys.map((key) => {
      const bindings = ports[key] ?? null
      return [
        key,
        bindings === null
          ? null
          : bindings.map(({ hostIp, hostPort }) => ({
              HostIp: hostIp,
              HostPort: hostPort === 0 ? '' : String(hostPort),
            })),
      ]
    }),
  )
}

/** Go sorts map keys as text. */
const comparePorts = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** NetworkSettings of inspect: the newer fields and, at every version, the older duplicates. */
export function networkSettings(
  context: Context,
  container: Container,
  apiVersion: number,
): object {
  const sandbox = context.networks.sandbox(container.id)
  const networks = endpointViews(context, container, apiVersion)
  const bridge = networks['bridge']
  const own =
    sandbox !== undefined &&
    kindOf(container.record) !== 'container' &&
    kindOf(container.record) !== 'disabled' &&
    hasProcess(container.record.state.status)
  return {
    Bridge: '',
    SandboxID: own ? sandbox.id : '',
    SandboxKey: own ? sandbox.netnsPath : '',
    Ports: portsView(context, container),
    HairpinMode: false,
    LinkLocalIPv6Address: '',
    LinkLocalIPv6PrefixLen: 0,
    SecondaryIPAddresses: null,
    SecondaryIPv6Addresses: null,
    EndpointID: bridge?.EndpointID ?? '',
    Gateway: bridge?.Gateway ?? '',
    GlobalIPv6Address: bridge?.GlobalIPv6Address ?? '',
    GlobalIPv6PrefixLen: bridge?.GlobalIPv6PrefixLen ?? 0,
    IPAddress: bridge?.IPAddress ?? '',
    IPPrefixLen: bridge?.IPPrefixLen ?? 0,
    IPv6Gateway: bridge?.IPv6Gateway ?? '',
    MacAddress: bridge?.MacAddress ?? '',
    Networks: networks,
  }
}

export interface PortSummary {
  readonly IP?: string
  readonly PrivatePort: number
  readonly PublicPort?: number
  readonly Type: string
}

/** The Ports of ps. */
export function portSummaries(context: Context, container: Container): readonly PortSummary[] {
  const summaries: PortSummary[] = []
  for (const [key, bindings] of Object.entries(portsView(context, container))) {
    const port = parsePortKey(key)
    if (port === undefined) continue
    const base = { PrivatePort: port.first, Type: port.protocol }
    if (bindings === null || bindings.length === 0) summaries.push(base)
    for (const { HostIp, HostPort } of bindings ?? []) {
      summaries.push({
        IP: HostIp,
        PrivatePort: port.first,
        PublicPort: Number(HostPort),
        Type: port.protocol,
      })
    }
  }
  return summaries
}
