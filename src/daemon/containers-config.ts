/** What the daemon's options say to the container room. */
import { readFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { defaultContainersConfig, type ContainersConfig } from '../containers/rooms.ts'
import { Refusal, messageOf } from '../base/refusal.ts'
import { cgroupDriver } from './cgroup-driver.ts'
import { parseBytes } from './bytes.ts'
import type { Config } from './config.ts'

export function containersConfig(config: Config): ContainersConfig {
  const { initPaths } = defaultContainersConfig
  return {
    ...defaultContainersConfig,
    dataRoot: config['data-root'],
    execRoot: config['exec-root'],
    cgroupParent: config['cgroup-parent'],
    systemdCgroup: cgroupDriver(config) === 'systemd',
    defaultUlimits: config['default-ulimits'],
    defaultShmBytes: parseBytes(config['default-shm-size']),
    defaultLogDriver: config['log-driver'],
    defaultLogOptions: config['log-opts'],
    defaultIpcMode: config['default-ipc-mode'],
    defaultCgroupnsMode: config['default-cgroupns-mode'],
    security: {
      noNewPrivileges: config['no-new-privileges'],
      seccomp: seccompProfile(config['seccomp-profile']),
    },
    init: config.init,
    initPaths: config['init-path'] === '' ? initPaths : [config['init-path']],
    hostname,
  }
}

/** `builtin`, `unconfined`, or a file that is read now and checked with the first container. */
function seccompProfile(given: string): string {
  if (given === '' || given === 'builtin' || given === 'unconfined') return given
  try {
    return readFileSync(given, 'utf8')
  } catch (error) {
    const sentence = `opening seccomp profile (${given}) failed: ${messageOf(error)}`
    throw new Refusal('invalid', sentence, { cause: error })
  }
}
