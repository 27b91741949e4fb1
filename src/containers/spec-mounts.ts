/**
 * The mounts of a container in OCI form: kernel file systems, /dev/shm, the network's files,
 * binds, volumes and tmpfs. What the user mounts replaces a default of the same place.
 */
import { realpathSync } from 'node:fs'
import { join } from 'node:path'
import { cleanDestination, tmpfsOptions } from './mount-options.ts'
import type { OciMount } from './oci.ts'
import type { ContainerRecord, MountPoint } from './record.ts'
import { securityOf } from './security.ts'

const kernelMounts: readonly OciMount[] = [
  { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
  {
    destination: '/dev',
    type: 'tmpfs',
    source: 'tmpfs',
    options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
  },
  {
    destination: '/dev/pts',
    type: 'devpts',
    source: 'devpts',
    options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
  },
  {
    destination: '/sys',
    type: 'sysfs',
    source: 'sysfs',
    options: ['nosuid', 'noexec', 'nodev', 'ro'],
  },
  {
    destination: '/sys/fs/cgroup',
    type: 'cgroup',
    source: 'cgroup',
    options: ['ro', 'nosuid', 'noexec', 'nodev'],
  },
  {
    destination: '/dev/mqueue',
    type: 'mqueue',
    source: 'mqueue',
    options: ['nosuid', 'noexec', 'nodev'],
  },
]

export interface MountInputs {
  readonly record: ContainerRecord
  /** Host path of the shared memory: a folder to bind, or '' for a tmpfs of its own. */
  readonly shmPath: string
  /** Folder with hosts, hostname and resolv.conf; '' for none. */
  readonly networkFilesDir: string
  /** docker-init on the host, '' without --init. */
  readonly initPath: string
  /** Destination → what is mounted there instead of the whole volume. */
  readonly subpaths: ReadonlyMap<string, string>
}

export const initInside = '/sbin/docker-init'

/** In the order in which they are made: defaults, then the user's, parents before children. */
export function ociMounts(inputs: MountInputs): readonly OciMount[] {
  const { hostConfig, mounts } = inputs.record
  const user = [
    ...mounts.map((point) => userMount(point, inputs.subpaths.get(point.Destination))),
    ...temporary(hostConfig.Tmpfs ?? {}),
  ]
  const taken = new Set(user.map((mount) => mount.destination))
  const { writableCgroups } = securityOf(hostConfig)
  const shared = hostConfig.IpcMode === 'none' ? [] : [sharedMemory(inputs)]
  const defaults = [...kernelMounts, ...shared]
    .filter((mount) => !taken.has(mount.destination))
    .map((mount) => (hostConfig.Privileged ? writable(mount) : mount))
    .map((mount) => (writableCgroups && mount.type === 'cgroup' ? writable(mount) : mount))
    .map((mount) => (mount.type === 'mqueue' && hostConfig.IpcMode === 'host' ? hostQueue : mount))
  const files = networkFiles(inputs).filter((mount) => !taken.has(mount.destination))
  const depth = (mount: OciMount) =>
    mount.destination.split('/').filter((part) => part !== '').length
  const later = [...files, ...user].sort((a, b) => depth(a) - depth(b))
  const init: readonly OciMount[] =
    inputs.initPath === ''
      ? []
      : [
          {
            destination: initInside,
            type: 'bind',
            source: inputs.initPath,
            options: ['bind', 'ro'],
          },
        ]
  return [...defaults, ...later, ...init]
}

const hostQueue: OciMount = {
  destination: '/dev/mqueue',
  type: 'bind',
  source: '/dev/mqueue',
  options: ['rbind', 'nosuid', 'noexec', 'nodev'],
}

function writable(mount: OciMount): OciMount {
  if (mount.type !== 'sysfs' && mount.type !== 'cgroup') return mount
  return { ...mount, options: mount.options.map((option) => (option === 'ro' ? 'rw' : option)) }
}

function sharedMemory({ record, shmPath }: MountInputs): OciMount {
  const destination = '/dev/shm'
  if (shmPath !== '') {
    return { destination, type: 'bind', source: shmPath, options: ['rbind', 'rprivate'] }
  }
  const size = `size=${record.hostConfig.ShmSize}`
  return {
    destination,
    type: 'tmpfs',
    source: 'shm',
    options: ['nosuid', 'noexec', 'nodev', 'mode=1777', size],
  }
}

function networkFiles({ record, networkFilesDir }: MountInputs): readonly OciMount[] {
  if (networkFilesDir === '') return []
  const access = record.hostConfig.ReadonlyRootfs ? 'ro' : 'rw'
  return ['resolv.conf', 'hostname', 'hosts'].map((name) => ({
    destination: `/etc/${name}`,
    type: 'bind',
    source: join(networkFilesDir, name),
    options: ['rbind', 'rprivate', access],
  }))
}

/** --tmpfs */
function temporary(wanted: Readonly<Record<string, string>>): readonly OciMount[] {
  return Object.entries(wanted).map(([path, options]) => ({
    destination: cleanDestination(path),
    type: 'tmpfs',
    source: 'tmpfs',
    options: tmpfsOptions(options),
  }))
}

function userMount(point: MountPoint, subpath: string | undefined): OciMount {
  const destination = point.Destination
  if (point.Type === 'tmpfs') {
    return { destination, type: 'tmpfs', source: 'tmpfs', options: [...(point.options ?? [])] }
  }
  // A bind's own links are resolved now, outside the container.
  const source = subpath ?? realpathSync(point.Source)
  const propagation = point.Propagation === '' ? 'rprivate' : point.Propagation
  const extra = point.options ?? []
  const recursion = extra.includes('bind') ? 'bind' : 'rbind'
  const others = extra.filter((option) => option !== 'bind' && option !== 'nonrecursive-ro')
  return {
    destination,
    type: 'bind',
    source,
    options: [recursion, ...others, propagation, ...(point.RW ? [] : ['ro'])],
  }
}
