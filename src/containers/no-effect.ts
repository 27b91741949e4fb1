/**
 * Warnings of a create request: what is taken, kept and shown, and has no effect here. Nothing of
 * a request is ignored without a word; what could do harm if it were is refused in `validate.ts`.
 */
import { appArmorHere } from './apparmor.ts'
import { createShape } from './config.ts'
import type { Config, HostConfig } from './config.ts'
import { modeKind } from './network-mode.ts'
import { parsePortKey } from './port-keys.ts'

/** What inspect shows of an endpoint and clients send back: answers, not wishes. */
const answers = new Set([
  'EndpointID',
  'Gateway',
  'IPAddress',
  'IPPrefixLen',
  'IPv6Gateway',
  'GlobalIPv6Address',
  'GlobalIPv6PrefixLen',
  'DNSNames',
])

/** Fields of the document that no field of ours takes, Docker's of other versions above all. */
export function unknownFieldWarnings(document: unknown): readonly string[] {
  const strays = createShape.strays?.(document, '') ?? []
  return strays
    .filter((path) => {
      const [first = '', ...rest] = path.split('.')
      // Client libraries put options of their own beside Docker's fields, in lower case.
      const isDockers = /^[A-Z]/.test(first)
      return isDockers && !(first === 'NetworkingConfig' && answers.has(rest.at(-1) ?? ''))
    })
    .map((path) => `${path} is not a field that this engine knows. It has no effect.`)
}

/** Fields that are known and, with the others as they are, without effect. */
export function noEffectWarnings(config: Config, hostConfig: HostConfig): readonly string[] {
  return [
    ...networkWarnings(hostConfig),
    ...healthWarnings(config),
    ...logWarnings(hostConfig),
    ...securityWarnings(hostConfig),
    ...portWarnings(config),
    ...(config.ArgsEscaped
      ? ['ArgsEscaped is for images of Windows. ArgsEscaped has no effect.']
      : []),
    ...(hostConfig.Init === true && hostConfig.PidMode === 'host'
      ? ['An init has nothing to do in the PID namespace of the host. Init discarded.']
      : []),
    ...(hostConfig.ShmSize > 0 && hostConfig.IpcMode === 'none'
      ? ['There is no shared memory in IPC mode none. ShmSize discarded.']
      : []),
    ...(hostConfig.ShmSize > 0 && /^(host|container:)/.test(hostConfig.IpcMode)
      ? [`The shared memory is that of IPC mode ${hostConfig.IpcMode}. ShmSize discarded.`]
      : []),
  ]
}

function portWarnings({ ExposedPorts }: Config): readonly string[] {
  return Object.keys(ExposedPorts ?? {})
    .filter((key) => parsePortKey(key) === undefined)
    .map((key) => `ExposedPorts ${JSON.stringify(key)} is no port. It has no effect.`)
}

/** Told since API 1.42. */
export function volumeWarnings({ VolumeDriver, Mounts }: HostConfig): readonly string[] {
  const passedOver = (Mounts ?? []).some(({ Type }) => Type === 'volume')
  if (VolumeDriver === '' || !passedOver) return []
  return [
    'WARNING: the container-wide volume-driver configuration is ignored for volumes specified via ' +
      "'mount'. Use '--mount type=volume,volume-driver=...' instead",
  ]
}

function networkWarnings(hostConfig: HostConfig): readonly string[] {
  const { NetworkMode, PortBindings, PublishAllPorts, Links, DnsSearch, DnsOptions } = hostConfig
  const warnings: string[] = []
  const kind = modeKind(NetworkMode)
  const publishes = PublishAllPorts || Object.keys(PortBindings ?? {}).length > 0
  if (publishes && (kind === 'host' || kind === 'none')) {
    warnings.push(`Published ports are discarded when using ${kind} network mode`)
  }
  const resolving = [...(DnsSearch ?? []), ...(DnsOptions ?? [])]
  if (kind === 'container' && resolving.length > 0) {
    // Its resolv.conf is the donor's.
    warnings.push('DnsSearch and DnsOptions are discarded when using container network mode')
  }
  if (kind === 'none' && (Links ?? []).length > 0) {
    warnings.push('Links are discarded when using none network mode')
  }
  return warnings
}

function healthWarnings({ Healthcheck }: Config): readonly string[] {
  const kind = Healthcheck?.Test?.[0] ?? ''
  if (['', 'NONE', 'CMD', 'CMD-SHELL'].includes(kind)) return []
  return [`Unknown health check type '${kind}' (expected 'CMD'): there is no health check.`]
}

function logWarnings({ LogConfig: { Type, Config } }: HostConfig): readonly string[] {
  const options = Config ?? {}
  if (Type === 'none' && Object.keys(options).length > 0) {
    return ['The log driver none has no options. Log options discarded.']
  }
  if (!/^(1|t|true)$/i.test(options['compress'] ?? '')) return []
  return ['Rotated log files are not compressed here. Log option compress has no effect.']
}

function securityWarnings({ SecurityOpt }: HostConfig): readonly string[] {
  const kept = (SecurityOpt ?? []).map((option) => option.split(/[=:]/))
  const uses = (key: string) => kept.some(([name, value]) => name === key && value !== 'disable')
  return [
    ...(uses('label') ? ['SELinux labels are not offered. Security option label discarded.'] : []),
    ...(kept.some(([name, value]) => name === 'apparmor' && value !== 'unconfined') &&
    !appArmorHere()
      ? ['Your kernel does not support AppArmor. Security option apparmor discarded.']
      : []),
  ]
}
