/**
 * From what a create request says to what is stored: the image's configuration merged in, and
 * the defaults that Docker fills in and shows.
 */
import { shortId } from '../base/id.ts'
import { Refusal } from '../base/refusal.ts'
import type { Config, HostConfig } from './config.ts'
import { configShape } from './config.ts'
import { cgroupLayout } from './cgroups.ts'
import { modeKind, modeName } from './network-mode.ts'
import type { ContainersConfig } from './rooms.ts'
import { defaultCgroupns, maskedPaths, readonlyPaths } from './spec.ts'

/** The request's Config over the image's. @param image the `config` of an OCI image, as JSON */
export function mergeImageConfig(given: Config, image: unknown): Config {
  const base = configShape.decode(image, 'Image.Config')
  const noEntrypoint = (given.Entrypoint ?? []).length === 0
  const takesCmd = noEntrypoint && (given.Cmd ?? []).length === 0
  const entrypoint = given.Entrypoint === null ? base.Entrypoint : given.Entrypoint
  const cleared = entrypoint?.length === 1 && entrypoint[0] === ''
  return {
    ...given,
    User: given.User === '' ? base.User : given.User,
    ExposedPorts: union(base.ExposedPorts, given.ExposedPorts),
    Env: mergedEnv(base.Env, given.Env),
    Cmd: takesCmd ? base.Cmd : given.Cmd,
    Entrypoint: cleared ? null : entrypoint,
    Healthcheck: mergedHealth(given.Healthcheck, base.Healthcheck),
    Volumes: union(base.Volumes, given.Volumes),
    WorkingDir: given.WorkingDir === '' ? base.WorkingDir : given.WorkingDir,
    Labels: { ...(base.Labels ?? {}), ...(given.Labels ?? {}) },
    StopSignal: given.StopSignal === '' ? base.StopSignal : given.StopSignal,
    Shell: given.Shell ?? base.Shell,
  }
}

function union<T>(
  a: Readonly<Record<string, T>> | null,
  b: Readonly<Record<string, T>> | null,
): Readonly<Record<string, T>> | null {
  // As the engine has it: an empty map of the request counts as none.
  if (b === null || Object.keys(b).length === 0) return a
  return a === null ? b : { ...a, ...b }
}

function mergedEnv(image: Config['Env'], given: Config['Env']): Config['Env'] {
  if (image === null) return given ?? []
  const names = new Set((given ?? []).map((entry) => entry.split('=')[0]))
  return [...(given ?? []), ...image.filter((entry) => !names.has(entry.split('=')[0]))]
}

function mergedHealth(
  given: Config['Healthcheck'],
  image: Config['Healthcheck'],
): Config['Healthcheck'] {
  if (given === null || image === null) return given ?? image
  const pick = <T>(own: T, other: T, isUnset: boolean): T => (isUnset ? other : own)
  return {
    Test: pick(given.Test, image.Test, (given.Test ?? []).length === 0),
    Interval: pick(given.Interval, image.Interval, given.Interval === 0),
    Timeout: pick(given.Timeout, image.Timeout, given.Timeout === 0),
    StartPeriod: pick(given.StartPeriod, image.StartPeriod, given.StartPeriod === 0),
    StartInterval: pick(given.StartInterval, image.StartInterval, given.StartInterval === 0),
    Retries: pick(given.Retries, image.Retries, given.Retries === 0),
  }
}

/** What the process is started with. */
export function commandOf(config: Config): {
  readonly path: string
  readonly args: readonly string[]
} {
  const [path, ...args] = [...(config.Entrypoint ?? []), ...(config.Cmd ?? [])]
  if (path === undefined) throw new Refusal('invalid', 'no command specified')
  return { path, args }
}

/** Hostname: the container's own, the host's in host mode; a donor's is filled in at start. */
export function withHostname(
  config: Config,
  hostConfig: HostConfig,
  id: string,
  hostname: () => string,
  donor: string | undefined,
): Config {
  if (config.Hostname !== '') return config
  const kind = modeKind(hostConfig.NetworkMode)
  if (kind === 'container') return { ...config, Hostname: donor ?? shortId(id) }
  return { ...config, Hostname: kind === 'host' ? hostname() : shortId(id) }
}

const logDrivers = ['json-file', 'local', 'none']
const logOptions = new Set([
  'max-size',
  'max-file',
  'compress',
  'labels',
  'labels-regex',
  'env',
  'env-regex',
  'tag',
  'mode',
  'max-buffer-size',
])

