/** What the daemon's options say to the container room. */
import { hostname } from 'node:os'
import { defaultContainersConfig, type ContainersConfig } from '../containers/rooms.ts'
import { Refusal } from '../base/refusal.ts'
import type { Config } from './config.ts'

export function containersConfig(config: Config): ContainersConfig {
  const { initPaths, cgroupParent } = defaultContainersConfig
  return {
    ...defaultContainersConfig,
    dataRoot: config['data-root'],
    execRoot: config['exec-root'],
    cgroupParent: config['cgroup-parent'] || cgroupParent,
    defaultUlimits: config['default-ulimits'],
    defaultShmBytes: parseBytes(config['default-shm-size']),
    defaultLogDriver: config['log-driver'],
    defaultLogOptions: config['log-opts'],
    init: config.init,
    initPaths: config['init-path'] === '' ? initPaths : [config['init-path']],
    hostname,
  }
}

const units: Readonly<Record<string, number>> = { '': 0, b: 0, k: 1, m: 2, g: 3, t: 4, p: 5 }

/** `64M`, `1g`, `65536`: powers of 1024, as dockerd reads them. */
function parseBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([bkmgtp]?)(?:i?b)?$/i.exec(text.trim())
  const power = units[(match?.[2] ?? '?').toLowerCase()]
  if (match === null || power === undefined) throw new Refusal('invalid', `invalid size: '${text}'`)
  return Math.floor(Number(match[1]) * 1024 ** power)
}
