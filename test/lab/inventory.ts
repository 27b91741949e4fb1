/**
 * What an engine holds on its machine, counted from outside: kernel, containerd, disk, processes.
 * Taken before and after a test, everything removed, the two must be equal.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { pidOf, readProc } from './chaos.ts'
import type { Lab } from './lab.ts'

/** Descriptors that a process may have more than at the beginning: pools that grew, a connection. */
export const descriptorsMore = 12

export type Inventory = Readonly<Record<string, readonly string[]>>

const lines = (text: string): string[] => text.split('\n').filter((line) => line !== '')
const run = (program: string, ...args: readonly string[]): string =>
  spawnSync(program, args, { encoding: 'utf8', timeout: 20_000 }).stdout
const entries = (path: string): readonly string[] => (existsSync(path) ? readdirSync(path).sort() : [])

/** @param ids containers whose cgroups are looked for; the tree is shared with other tests */
export function inventoryOf(lab: Lab, ids: ReadonlySet<string>): Inventory {
  const execRoot = join(lab.folder, 'run')
  const data = join(lab.folder, 'data')
  const socket = join(execRoot, 'c.sock')
  // Without a containerd, ctr waits ten seconds for one.
  const ctr = (...args: readonly string[]) =>
    existsSync(socket) ? lines(run('ctr', '-a', socket, '-n', 'portolan', ...args)).sort() : []
  const first = (line: string) => line.split(/\s+/)[0] ?? ''
  return {
    links: entries('/sys/class/net'),
    'rules for IPv4': rulesOf('iptables-save'),
    'rules for IPv6': rulesOf('ip6tables-save'),
    'policy rules': [...lines(run('ip', 'rule')), ...lines(run('ip', '-6', 'rule'))],
    mounts: lines(readFileSync('/proc/self/mountinfo', 'utf8')).map((line) => line.split(' ')[4] ?? '').sort(),
    namespaces: entries(join(execRoot, 'netns')),
    'FIFO folders': entries(join(execRoot, 'io')),
    'container folders': entries(join(data, 'containers')),
    tasks: ctr('tasks', 'ls', '-q'),
    'containers in containerd': ctr('containers', 'ls', '-q'),
    snapshots: ctr('snapshots', 'ls').map(first),
    leases: ctr('leases', 'ls', '-q'),
    shims: processesOf('containerd-shim', socket),
    'shim sockets': entries('/run/containerd/s'),
    'states of runc': entries('/run/containerd/runc/portolan'),
    bundles: entries(join(execRoot, 'containerd/io.containerd.runtime.v2.task/portolan')),
    'working folders': entries(join(data, 'containerd/io.containerd.runtime.v2.task/portolan')),
    cgroups: cgroupsOf(ids),
    'sockets of the keeper': socketsOf(pidOf(lab, 'keeper') ?? 0),
  }
}

function rulesOf(program: string): readonly string[] {
  return lines(run(program)).filter((line) => !line.startsWith('#')).map((line) => line.replace(/\[\d+:\d+\]/, '')).sort()
}

function processesOf(program: string, word: string): readonly string[] {
  return readdirSync('/proc').filter((name) => /^\d+$/.test(name)).filter((name) => {
    const words = readProc(`/proc/${name}/cmdline`).split('\0')
    return words[0]?.includes(program) === true && words.includes(word) && !readProc(`/proc/${name}/stat`).includes(') Z ')
  })
}

function cgroupsOf(ids: ReadonlySet<string>): readonly string[] {
  if (ids.size === 0) return []
  return lines(run('find', '/sys/fs/cgroup', '-type', 'd', '-regextype', 'posix-extended', '-regex', '.*[0-9a-f]{64}.*'))
    .filter((path) => [...path.matchAll(/[0-9a-f]{64}/g)].some(([id]) => ids.has(id)))
}

function socketsOf(pid: number): readonly string[] {
  return lines(run('ss', '-Hlntup')).filter((line) => line.includes(`pid=${pid},`)).map((line) => line.split(/\s+/)[4] ?? '')
}

/** Descriptors of a process, by what they are. */
export function descriptorsOf(pid: number): ReadonlyMap<string, number> {
  const counts = new Map<string, number>()
  for (const name of entries(`/proc/${pid}/fd`)) {
    let target = ''
    try {
      target = readlinkSync(`/proc/${pid}/fd/${name}`)
    } catch (error) {
      if (!(error instanceof Error)) throw error // closed meanwhile
    }
    const kind = target.replace(/\[?\d+\]?/g, '')
    counts.set(kind, (counts.get(kind) ?? 0) + 1)
  }
  return counts
}
