/**
 * Limits: HostConfig's resource fields as OCI resources, and the checks and corrections that the
 * engine makes at create and update, with its warnings.
 */
import { readFileSync, statSync } from 'node:fs'
import { cpus } from 'node:os'
import { Refusal } from '../base/refusal.ts'
import { cgroupLayout } from './cgroups.ts'
import type { HostConfig, UpdateRequest } from './config.ts'
import { splitDevice } from './devices.ts'
import type { OciResources } from './oci.ts'
import { discardUnsupported } from './unsupported.ts'

type Resources = Omit<UpdateRequest, 'RestartPolicy'>

const memoryMinBytes = 6 * 1024 * 1024
const cfsPeriodUs = 100_000
const invalid = (sentence: string): Refusal => new Refusal('invalid', sentence)

/** Refuses impossible limits; answers the corrected fields and the warnings. */
export function checkResources<R extends Resources>(
  asked: R,
  update: boolean,
): { readonly resources: R; readonly warnings: readonly string[] } {
  const layout = cgroupLayout()
  const known = discardUnsupported(asked, layout)
  const given = known.resources
  const warnings = [...known.warnings]
  let resources = given
  const { Memory, MemorySwap, MemoryReservation, NanoCpus, PidsLimit } = given
  checkMemory(given, update)
  checkCpu(given, layout.blkioWeight)
  if (Memory > 0 && MemorySwap === 0 && !update && layout.swapLimit) {
    resources = { ...resources, MemorySwap: Memory * 2 }
  }
  if (Memory > 0 && MemorySwap !== -1 && !layout.swapLimit) {
    warnings.push(
      'Your kernel does not support swap limit capabilities or the cgroup is not ' +
        'mounted. Memory limited without swap.',
    )
    resources = { ...resources, MemorySwap: -1 }
  }
  if (Memory > 0 && MemoryReservation > 0 && Memory < MemoryReservation) {
    throw invalid('Minimum memory limit can not be less than memory reservation limit, see usage')
  }
  if (given.OomKillDisable === true && !layout.oomKillDisable) {
    warnings.push('Your kernel does not support OomKillDisable. OomKillDisable discarded.')
    resources = { ...resources, OomKillDisable: null }
  }
  if (given.OomKillDisable === null && !update && layout.oomKillDisable) {
    resources = { ...resources, OomKillDisable: false }
  }
  if (given.OomKillDisable === true && Memory === 0 && layout.oomKillDisable) {
    warnings.push(
      'OOM killer is disabled for the container, but no memory limit is set, this ' +
        'can result in the system running out of resources.',
    )
  }
  if (given.MemorySwappiness !== null && given.MemorySwappiness !== -1 && layout.version === 2) {
    warnings.push(
      'Your kernel does not support memory swappiness capabilities or the cgroup is ' +
        'not mounted. Memory swappiness discarded.',
    )
    resources = { ...resources, MemorySwappiness: null }
  }
  if (PidsLimit !== null && PidsLimit > 0 && !layout.pidsLimit) {
    warnings.push(
      'Your kernel does not support PIDs limit capabilities or the cgroup is not ' +
        'mounted. PIDs limit discarded.',
    )
    resources = { ...resources, PidsLimit: null }
  }
  if (given.BlkioWeight > 0 && !layout.blkioWeight) {
    warnings.push(
      'Your kernel does not support Block I/O weight or the cgroup is not mounted. ' +
        'Weight discarded.',
    )
    resources = { ...resources, BlkioWeight: 0 }
  }
  if (NanoCpus > 0 && !layout.cpuCfs) {
    throw invalid(
      'NanoCPUs can not be set, as your kernel does not support CPU CFS scheduler or ' +
        'the cgroup is not mounted',
    )
  }
  return { resources, warnings }
}

function checkMemory(given: Resources, update: boolean): void {
  const { Memory, MemorySwap, MemorySwappiness, MemoryReservation } = given
  if (Memory !== 0 && Memory < memoryMinBytes) throw invalid('Minimum memory limit allowed is 6MB')
  if (Memory > 0 && MemorySwap > 0 && MemorySwap < Memory) {
    throw invalid('Minimum memoryswap limit should be larger than memory limit, see usage')
  }
  if (Memory === 0 && MemorySwap > 0 && !update) {
    throw invalid('You should always set the Memory limit when using Memoryswap limit, see usage')
  }
  if (MemorySwappiness !== null && (MemorySwappiness < -1 || MemorySwappiness > 100)) {
    throw invalid(`Invalid value: ${MemorySwappiness}, valid memory swappiness range is 0-100`)
  }
  if (MemoryReservation > 0 && MemoryReservation < memoryMinBytes) {
    throw invalid('Minimum memory reservation allowed is 6MB')
  }
}

/** `0-3,7` */
function checkSet(text: string, what: 'cpus' | 'mems'): void {
  if (text === '' || /^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(text)) return
  throw invalid(`Invalid value ${text} for cpuset ${what}: invalid format: ${text}`)
}

/** `0-1`, as the kernel lists them; '' from one that does not. */
function memoryNodes(): string {
  const status = readFileSync('/proc/self/status', 'utf8')
  return /^Mems_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? ''
}

