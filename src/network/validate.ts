/**
 * What is refused about a network before anything is touched, in Docker's words. Pure: what
 * depends on other networks (names, overlaps, free pools) is refused where those are known.
 */
import { parseAddress, type Address } from '../address/ip.ts'
import {
  contains,
  containsPrefix,
  formatPrefix,
  overlaps,
  parsePrefix,
  type ParsedPrefix,
  type Prefix,
} from '../address/prefix.ts'
import { Refusal } from '../base/refusal.ts'
import type { IpamPoolSpec, NetworkSpec } from './model.ts'
import { optionKeys } from './drivers/options.ts'
import { parseGoBool, refuseProblems } from './problems.ts'

/** Names that no request may create; `default` is an alias of `bridge` at the API. */
const predefinedNames: ReadonlySet<string> = new Set(['bridge', 'host', 'none', 'default'])

/** True for networks that the daemon itself makes. */
export function isPredefined(name: string): boolean {
  return predefinedNames.has(name) && name !== 'default'
}

/** A create request as sent: fields that were left out are undefined. */
export interface NetworkRequest extends Omit<NetworkSpec, 'enableIpv4' | 'enableIpv6'> {
  readonly enableIpv4: boolean | undefined
  readonly enableIpv6: boolean | undefined
}

/**
 * The spec of a request: default driver, the daemon's default options, and the address families,
 * for which an explicit field wins over (and removes) the option of the same meaning.
 */
export function specOfRequest(
  request: NetworkRequest,
  defaultOptions: Readonly<Record<string, Readonly<Record<string, string>>>>,
): NetworkSpec {
  if (predefinedNames.has(request.name)) {
    const sentence = `operation is not permitted on predefined ${request.name} network `
    throw new Refusal('forbidden', sentence)
  }
  const driver = request.driver === '' ? 'bridge' : request.driver
  const defaults = request.configFrom === '' ? (defaultOptions[driver] ?? {}) : {}
  const options: Record<string, string> = { ...defaults, ...request.options }
  const family = (explicit: boolean | undefined, key: string, otherwise: boolean): boolean => {
    const text = options[key]
    if (explicit !== undefined) {
      delete options[key]
      return explicit
    }
    if (text === undefined) return otherwise
    const value = parseGoBool(text)
    if (value !== undefined) return value
    throw new Refusal('invalid', `driver-opt "${key}" is not a valid bool`)
  }
  const enableIpv4 = family(request.enableIpv4, optionKeys.enable4, true)
  const enableIpv6 = family(request.enableIpv6, optionKeys.enable6, false)
  return { ...request, driver, options, enableIpv4, enableIpv6 }
}

/** Everything about the request itself that is refused. */
export function validateNetwork(spec: NetworkSpec): void {
  refuseSwarm(spec)
  validateIpam(spec.ipam.pools, spec.enableIpv6)
  if (spec.name.trim() === '') throw new Refusal('invalid', 'invalid name: name is empty')
  if (spec.configOnly) validateConfigOnly(spec)
  if (spec.configFrom !== '') validateConfigFrom(spec)
  if (!spec.configOnly) validateScope(spec)
  if (spec.ipam.driver === 'null' && !spec.configOnly && spec.ipam.pools.length > 0) {
    const sentence = 'null ipam driver does not handle specific address pool requests'
    throw new Refusal('invalid', sentence)
  }
  if (!spec.enableIpv4 && !spec.enableIpv6 && spec.configFrom === '') {
    throw new Refusal('invalid', 'IPv4 or IPv6 must be enabled')
  }
}

function validateConfigOnly(spec: NetworkSpec): void {
  if (spec.ingress || spec.internal || spec.attachable || spec.scope !== '') {
    throw new Refusal(
      'forbidden',
      'configuration network can only contain network specific fields. Network operator fields' +
        ' like [ ingress | internal | attachable | scope ] are not supported.',
    )
  }
  if (spec.configFrom !== '') {
    const sentence = 'a configuration network cannot depend on another configuration network'
    throw new Refusal('forbidden', sentence)
  }
}

function validateConfigFrom(spec: NetworkSpec): void {
  const depends = 'are not supported if the network depends on a configuration network'
  const { pools, options } = spec.ipam
  const ofIpam = pools.length > 0 || Object.keys(options ?? {}).length > 0
  const ofFamilies = !spec.enableIpv4 || spec.enableIpv6
  if (ofIpam || ofFamilies || Object.keys(spec.labels).length > 0) {
    throw new Refusal('forbidden', `user specified configurations ${depends}`)
  }
  if (Object.keys(spec.options).length > 0) {
    throw new Refusal('forbidden', `network driver options ${depends}`)
  }
}

