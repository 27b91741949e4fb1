/**
 * The OCI runtime specification of a container, as Docker would write it.
 *
 * Pure but for look-ups on the host (devices, cgroup layout) and in the image's passwd: what
 * must exist beforehand (namespace, files, root file system) is handed in.
 */
import { existsSync } from 'node:fs'
import { Refusal } from '../base/refusal.ts'
import { capabilitiesOf } from './capabilities.ts'
import { appArmorProfile } from './apparmor.ts'
import { runtimeCgroupsPath, type CgroupChoice } from './cgroup-path.ts'
import { cgroupLayout } from './cgroups.ts'
import type { HostConfig, Ulimit } from './config.ts'
import { devicesOf } from './devices.ts'
import type { OciNamespace, OciProcess, OciSpec } from './oci.ts'
import type { ContainerRecord } from './record.ts'
import { ociResources } from './resources.ts'
import { defaultSeccomp, parseSeccomp } from './seccomp.ts'
import type { OciSeccomp } from './seccomp.ts'
import { securityOf, type SecurityDefaults } from './security.ts'
import { initInside, ociMounts } from './spec-mounts.ts'
import { lookUpUser } from './user.ts'
import type { Root } from './rooted-path.ts'

export interface SpecInputs {
  readonly record: ContainerRecord
  readonly root: Root
  /** Path of the network namespace; '' = the host's. */
  readonly netnsPath: string
  readonly networkFilesDir: string
  readonly shmPath: string
  readonly initPath: string
  readonly subpaths: ReadonlyMap<string, string>
  /** Variables of legacy links. */
  readonly linkEnv: readonly string[]
  /** Pids of the containers whose namespaces are joined; 0 = none. */
  readonly ipcPid: number
  readonly pidPid: number
  readonly cgroups: CgroupChoice & { readonly stopTimeoutSeconds: number }
  readonly security: SecurityDefaults
  readonly defaultUlimits: readonly Ulimit[]
}

export const maskedPaths: readonly string[] = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
  '/sys/devices/virtual/powercap',
]
export const readonlyPaths: readonly string[] = [
  '/proc/bus',
  '/proc/fs',
  '/proc/irq',
  '/proc/sys',
  '/proc/sysrq-trigger',
]

const defaultPath = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

export function ociSpec(inputs: SpecInputs): OciSpec {
  const { record } = inputs
  const { config, hostConfig } = record
  const { nodes, rules } = devicesOf(hostConfig)
  const process = containerProcess(inputs)
  const seccomp = seccompOf(inputs, process.capabilities.bounding)
  const sysctl = specSysctls(inputs)
  const privateUts = hostConfig.UTSMode !== 'host'
  const annotations = { ...scopeProperties(inputs), ...hostConfig.Annotations }
  const propagation = record.mounts.some((mount) => /^r?(shared|slave)$/.test(mount.Propagation))
  return {
    ociVersion: '1.0.2',
    process,
    root: { path: inputs.root.path, readonly: hostConfig.ReadonlyRootfs },
    ...(privateUts ? { hostname: config.Hostname } : {}),
    mounts: ociMounts(inputs),
    ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
    linux: {
      namespaces: namespacesOf(inputs),
      resources: { ...ociResources(hostConfig), devices: rules },
      cgroupsPath: runtimeCgroupsPath(record, inputs.cgroups),
      ...(nodes.length === 0 ? {} : { devices: nodes }),
      ...(Object.keys(sysctl).length === 0 ? {} : { sysctl }),
      ...(seccomp === undefined ? {} : { seccomp }),
      maskedPaths: hostConfig.MaskedPaths ?? (hostConfig.Privileged ? [] : maskedPaths),
      readonlyPaths: hostConfig.ReadonlyPaths ?? (hostConfig.Privileged ? [] : readonlyPaths),
      ...(propagation ? { rootfsPropagation: 'rshared' } : {}),
    },
  }
}

/** When the machine goes down, systemd gives a scope as long as `stop` would, not its own 90 s. */
function scopeProperties({ record, cgroups }: SpecInputs): Readonly<Record<string, string>> {
  if (!cgroups.systemdCgroup) return {}
  const seconds = record.config.StopTimeout ?? cgroups.stopTimeoutSeconds
  if (seconds < 0) return {}
  return { 'org.systemd.property.TimeoutStopUSec': `uint64 ${seconds * 1_000_000}` }
}

/** Environment as the process gets it: defaults, links, then the container's own. */
export function environmentOf(
  record: ContainerRecord,
  linkEnv: readonly string[],
  tty: boolean,
): string[] {
  const base = [
    defaultPath,
    `HOSTNAME=${record.config.Hostname}`,
    ...(tty ? ['TERM=xterm'] : []),
    ...linkEnv,
  ]
  return replaceEnv(base, record.config.Env ?? [])
}

/** `overrides` win; an entry without `=` removes the variable. */
export function replaceEnv(base: readonly string[], overrides: readonly string[]): string[] {
  const result = new Map(base.map((entry) => [entry.split('=')[0] ?? '', entry]))
  for (const entry of overrides) {
    const name = entry.split('=')[0] ?? ''
    if (entry.includes('=')) result.set(name, entry)
    else result.delete(name)
  }
  return [...result.values()]
}

