/**
 * The bridge driver: a network is a Linux bridge with the gateway's address on it, an endpoint is
 * a veth pair whose container end is born in the container's namespace under its final name.
 */
import { overlaps, parsePrefix, type Prefix } from '../../address/prefix.ts'
import { Refusal, refusalOf } from '../../base/refusal.ts'
import type { BridgeIntent } from '../../firewall/intent.ts'
import type { BridgeObject, KernelObject, VethObject } from '../../kernel/object.ts'
import type { AllocatedPool, Endpoint, Network, NetworkSpec } from '../model.ts'
import type { Driver, HostFacts, SandboxRef } from './driver.ts'
import { factsForMtu, insideObjects, refuseIpv6BelowMtu } from './inside.ts'
import { optionKeys, parseBridgeOptions, type BridgeOptions } from './options.ts'

/** Ownership mark of links: what begins with it is ours. */
export const aliasPrefix = 'portolan:'

/** The bridge of a network. */
export function bridgeName(id: string, options: BridgeOptions): string {
  return options.bridge === '' ? automaticName(id) : options.bridge
}

const automaticName = (id: string): string => `br-${id.slice(0, 12)}`

export const bridgeDriver: Driver = {
  name: 'bridge',
  needsIpam: true,
  hasHostEnd: true,
  sharesLinks: false,
  parentLink: () => '',
  namedGatewaysOnly: false,
  isInternal: ({ spec }) => spec.internal,
  naturalMac: () => undefined,
  routesOnLink: () => false,
  gatewayFamilies,
  validateNetwork: (id, spec, host) => refusalOf(() => validate(id, spec, host)),
  validatePools: (network, host) => refusalOf(() => validatePools(network, host)),
  validateEndpoint: () => undefined,
  networkObjects,
  endpointObjects,
  interfacePrefix: ({ spec }) => parseBridgeOptions(spec.options).interfacePrefix,
  gatewaysOf,
  publishing: (network) => {
    if (network.spec.internal) return undefined
    const options = parseBridgeOptions(network.spec.options)
    const { mode4, mode6, hostBinding } = options
    return { bridge: bridgeName(network.id, options), mode4, mode6, hostBinding }
  },
  bridgeIntent,
}

function validate(id: string, spec: NetworkSpec, host: HostFacts): void {
  const options = parseBridgeOptions(spec.options)
  if (options.defaultBridge && spec.name !== 'bridge') {
    const sentence = `${optionKeys.defaultBridge} is reserved for the predefined network "bridge"`
    throw new Refusal('forbidden', `${sentence}: leave the option out`)
  }
  const isolated = options.mode4 === 'isolated' || options.mode6 === 'isolated'
  if (isolated && !spec.internal) {
    const sentence = "gateway mode 'isolated' can only be used for an internal network"
    throw new Refusal('internal', sentence)
  }
  if (spec.enableIpv6 && !host.ipv6) {
    throw new Refusal('invalid', 'IPv6 cannot be enabled: this kernel has none (ipv6.disable=1)')
  }
  refuseIpv6BelowMtu(spec, options.mtu)
  if (spec.ipam.driver === 'null') {
    throw new Refusal('invalid', `ipv${spec.enableIpv4 ? 4 : 6} pool is empty`)
  }
  const bridge = bridgeName(id, options)
  const other = bridgesOf(host, bridge).find((one) => one.network.id !== id)
  if (other !== undefined) throw conflict(id, bridge, other, 'networks have same bridge name')
  const kind = host.links.get(bridge)?.kind
  if (kind !== undefined && kind !== 'bridge') {
    throw new Refusal('internal', `existing interface ${bridge} is not a bridge`)
  }
}

const multicast6: Prefix = { family: 6, base: 0xffn << 120n, length: 8 }
const linkLocal6: Prefix = { family: 6, base: 0xfe80n << 112n, length: 64 }

/** A bridge has link-local addresses already, of another length they would be two. */
function refuseSubnet6(subnet: Prefix, address: string): void {
  if (overlaps(subnet, multicast6)) {
    throw new Refusal('invalid', `multicast subnet '${address}' is not allowed`)
  }
  const isLinkLocal = overlaps(subnet, linkLocal6)
  if (!isLinkLocal || (subnet.base === linkLocal6.base && subnet.length === 64)) return
  const sentence = `'${address}' clashes with the Link-Local prefix 'fe80::/64'`
  throw new Refusal('invalid', sentence)
}

