/**
 * Endpoints on paper: everything about one attachment that is decided before the kernel is
 * touched, and the kernel objects of a whole sandbox as its endpoints make them.
 */
import { parseAddress } from '../address/ip.ts'
import { macOfIpv4, parseMac, randomMac } from '../address/mac.ts'
import { contains, parsePrefix } from '../address/prefix.ts'
import { newId, randomHex } from '../base/id.ts'
import { Refusal } from '../base/refusal.ts'
import type { KernelObject } from '../kernel/object.ts'
import { sysctlKey } from '../kernel/sysctl.ts'
import type { Addresses } from './drivers/driver.ts'
import { driverNamed } from './drivers/drivers.ts'
import { chooseGateways, type GatewayCandidate } from './gateway.ts'
import { plainFacts, singleFacts } from './host.ts'
import type { Endpoint, EndpointSpec, Network, Sandbox, SandboxSpec } from './model.ts'
import type { Room } from './room.ts'
import { refuseSameSubnet } from './route-conflict.ts'
import { fixedInterfaceName, validateEndpointSpec } from './validate-endpoint.ts'
import { isWithoutIpv6, refuseIpv6 } from './without-ipv6.ts'
import { dnsNamesOf } from './zones.ts'

/** Addresses that a plugin gave, and the MAC they were asked for with; '' = none. */
export interface Leased extends Addresses {
  readonly mac: string
}

/**
 * Decides an endpoint and reserves its addresses and its place on the network; nothing is kept
 * when it is refused.
 *
 * @param siblings endpoints that the sandbox has already
 * @param leased addresses that somebody else has reserved for it
 */
export function reserveEndpoint(
  room: Room,
  sandboxId: string,
  container: SandboxSpec,
  spec: EndpointSpec,
  siblings: readonly Endpoint[],
  leased?: Leased,
): Endpoint {
  const { network } = room.state.find(spec.network).record
  if (network.spec.configOnly) {
    throw new Refusal('forbidden', 'cannot create endpoint on configuration-only network')
  }
  validateEndpointSpec(spec.network, spec, network)
  refuseLinkLocal(network, spec)
  if (isWithoutIpv6(container)) refuseIpv6(spec)
  const driver = driverNamed(network.spec.driver)
  const facts = singleFacts(room)
  const refusal = driver.validateEndpoint(network, spec, facts)
  if (refusal !== undefined) throw refusal
  const interfaceName = chooseInterface(driver.interfacePrefix(network), spec, siblings)
  if (leased !== undefined) refuseSameSubnet(leased, siblings)
  const taken = () => ({ ...takeAddresses(room, network, container, spec, siblings), mac: '' })
  const { mac, ...addresses } = leased ?? taken()
  const gateways = driver.gatewaysOf(network, addresses)
  const natural = driver.naturalMac(network, facts)
  const endpoint: Endpoint = {
    id: newId(),
    networkId: network.id,
    networkName: network.spec.name,
    sandboxId,
    containerId: container.containerId,
    spec,
    interfaceName,
    hostInterface: driver.hasHostEnd ? `veth${randomHex(4).slice(0, 7)}` : '',
    macAddress: mac === '' ? macOf(spec, addresses.ipv4, natural) : mac,
    ...addresses,
    gateway4: addresses.ipv4 === '' ? '' : gateways.ipv4,
    gateway6: addresses.ipv6 === '' ? '' : gateways.ipv6,
    dnsNames: dnsNamesOf(network, container, spec),
  }
  room.state.join(endpoint)
  return endpoint
}

/**
 * Whether neighbours must be told the MAC of this endpoint. A MAC that follows from the address is
 * the one they know already, unless the address was used with another one before.
 */
export function needsAnnouncement(room: Room, endpoint: Endpoint): boolean {
  const stray = room.state.networks.get(endpoint.networkId)?.strayAddresses
  const wasStray = [endpoint.ipv4, endpoint.ipv6].some((address) => stray?.delete(address))
  return wasStray || hasStrayMac(endpoint)
}

function hasStrayMac({ ipv4, ipv6, macAddress }: Endpoint): boolean {
  const address = parseAddress(ipv4.split('/')[0] ?? '')
  return ipv6 !== '' || address === undefined || macAddress !== macOfIpv4(address)
}

/** Gives back what `reserveEndpoint` took. */
export function releaseEndpoint(room: Room, endpoint: Endpoint): void {
  const stray = room.state.networks.get(endpoint.networkId)?.strayAddresses
  if (hasStrayMac(endpoint)) stray?.add(endpoint.ipv4).add(endpoint.ipv6)
  for (const address of [endpoint.ipv4, endpoint.ipv6]) {
    room.ipam.releaseAddress(endpoint.networkId, address)
  }
  room.state.leave(endpoint)
}

