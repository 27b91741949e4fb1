/** A network as the API shows it: every field, in Docker's order. */
import { sortedMap } from '../base/json.ts'
import type { Endpoint, IpamPoolSpec, Network } from '../network/model.ts'
import { familyOf } from '../network/ipam/ipam.ts'

/** What a network's view needs beside the network itself. */
export interface NetworkViewFacts {
  readonly endpoints: readonly (Endpoint & { readonly containerName: string })[]
  /** undefined: the API version is too old for `Status`. */
  readonly usage:
    | readonly { readonly subnet: string; readonly inUse: bigint; readonly available: bigint }[]
    | undefined
}

/** The JSON of list and inspect. */
export function networkView(network: Network, facts: NetworkViewFacts): unknown {
  const { id, created, spec } = network
  const ipamOptions = spec.ipam.options === null ? null : sortedMap(spec.ipam.options)
  return {
    Name: spec.name,
    Id: id,
    Created: created,
    Scope: spec.scope,
    Driver: spec.driver,
    EnableIPv4: spec.enableIpv4,
    EnableIPv6: spec.enableIpv6,
    IPAM: { Driver: spec.ipam.driver, Options: ipamOptions, Config: poolsView(network) },
    Internal: spec.internal,
    Attachable: spec.attachable,
    Ingress: spec.ingress,
    ConfigFrom: { Network: spec.configFrom },
    ConfigOnly: spec.configOnly,
    Containers: sortedMap(Object.fromEntries(facts.endpoints.map(endpointView))),
    Options: sortedMap(spec.options),
    Labels: sortedMap(spec.labels),
    ...(facts.usage === undefined ? {} : { Status: statusView(facts.usage) }),
  }
}

function endpointView(endpoint: Endpoint & { readonly containerName: string }) {
  const { containerId, containerName, id, macAddress, ipv4, ipv6 } = endpoint
  const view = {
    Name: containerName,
    EndpointID: id,
    MacAddress: macAddress,
    IPv4Address: ipv4,
    IPv6Address: ipv6,
  }
  return [containerId, view] as const
}

/** Given pools as they were given, IPv4 first; then the automatic ones, with their gateway. */
function poolsView({ spec, pools }: Network): unknown {
  if (spec.driver === 'host' || spec.driver === 'null') {
    if (!spec.configOnly || spec.ipam.pools.length === 0) return null
  }
  const given: IpamPoolSpec[] = []
  const automatic: IpamPoolSpec[] = []
  for (const family of [4, 6]) {
    const asked = spec.ipam.pools.filter((pool) => familyOf(pool) === family)
    const inForce = pools.filter((pool) => pool.family === family).map(({ shown }) => shown)
    if (asked.length === 0) automatic.push(...inForce)
    else given.push(...(inForce.length > 0 ? inForce : asked))
  }
  return [...given, ...automatic].map(poolView)
}

function poolView({ subnet, ipRange, gateway, auxiliary }: IpamPoolSpec): unknown {
  const isSet = (text: string | undefined) => text !== undefined && text !== ''
  const hasAuxiliary = auxiliary !== undefined && Object.keys(auxiliary).length > 0
  return {
    Subnet: subnet,
    ...(isSet(ipRange) ? { IPRange: ipRange } : {}),
    ...(isSet(gateway) ? { Gateway: gateway } : {}),
    ...(hasAuxiliary ? { AuxiliaryAddresses: sortedMap(auxiliary) } : {}),
  }
}

const uint64Max = 2n ** 64n - 1n

function statusView(usage: NonNullable<NetworkViewFacts['usage']>): unknown {
  const saturated = (count: bigint) => (count > uint64Max ? uint64Max : count)
  const subnets = usage.map(({ subnet, inUse, available }) => {
    const counts = { IPsInUse: saturated(inUse), DynamicIPsAvailable: saturated(available) }
    return [subnet, counts] as const
  })
  return { IPAM: { Subnets: Object.fromEntries(subnets) } }
}
