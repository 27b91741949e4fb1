/**
 * The daemon's configuration: flags and daemon.json together, refused with dockerd's sentences
 * when a key is unknown, given twice, of the wrong kind, or asks for what this engine cannot do.
 */
import { readFileSync } from 'node:fs'
import { isAbsolute, resolve } from 'node:path'
import { errorCode } from '../base/error-code.ts'
import { parsePoolSources } from '../address/pools.ts'
import { parsePrefix } from '../address/prefix.ts'
import { parseAddress } from '../api/listen.ts'
import { messageOf, Refusal, wrap } from '../base/refusal.ts'
import { checkLogOptions } from '../containers/defaults.ts'
import { checkExecOptions } from './cgroup-driver.ts'
import { checkIp, isRecord } from './option.ts'
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
    const absent = errorCode(error) === 'ENOENT'
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
  checkExecOptions(config)
  checkValues(config)
  for (const [key, sentence] of notOffered(config)) {
    throw new Refusal('invalid', `${key}: ${sentence}`)
  }
  checkLogs(config)
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

function checkLogs(config: Config): void {
  const driver = config['log-driver']
  try {
    if (driver !== '') checkLogOptions(driver, config['log-opts'])
  } catch (error) {
    throw wrap('failed to set log opts: ', error)
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

/** Values that only their user would stumble over, later: in `--validate`, too. */
function checkValues(config: Config): void {
  const refuse = (sentence: string) => new Refusal('invalid', sentence)
  for (const [key, what, min] of [
    ['max-concurrent-downloads', 'max concurrent downloads', 1],
    ['max-concurrent-uploads', 'max concurrent uploads', 1],
    ['max-download-attempts', 'max download attempts', 1],
    ['network-control-plane-mtu', 'network control plane MTU', 0],
  ] as const) {
    if (config[key] < min) throw refuse(`invalid ${what}: ${config[key]}`)
  }
  for (const host of config.hosts) parseAddress(host, config.tls || config.tlsverify)
  for (const mirror of config['registry-mirrors']) checkMirror(mirror)
  for (const key of ['bip', 'bip6', 'fixed-cidr', 'fixed-cidr-v6'] as const) {
    if (config[key] !== '' && parsePrefix(config[key]) === undefined) {
      throw refuse(`${key}: invalid CIDR address: ${config[key]}`)
    }
  }
  for (const key of ['default-gateway', 'default-gateway-v6'] as const) {
    if (config[key] !== '') checkIp(config[key])
  }
  const { 'default-ipc-mode': ipc, 'default-cgroupns-mode': cgroupns } = config
  if (ipc !== 'private' && ipc !== 'shareable') {
    throw refuse(`IPC mode "${ipc}" is not supported as default IPC mode`)
  }
  if (!['', 'private', 'host'].includes(cgroupns)) {
    throw refuse(`default cgroup namespace mode (${cgroupns}) is invalid; use "host" or "private"`)
  }
}

function checkMirror(text: string): void {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const refuse = (why: string) => new Refusal('invalid', `invalid mirror: ${why}`)
  if (url === undefined) throw refuse(`${JSON.stringify(text)} is not a valid URI`)
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw refuse(
      `no scheme specified for ${JSON.stringify(text)}: must use either 'https://' or 'http://'`,
    )
  }
  if (url.username !== '') throw refuse(`username/password not allowed in URI "${text}"`)
}

/** Options that were given and that nothing here looks at: said at every start, and in /info. */
export function withoutEffect(config: Config): readonly OptionKey[] {
  return optionRows
    .filter(([key, { noEffect }]) => noEffect === true && config.isGiven(key))
    .map(([key]) => key)
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
      ['json-file', 'local', 'none'].includes(config['log-driver']),
      `no log driver named '${config['log-driver']}' is registered (json-file, local, none are)`,
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
    ['network-diagnostic-port', config['network-diagnostic-port'] === 0, 'it is not offered'],
    [
      'runtimes',
      Object.keys(config.runtimes).every((name) => name === 'runc'),
      'runc is all there is',
    ],
    [
      'storage-opts',
      config['storage-opts'].every((option) => /^overlay2\.override_kernel_check=/.test(option)),
      `unknown option ${config['storage-opts'].join(', ')}`,
    ],
  ]
  return rows.flatMap(([key, fine, sentence]) => (fine ? [] : [[key, sentence] as const]))
}
