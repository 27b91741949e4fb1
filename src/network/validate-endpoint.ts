/**
 * What is refused about an endpoint's settings before anything is touched, in Docker's words.
 * Pure; `network` is undefined while a network of that name does not exist (yet).
 */
import { parseAddress, type Address } from '../address/ip.ts'
import { parseMac } from '../address/mac.ts'
import { contains, parsePrefix } from '../address/prefix.ts'
import { Refusal } from '../base/refusal.ts'
import type { EndpointSpec, Network } from './model.ts'
import { refuseProblems } from './problems.ts'
import { isPredefined } from './validate.ts'

const ifnameKey = 'com.docker.network.endpoint.ifname'
const sysctlsKey = 'com.docker.network.endpoint.sysctls'

export const isMac = (text: string): boolean => parseMac(text) !== undefined

/** Refuses with every problem of the settings in one sentence; a MAC address with its own. */
export function validateEndpointSpec(
  networkName: string,
  spec: EndpointSpec,
  network: Network | undefined,
): void {
  if (spec.macAddress !== undefined && parseMac(spec.macAddress) === undefined) {
    throw new Refusal('invalid', `invalid MAC address ${spec.macAddress}`)
  }
  const given = ([4, 6] as const).flatMap((family) => {
    const text = family === 4 ? spec.ipv4Address : spec.ipv6Address
    return text === undefined ? [] : [{ family, text }]
  })
  const isStray = (text: string) => !isSpecific(parseAddress(text))
  refuseProblems('invalid endpoint settings', [
    ...problemsOfPredefined(network?.spec.name ?? networkName, spec),
    ...given.flatMap(({ family, text }) => problemsOfStatic(text, family)),
    ...spec.linkLocalIps.filter(isStray).map((text) => `invalid link-local IP address: ${text}`),
    ...(network === undefined
      ? []
      : given.flatMap(({ family, text }) => problemsWithSubnets(text, family, network))),
    ...spec.links.filter(isNoLink).map((text) => `bad format for links: ${text}`),
    ...problemsOfDriverOpts(spec.driverOpts),
  ])
}

function problemsOfPredefined(name: string, spec: EndpointSpec): string[] {
  if (!isPredefined(name)) return []
  const hasStatic = spec.ipv4Address !== undefined || spec.ipv6Address !== undefined
  const ofAddress = 'user specified IP address is supported on user defined networks only'
  const only = 'only for containers in user defined networks'
  const ofAlias = `network-scoped alias is supported ${only}`
  return [...(hasStatic ? [ofAddress] : []), ...(spec.aliases.length > 0 ? [ofAlias] : [])]
}

const isSpecific = (address: Address | undefined): boolean =>
  address !== undefined && address.value !== 0n

function problemsOfStatic(text: string, family: 4 | 6): string[] {
  const address = parseAddress(text)
  const right = address?.family === family && isSpecific(address)
  return right ? [] : [`invalid IPv${family} address: ${text}`]
}

function problemsWithSubnets(text: string, family: 4 | 6, network: Network): string[] {
  const address = parseAddress(text)
  const configured = network.spec.ipam.pools.flatMap((pool) => {
    const parsed = parsePrefix(pool.subnet)
    return parsed !== undefined && parsed.prefix.family === family ? [parsed.prefix] : []
  })
  if (configured.length === 0) {
    const when = 'only when connecting to networks with user configured subnets'
    return [`user specified IP address is supported ${when}`]
  }
  const fits = address !== undefined && configured.some((subnet) => contains(subnet, address))
  return fits ? [] : [`no configured subnet or ip-range contain the IP address ${text}`]
}

/** Neither `container` nor `container:alias`. */
const isNoLink = (text: string): boolean => text === '' || text.split(':').length > 2

function problemsOfDriverOpts(options: Readonly<Record<string, string>>): string[] {
  const problems: string[] = []
  const ifname = options[ifnameKey] ?? ''
  if (ifname !== '' && !/^[^/\s:%]{1,15}$/.test(ifname)) {
    problems.push(`invalid interface name ${JSON.stringify(ifname)}`)
  }
  try {
    endpointSysctls(options, 'eth0')
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    problems.push(error.message)
  }
  return problems
}

/** The fixed interface name that the endpoint asks for. */
export function fixedInterfaceName(spec: EndpointSpec): string | undefined {
  return spec.driverOpts[ifnameKey]
}

/** Sysctls of one endpoint as /proc/sys keys, IFNAME replaced. */
export function endpointSysctls(
  options: Readonly<Record<string, string>>,
  interfaceName: string,
): { readonly key: string; readonly value: string }[] {
  const text = options[sysctlsKey]
  if (text === undefined) return []
  return text.split(',').map((entry) => {
    const [key = '', ...rest] = entry.trim().split('=')
    const parts = key.split('.')
    const [net, kind = '', , name = ''] = parts
    const right =
      net === 'net' &&
      ['ipv4', 'ipv6', 'mpls'].includes(kind) &&
      name.toUpperCase() === 'IFNAME' &&
      parts.length === 5 &&
      rest.length > 0 &&
      parts.every((part) => /^[\w-]+$/.test(part))
    if (!right) {
      throw new Refusal(
        'invalid',
        `unrecognised network interface sysctl '${entry}'; represent 'net.X.Y.ethN.Z=V' as` +
          ` 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'`,
      )
    }
    parts[3] = interfaceName
    return { key: parts.join('/'), value: rest.join('=') }
  })
}
