/**
 * Which cgroup layout this machine has (v1, hybrid or v2), found out by looking at the mounts,
 * and where a container's files are.
 *
 * Hybrid counts as v1: the controllers that matter are there, and runc uses them.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { listMounts } from '../kernel/mount.ts'

export interface CgroupLayout {
  readonly version: 1 | 2
  /** v1: controller → mount point. */
  readonly controllers: Readonly<Record<string, string>>
  /** v2: the controllers of the only tree. */
  readonly available: readonly string[]
  /** v2: mount point of the only tree. */
  readonly unified: string
  /** Mount points of all trees, hybrid's second one included. */
  readonly trees: readonly string[]
  /** Whether memory+swap can be limited. */
  readonly swapLimit: boolean
  /** Buffers of TCP, v1 only. */
  readonly kernelMemoryTcp: boolean
  /** Of the kernel, v1 only; known, and never limited by us. */
  readonly kernelMemory: boolean
  readonly memoryLimit: boolean
  readonly pidsLimit: boolean
  readonly cpuCfs: boolean
  readonly oomKillDisable: boolean
  readonly blkioWeight: boolean
}

const controllerNames = [
  'cpu',
  'cpuacct',
  'cpuset',
  'memory',
  'devices',
  'freezer',
  'blkio',
  'pids',
  'hugetlb',
  'net_cls',
  'net_prio',
  'perf_event',
  'systemd',
]

let found: CgroupLayout | undefined

/** The layout, probed once: it does not change while the machine runs. */
export function cgroupLayout(): CgroupLayout {
  found ??= probe()
  return found
}

function probe(): CgroupLayout {
  const mounts = listMounts()
  const controllers: Record<string, string> = {}
  const trees = mounts
    .filter(({ type }) => type === 'cgroup' || type === 'cgroup2')
    .map(({ target }) => target)
  let unified = ''
  for (const entry of mounts) {
    if (entry.type === 'cgroup2' && entry.target === '/sys/fs/cgroup') unified = entry.target
    if (entry.type !== 'cgroup') continue
    for (const name of controllerNames) {
      if (entry.superOptions.includes(name) || entry.superOptions.includes(`name=${name}`)) {
        controllers[name] ??= entry.target
      }
    }
  }
  if (unified !== '') {
    const text = readFileSync(join(unified, 'cgroup.controllers'), 'utf8')
    const available = text.trim().split(' ')
    return {
      version: 2,
      controllers: {},
      available,
      unified,
      trees,
      swapLimit: available.includes('memory'),
      kernelMemoryTcp: false,
      kernelMemory: false,
      memoryLimit: available.includes('memory'),
      pidsLimit: available.includes('pids'),
      cpuCfs: available.includes('cpu'),
      oomKillDisable: false,
      blkioWeight: available.includes('io'),
    }
  }
  const { memory = '', cpu = '', pids = '', blkio = '' } = controllers
  return {
    version: 1,
    controllers,
    available: [],
    unified: '',
    trees,
    swapLimit: memory !== '' && existsSync(join(memory, 'memory.memsw.limit_in_bytes')),
    kernelMemory: memory !== '' && existsSync(join(memory, 'memory.kmem.limit_in_bytes')),
    kernelMemoryTcp:
      memory !== '' && existsSync(join(memory, 'memory.kmem.tcp.limit_in_bytes')),
    memoryLimit: memory !== '',
    pidsLimit: pids !== '',
    cpuCfs: cpu !== '' && existsSync(join(cpu, 'cpu.cfs_quota_us')),
    oomKillDisable: memory !== '' && existsSync(join(memory, 'memory.oom_control')),
    blkioWeight:
      blkio !== '' &&
      ['blkio.weight', 'blkio.bfq.weight'].some((file) => existsSync(join(blkio, file))),
  }
}

/** Folder of a cgroup in one controller's tree (in the only tree on v2); '' when not mounted. */
export function cgroupFolder(
  layout: CgroupLayout,
  controller: string,
  cgroupsPath: string,
): string {
  const top = layout.version === 2 ? layout.unified : layout.controllers[controller]
  return top === undefined || top === '' ? '' : join(top, cgroupsPath)
}
