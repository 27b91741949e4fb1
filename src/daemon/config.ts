/**
 * The daemon's configuration: flags and daemon.json together, refused with dockerd's sentences
 * when a key is unknown, given twice, of the wrong kind, or asks for what this engine cannot do.
 */
import { readFileSync } from 'node:fs'
import { isAbsolute, resolve } from 'node:path'
import { parsePoolSources } from '../address/pools.ts'
import { Refusal, messageOf } from '../base/refusal.ts'
import { isRecord } from './option.ts'
import { isOptionKey, optionRows, options, type OptionKey, type Values } from './options.ts'
import type { Given } from './flags.ts'

export interface Config extends Values {
  /** True when it was given, in whichever place: some defaults differ from the same value given. */
  isGiven(key: OptionKey): boolean
}

/** Names that older files use for the same key. */
const synonyms: Readonly<Record<string, OptionKey>> = {
  'host-gateway-ip': 'host-gateway-ips',
  graph: 'data-root',
}

/** Reads the file that the flags name, merges, checks. Also what SIGHUP does. */
export function loadConfig(flags: Given): Config {
  const path = String(flags.get('config-file') ?? options['config-file'].default)
  const fromFile = readConfigFile(path, flags.has('config-file'), flags)
  const given = new Map<OptionKey, unknown>([...fromFile, ...flags])
  const values = Object.fromEntries(
    optionRows.map(([key, option]) => [key, given.get(key) ?? option.default]),
  )
  const config = { ...(values as Values), isGiven: (key: OptionKey) => given.has(key) }
  checkConfig(config)
  return { ...config, ...absolutePaths(config) }
}

function absolutePaths(config: Config): Pick<Config, 'data-root' | 'exec-root' | 'pidfile'> {
  const absolute = (path: string) => (isAbsolute(path) ? path : resolve(path))
  return {
    'data-root': absolute(config['data-root']),
    'exec-root': absolute(config['exec-root']),
    pidfile: absolute(config.pidfile),
  }
}

function readConfigFile(path: string, mustExist: boolean, flags: Given): Map<OptionKey, unknown> {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const absent = error instanceof Error && 'code' in error && error.code === 'ENOENT'
    if (absent && !mustExist) return new Map()
    throw fileProblem(path, absent ? `open ${path}: no such file or directory` : messageOf(error))
  }
  if (text.trim() === '') return new Map()
  let document: unknown
  try {
    document = JSON.parse(text.replace(/^\ufeff/, ''))
  } catch (error) {
    throw fileProblem(path, `invalid JSON: ${messageOf(error)}`)
  }
  if (!isRecord(document)) throw fileProblem(path, 'invalid JSON: the whole must be an object')
  return parseDocument(path, document, flags)
}

function parseDocument(
  path: string,
  document: Readonly<Record<string, unknown>>,
  flags: Given,
): Map<OptionKey, unknown> {
  const unknown: string[] = []
  const clashes: string[] = []
  const values = new Map<OptionKey, unknown>()
  for (const [name, value] of Object.entries(document)) {
    const key = synonyms[name] ?? name
    if (!isOptionKey(key) || options[key].only === 'flag') {
      unknown.push(name)
      continue
    }
    if (flags.has(key))
      clashes.push(`${name}: (from flag: ${show(flags.get(key))}, from file: ${show(value)})`)
    values.set(key, parseValue(path, name, key, value))
  }
  if (unknown.length > 0) {
    const names = unknown.sort().join(', ')
    throw fileProblem(
      path,
      `the following directives don't match any configuration option: ${names}`,
    )
  }
  if (clashes.length > 0) {
    throw fileProblem(
      path,
      'the following directives are specified both as a flag and in the ' +
        `configuration file: ${clashes.join(', ')}`,
    )
  }
  return values
}

function parseValue(path: string, name: string, key: OptionKey, value: unknown): unknown {
  try {
    const one = typeof value === 'string' && name === 'host-gateway-ip' ? [value] : value
    return options[key].fromJson(one)
  } catch (error) {
    throw fileProblem(path, `${name}: ${messageOf(error)}`)
  }
}

function fileProblem(path: string, problem: string): Refusal {
  return new Refusal(
    'invalid',
    `unable to configure the Docker daemon with file ${path}: ${problem}`,
  )
}

