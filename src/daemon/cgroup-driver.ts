/**
 * Who makes the cgroups of containers, decided as dockerd does: systemd where it runs on cgroup
 * v2, the runtime itself everywhere else; `--exec-opt native.cgroupdriver=…` says otherwise.
 */
import { existsSync } from 'node:fs'
import { checkCgroupParent } from '../containers/cgroup-path.ts'
import { cgroupLayout } from '../containers/cgroups.ts'
import { Refusal } from '../base/refusal.ts'
import type { Config } from './config.ts'

export type CgroupDriver = 'systemd' | 'cgroupfs'

type Options = Pick<Config, 'exec-opts' | 'cgroup-parent'>

const systemdRuns = (): boolean => existsSync('/run/systemd/system')

export function cgroupDriver({ 'exec-opts': options }: Options): CgroupDriver {
  const given = options.map(driverOf).at(0)
  if (given !== undefined) return given
  return cgroupLayout().version === 2 && systemdRuns() ? 'systemd' : 'cgroupfs'
}

/** Refuses other options of the runtime, and a parent that the driver cannot make. */
export function checkExecOptions(config: Options): void {
  const drivers = config['exec-opts'].map(driverOf)
  if (drivers.includes('systemd') && !systemdRuns()) {
    throw new Refusal('invalid', 'native.cgroupdriver=systemd: systemd does not run here')
  }
  checkCgroupParent(config['cgroup-parent'], cgroupDriver(config) === 'systemd')
}

function driverOf(option: string): CgroupDriver {
  const [key = '', value = ''] = option.split('=')
  if (key.trim().toLowerCase() !== 'native.cgroupdriver') {
    throw new Refusal('invalid', `exec-opt ${option} is not offered: native.cgroupdriver is all there is`)
  }
  const driver = value.trim()
  if (driver === 'systemd' || driver === 'cgroupfs') return driver
  throw new Refusal('invalid', `native.cgroupdriver option ${driver} not supported`)
}
