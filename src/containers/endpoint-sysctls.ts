/**
 * Settings of one interface among the sysctls of a container (`net.ipv4.conf.eth0.…`). Which
 * interface is eth0 is not known beforehand: older clients' settings go to the main network's
 * endpoint, with a warning; newer clients have to say which endpoint they mean.
 */
import { Refusal } from '../base/refusal.ts'
import type { EndpointSettings } from './config.ts'

const driverOption = 'com.docker.network.endpoint.sysctls'
/** The last API version whose requests are put right. */
const lastMigrated = 147

export interface Migrated {
  /** What is left for the container. */
  readonly sysctls: Readonly<Record<string, string>>
  readonly endpoint: EndpointSettings
  readonly warnings: readonly string[]
}

/** undefined where there is nothing to move. */
export function migrateSysctls(
  sysctls: Readonly<Record<string, string>>,
  endpoint: EndpointSettings,
  apiVersion: number,
): Migrated | undefined {
  const names = Object.keys(sysctls).filter((name) => interfaceOf(name) !== undefined).sort()
  const [first] = names
  if (first === undefined) return undefined
  if (apiVersion > lastMigrated) {
    const how = `must be supplied using driver option '${driverOption}'`
    throw new Refusal('internal', `interface specific sysctl setting "${first}" ${how}`)
  }
  const other = names.find((name) => interfaceOf(name) !== 'eth0')
  if (other !== undefined) {
    const how = `use driver option '${driverOption}' to set per-interface sysctls`
    const sentence = `unable to determine network endpoint for sysctl ${other}, ${how}`
    throw new Refusal('internal', sentence)
  }
  const moved = names.map((name) => `${withPlaceholder(name)}=${sysctls[name]}`).join(',')
  const before = endpoint.DriverOpts?.[driverOption] ?? ''
  // What the endpoint says itself comes last and wins.
  const text = before === '' ? moved : `${moved},${before}`
  const rest = Object.entries(sysctls).filter(([name]) => !names.includes(name))
  const shown = `DriverOpts{"${driverOption}":"${moved}"}`
  return {
    sysctls: Object.fromEntries(rest),
    endpoint: { ...endpoint, DriverOpts: { ...endpoint.DriverOpts, [driverOption]: text } },
    warnings: [`Migrated sysctl "${names.join(',')}" to ${shown}.`],
  }
}

/** `eth0` of `net.ipv4.conf.eth0.log_martians`. */
function interfaceOf(name: string): string | undefined {
  return /^net\.[^.]*\.[^.]*\.(eth[^.]*)\../.exec(name)?.[1]
}

function withPlaceholder(name: string): string {
  const parts = name.split('.')
  parts[3] = 'IFNAME'
  return parts.join('.')
}
