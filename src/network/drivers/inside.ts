/** What every endpoint with a link of its own has inside the container: settings and addresses. */
import { formatAddress, parseAddress } from '../../address/ip.ts'
import { Refusal } from '../../base/refusal.ts'
import type { KernelObject } from '../../kernel/object.ts'
import type { Endpoint, NetworkSpec } from '../model.ts'
import { endpointSysctls } from '../validate-endpoint.ts'
import type { HostFacts } from './driver.ts'

/** The kernel takes IPv6 off links with less. */
const ipv6MtuMin = 1280
const isBelowIpv6 = (mtu: number): boolean => mtu > 0 && mtu < ipv6MtuMin

/** What is so on links with this MTU; 0 = left to the kernel. */
export function factsForMtu(host: HostFacts, mtu: number): HostFacts {
  return isBelowIpv6(mtu) ? { ...host, ipv6: false } : host
}

/** Refuses IPv6 on links that are too small for it. */
export function refuseIpv6BelowMtu({ enableIpv6 }: NetworkSpec, mtu: number): void {
  if (!enableIpv6 || !isBelowIpv6(mtu)) return
  throw new Refusal('invalid', `invalid MTU number: ${mtu}: IPv6 needs ${ipv6MtuMin} or more`)
}

/** The objects on an endpoint's link in the namespace `netns`, settings first. */
export function insideObjects(
  endpoint: Endpoint,
  netns: string,
  host: HostFacts,
): readonly KernelObject[] {
  const objects: KernelObject[] = []
  const link = endpoint.interfaceName
  const settings = new Map<string, string>()
  if (host.ipv6) {
    settings.set(`net/ipv6/conf/${link}/disable_ipv6`, endpoint.ipv6 === '' ? '1' : '0')
  }
  // What the user says of the link wins.
  for (const { key, value } of endpointSysctls(endpoint.spec.driverOpts, link)) {
    settings.set(key, value)
  }
  for (const [key, value] of settings) objects.push({ type: 'sysctl', netns, key, value })
  const linkLocal = endpoint.spec.linkLocalIps.map((text) => withLinkLocalLength(text))
  for (const address of [endpoint.ipv4, endpoint.ipv6, ...linkLocal]) {
    if (address !== '') objects.push({ type: 'address', netns, link, address })
  }
  return objects
}

function withLinkLocalLength(text: string): string {
  const address = parseAddress(text)
  if (address === undefined) return ''
  return `${formatAddress(address)}/${address.family === 4 ? 16 : 64}`
}