/** Pools with an ip-range are not checked against each other when they are reserved. */
function validatePools(network: Network, host: HostFacts): void {
  const bridge = bridgeName(network.id, parseBridgeOptions(network.spec.options))
  const families = network.pools.map(({ family }) => family)
  if (new Set(families).size < families.length) {
    throw new Refusal('forbidden', "bridge driver doesn't support multiple subnets")
  }
  for (const pool of network.pools) {
    const subnet = parsePrefix(pool.subnet)?.prefix
    if (subnet?.family === 6) refuseSubnet6(subnet, `${pool.gateway ?? ''}/${subnet.length}`)
    if (pool.ipRange === undefined) continue
    const other = bridgesOf(host).find(
      (one) =>
        one.network.id !== network.id &&
        one.network.pools.some((theirs) => {
          const prefix = parsePrefix(theirs.subnet)?.prefix
          return subnet !== undefined && prefix !== undefined && overlaps(prefix, subnet)
        }),
    )
    const why = `networks have overlapping IPv${pool.family}`
    if (other !== undefined) throw conflict(network.id, bridge, other, why)
  }
}

interface NamedBridge {
  readonly network: Network
  readonly bridge: string
}

/** Bridge networks, or only those with a bridge of this name. */
function bridgesOf(host: HostFacts, name?: string): NamedBridge[] {
  const found: NamedBridge[] = []
  for (const network of host.networks) {
    const { driver, configOnly, options } = network.spec
    if (driver !== 'bridge' || configOnly) continue
    const given = options[optionKeys.name] ?? ''
    const bridge = given === '' ? automaticName(network.id) : given
    if (name === undefined || bridge === name) found.push({ network, bridge })
  }
  return found
}

function conflict(id: string, bridge: string, other: NamedBridge, why: string): Refusal {
  const theirs = `${other.network.id} (${other.bridge})`
  const sentence = `cannot create network ${id} (${bridge}): conflicts with network ${theirs}`
  return new Refusal('forbidden', `${sentence}: ${why}`)
}

function gatewayFamilies(spec: NetworkSpec): ReadonlySet<4 | 6> {
  const options = parseBridgeOptions(spec.options)
  const families = new Set<4 | 6>()
  const withoutIpv4 = options.mode4 === 'isolated' || (options.inhibitIpv4 && spec.internal)
  if (spec.enableIpv4 && !withoutIpv4) families.add(4)
  if (spec.enableIpv6 && options.mode6 !== 'isolated') families.add(6)
  return families
}

function networkObjects(network: Network, machine: HostFacts): readonly KernelObject[] {
  const options = parseBridgeOptions(network.spec.options)
  const host = factsForMtu(machine, options.mtu)
  const name = bridgeName(network.id, options)
  const existing = host.links.get(name)
  const adopted = existing !== undefined && !existing.alias.startsWith(aliasPrefix)
  const bridge: BridgeObject = {
    type: 'bridge',
    name,
    ...(adopted ? {} : { mac: bridgeMac(network.id) }),
    ...(options.mtu > 0 ? { mtu: options.mtu } : {}),
    alias: aliasPrefix + network.id,
    adopted,
  }
  const sysctl = (key: string, value: string): KernelObject => {
    return { type: 'sysctl', netns: '', key, value }
  }
  // Isolated networks have no address here, not even a link-local one.
  const ipv6 = network.pools.some(({ family, gateway }) => family === 6 && gateway !== null)
  const objects: KernelObject[] = [bridge]
  if (host.ipv6 && (ipv6 || !adopted)) {
    objects.push(sysctl(`net/ipv6/conf/${name}/accept_ra`, '0'))
    // What is forwarded asks for MAC addresses from the bridge's link-local address: at once, not
    // a second or two after the first container has started.
    if (ipv6 && !adopted) objects.push(sysctl(`net/ipv6/conf/${name}/accept_dad`, '0'))
    objects.push(sysctl(`net/ipv6/conf/${name}/disable_ipv6`, ipv6 ? '0' : '1'))
  }
  objects.push(sysctl(`net/ipv4/conf/${name}/route_localnet`, host.userlandProxy ? '0' : '1'))
  for (const pool of network.pools) {
    if (pool.gateway === null || (pool.family === 4 && options.inhibitIpv4)) continue
    const address = `${pool.gateway}/${lengthOf(pool)}`
    objects.push({ type: 'address', netns: '', link: name, address })
  }
  const isClosed = network.spec.internal && host.policyRules
  return isClosed ? [...objects, ...closingRules(network, name, options)] : objects
}