/** As Go's %v prints it. */
function show(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(show).join(' ')}]`
  return isRecord(value)
    ? `map[${Object.entries(value)
        .map(([k, v]) => `${k}:${show(v)}`)
        .join(' ')}]`
    : String(value)
}

function checkConfig(config: Config): void {
  if (!config.icc && !config.iptables) {
    throw new Refusal(
      'invalid',
      'You specified --iptables=false with --icc=false. ICC=false uses ' +
        'iptables to function. Please set --icc or --iptables to true',
    )
  }
  if (config.bridge !== '' && config.bip !== '') {
    throw new Refusal(
      'invalid',
      'You specified -b & --bip, mutually exclusive options. Please specify only one',
    )
  }
  if (config['shutdown-timeout'] < -1) {
    throw new Refusal(
      'invalid',
      `invalid shutdown-timeout: ${config['shutdown-timeout']}: use -1 to wait without end`,
    )
  }
  checkPools(config)
  checkLabels(config.labels)
  checkTls(config)
  checkExecOptions(config['exec-opts'])
  for (const [key, sentence] of notOffered(config)) {
    throw new Refusal('invalid', `${key}: ${sentence}`)
  }
}

function checkPools(config: Config): void {
  try {
    parsePoolSources(config['default-address-pools'])
  } catch (error) {
    throw new Refusal('invalid', messageOf(error), { cause: error })
  }
}

function checkLabels(labels: readonly string[]): void {
  const seen = new Map<string, string>()
  for (const label of labels) {
    const key = label.slice(0, label.indexOf('='))
    const before = seen.get(key)
    if (before !== undefined && before !== label) {
      const [one, two] = [before, label].map((text) => text.slice(key.length + 1))
      throw new Refusal('invalid', `conflict labels for ${key}=${two} and ${key}=${one}`)
    }
    seen.set(key, label)
  }
}

function checkTls(config: Config): void {
  const plainTcp = config.hosts.some((host) => /^tcp:|^[^/]*:\d+$/.test(host)) && !config.tlsverify
  const optedOut = (config.isGiven('tls') && !config.tls) || config.isGiven('tlsverify')
  if (plainTcp && !config.tls && !optedOut) {
    throw new Refusal(
      'invalid',
      'a TCP address without TLS gives root on this machine to everyone who can ' +
        'reach it: use --tlsverify with --tlscacert, --tlscert and --tlskey, or say --tls=false ' +
        'if that is meant',
    )
  }
  if (plainTcp && config.tls && !optedOut && !config.isGiven('tlsverify')) {
    throw new Refusal(
      'invalid',
      'a TCP address with --tls alone does not ask clients who they are: ' +
        'use --tlsverify with --tlscacert, or say --tlsverify=false if that is meant',
    )
  }
}

function checkExecOptions(given: readonly string[]): void {
  for (const option of given) {
    if (option === 'native.cgroupdriver=cgroupfs') continue
    throw new Refusal(
      'invalid',
      `exec-opt ${option} is not offered: native.cgroupdriver=cgroupfs is all there is`,
    )
  }
}

/** Options that change what an engine does, set to something that this one cannot do. */
function notOffered(config: Config): readonly (readonly [OptionKey, string])[] {
  const rows: readonly (readonly [OptionKey, boolean, string])[] = [
    [
      'storage-driver',
      ['', 'overlay2', 'overlayfs'].includes(config['storage-driver']),
      `driver not supported: ${config['storage-driver']} (overlay2 is)`,
    ],
    [
      'log-driver',
      ['json-file', 'none'].includes(config['log-driver']),
      `no log driver named '${config['log-driver']}' is registered (json-file and none are)`,
    ],
    [
      'default-runtime',
      ['runc', 'io.containerd.runc.v2'].includes(config['default-runtime']),
      `specified default runtime '${config['default-runtime']}' does not exist (runc does)`,
    ],
    ['userns-remap', config['userns-remap'] === '', 'user namespaces are not offered'],
    ['selinux-enabled', !config['selinux-enabled'], 'SELinux labels are not offered'],
    [
      'authorization-plugins',
      config['authorization-plugins'].length === 0,
      'plugins are not offered',
    ],
    ['metrics-addr', config['metrics-addr'] === '', 'metrics are not offered'],
    ['bridge-accept-fwmark', config['bridge-accept-fwmark'] === '', 'marks are not looked at'],
    [
      'no-new-privileges',
      !config['no-new-privileges'],
      'give --security-opt no-new-privileges to each container',
    ],
    [
      'seccomp-profile',
      config['seccomp-profile'] === '',
      'give --security-opt seccomp=FILE to each container',
    ],
  ]
  return rows.flatMap(([key, fine, sentence]) => (fine ? [] : [[key, sentence] as const]))
}
