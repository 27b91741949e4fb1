/** The links of the daemon's namespace that networks consist of, and who else needs them. */
import type { BridgeObject, DummyObject, KernelObject, VlanObject } from '../kernel/object.ts'
import { driverNamed } from './drivers/drivers.ts'
import { singleFacts } from './host.ts'
import type { Network } from './model.ts'
import type { Room } from './room.ts'

export type NetworkLink = BridgeObject | DummyObject | VlanObject

export function linksAmong(objects: readonly KernelObject[]): readonly NetworkLink[] {
  return objects.filter((one) => {
    return one.type === 'bridge' || one.type === 'dummy' || one.type === 'vlan'
  })
}

/** Names of links that other networks need too: a sub-interface stays as long as one is on it. */
export function linksOfOthers(room: Room, network: Network): ReadonlySet<string> {
  if (!driverNamed(network.spec.driver).sharesLinks) return new Set()
  const facts = singleFacts(room)
  const others = room.state.list().filter(({ id, spec }) => {
    return id !== network.id && !spec.configOnly && driverNamed(spec.driver).sharesLinks
  })
  const objects = others.flatMap((one) => driverNamed(one.spec.driver).networkObjects(one, facts))
  return new Set(linksAmong(objects).map(({ name }) => name))
}

/** Networks whose drivers share links are made and removed one after another, others at once. */
export function inTurn<T>(room: Room, driver: string, task: () => Promise<T>): Promise<T> {
  if (!driverNamed(driver).sharesLinks) return task()
  return room.queue.run('networks that share links', task)
}
