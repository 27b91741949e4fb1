/**
 * What is refused, and what is warned of, when a container is created: every check that needs
 * nothing made, with Docker's sentences.
 */
import { Refusal } from '../base/refusal.ts'
import { homeNetns } from '../kernel/netns.ts'
import { readSysctl } from '../kernel/sysctl.ts'
import { unknownEndpointOptions } from '../network/unknown-options.ts'
import { normalizeCapabilities } from './capabilities.ts'
import { checkCgroupParent } from './cgroup-path.ts'
import type { Config, EndpointSettings, HostConfig, RestartPolicy } from './config.ts'
import { parseRule } from './devices.ts'
import { storedLinks } from './links.ts'
import { checkMounts } from './mount-points.ts'
import { modeKind, type ModeKind } from './network-mode.ts'
import { noEffectWarnings } from './no-effect.ts'
import { endpointSpec, isExtraHost } from './networking.ts'
import { parsePortKey } from './port-keys.ts'
import type { Context } from './rooms.ts'
import { securityOf } from './security.ts'
import { stopSignalOf } from './signals.ts'

const noQuota =
  "--storage-opt is supported only for overlay over xfs with 'pquota' mount option"

const invalid = (sentence: string): Refusal => new Refusal('invalid', sentence)

export function checkContainer(
  context: Context,
  config: Config,
  hostConfig: HostConfig,
): readonly string[] {
  const kind = modeKind(hostConfig.NetworkMode)
  if (kind === 'container') checkContainerMode(config, hostConfig)
  if (kind === 'host' && (hostConfig.Links ?? []).length > 0) {
    throw invalid(
      "conflicting options: host type networking can't be used with links. " +
        'This would result in undefined behavior',
    )
  }
  checkPorts(hostConfig)
  for (const entry of hostConfig.ExtraHosts ?? []) {
    checkExtraHost(entry)
  }
  storedLinks(context, hostConfig)
  checkRestartPolicy(hostConfig.RestartPolicy)
  if (hostConfig.AutoRemove && !['', 'no'].includes(hostConfig.RestartPolicy.Name)) {
    throw invalid("can't create 'AutoRemove' container with restart policy")
  }
  normalizeCapabilities(hostConfig.CapAdd, 'CapAdd')
  normalizeCapabilities(hostConfig.CapDrop, 'CapDrop')
  securityOf(hostConfig)
  checkCgroupParent(hostConfig.CgroupParent, context.config.systemdCgroup)
  checkModes(config, hostConfig)
  checkHealth(config)
  for (const rule of hostConfig.DeviceCgroupRules ?? []) parseRule(rule)
  if (config.StopSignal !== '') stopSignalOf(config.StopSignal)
  for (const entry of config.Env ?? []) {
    if (entry === '' || entry.startsWith('='))
      throw invalid(`invalid environment variable: ${entry}`)
  }
  if (config.WorkingDir !== '' && !config.WorkingDir.startsWith('/')) {
    throw invalid(
      `the working directory '${config.WorkingDir}' is invalid, it needs to be an absolute path`,
    )
  }
  if (hostConfig.OomScoreAdj < -1000 || hostConfig.OomScoreAdj > 1000) {
    throw invalid(
      `Invalid value ${hostConfig.OomScoreAdj}, range for oom score adj is [-1000, 1000]`,
    )
  }
  if ('' in (hostConfig.Annotations ?? {})) {
    const why = 'the empty string is not permitted as an annotation key'
    throw invalid(`invalid Annotations: ${why}`)
  }
  if (hostConfig.ShmSize < 0) throw invalid('SHM size can not be less than 0')
  checkMounts(hostConfig)
  if (!['', 'runc', 'io.containerd.runc.v2'].includes(hostConfig.Runtime)) {
    throw invalid(`unknown or invalid runtime name: ${hostConfig.Runtime}`)
  }
  if (hostConfig.UsernsMode !== '' && hostConfig.UsernsMode !== 'host') {
    throw invalid(`invalid user namespace mode: ${hostConfig.UsernsMode}`)
  }
  if ((hostConfig.DeviceRequests ?? []).length > 0) {
    throw invalid(noDeviceDriver(hostConfig.DeviceRequests?.[0]))
  }
  return [...forwardingWarnings(kind), ...noEffectWarnings(config, hostConfig)]
}

function forwardingWarnings(kind: ModeKind): readonly string[] {
  if (kind !== 'networks' || readSysctl(homeNetns(), 'net/ipv4/ip_forward') !== '0') return []
  return ['IPv4 forwarding is disabled. Networking will not work.']
}

/** Lists as Go prints them. */
function noDeviceDriver(request: NonNullable<HostConfig['DeviceRequests']>[number] | undefined) {
  const sets = (request?.Capabilities ?? []).map((set) => `[${(set ?? []).join(' ')}]`)
  const driver = JSON.stringify(request?.Driver ?? '')
  return `could not select device driver ${driver} with capabilities: [${sets.join(' ')}]`
}

