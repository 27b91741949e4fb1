/**
 * docker stats: what the cgroup files and the network namespace say, in Docker's form, on v1 and
 * v2. A container that does not run has zeros.
 */
import { readFileSync } from 'node:fs'
import { availableParallelism, totalmem } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { errorCode } from '../base/error-code.ts'
import { cgroupsPathOf } from './cgroup-path.ts'
import { cgroupFolder, cgroupLayout } from './cgroups.ts'
import { kindOf } from './network-mode.ts'
import { hasProcess } from './record.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'
import { now, zeroTime } from './time.ts'

const intervalMs = 1_000
const nsPerTick = 10_000_000

export interface StatsOptions {
  readonly streaming: boolean
  /** Do not wait for a second sample to compare with. */
  readonly oneShot: boolean
}

/** One document a second; a single one with `streaming` false. */
export async function* statsOf(
  context: Context,
  container: Container,
  options: StatsOptions,
  signal: AbortSignal,
): AsyncGenerator<object> {
  let before: CpuStats = emptyCpu
  let preread = zeroTime
  let isFirst = true
  while (!signal.aborted && context.registry.get(container.id) !== undefined) {
    const sample = takeSample(context, container)
    if (!isFirst || options.oneShot || options.streaming || !sample.runs) {
      yield { ...document(container, sample), preread, precpu_stats: before }
      if (!options.streaming) return
    }
    isFirst = false
    before = sample.cpu
    preread = sample.read
    try {
      await sleep(intervalMs, undefined, { signal })
    } catch (error) {
      if (signal.aborted) return
      throw error
    }
  }
}

interface CpuStats {
  readonly cpu_usage: {
    readonly total_usage: number
    readonly percpu_usage?: readonly number[]
    readonly usage_in_kernelmode: number
    readonly usage_in_usermode: number
  }
  readonly system_cpu_usage?: number
  readonly online_cpus?: number
  readonly throttling_data: {
    readonly periods: number
    readonly throttled_periods: number
    readonly throttled_time: number
  }
}

const emptyCpu: CpuStats = {
  cpu_usage: { total_usage: 0, usage_in_kernelmode: 0, usage_in_usermode: 0 },
  throttling_data: { periods: 0, throttled_periods: 0, throttled_time: 0 },
}

interface Sample {
  readonly runs: boolean
  readonly read: string
  readonly cpu: CpuStats
  readonly memory: object
  readonly pids: object
  readonly blkio: object
  readonly networks: object | undefined
}

function takeSample(context: Context, container: Container): Sample {
  const { record } = container
  const runs = hasProcess(record.state.status)
  if (!runs) {
    return {
      runs,
      read: zeroTime,
      cpu: emptyCpu,
      memory: {},
      pids: {},
      blkio: emptyBlkio,
      networks: undefined,
    }
  }
  const path = cgroupsPathOf(record, context.config)
  const folder = (controller: string) => cgroupFolder(cgroupLayout(), controller, path)
  const v2 = cgroupLayout().version === 2
  return {
    runs,
    read: now(),
    cpu: v2 ? cpuV2(folder('')) : cpuV1(folder('cpuacct'), folder('cpu')),
    memory: v2 ? memoryV2(folder('')) : memoryV1(folder('memory')),
    pids: pidsIn(folder('pids')),
    blkio: v2 ? blkioV2(folder('')) : blkioV1(folder('blkio')),
    networks: kindOf(record) === 'host' ? undefined : networkCounters(record.state.pid),
  }
}

function document(container: Container, sample: Sample): object {
  return {
    name: `/${container.record.name}`,
    id: container.id,
    read: sample.read,
    num_procs: 0,
    pids_stats: sample.pids,
    blkio_stats: sample.blkio,
    storage_stats: {},
    cpu_stats: sample.cpu,
    memory_stats: sample.memory,
    ...(sample.networks === undefined || Object.keys(sample.networks).length === 0
      ? {}
      : { networks: sample.networks }),
  }
}

function read(folder: string, file: string): string {
  if (folder === '') return ''
  try {
    return readFileSync(join(folder, file), 'utf8').trim()
  } catch (error) {
    // The container ends while it is looked at, or the controller does not have this file.
    if (errorCode(error) !== '') return ''
    throw error
  }
}

const number = (text: string): number => (/^\d+$/.test(text) ? Number(text) : 0)

/** `key value` lines. */
function pairs(text: string): Readonly<Record<string, number>> {
  return Object.fromEntries(
    text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        const [key = '', value = '0'] = line.split(' ')
        return [key, Number(value)]
      }),
  )
}

function systemCpu(): { readonly system_cpu_usage: number; readonly online_cpus: number } {
  const [, ...ticks] = (readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '').split(/\s+/)
  const total = ticks.slice(0, 8).reduce((sum, tick) => sum + Number(tick), 0)
  return { system_cpu_usage: total * nsPerTick, online_cpus: availableParallelism() }
}