function containerProcess(inputs: SpecInputs): OciProcess {
  const { record, root } = inputs
  const { config, hostConfig } = record
  const capabilities = capabilitiesOf({
    add: hostConfig.CapAdd,
    drop: hostConfig.CapDrop,
    privileged: hostConfig.Privileged,
  })
  const user = lookUpUser(root, config.User, hostConfig.GroupAdd ?? [])
  const security = securityOf(hostConfig, inputs.security)
  const command = [record.path, ...record.args]
  const [height = 0, width = 0] = hostConfig.ConsoleSize ?? []
  const apparmor = appArmorProfile(hostConfig)
  return {
    terminal: config.Tty,
    ...(config.Tty && height > 0 && width > 0 ? { consoleSize: { height, width } } : {}),
    user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
    args: inputs.initPath === '' ? command : [initInside, '--', ...command],
    env: environmentOf(record, inputs.linkEnv, config.Tty),
    cwd: config.WorkingDir === '' ? '/' : config.WorkingDir,
    capabilities: processCapabilities(capabilities, user.uid),
    ...resourceLimits(inputs.defaultUlimits, hostConfig.Ulimits),
    noNewPrivileges: security.noNewPrivileges,
    ...(apparmor === '' ? {} : { apparmorProfile: apparmor }),
    oomScoreAdj: hostConfig.OomScoreAdj,
  }
}

/** The daemon's default limits and the container's own over them; also those of each exec. */
export function resourceLimits(
  defaults: readonly Ulimit[],
  own: HostConfig['Ulimits'],
): Pick<OciProcess, 'rlimits'> {
  const ulimits = new Map([...defaults, ...(own ?? [])].map((limit) => [limit.Name, limit]))
  const rlimits = [...ulimits.values()].map((limit) => ({
    type: `RLIMIT_${limit.Name.toUpperCase()}`,
    hard: limit.Hard,
    soft: limit.Soft,
  }))
  return rlimits.length === 0 ? {} : { rlimits }
}

/** A user other than root keeps the bounding set only, as the engine has it. */
export function processCapabilities(
  names: readonly string[],
  uid: number,
): OciProcess['capabilities'] {
  return uid === 0
    ? { bounding: names, effective: names, permitted: names }
    : { bounding: names, effective: [], permitted: [] }
}

function seccompOf(
  { record, security }: SpecInputs,
  capabilities: readonly string[],
): OciSeccomp | undefined {
  const { seccomp } = securityOf(record.hostConfig, security)
  if (record.hostConfig.Privileged && seccomp === '') return undefined
  if (seccomp === 'unconfined') return undefined
  if (seccomp === '' || seccomp === 'builtin') return defaultSeccomp(capabilities)
  return parseSeccomp(seccomp, capabilities)
}

function namespacesOf(inputs: SpecInputs): readonly OciNamespace[] {
  const { hostConfig } = inputs.record
  const namespaces: OciNamespace[] = [{ type: 'mount' }]
  if (inputs.netnsPath !== '') namespaces.push({ type: 'network', path: inputs.netnsPath })
  if (hostConfig.UTSMode !== 'host') namespaces.push({ type: 'uts' })
  if (inputs.pidPid > 0) namespaces.push({ type: 'pid', path: `/proc/${inputs.pidPid}/ns/pid` })
  else if (hostConfig.PidMode !== 'host') namespaces.push({ type: 'pid' })
  if (inputs.ipcPid > 0) namespaces.push({ type: 'ipc', path: `/proc/${inputs.ipcPid}/ns/ipc` })
  else if (hostConfig.IpcMode !== 'host') namespaces.push({ type: 'ipc' })
  const cgroup =
    hostConfig.CgroupnsMode === ''
      ? defaultCgroupns()
      : hostConfig.CgroupnsMode
  if (cgroup === 'private') namespaces.push({ type: 'cgroup' })
  return namespaces
}

/** Private on cgroup v2, for privileged containers too. */
export function defaultCgroupns(): 'private' | 'host' {
  return cgroupLayout().version === 2 ? 'private' : 'host'
}

/**
 * net.* was written by the network room when it made the namespace; in the host's namespace it
 * stays here, so that the runtime refuses it in its own words.
 */
function specSysctls(inputs: SpecInputs): Readonly<Record<string, string>> {
  const { config, hostConfig } = inputs.record
  const given = Object.entries(hostConfig.Sysctls ?? {})
  const kept = given.filter(([key]) => !key.startsWith('net.') || inputs.netnsPath === '')
  // The host's own domain name is not a container's to set.
  const named = config.Domainname !== '' && hostConfig.UTSMode !== 'host'
  return {
    ...(named ? { 'kernel.domainname': config.Domainname } : {}),
    ...Object.fromEntries(kept),
  }
}

/** Refuses --init where no static init program is installed. */
export function initProgram(candidates: readonly string[]): string {
  const found = candidates.find((path) => existsSync(path))
  if (found !== undefined) return found
  throw new Refusal(
    'internal',
    'no init program for --init on this machine: install the Debian package tini ' +
      `(looked for ${candidates.join(', ')})`,
  )
}