function checkContainerMode(config: Config, hostConfig: HostConfig): void {
  if (hostConfig.NetworkMode === 'container:') {
    throw invalid('invalid network mode: invalid container format container:<name|id>')
  }
  const conflicting = (what: string) => invalid(`conflicting options: ${what} and the network mode`)
  if (config.Hostname !== '') throw conflicting('hostname')
  if ((hostConfig.Links ?? []).length > 0) {
    throw invalid(
      "conflicting options: container type network can't be used with links. " +
        'This would result in undefined behavior',
    )
  }
  if ((hostConfig.Dns ?? []).length > 0) throw conflicting('dns')
  if ((hostConfig.ExtraHosts ?? []).length > 0) throw conflicting('custom host-to-IP mapping')
  const type = 'the container type network mode'
  if (hostConfig.PublishAllPorts || Object.keys(hostConfig.PortBindings ?? {}).length > 0) {
    throw invalid(`conflicting options: port publishing and ${type}`)
  }
  if (Object.keys(config.ExposedPorts ?? {}).length > 0) {
    throw invalid(`conflicting options: port exposing and ${type}`)
  }
}

function checkPorts(hostConfig: HostConfig): void {
  for (const [key, bindings] of Object.entries(hostConfig.PortBindings ?? {})) {
    const [port = ''] = key.split('/')
    // The command line has taken ranges apart.
    if (parsePortKey(key) === undefined || port.includes('-')) {
      throw invalid(`invalid port specification: ${JSON.stringify(port)}`)
    }
    for (const { HostPort } of bindings ?? []) {
      if (HostPort !== '' && parsePortKey(HostPort) === undefined) {
        throw invalid(`invalid port specification: ${JSON.stringify(HostPort)}`)
      }
    }
  }
}

function checkExtraHost(entry: string): void {
  if (isExtraHost(entry)) return
  const [, name = '', address = ''] = /^([^:=]*)[:=](.*)$/s.exec(entry) ?? []
  if (name === '') throw invalid(`bad format for add-host: ${JSON.stringify(entry)}`)
  throw invalid(`invalid IP address in add-host: ${JSON.stringify(address)}`)
}

/** Also for update. */
export function checkRestartPolicy(policy: RestartPolicy): void {
  const { Name, MaximumRetryCount } = policy
  if (!['', 'no', 'always', 'on-failure', 'unless-stopped'].includes(Name)) {
    throw invalid(
      `invalid restart policy: unknown policy '${Name}'; ` +
        "use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
    )
  }
  if (MaximumRetryCount < 0) {
    throw invalid('invalid restart policy: maximum retry count cannot be negative')
  }
  if (MaximumRetryCount !== 0 && Name !== 'on-failure') {
    throw invalid("invalid restart policy: maximum retry count can only be used with 'on-failure'")
  }
}

function checkModes(config: Config, hostConfig: HostConfig): void {
  const { IpcMode, PidMode, UTSMode, Cgroup, CgroupnsMode, Isolation, StorageOpt } = hostConfig
  if (UTSMode === 'host' && config.Hostname !== '') {
    throw invalid('conflicting options: hostname and the UTS mode')
  }
  if (Isolation !== '' && Isolation.toLowerCase() !== 'default') {
    throw invalid(`invalid isolation (${Isolation}): linux only supports 'default'`)
  }
  const [storage] = Object.keys(StorageOpt ?? {})
  if (storage !== undefined) {
    const isSize = storage.toLowerCase() === 'size'
    throw new Refusal('internal', isSize ? noQuota : `Unknown option ${storage}`)
  }
  if (
    !['', 'none', 'private', 'shareable', 'host'].includes(IpcMode) &&
    !/^container:.+/.test(IpcMode)
  ) {
    throw invalid(`invalid IPC mode: ${IpcMode}`)
  }
  if (!['', 'host', 'private'].includes(PidMode) && !/^container:.+/.test(PidMode)) {
    throw invalid(`invalid PID mode: ${PidMode}`)
  }
  if (UTSMode !== '' && UTSMode !== 'host') throw invalid(`invalid UTS mode: ${UTSMode}`)
  if (Cgroup !== '') throw invalid(`invalid cgroup mode: ${Cgroup}`)
  if (!['', 'private', 'host'].includes(CgroupnsMode)) {
    throw invalid(`invalid cgroup namespace mode: ${CgroupnsMode}`)
  }
}

function checkHealth({ Healthcheck: health }: Config): void {
  if (health === null) return
  const minimumNs = 1_000_000
  for (const field of ['Interval', 'Timeout', 'StartPeriod', 'StartInterval'] as const) {
    const value = health[field]
    if (value !== 0 && value < minimumNs) {
      throw invalid(`${field} in Healthcheck cannot be less than 1ms`)
    }
  }
  if (health.Retries < 0) throw invalid('Retries in Healthcheck cannot be negative')
}


/** The endpoints of a new container, as far as their networks exist. Answers warnings. */
export function checkEndpoints(
  context: Context,
  networks: Readonly<Record<string, EndpointSettings>>,
): readonly string[] {
  const drivers = new Map(context.networks.list().map(({ spec }) => [spec.name, spec.driver]))
  const warnings: string[] = []
  for (const [name, settings] of Object.entries(networks)) {
    try {
      const spec = endpointSpec(name, settings)
      context.networks.validateEndpoint(name, spec)
      warnings.push(...unknownEndpointOptions(spec, drivers.get(name) ?? ''))
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      const sentence = `invalid config for network ${name}: ${error.message.trimEnd()}`
      throw new Refusal(error.kind, sentence, {
        cause: error,
      })
    }
  }
  return warnings
}
