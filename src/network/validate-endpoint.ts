/**
 * What is refused about an endpoint's settings before anything is touched, in Docker's words.
 * Pure; `network` is undefined while a network of that name does not exist (yet).
 */
import { parseAddress } from '../address/ip.ts'
import { parseMac } from '../address/mac.ts'
import { contains, parsePrefix } from '../address/prefix.ts'
import { Refusal } from '../base/refusal.ts'
import type { EndpointSpec, Network } from './model.ts'
import { refuseProblems } from './problems.ts'
import { isPredefined } from './validate.ts'

const ifnameKey = 'com.docker.network.endpoint.ifname'
const sysctlsKey = 'com.docker.network.endpoint.sysctls'

/** Refuses with every problem of the settings in one sentence. */
export function validateEndpointSpec(
  networkName: string,
  spec: EndpointSpec,
  network: Network | undefined,
): void {
  const problems: string[] = []
  if (spec.ipv4Address !== undefined) problems.push(...problemsOfStatic(spec.ipv4Address, 4))
  if (spec.ipv6Address !== undefined) problems.push(...problemsOfStatic(spec.ipv6Address, 6))
  for (const text of spec.linkLocalIps) {
    if (parseAddress(text) === undefined) problems.push(`invalid link-local IP address: ${text}`)
  }
  if (spec.macAddress !== undefined && parseMac(spec.macAddress) === undefined) {
    problems.push(`invalid MAC address ${spec.macAddress}`)
  }
  problems.push(...problemsOfDriverOpts(spec.driverOpts))
  if (problems.length === 0) problems.push(...problemsWithNetwork(networkName, spec, network))
  refuseProblems('invalid endpoint settings', problems)
}

function problemsOfStatic(text: string, family: 4 | 6): string[] {
  const right = parseAddress(text)?.family === family
  return right ? [] : [`invalid IPv${family} address: ${text}`]
}

function problemsWithNetwork(
  networkName: string,
  spec: EndpointSpec,
  network: Network | undefined,
): string[] {
  const problems: string[] = []
  const name = network?.spec.name ?? networkName
  const hasStatic = spec.ipv4Address !== undefined || spec.ipv6Address !== undefined
  if (isPredefined(name)) {
    if (hasStatic) {
      problems.push('user specified IP address is supported on user defined networks only')
    }
    if (spec.aliases.length > 0 && name === 'bridge') {
      const only = 'only for containers in user defined networks'
      problems.push(`network-scoped alias is supported ${only}`)
    }
  }
  if (network === undefined) return problems
  for (const text of [spec.ipv4Address, spec.ipv6Address]) {
    if (text !== undefined) problems.push(...problemsWithSubnets(text, network))
  }
  return problems
}

function problemsWithSubnets(text: string, network: Network): string[] {
  const address = parseAddress(text)
  if (address === undefined) return []
  const configured = network.spec.ipam.pools.flatMap((pool) => {
    const parsed = parsePrefix(pool.subnet)
    return parsed !== undefined && parsed.prefix.family === address.family ? [parsed.prefix] : []
  })
  if (configured.length === 0) {
    const when = 'only when connecting to networks with user configured subnets'
    return [`user specified IP address is supported ${when}`]
  }
  if (configured.some((subnet) => contains(subnet, address))) return []
  return [`no configured subnet or ip-range contain the IP address ${text}`]
}

function problemsOfDriverOpts(options: Readonly<Record<string, string>>): string[] {
  const problems: string[] = []
  const ifname = options[ifnameKey]
  if (ifname !== undefined && !/^[^/\s:%]{1,15}$/.test(ifname)) {
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
  if (text === undefined || text === '') return []
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