/** Before anything else, as whatever is said of such a network is said by the swarm. */
function refuseSwarm({ driver }: NetworkSpec): void {
  if (driver !== 'overlay') return
  throw new Refusal(
    'forbidden',
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to' +
      ' connect this node to swarm and try again.',
  )
}

function validateScope(spec: NetworkSpec): void {
  if (spec.ingress) {
    throw new Refusal('forbidden', 'Ingress network can only be global scope network')
  }
  if (spec.scope === 'swarm') {
    const sentence = 'cannot create a swarm scoped network when swarm is not active'
    throw new Refusal('forbidden', sentence)
  }
}

const mappedBlock: Prefix = { family: 6, base: 0xffffn << 32n, length: 96 }

const familyName = (prefix: Prefix): string => (prefix.family === 4 ? 'IPv4' : 'IPv6')

/** Docker's checks of every pool of the request; all problems in one refusal. */
export function validateIpam(pools: readonly IpamPoolSpec[], enableIpv6: boolean): void {
  const problems = pools.flatMap((pool) => problemsOfPool(pool, enableIpv6))
  refuseProblems('invalid network config', problems)
}

function problemsOfPool(pool: IpamPoolSpec, enableIpv6: boolean): string[] {
  const parsed = parsePrefix(pool.subnet)
  if (parsed === undefined) return [`invalid subnet ${pool.subnet}: invalid CIDR block notation`]
  const problems: string[] = []
  const subnet = parsed.prefix
  // Kept as it is, and of no use: Docker does not look at it either.
  if (subnet.family === 6 && !enableIpv6) return []
  if (hasHostBits(parsed)) {
    problems.push(`invalid subnet ${pool.subnet}: it should be ${formatPrefix(subnet)}`)
  }
  if (containsPrefix(mappedBlock, subnet)) {
    problems.push(`invalid subnet ${pool.subnet}: it is not a valid IPv6 subnet`)
  }
  // With host bits set, Docker goes on to name the subnet as it was written.
  const written = pool.subnet
  problems.push(...problemsOfRange(pool.ipRange ?? '', subnet, written))
  const gateway = problemOfAddress(pool.gateway ?? '', subnet, written)
  if (gateway !== undefined) problems.push(`invalid gateway ${pool.gateway}: ${gateway}`)
  for (const [name, address] of Object.entries(pool.auxiliary ?? {})) {
    const problem = problemOfAddress(address, subnet, written)
    if (problem !== undefined) problems.push(`invalid auxiliary address ${name}: ${problem}`)
  }
  return problems
}

function hasHostBits(parsed: ParsedPrefix): boolean {
  return parsed.address.value !== parsed.prefix.base
}

function problemsOfRange(text: string, subnet: Prefix, written: string): string[] {
  if (text === '') return []
  const parsed = parsePrefix(text)
  const problem = (why: string) => `invalid ip-range ${text}: ${why}`
  if (parsed === undefined) return [problem('invalid CIDR block notation')]
  const range = parsed.prefix
  if (range.family !== subnet.family) {
    return [problem(`parent subnet is an ${familyName(subnet)} block`)]
  }
  const problems: string[] = []
  if (range.length < subnet.length) {
    problems.push(problem(`CIDR block is bigger than its parent subnet ${written}`))
  }
  if (hasHostBits(parsed)) problems.push(problem(`it should be ${formatPrefix(range)}`))
  if (!overlaps(range, subnet)) {
    problems.push(problem(`parent subnet ${written} doesn't contain ip-range`))
  }
  return problems
}

function problemOfAddress(text: string, subnet: Prefix, written: string): string | undefined {
  if (text === '') return undefined
  // An address of a link is an address, in no subnet.
  const [plain = '', zone] = text.split('%')
  const address: Address | undefined = parseAddress(plain)
  if (address === undefined || (zone !== undefined && address.family === 4)) {
    return 'invalid address'
  }
  if (address.family !== subnet.family) return `parent subnet is an ${familyName(subnet)} block`
  if (zone !== undefined || !contains(subnet, address)) return `parent subnet ${written} doesn't contain this address`
  return undefined
}
