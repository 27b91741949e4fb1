/** The drivers by name. */
import { bridgeDriver } from './bridge.ts'
import type { Driver } from './driver.ts'
import { ipvlanDriver } from './ipvlan.ts'
import { macvlanDriver } from './macvlan.ts'
import { hostDriver, nullDriver } from './null.ts'
import { remoteDriver } from './remote.ts'

const drivers: ReadonlyMap<string, Driver> = new Map(
  [bridgeDriver, hostDriver, ipvlanDriver, macvlanDriver, nullDriver].map((driver) => [
    driver.name,
    driver,
  ]),
)

/**
 * The driver. Every name that is not one of our own stands for a plugin; whether that is there is
 * found out when a network is made.
 */
export function driverNamed(name: string): Driver {
  return drivers.get(name) ?? remoteDriver(name)
}

export function isRemoteDriver(name: string): boolean {
  return !drivers.has(name)
}
