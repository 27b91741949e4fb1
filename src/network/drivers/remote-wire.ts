/** Docker's remote driver protocol: what is said of networks and endpoints, and what comes back. */
import { parseAddress } from '../../address/ip.ts'
import { parseMac } from '../../address/mac.ts'
import { parseContainerPort } from '../../address/ports.ts'
import { parsePrefix } from '../../address/prefix.ts'
import { Refusal } from '../../base/refusal.ts'
import type {
  AllocatedPool,
  Endpoint,
  EndpointSpec,
  Network,
  NetworkSpec,
  PublicationSpec,
  StaticRoute,
} from '../model.ts'
import type { Answer } from '../plugins/answer.ts'

const label = 'com.docker.network'

/** Under this name a MAC is an option of an endpoint or of an address. */
export const macOption = `${label}.endpoint.macaddress`

export const idsOf = ({ id, networkId }: Endpoint) => ({ NetworkID: networkId, EndpointID: id })

/** Options of a network, the user's own under `generic`. */
export function networkOptions(spec: NetworkSpec) {
  const { internal, configFrom } = spec
  return {
    [`${label}.enable_ipv4`]: spec.enableIpv4,
    [`${label}.enable_ipv6`]: spec.enableIpv6,
    ...(internal || configFrom !== '' ? { [`${label}.internal`]: internal } : {}),
    [`${label}.generic`]: spec.options,
  }
}

/** The pools of a family; of a network without addresses one that holds everything. */
export function dataOf({ spec, pools }: Network, family: 4 | 6) {
  if (spec.ipam.driver === 'null') {
    const enabled = family === 4 ? spec.enableIpv4 : spec.enableIpv6
    return enabled ? [{ AddressSpace: 'null', Pool: family === 4 ? '0.0.0.0/0' : '::/0' }] : []
  }
  return pools.filter((pool) => pool.family === family).map(poolData)
}

function poolData({ addressSpace = 'LocalDefault', subnet, gateway, auxiliary }: AllocatedPool) {
  const length = subnet.split('/')[1] ?? ''
  const entries = Object.entries(auxiliary).map(([name, text]) => [name, `${text}/${length}`])
  return {
    AddressSpace: addressSpace,
    Pool: subnet,
    ...(gateway === null ? {} : { Gateway: `${gateway}/${length}` }),
    ...(entries.length === 0 ? {} : { AuxAddresses: Object.fromEntries(entries) }),
  }
}

const protocolNumbers: Readonly<Record<string, number>> = { tcp: 6, udp: 17, sctp: 132 }

/** Exposed and published ports of a container, as Docker writes them. */
export function portOptions(exposed: readonly string[], published: readonly PublicationSpec[]) {
  return {
    [`${label}.endpoint.exposedports`]: exposed.flatMap((text) => {
      const parsed = parseContainerPort(text)
      if (parsed === undefined) return []
      const { protocol, range } = parsed
      const count = range.last - range.first + 1
      const Proto = protocolNumbers[protocol]
      return Array.from({ length: count }, (_, step) => ({ Proto, Port: range.first + step }))
    }),
    [`${label}.portmap`]: published.map((one) => ({
      Proto: protocolNumbers[one.protocol],
      IP: '',
      Port: one.containerPort,
      HostIP: one.hostIp,
      HostPort: one.hostPortFirst,
      HostPortEnd: one.hostPortLast,
    })),
  }
}

/** What the user says of an endpoint; its MAC as Go writes bytes. */
export function endpointOptions({ driverOpts, macAddress }: EndpointSpec) {
  const mac = macAddress === undefined ? '' : macAddress.replaceAll(/[^\da-fA-F]/g, '')
  if (mac === '') return driverOpts
  return { ...driverOpts, [macOption]: Buffer.from(mac, 'hex').toString('base64') }
}

/** @param otherGateway whether another endpoint of the container leads out over IPv6 */
export const externalOptions = (ports: object, otherGateway: boolean) => ({
  ...ports,
  [`${label}.driver.private.no_proxy_6to4`]: otherGateway,
})

/** What a plugin says of a new endpoint's interface; '' where it leaves that to us. */
export interface RemoteInterface {
  readonly ipv4: string
  readonly ipv6: string
  readonly macAddress: string
}

/** A plugin may choose what is not chosen yet. */
export function parseInterface(answer: Answer, ours: RemoteInterface): RemoteInterface {
  const given = answer.part('Interface', 'api.EndpointInterface')
  if (given === undefined) return ours
  const wanted = [given.text('Address'), given.text('AddressIPv6')].map(cidr)
  const mac = given.text('MacAddress')
  const macAddress = mac === '' ? '' : parseMac(mac)
  if (macAddress === undefined) throw refuse(`address ${mac}: invalid MAC address`)
  if (macAddress !== '' && ours.macAddress !== '') {
    throw modified('MAC address', 'MAC address', ours.macAddress, `${macAddress}.`)
  }
  const of = (family: 4 | 6) => wanted.find((text) => familyOf(text) === family) ?? ''
  for (const [mine, theirs] of [[ours.ipv4, of(4)], [ours.ipv6, of(6)]] as const) {
    if (mine !== '' && theirs !== '') throw modified('address', 'IP', mine, `(${theirs}).`)
  }
  return {
    ipv4: ours.ipv4 === '' ? of(4) : ours.ipv4,
    ipv6: ours.ipv6 === '' ? of(6) : ours.ipv6,
    macAddress: ours.macAddress === '' ? macAddress : ours.macAddress,
  }
}

const refuse = (sentence: string) => new Refusal('internal', sentence)

function modified(what: string, present: string, ours: string, theirs: string): Refusal {
  const has = `endpoint interface ${present} present (${ours})`
  return refuse(`driver modified interface ${what}: ${has}. Cannot be modified with ${theirs}`)
}

const familyOf = (text: string) => parsePrefix(text)?.prefix.family

function cidr(text: string): string {
  if (text === '' || parsePrefix(text) !== undefined) return text
  throw refuse(`invalid CIDR address: ${text}`)
}

export interface Joined {
  /** The link in the daemon's namespace; '' = the endpoint has none. */
  readonly sourceName: string
  readonly prefix: string
  readonly gateway4: string
  readonly gateway6: string
  readonly routes: readonly StaticRoute[]
}

export function parseJoined(answer: Answer): Joined {
  const names = answer.part('InterfaceName', 'api.InterfaceName')
  const address = (key: string) => {
    const text = answer.text(key)
    if (text === '' || parseAddress(text) !== undefined) return text
    throw refuse(`unable to parse ${key} "${text}"`)
  }
  return {
    sourceName: names?.text('SrcName') ?? '',
    prefix: names?.text('DstPrefix') ?? '',
    gateway4: address('Gateway'),
    gateway6: address('GatewayIPv6'),
    routes: answer.parts('StaticRoutes', 'api.StaticRoute').map(parseRoute),
  }
}

/** A destination by a gateway is of type 0, one on the link itself of another. */
function parseRoute(answer: Answer): StaticRoute {
  const destination = cidr(answer.text('Destination'))
  const gateway = answer.text('NextHop')
  if (gateway !== '' && parseAddress(gateway) === undefined) {
    throw refuse(`failed to parse nexthop IP ${gateway}`)
  }
  if (answer.whole('RouteType') !== 0) return { destination, gateway: '' }
  const failed = `failed to add static route ${destination}`
  if (destination === '') throw refuse('a static route has no destination')
  if (gateway === '') throw refuse(`${failed}: route for the next hop <nil> could not be found`)
  return { destination, gateway }
}