function cpuV1(account: string, cpu: string): CpuStats {
  const modes = pairs(read(account, 'cpuacct.stat'))
  const throttled = pairs(read(cpu, 'cpu.stat'))
  return {
    cpu_usage: {
      total_usage: number(read(account, 'cpuacct.usage')),
      percpu_usage: read(account, 'cpuacct.usage_percpu').split(' ').map(Number),
      usage_in_kernelmode: (modes['system'] ?? 0) * nsPerTick,
      usage_in_usermode: (modes['user'] ?? 0) * nsPerTick,
    },
    ...systemCpu(),
    throttling_data: {
      periods: throttled['nr_periods'] ?? 0,
      throttled_periods: throttled['nr_throttled'] ?? 0,
      throttled_time: throttled['throttled_time'] ?? 0,
    },
  }
}

function cpuV2(folder: string): CpuStats {
  const stat = pairs(read(folder, 'cpu.stat'))
  const ns = (key: string) => (stat[key] ?? 0) * 1000
  return {
    cpu_usage: {
      total_usage: ns('usage_usec'),
      usage_in_kernelmode: ns('system_usec'),
      usage_in_usermode: ns('user_usec'),
    },
    ...systemCpu(),
    throttling_data: {
      periods: stat['nr_periods'] ?? 0,
      throttled_periods: stat['nr_throttled'] ?? 0,
      throttled_time: ns('throttled_usec'),
    },
  }
}

/** No limit is shown as what the machine has. */
const memoryLimit = (text: string): number => {
  const limit = number(text)
  return limit === 0 || limit > totalmem() ? totalmem() : limit
}

function memoryV1(folder: string): object {
  return {
    usage: number(read(folder, 'memory.usage_in_bytes')),
    max_usage: number(read(folder, 'memory.max_usage_in_bytes')),
    stats: pairs(read(folder, 'memory.stat')),
    limit: memoryLimit(read(folder, 'memory.limit_in_bytes')),
  }
}

function memoryV2(folder: string): object {
  return {
    usage: number(read(folder, 'memory.current')),
    stats: pairs(read(folder, 'memory.stat')),
    limit: memoryLimit(read(folder, 'memory.max')),
  }
}

function pidsIn(folder: string): object {
  const limit = read(folder, 'pids.max')
  return {
    current: number(read(folder, 'pids.current')),
    ...(/^\d+$/.test(limit) ? { limit: Number(limit) } : {}),
  }
}

interface BlkioEntry {
  readonly major: number
  readonly minor: number
  readonly op: string
  readonly value: number
}

const emptyBlkio = {
  io_service_bytes_recursive: null,
  io_serviced_recursive: null,
  io_queue_recursive: null,
  io_service_time_recursive: null,
  io_wait_time_recursive: null,
  io_merged_recursive: null,
  io_time_recursive: null,
  sectors_recursive: null,
}

function blkioV1(folder: string): object {
  const entries = (file: string): readonly BlkioEntry[] => {
    const found: BlkioEntry[] = []
    for (const line of read(folder, file).split('\n')) {
      const parts = /^(\d+):(\d+) (\w+) (\d+)$/.exec(line)
      if (parts === null) continue
      const [, major, minor, op = '', value] = parts
      found.push({ major: Number(major), minor: Number(minor), op, value: Number(value) })
    }
    return found
  }
  return {
    ...Object.fromEntries(Object.keys(emptyBlkio).map((key) => [key, []])),
    io_service_bytes_recursive: entries('blkio.throttle.io_service_bytes_recursive'),
    io_serviced_recursive: entries('blkio.throttle.io_serviced_recursive'),
  }
}

function blkioV2(folder: string): object {
  const bytes: BlkioEntry[] = []
  for (const line of read(folder, 'io.stat').split('\n')) {
    const parts = /^(\d+):(\d+) (.*)$/.exec(line)
    if (parts === null) continue
    const [, major, minor, rest = ''] = parts
    const values = Object.fromEntries(rest.split(' ').map((pair) => pair.split('=')))
    for (const [op, key] of [
      ['read', 'rbytes'],
      ['write', 'wbytes'],
    ] as const) {
      bytes.push({
        major: Number(major),
        minor: Number(minor),
        op,
        value: Number(values[key] ?? 0),
      })
    }
  }
  return { ...emptyBlkio, io_service_bytes_recursive: bytes }
}

/** Per interface of the container's namespace, lo left out. */
function networkCounters(pid: number): object {
  const counters: Record<string, object> = {}
  for (const line of read(`/proc/${pid}/net`, 'dev').split('\n').slice(2)) {
    const [name = '', values = ''] = line.trim().split(':')
    if (name === '' || name === 'lo') continue
    const [
      rxBytes,
      rxPackets,
      rxErrors,
      rxDropped,
      ,
      ,
      ,
      ,
      txBytes,
      txPackets,
      txErrors,
      txDropped,
    ] = values.trim().split(/\s+/).map(Number)
    counters[name] = {
      rx_bytes: rxBytes ?? 0,
      rx_packets: rxPackets ?? 0,
      rx_errors: rxErrors ?? 0,
      rx_dropped: rxDropped ?? 0,
      tx_bytes: txBytes ?? 0,
      tx_packets: txPackets ?? 0,
      tx_errors: txErrors ?? 0,
      tx_dropped: txDropped ?? 0,
    }
  }
  return counters
}
