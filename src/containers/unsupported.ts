/**
 * Limits that this kernel or this system does not have: discarded with a warning, or refused, in
 * Docker's words, so that none is taken and then without effect. For create and update.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Refusal } from '../base/refusal.ts'
import type { CgroupLayout } from './cgroups.ts'
import type { UpdateRequest } from './config.ts'

type Resources = Omit<UpdateRequest, 'RestartPolicy'>
type Field = keyof Resources

interface Limit {
  readonly fields: readonly Field[]
  readonly warning: string
  readonly supported: boolean
}

const unmounted = 'or the cgroup is not mounted'
const lacks = (what: string) => `Your kernel does not support ${what} ${unmounted}.`

/** Whether a controller has one of these files (v1), or is there at all (v2). */
function controllers(layout: CgroupLayout) {
  return (name: string, v2Name: string, ...files: readonly string[]): boolean => {
    if (layout.version === 2) return layout.available.includes(v2Name)
    const folder = layout.controllers[name]
    return folder !== undefined && files.some((file) => existsSync(join(folder, file)))
  }
}

function limitsOf(layout: CgroupLayout): readonly Limit[] {
  const has = controllers(layout)
  const throttle = (field: Field, what: string, discarded: string, file: string): Limit => ({
    fields: [field],
    warning: `${lacks(what)} Block I/O ${discarded} discarded.`,
    supported: has('blkio', 'io', `blkio.throttle.${file}_device`),
  })
  return [
    {
      fields: ['CpuPercent'],
      warning: 'linux does not support CPU percent. Percent discarded.',
      supported: false,
    },
    {
      fields: ['CpuCount'],
      warning: 'linux does not support CPU count. Count discarded.',
      supported: false,
    },
    {
      fields: ['CpuShares'],
      warning: `${lacks('CPU shares')} Shares discarded.`,
      supported: has('cpu', 'cpu', 'cpu.shares'),
    },
    {
      fields: ['CpuPeriod', 'CpuQuota'],
      warning: `${lacks('CPU CFS scheduler')} Period/quota discarded.`,
      supported: layout.cpuCfs,
    },
    {
      fields: ['CpusetCpus', 'CpusetMems'],
      warning: `${lacks('cpuset')} Cpuset discarded.`,
      supported: has('cpuset', 'cpuset', 'cpuset.cpus'),
    },
    {
      fields: ['MemoryReservation'],
      warning: `${lacks('memory soft limit capabilities')} Limitation discarded.`,
      supported: has('memory', 'memory', 'memory.soft_limit_in_bytes'),
    },
    {
      fields: ['Memory', 'MemorySwap'],
      warning: `${lacks('memory limit capabilities')} Limitation discarded.`,
      supported: layout.memoryLimit,
    },
    {
      fields: ['BlkioWeightDevice'],
      warning: `${lacks('Block I/O weight_device')} Weight-device discarded.`,
      supported: has('blkio', 'io', 'blkio.weight_device', 'blkio.bfq.weight_device'),
    },
    throttle('BlkioDeviceReadBps', 'BPS Block I/O read limit', 'BPS read limit', 'read_bps'),
    throttle('BlkioDeviceWriteBps', 'BPS Block I/O write limit', 'BPS write limit', 'write_bps'),
    throttle('BlkioDeviceReadIOps', 'IOPS Block read limit', 'IOPS read limit', 'read_iops'),
    throttle('BlkioDeviceWriteIOps', 'IOPS Block write limit', 'IOPS write limit', 'write_iops'),
  ]
}

const isGiven = (value: unknown): boolean =>
  Array.isArray(value) ? value.length > 0 : value !== 0 && value !== '' && value !== null

const zero = (value: unknown): unknown =>
  typeof value === 'number' ? 0 : typeof value === 'string' ? '' : Array.isArray(value) ? [] : null

/** Refuses what cannot be done; answers the limits without what was discarded. */
export function discardUnsupported<R extends Resources>(
  given: R,
  layout: CgroupLayout,
): { readonly resources: R; readonly warnings: readonly string[] } {
  const qos = (what: string) =>
    new Refusal('invalid', `invalid option: QoS maximum ${what} configuration is not supported on linux`)
  if (given.IOMaximumBandwidth !== 0) throw qos('bandwidth')
  if (given.IOMaximumIOps !== 0) throw qos('IOPs')
  checkRealtime(given, controllers(layout)('cpu', 'no such', 'cpu.rt_runtime_us'))
  const warnings: string[] = []
  let resources = given
  for (const { fields, warning, supported } of limitsOf(layout)) {
    if (supported || !fields.some((field) => isGiven(given[field]))) continue
    warnings.push(warning)
    const discarded = fields.map((field) => [field, zero(given[field])])
    resources = { ...resources, ...Object.fromEntries(discarded) }
  }
  return { resources, warnings }
}

function checkRealtime(given: Resources, supported: boolean): void {
  const { CpuRealtimePeriod: period, CpuRealtimeRuntime: runtime } = given
  if ((period !== 0 || runtime !== 0) && !supported) {
    throw new Refusal('invalid', 'kernel does not support CPU real-time scheduler')
  }
  if (period !== 0 && runtime !== 0 && runtime > period) {
    throw new Refusal('invalid', 'cpu real-time runtime cannot be higher than cpu real-time period')
  }
}