function checkCpu(given: Resources, blkioWeight: boolean): void {
  const { NanoCpus, CpuPeriod, CpuQuota, CpuShares, CpusetCpus, CpusetMems, BlkioWeight } = given
  if (NanoCpus > 0 && CpuPeriod > 0) {
    throw invalid('Conflicting options: Nano CPUs and CPU Period cannot both be set')
  }
  if (NanoCpus > 0 && CpuQuota > 0) {
    throw invalid('Conflicting options: Nano CPUs and CPU Quota cannot both be set')
  }
  const count = cpus().length
  if (NanoCpus < 0 || NanoCpus > count * 1e9) {
    throw invalid(
      `range of CPUs is from 0.01 to ${count}.00, as there are only ${count} CPUs available`,
    )
  }
  if (CpuShares < 0)
    throw invalid(`invalid CPU shares (${CpuShares}): value must be a positive integer`)
  if (CpuPeriod !== 0 && (CpuPeriod < 1000 || CpuPeriod > 1_000_000)) {
    throw invalid(
      'CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)',
    )
  }
  if (CpuQuota > 0 && CpuQuota < 1000)
    throw invalid('CPU cfs quota can not be less than 1ms (i.e. 1000)')
  checkSet(CpusetCpus, 'cpus')
  checkSet(CpusetMems, 'mems')
  const isBeyond = (set: string, last: number) =>
    set !== '' && set.split(/[-,]/).some((number) => Number(number) > last)
  if (isBeyond(CpusetCpus, count - 1)) {
    throw invalid(
      `Requested CPUs are not available - requested ${CpusetCpus}, available: 0-${count - 1}`,
    )
  }
  const nodes = memoryNodes()
  if (isBeyond(CpusetMems, Number(/\d+$/.exec(nodes)?.[0] ?? Infinity))) {
    throw invalid(
      `Requested memory nodes are not available - requested ${CpusetMems}, available: ${nodes}`,
    )
  }
  if (blkioWeight && BlkioWeight !== 0 && (BlkioWeight < 10 || BlkioWeight > 1000)) {
    throw invalid('Range of blkio weight is from 10 to 1000')
  }
}

/** The OCI form, without devices. */
export function ociResources(given: Resources): OciResources {
  const memory = {
    ...(given.Memory > 0 ? { limit: given.Memory } : {}),
    ...(given.MemoryReservation > 0 ? { reservation: given.MemoryReservation } : {}),
    ...(given.MemorySwap !== 0 ? { swap: given.MemorySwap } : {}),
    ...(given.MemorySwappiness !== null && given.MemorySwappiness >= 0
      ? { swappiness: given.MemorySwappiness }
      : {}),
    ...(given.OomKillDisable === true ? { disableOOMKiller: true } : {}),
  }
  const nano = given.NanoCpus > 0
  const cpu = {
    ...(given.CpuShares > 0 ? { shares: given.CpuShares } : {}),
    ...(nano
      ? { period: cfsPeriodUs, quota: Math.floor((given.NanoCpus * cfsPeriodUs) / 1e9) }
      : {}),
    ...(!nano && given.CpuPeriod > 0 ? { period: given.CpuPeriod } : {}),
    ...(!nano && given.CpuQuota !== 0 ? { quota: given.CpuQuota } : {}),
    ...(given.CpuRealtimePeriod > 0 ? { realtimePeriod: given.CpuRealtimePeriod } : {}),
    ...(given.CpuRealtimeRuntime > 0 ? { realtimeRuntime: given.CpuRealtimeRuntime } : {}),
    ...(given.CpusetCpus === '' ? {} : { cpus: given.CpusetCpus }),
    ...(given.CpusetMems === '' ? {} : { mems: given.CpusetMems }),
  }
  const blockIO = blockResources(given)
  return {
    ...(Object.keys(memory).length === 0 ? {} : { memory }),
    ...(Object.keys(cpu).length === 0 ? {} : { cpu }),
    ...(given.PidsLimit === null || given.PidsLimit === 0
      ? {}
      : { pids: { limit: given.PidsLimit } }),
    ...(Object.keys(blockIO).length === 0 ? {} : { blockIO }),
  }
}

function blockResources(given: Resources): NonNullable<OciResources['blockIO']> {
  const device = (path: string) => {
    const stat = statSync(path, { throwIfNoEntry: false })
    if (stat === undefined) throw new Refusal('internal', `stat ${path}: no such file or directory`)
    return splitDevice(stat.rdev)
  }
  const throttled = (devices: HostConfig['BlkioDeviceReadBps']) =>
    (devices ?? []).map((entry) => ({ ...device(entry.Path), rate: entry.Rate }))
  const lists = {
    weightDevice: (given.BlkioWeightDevice ?? []).map((e) => ({
      ...device(e.Path),
      weight: e.Weight,
    })),
    throttleReadBpsDevice: throttled(given.BlkioDeviceReadBps),
    throttleWriteBpsDevice: throttled(given.BlkioDeviceWriteBps),
    throttleReadIOPSDevice: throttled(given.BlkioDeviceReadIOps),
    throttleWriteIOPSDevice: throttled(given.BlkioDeviceWriteIOps),
  }
  const used = Object.fromEntries(Object.entries(lists).filter(([, entries]) => entries.length > 0))
  return { ...(given.BlkioWeight > 0 ? { weight: given.BlkioWeight } : {}), ...used }
}
