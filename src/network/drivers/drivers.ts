/** The drivers by name. */
import { Refusal } from '../../base/refusal.ts'
import { bridgeDriver } from './bridge.ts'
import type { Driver } from './driver.ts'
import { ipvlanDriver } from './ipvlan.ts'
import { macvlanDriver } from './macvlan.ts'
import { hostDriver, nullDriver } from './null.ts'

const drivers: ReadonlyMap<string, Driver> = new Map(
  [bridgeDriver, hostDriver, ipvlanDriver, macvlanDriver, nullDriver].map((driver) => [
    driver.name,
    driver,
  ]),
)

/** The driver, or Docker's refusal for one that is not there. */
export function driverNamed(name: string): Driver {
  const driver = drivers.get(name)
  if (driver === undefined) throw new Refusal('notFound', `plugin "${name}" not found`)
  return driver
}
