/** Where the pools of a new network come from: our own, or a plugin's. */
import { prefixOf, type Prefix } from '../address/prefix.ts'
import type { Driver } from './drivers/driver.ts'
import { isRemoteDriver } from './drivers/drivers.ts'
import { RemoteNetworks } from './drivers/remote.ts'
import { resolversOfHost, routedPrefixes } from './host.ts'
import { familyOf } from './ipam/ipam.ts'
import { hasRemoteIpam, RemoteIpam } from './ipam/remote.ts'
import type { AllocatedPool, IpamPoolSpec, Network, NetworkSpec } from './model.ts'
import type { Room } from './room.ts'

/** Pools with gateways, reserved; none for a network that needs no addresses. */
export async function poolsFor(
  room: Room,
  driver: Driver,
  { id, spec }: Network,
): Promise<readonly AllocatedPool[]> {
  if (!driver.needsIpam) return []
  const families = driver.gatewayFamilies(spec)
  if (!isRemoteDriver(spec.driver) && !hasRemoteIpam(spec)) {
    return allocatePools(room, driver, id, spec, families)
  }
  const wanted = driver.namedGatewaysOnly ? new Set<4 | 6>() : families
  const skipped = isRemoteDriver(spec.driver)
    ? await new RemoteNetworks(room.plugins).skippedGateways(spec)
    : new Set<4 | 6>()
  if (spec.ipam.driver === 'null') return []
  const gatewayFamilies = new Set([...wanted].filter((family) => !skipped.has(family)))
  if (!hasRemoteIpam(spec)) return allocatePools(room, driver, id, spec, gatewayFamilies)
  const busy = (family: 4 | 6) => busyPrefixes(room, [family])
  return new RemoteIpam(room.plugins).requestPools({ spec, gatewayFamilies, busy })
}

function allocatePools(
  room: Room,
  driver: Driver,
  id: string,
  spec: NetworkSpec,
  gatewayFamilies: ReadonlySet<4 | 6>,
): readonly AllocatedPool[] {
  const families: (4 | 6)[] = []
  if (spec.enableIpv4) families.push(4)
  if (spec.enableIpv6) families.push(6)
  const automatic = families.filter(
    (family) => !spec.ipam.pools.some((pool) => familyOf(pool) === family && isNamed(pool, family)),
  )
  const space = spec.scope === 'global' ? 'GlobalDefault' : 'LocalDefault'
  const isFree = automatic.length === 0 || space === 'GlobalDefault'
  const busy = isFree ? [] : busyPrefixes(room, automatic)
  const { pools } = spec.ipam
  const { namedGatewaysOnly } = driver
  const gateways = { gatewayFamilies, namedGatewaysOnly }
  const wanted = { networkId: id, networkName: spec.name, pools, families, busy }
  return room.ipam.allocate({ ...wanted, ...gateways, space })
}

/** Unlike `0.0.0.0/24`, which leaves the choice to the pools. */
function isNamed({ subnet }: IpamPoolSpec, family: 4 | 6): boolean {
  return !subnet.startsWith(family === 4 ? '0.0.0.0/' : '::/')
}

/** What the host itself uses: automatic pools stay clear of it. */
function busyPrefixes(room: Room, families: readonly (4 | 6)[]): readonly Prefix[] {
  const ours = (destination: string) => room.ipam.isSubnet(destination)
  const routes = families.flatMap((family) => routedPrefixes(family, ours))
  const resolvers = resolversOfHost(room.config.hostResolvConf).map((address) =>
    prefixOf(address, address.family === 4 ? 32 : 128),
  )
  return [...routes, ...resolvers]
}