/** HostConfig with Docker's defaults in place of zero values. */
export function withDefaults(given: HostConfig, config: ContainersConfig): HostConfig {
  return {
    ...given,
    NetworkMode: modeName(given.NetworkMode),
    LogConfig: logConfigOf(given.LogConfig, config),
    RestartPolicy: {
      ...given.RestartPolicy,
      Name: given.RestartPolicy.Name === '' ? 'no' : given.RestartPolicy.Name,
    },
    CgroupnsMode: cgroupnsMode(given, config),
    ConsoleSize: [given.ConsoleSize?.[0] ?? 0, given.ConsoleSize?.[1] ?? 0],
    IpcMode: given.IpcMode === '' ? config.defaultIpcMode : given.IpcMode,
    SecurityOpt: securityOptions(given),
    ShmSize: given.ShmSize === 0 ? config.defaultShmBytes : given.ShmSize,
    Runtime: given.Runtime === '' ? config.runtimeName : given.Runtime,
    MemorySwappiness: given.MemorySwappiness === -1 ? null : given.MemorySwappiness,
    PidsLimit: given.PidsLimit !== null && given.PidsLimit <= 0 ? null : given.PidsLimit,
    MaskedPaths: given.MaskedPaths ?? (given.Privileged ? null : maskedPaths),
    ReadonlyPaths: given.ReadonlyPaths ?? (given.Privileged ? null : readonlyPaths),
  }
}

function cgroupnsMode({ CgroupnsMode, Privileged }: HostConfig, config: ContainersConfig): string {
  if (CgroupnsMode !== '') return CgroupnsMode
  const isPrivileged = Privileged && cgroupLayout().version === 1
  return config.defaultCgroupnsMode === '' || isPrivileged
    ? defaultCgroupns()
    : config.defaultCgroupnsMode
}

/** Who shares the host's processes has no label, and inspect says so, unless the request did. */
function securityOptions(given: HostConfig): HostConfig['SecurityOpt'] {
  const sharesHost = given.Privileged || given.PidMode === 'host' || given.IpcMode === 'host'
  const own = given.SecurityOpt ?? []
  if (!sharesHost || own.some((option) => option.split('=')[0] === 'label')) {
    return given.SecurityOpt
  }
  return [...own, 'label=disable']
}

function logConfigOf(
  given: HostConfig['LogConfig'],
  config: ContainersConfig,
): HostConfig['LogConfig'] {
  const Type = given.Type === '' ? config.defaultLogDriver : given.Type
  if (!logDrivers.includes(Type)) {
    throw new Refusal('invalid', `logger: no log driver named '${Type}' is registered`)
  }
  const options =
    given.Type === '' || given.Type === config.defaultLogDriver
      ? { ...config.defaultLogOptions, ...(given.Config ?? {}) }
      : (given.Config ?? {})
  checkLogOptions(Type, options)
  return { Type, Config: options }
}

/** Refuses options that a log driver of ours does not have, and values that it cannot take. */
export function checkLogOptions(driver: string, options: Readonly<Record<string, string>>): void {
  if (driver === 'none') return
  for (const name of Object.keys(options)) {
    if (logOptions.has(name)) continue
    throw new Refusal('invalid', `unknown log opt '${name}' for ${driver} log driver`)
  }
  checkLogValues(options)
  const mode = options['mode'] ?? ''
  if (['', 'blocking', 'non-blocking'].includes(mode)) return
  throw new Refusal('invalid', `logger: logging mode not supported: ${mode}`)
}

/** Output never waits for the log here; what is asked of the buffer must make sense all the same. */
function checkLogValues(options: Readonly<Record<string, string>>): void {
  const files = options['max-file']
  if (files !== undefined && !/^0*[1-9]\d*$/.test(files)) {
    throw new Refusal('invalid', 'max-file cannot be less than 1')
  }
  const size = options['max-buffer-size']
  if (size === undefined || options['mode'] === 'non-blocking') {
    logMaxBytes(size)
    return
  }
  throw new Refusal(
    'invalid',
    "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
  )
}

/** What rotates when nobody says so: `local` promises not to fill the disk. */
export function logSizes({ Type, Config }: HostConfig['LogConfig']): {
  readonly maxBytes: number
  readonly maxFiles: number
} {
  const isLocal = Type === 'local'
  const files = Number(Config?.['max-file'] ?? (isLocal ? 5 : 1))
  return {
    maxBytes: logMaxBytes(Config?.['max-size'] ?? (isLocal ? '20m' : undefined)),
    maxFiles: Number.isInteger(files) && files > 0 ? files : 1,
  }
}

/** `10m` → bytes; 0 when unlimited. Refuses what is no size. */
export function logMaxBytes(text: string | undefined): number {
  if (text === undefined || text === '' || text === '-1') return 0
  const parts = /^(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?$/i.exec(text)
  if (parts === null) throw new Refusal('invalid', `invalid size: '${text}'`)
  const power = ['', 'k', 'm', 'g', 't'].indexOf((parts[2] ?? '').toLowerCase())
  return Math.floor(Number(parts[1]) * 1024 ** power)
}
