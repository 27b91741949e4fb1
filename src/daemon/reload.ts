/**
 * What SIGHUP changes: exactly what dockerd reloads. Values that the file does not have any more
 * stay as they are, except those of transfers, which go back to their defaults, as with dockerd.
 */
import type { Config } from './config.ts'
import type { OptionKey } from './options.ts'

const whenGiven = [
  'debug',
  'labels',
  'live-restore',
  'shutdown-timeout',
  'insecure-registries',
  'registry-mirrors',
  'default-runtime',
  'runtimes',
  'features',
] as const satisfies readonly OptionKey[]
const always = [
  'max-concurrent-downloads',
  'max-concurrent-uploads',
  'max-download-attempts',
] as const satisfies readonly OptionKey[]

/** Keys that a reload may change. */
export const reloadable: readonly OptionKey[] = [...whenGiven, ...always]

/** The configuration from now on. */
export function reloaded(current: Config, fresh: Config): Config {
  const taken = [...whenGiven.filter((key) => fresh.isGiven(key)), ...always]
  const changed = Object.fromEntries(taken.map((key) => [key, fresh[key]]))
  return { ...current, ...changed }
}

/** The attributes of the daemon's event `reload`. */
export function reloadAttributes(config: Config, name: string): Readonly<Record<string, string>> {
  const text = (key: OptionKey): string => {
    const value: unknown = config[key]
    return typeof value === 'object' ? JSON.stringify(value) : String(value)
  }
  return { name, ...Object.fromEntries(reloadable.map((key) => [key, text(key)])) }
}
