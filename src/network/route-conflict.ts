/**
 * An endpoint's subnet must not lie where another endpoint, or a route that somebody has put into
 * the container, leads already: what is sent there would take either way.
 */
import { overlaps, parsePrefix } from '../address/prefix.ts'
import { Refusal } from '../base/refusal.ts'
import { openNetns } from '../kernel/netns.ts'
import { listDestinations } from '../kernel/route.ts'
import type { Departures } from './departures.ts'
import type { Addresses } from './drivers/driver.ts'
import type { Endpoint, Sandbox } from './model.ts'

/** Refuses addresses, with the length of their subnet, that collide with other endpoints'. */
export function refuseSameSubnet(addresses: Addresses, siblings: readonly Endpoint[]): void {
  for (const address of [addresses.ipv4, addresses.ipv6]) {
    for (const { ipv4, ipv6, interfaceName } of siblings) {
      for (const other of [ipv4, ipv6]) refuseCollision(address, other, ` dev ${interfaceName}`)
    }
  }
}

/** Work that `refuseRoutes` may stop; done again when links on their way out had their routes still. */
export async function untilGone<T>(
  departures: Departures,
  sandbox: Sandbox,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (!(error instanceof RouteConflict)) throw error
    if (!(await departures.goneLike(`${sandbox.id} `))) throw error
    return work()
  }
}

/** The same with the routes of a sandbox that runs. */
export function refuseRoutes({ netnsPath }: Sandbox, { ipv4, ipv6 }: Addresses): void {
  const ns = openNetns(netnsPath)
  try {
    for (const [family, address] of [[4, ipv4], [6, ipv6]] as const) {
      if (address === '') continue
      for (const { destination } of listDestinations(ns, family)) {
        refuseCollision(address, destination, '')
      }
    }
  } finally {
    ns.close()
  }
}

class RouteConflict extends Refusal {}

function refuseCollision(address: string, other: string, where: string): void {
  const [own, theirs] = [parsePrefix(address)?.prefix, parsePrefix(other)?.prefix]
  // Default routes are in the way of nothing.
  if (own === undefined || theirs === undefined || theirs.length === 0) return
  if (own.family !== theirs.family || !overlaps(own, theirs)) return
  const sentence = `cannot program address ${address} in sandbox interface`
  throw new RouteConflict('internal', `${sentence} because it conflicts with existing route ${other}${where}`)
}