/** The first rules that the kernel asks behind the table of its own addresses. */
const closingPriority = 40

/**
 * What makes an internal network one for as long as its bridge is there, also while somebody has
 * flushed the firewall: nothing is routed from it, nor to it but what the host itself sends. The
 * host's own addresses are in a table before these rules, so containers still reach those.
 */
function closingRules(network: Network, bridge: string, options: BridgeOptions): KernelObject[] {
  return network.pools.flatMap(({ family, subnet, gateway }) => {
    const rule = (priority: number, to: string, iif: string, action: 'blackhole' | 'main') =>
      ({ type: 'rule', family, priority, to, iif, action }) as const
    const out = rule(closingPriority + 1, '', bridge, 'blackhole')
    // Without an address here the host has no route to the subnet, which may be elsewhere, too.
    if (gateway === null || (family === 4 && options.inhibitIpv4)) return [out]
    return [
      rule(closingPriority, subnet, 'lo', 'main'),
      rule(closingPriority + 1, subnet, '', 'blackhole'),
      out,
    ]
  })
}

/**
 * The same for the same network, so that a repair brings the same address back; the bytes lie
 * outside of what 02:42 and a container's IPv4 address can yield.
 */
function bridgeMac(id: string): string {
  const bytes = [...Buffer.from(id.slice(0, 8), 'hex')]
  bytes[0] = (bytes[0] ?? 0) | 0xf0
  return `02:42:${bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':')}`
}

const lengthOf = (pool: AllocatedPool): number => parsePrefix(pool.subnet)?.prefix.length ?? 0

function endpointObjects(
  network: Network,
  endpoint: Endpoint,
  { netnsPath: netns }: SandboxRef,
  machine: HostFacts,
): readonly KernelObject[] {
  const options = parseBridgeOptions(network.spec.options)
  const host = factsForMtu(machine, options.mtu)
  const veth: VethObject = {
    type: 'veth',
    name: endpoint.hostInterface,
    master: bridgeName(network.id, options),
    ...(options.mtu > 0 ? { mtu: options.mtu } : {}),
    hairpin: !host.userlandProxy,
    alias: aliasPrefix + endpoint.id,
    ...(options.announceAtMs === undefined ? {} : { announceAtMs: options.announceAtMs }),
    peer: { netns, name: endpoint.interfaceName, mac: endpoint.macAddress },
  }
  const link = endpoint.interfaceName
  const key = `net/ipv6/conf/${link}/accept_ra`
  const inside = insideObjects(endpoint, netns, host)
  const isSet = inside.some((one) => one.type === 'sysctl' && one.key === key)
  // Other containers could pose as a router.
  const deaf: KernelObject = { type: 'sysctl', netns, key, value: '0' }
  const needsDeaf = host.ipv6 && endpoint.ipv6 !== '' && !isSet
  return [veth, ...(needsDeaf ? [deaf] : []), ...inside]
}

function gatewaysOf(network: Network): { readonly ipv4: string; readonly ipv6: string } {
  if (network.spec.internal) return { ipv4: '', ipv6: '' }
  const of = (family: 4 | 6) => {
    const pool = network.pools.find((one) => one.family === family)
    // Not the bridge's own address but another router's, as `default-gateway` names it.
    const routed = pool?.auxiliary[`DefaultGatewayIPv${family}`]
    return routed ?? pool?.gateway ?? ''
  }
  return { ipv4: of(4), ipv6: of(6) }
}

function bridgeIntent(network: Network): BridgeIntent | undefined {
  const options = parseBridgeOptions(network.spec.options)
  return {
    networkId: network.id,
    bridge: bridgeName(network.id, options),
    families: network.pools.map(({ family, subnet, gateway }) => {
      const hostAddress = family === 4 ? options.hostAddress4 : options.hostAddress6
      return {
        family,
        subnet,
        gateway: family === 4 && options.inhibitIpv4 ? '' : (gateway ?? ''),
        mode: family === 4 ? options.mode4 : options.mode6,
        ...(hostAddress === '' ? {} : { hostAddress }),
      }
    }),
    internal: network.spec.internal,
    icc: options.icc,
    masquerade: options.masquerade,
    trustedInterfaces: options.trustedInterfaces,
  }
}