/** Addresses that the link could not have; Docker, too, looks only when the endpoint is made. */
function refuseLinkLocal({ pools, spec: { name } }: Network, spec: EndpointSpec): void {
  for (const text of spec.linkLocalIps) {
    const address = parseAddress(text)
    if (address === undefined) continue
    if (!linkLocalPrefixes.some((prefix) => contains(prefix, address))) {
      throw new Refusal('invalid', `invalid link local IP address: ${text}`)
    }
    if (address.family === 6 && !pools.some(({ family }) => family === 6)) {
      throw new Refusal('invalid', `link local address ${text}: network ${name} has no IPv6`)
    }
  }
}

const linkLocalPrefixes = ['169.254.0.0/16', 'fe80::/10'].flatMap(
  (text) => parsePrefix(text)?.prefix ?? [],
)

function takeAddresses(
  room: Room,
  network: Network,
  container: SandboxSpec,
  spec: EndpointSpec,
  siblings: readonly Endpoint[],
): Addresses {
  const has = (family: 4 | 6) =>
    network.pools.some((pool) => pool.family === family) &&
    (family === 4 || !isWithoutIpv6(container))
  const addresses = { ipv4: '', ipv6: '' }
  try {
    if (has(4)) addresses.ipv4 = room.ipam.takeAddress(network, 4, spec.ipv4Address)
    if (has(6)) addresses.ipv6 = room.ipam.takeAddress(network, 6, spec.ipv6Address)
    refuseSameSubnet(addresses, siblings)
    return addresses
  } catch (error) {
    for (const address of Object.values(addresses)) room.ipam.releaseAddress(network.id, address)
    throw error
  }
}

/** The name asked for, else the prefix with the lowest free number. */
export function chooseInterface(
  prefix: string,
  spec: EndpointSpec,
  siblings: readonly Endpoint[],
): string {
  if (prefix === '') return ''
  const taken = new Set(['lo', ...siblings.map(({ interfaceName }) => interfaceName)])
  const fixed = fixedInterfaceName(spec)
  if (fixed !== undefined && fixed !== '') {
    if (taken.has(fixed)) {
      throw new Refusal('conflict', `interface name ${fixed} is in use in this container already`)
    }
    return fixed
  }
  let number = 0
  while (taken.has(`${prefix}${number}`)) number++
  return `${prefix}${number}`
}

function macOf(spec: EndpointSpec, ipv4: string, natural: string | undefined): string {
  // On host and none there is no link, whatever MAC is asked for.
  if (natural === '') return ''
  const given = spec.macAddress === undefined ? undefined : parseMac(spec.macAddress)
  if (given !== undefined) return given
  if (natural !== undefined) return natural
  const address = parseAddress(ipv4.split('/')[0] ?? '')
  return address === undefined ? randomMac() : macOfIpv4(address)
}

/** Whether the sandbox has a namespace of its own. */
export function hasOwnNetns({ spec }: Sandbox): boolean {
  return spec.mode.kind !== 'host' && spec.mode.kind !== 'container'
}

/** The kernel objects that make up a sandbox: namespace, endpoints, default routes. */
export function objectsOf(room: Room, sandbox: Sandbox): readonly KernelObject[] {
  if (!hasOwnNetns(sandbox)) return []
  const netns = sandbox.netnsPath
  const facts = plainFacts(room)
  const objects: KernelObject[] = [{ type: 'netns', path: netns }]
  const candidates: GatewayCandidate[] = []
  for (const endpoint of sandbox.endpoints) {
    const network = room.state.network(endpoint.networkId)
    if (network === undefined) continue
    const driver = driverNamed(network.spec.driver)
    const ref = { netnsPath: netns }
    objects.push(...driver.endpointObjects(network, endpoint, ref, facts))
    const internal = driver.isInternal(network)
    candidates.push({ endpoint, internal, routesOnLink: driver.routesOnLink(network) })
  }
  const { ipv4, ipv6 } = chooseGateways(candidates)
  const route = (destination: string, gateway: string, link: string): KernelObject => {
    return { type: 'route', netns, destination, link, ...(gateway === '' ? {} : { gateway }) }
  }
  if (ipv4 !== undefined) objects.push(route('default', ipv4.gateway4, ipv4.interfaceName))
  if (ipv6 !== undefined) objects.push(route('default6', ipv6.gateway6, ipv6.interfaceName))
  return objects
}

/** Settings of a new namespace: Docker's defaults, then what the container asks for. */
export function sandboxSysctls(sandbox: Sandbox): readonly { key: string; value: string }[] {
  const own = Object.entries(sandbox.spec.sysctls)
    .map(([name, value]) => ({ key: sysctlKey(name), value }))
    .filter(({ key }) => key.startsWith('net/'))
  return [
    { key: 'net/ipv4/ip_unprivileged_port_start', value: '0' },
    { key: 'net/ipv4/ping_group_range', value: '0 2147483647' },
    ...own,
  ]
}
