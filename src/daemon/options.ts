/**
 * Every option of the daemon: dockerd's own, by its key in daemon.json, and a few of ours. What an
 * option does is in its help; one that is taken but does nothing here says so (`noEffect`), and
 * one that would change what the engine does and cannot be honoured is refused in `config.ts`.
 */
import { newestVersion, oldestVersion, toApiVersion } from '../api/version.ts'
import { Refusal } from '../base/refusal.ts'
import { parseBytes } from './bytes.ts'
import {
  bool,
  checkIp,
  checkLabel,
  custom,
  int,
  isRecord,
  list,
  map,
  split,
  string,
  stringMap,
  type Option,
} from './option.ts'

export interface AddressPool {
  readonly base: string
  readonly size: number
}
export interface Ulimit {
  readonly Name: string
  readonly Hard: number
  readonly Soft: number
}
type DriverOptions = Readonly<Record<string, Readonly<Record<string, string>>>>

const noEffect = { noEffect: true }

const addressPools = custom<readonly AddressPool[]>(
  [],
  'pool-options',
  'Default address pools for networks (base=CIDR,size=BITS)',
  { flag: 'default-address-pool' },
  {
    fromText: (text, before = []) => [...before, parsePool(text)],
    fromJson(value) {
      if (!Array.isArray(value))
        throw new Refusal('invalid', 'default-address-pools must be a list')
      return value.map((pool: unknown) => {
        const { base, size } = isRecord(pool) ? pool : {}
        if (typeof base !== 'string' || typeof size !== 'number') {
          throw new Refusal(
            'invalid',
            'default-address-pools: each needs a base (text) and a size (number)',
          )
        }
        return { base, size }
      })
    },
  },
)

function parsePool(text: string): AddressPool {
  const fields = new Map(
    text.split(',').map((field) => {
      if (!field.includes('='))
        throw new Refusal('invalid', `invalid field '${field}' must be a key=value pair`)
      return split(field, '=')
    }),
  )
  for (const key of fields.keys()) {
    if (key !== 'base' && key !== 'size')
      throw new Refusal('invalid', `unexpected key '${key}' in '${text}'`)
  }
  const size = fields.get('size') ?? ''
  if (!/^\d+$/.test(size)) {
    throw new Refusal(
      'invalid',
      `invalid size value: "${size}" (must be integer): ` +
        `strconv.Atoi: parsing "${size}": invalid syntax`,
    )
  }
  return { base: fields.get('base') ?? '', size: Number(size) }
}

const networkOptions = custom<DriverOptions>(
  {},
  'driver=opt=value',
  'Default options of new networks, per driver',
  { flag: 'default-network-opt' },
  {
    fromText(text, before = {}) {
      const [driver, option] = split(text, '=')
      const [key, value] = split(option, '=')
      if (key === '')
        throw new Refusal('invalid', `invalid field "${text}" must be driver=option=value`)
      return { ...before, [driver]: { ...before[driver], [key]: value } }
    },
    fromJson(value) {
      if (!isRecord(value)) throw new Refusal('invalid', 'default-network-opts must be an object')
      return Object.fromEntries(
        Object.entries(value).map(([driver, set]) => [driver, stringMap(set)]),
      )
    },
  },
)

const ulimits = custom<readonly Ulimit[]>(
  [],
  'ulimit',
  'Default ulimits for containers (name=soft[:hard])',
  { flag: 'default-ulimit' },
  {
    fromText: (text, before = []) => [...before, parseUlimit(text)],
    fromJson(value) {
      if (!isRecord(value)) throw new Refusal('invalid', 'default-ulimits must be an object')
      return Object.entries(value).map(([name, limit]) => {
        const { Soft, Hard } = isRecord(limit) ? limit : {}
        if (typeof Soft !== 'number' || typeof Hard !== 'number') {
          throw new Refusal('invalid', `default-ulimits: ${name} needs numbers Soft and Hard`)
        }
        return { Name: name, Soft, Hard }
      })
    },
  },
)

function parseUlimit(text: string): Ulimit {
  const match = /^([a-z]+)=(-?\d+)(?::(-?\d+))?$/.exec(text)
  if (match === null) throw new Refusal('invalid', `invalid ulimit argument: ${text}`)
  const soft = Number(match[2])
  return {
    Name: match[1] ?? '',
    Soft: soft,
    Hard: match[3] === undefined ? soft : Number(match[3]),
  }
}

/** An object whose content only dockerd knows. */
const object = (help: string, extra = noEffect): Option<Readonly<Record<string, unknown>>> =>
  custom(
    {},
    'object',
    help,
    { only: 'file', ...extra },
    {
      fromText: (_text, before = {}) => before,
      fromJson(value) {
        if (!isRecord(value)) throw new Refusal('invalid', 'must be an object')
        return value
      },
    },
  )

const proxyNames = ['http-proxy', 'https-proxy', 'no-proxy']
const proxies = custom<Readonly<Record<string, string>>>(
  {},
  'object',
  'Proxies for pulls and pushes: http-proxy, https-proxy, no-proxy',
  { only: 'file' },
  {
    fromText: (_text, before = {}) => before,
    fromJson(value) {
      const given = stringMap(value)
      const unknown = Object.keys(given).filter((name) => !proxyNames.includes(name))
      if (unknown.length === 0) return given
      const why = "the following directives don't match any configuration option"
      throw new Refusal('invalid', `${why}: ${unknown.join(', ')}`)
    },
  },
)

const paths = {
  'config-file': string('/etc/portolan/daemon.json', 'Daemon configuration file', { only: 'flag' }),
  hosts: list('Daemon sockets to listen on: unix://PATH, tcp://HOST:PORT, fd://', {
    flag: 'host',
    short: 'H',
  }),
  group: string('docker', 'Group that may open the unix socket', { short: 'G' }),
  'data-root': string('/var/lib/portolan', 'Folder of images, volumes and state', { short: 'g' }),
  'exec-root': string('/run/portolan', 'Folder of sockets, pid files and network namespaces'),
  pidfile: string('/run/portolan/portolan.pid', 'File for the process id of the daemon', {
    short: 'p',
  }),
  containerd: string('', 'Socket of a containerd that runs already (default: our own)'),
  'containerd-namespace': string('portolan', 'Namespace of our containers in containerd'),
  'containerd-plugins-namespace': string('', 'Namespace of plugins in containerd', noEffect),
}

const process = {
  debug: bool(false, 'Enable debug messages', { short: 'D' }),
  'log-level': string(
    'info',
    'Set the logging level (debug, info, warn, error, fatal)',
    { short: 'l' },
    checkLevel,
  ),
  'log-format': string('text', 'Format of log lines: text or json', {}, checkLogFormat),
  'raw-logs': bool(false, 'Log lines without colours (they never have any)'),
  validate: bool(false, 'Check the configuration and exit', { only: 'flag' }),
  teardown: bool(false, 'Stop the containers, take everything of ours out of the kernel, exit', {
    only: 'flag',
  }),
  'live-restore': bool(false, 'Leave containers running when the daemon ends'),
  'shutdown-timeout': int(15, 'Seconds that containers have to stop at shutdown'),
  experimental: bool(false, 'Say that experimental features are on'),
  labels: list('Key=value labels of the daemon', { flag: 'label' }, checkLabel),
  features: object('Features to switch'),
  builder: object('Settings of the builder'),
  proxies,
  'max-concurrent-downloads': int(3, 'Layers that one pull downloads at a time'),
  'max-concurrent-uploads': int(5, 'Layers that one push uploads at a time'),
  'max-download-attempts': int(5, 'Attempts per layer'),
  'oom-score-adjust': int(0, 'OOM score of the daemon', {}, checkOomScore),
  'metrics-addr': string('', 'Address of the metrics endpoint'),
  'authorization-plugins': list('Authorization plugins', { flag: 'authorization-plugin' }),
  'min-api-version': string('', 'Lowest API version', { only: 'file' }, checkMinVersion),
  'allow-nondistributable-artifacts': list('Registries to push foreign layers to', noEffect),
}

function checkLogFormat(text: string): void {
  if (text !== 'text' && text !== 'json') {
    throw new Refusal('invalid', `invalid log format: ${text}`)
  }
}

function checkOomScore(value: number): void {
  if (value < -1000 || value > 1000) {
    throw new Refusal('invalid', `invalid oom-score-adjust: ${value}: use -1000 to 1000`)
  }
}

function checkMinVersion(text: string): void {
  if (!/^\d+\.\d+$/.test(text)) {
    throw new Refusal('invalid', `API version must be provided as 1.44: ${text}`)
  }
  const version = toApiVersion(text)
  if (version < toApiVersion(oldestVersion)) {
    throw new Refusal('invalid', `minimum supported API version is ${oldestVersion}: ${text}`)
  }
  if (version > toApiVersion(newestVersion)) {
    throw new Refusal('invalid', `maximum supported API version is ${newestVersion}: ${text}`)
  }
}

function checkLevel(text: string): void {
  if (!['debug', 'info', 'warn', 'warning', 'error', 'fatal', 'panic', 'trace'].includes(text)) {
    throw new Refusal('invalid', `invalid logging level: ${text}`)
  }
}

const tls = {
  tls: bool(false, 'Use TLS; implied by --tlsverify'),
  tlsverify: bool(false, 'Use TLS and ask clients for a certificate of --tlscacert'),
  tlscacert: string('', 'Trust only client certificates signed by this CA'),
  tlscert: string('', 'Path to the TLS certificate'),
  tlskey: string('', 'Path to the TLS key'),
}

const networks = {
  bridge: string('', 'Attach containers to this bridge; none disables', { short: 'b' }),
  bip: string('', 'Address and prefix length of the default bridge'),
  bip6: string('', 'IPv6 address of the default bridge'),
  'fixed-cidr': string('', 'Range of IPv4 addresses on the default bridge'),
  'fixed-cidr-v6': string('', 'Range of IPv6 addresses on the default bridge'),
  'default-gateway': string('', 'Default gateway of containers on the default bridge'),
  'default-gateway-v6': string('', 'IPv6 gateway of containers on the default bridge'),
  mtu: int(1500, 'MTU of the default bridge', {}, checkMtu),
  icc: bool(true, 'Containers of the default bridge may reach each other'),
  ip: string('0.0.0.0', 'Host address of published ports that name none', {}, checkIp),
  ipv6: bool(false, 'IPv6 on the default bridge'),
  iptables: bool(true, 'Write firewall rules'),
  ip6tables: bool(true, 'Write IPv6 firewall rules'),
  'ip-forward': bool(true, 'Switch on forwarding in the kernel'),
  'ip-forward-no-drop': bool(false, 'Leave the policy of the FORWARD chain alone'),
  'ip-masq': bool(true, 'Masquerade what leaves the default bridge'),
  'userland-proxy': bool(true, 'Relay what translation does not take'),
  'userland-proxy-path': string('', 'Path of docker-proxy (the keeper relays)', noEffect),
  'allow-direct-routing': bool(false, 'Other hosts may reach container addresses directly'),
  'bridge-accept-fwmark': string('', 'Accept forwarded packets with this mark'),
  'firewall-backend': string('', 'iptables or nftables (default: iptables)', {}, checkBackend),
  'default-address-pools': addressPools,
  'default-network-opts': networkOptions,
  'host-gateway-ips': list(
    'What host-gateway in --add-host stands for',
    { flag: 'host-gateway-ip' },
    checkIp,
  ),
  dns: list('DNS servers', {}, checkIp),
  'dns-opts': list('DNS options', { flag: 'dns-opt' }),
  'dns-search': list('DNS search domains'),
  'network-control-plane-mtu': int(1500, 'MTU between managers of a swarm', noEffect),
  'network-diagnostic-port': int(0, 'Port of network diagnostics'),
  'swarm-default-advertise-addr': string('', 'Address that swarm advertises', noEffect),
  'default-bridge-name': string('docker0', 'Name of the default bridge that the daemon makes'),
  'firewall-shared-chains': bool(
    false,
    'Another engine has chains of the same names: mark every rule of ours',
  ),
}

function checkMtu(value: number): void {
  if (value < 0) throw new Refusal('invalid', `invalid default MTU: ${value}`)
}

function checkBackend(text: string): void {
  if (!['', 'iptables', 'nftables'].includes(text)) {
    throw new Refusal('invalid', `invalid firewall-backend "${text}"`)
  }
}

const containers = {
  'storage-driver': string('', 'Storage driver: overlay2', { short: 's' }),
  'storage-opts': list('Storage driver options', { flag: 'storage-opt' }),
  'log-driver': string('json-file', 'Log driver of containers that name none: json-file, local, none'),
  'log-opts': map('Log options of containers that name none', { flag: 'log-opt' }),
  'cgroup-parent': string('', 'Parent cgroup of all containers'),
  'default-cgroupns-mode': string('', 'cgroup namespace of containers: host or private'),
  'default-ipc-mode': string('private', 'IPC namespace of containers: shareable or private'),
  'default-shm-size': string('64M', 'Size of /dev/shm', {}, parseBytes),
  'default-ulimits': ulimits,
  'default-runtime': string('runc', 'OCI runtime of containers'),
  runtimes: object('Further OCI runtimes', { noEffect: false }),
  'exec-opts': list('Options of the runtime (native.cgroupdriver=systemd or cgroupfs)', { flag: 'exec-opt' }),
  init: bool(false, 'Run an init in every container'),
  'init-path': string('', 'Path of the init binary'),
  'no-new-privileges': bool(false, 'Set no-new-privileges for new containers'),
  'seccomp-profile': string('', 'Path of a seccomp profile, builtin or unconfined'),
  'selinux-enabled': bool(false, 'SELinux labels'),
  'userns-remap': string('', 'User namespaces for containers'),
  'insecure-registries': list('Registries without TLS or with unknown certificates', {
    flag: 'insecure-registry',
  }),
  'registry-mirrors': list('Mirrors to pull from first', {
    flag: 'registry-mirror',
  }),
}

export const options = { ...paths, ...process, ...tls, ...networks, ...containers }

export type OptionKey = keyof typeof options
type ValueOf<O> = O extends Option<infer T> ? T : never
/** The value of every option, given or default. */
export type Values = { readonly [K in OptionKey]: ValueOf<(typeof options)[K]> }

/** The table as rows, for code that treats all options alike. */
export const optionRows: readonly (readonly [OptionKey, Option<unknown>])[] = Object.entries(
  options,
).map(([key, option]) => [toKey(key), option])

function toKey(key: string): OptionKey {
  if (!isOptionKey(key)) throw new Error(`${key} is no option`)
  return key
}

/** Whether the configuration file may have this key. */
export function isOptionKey(key: string): key is OptionKey {
  return Object.hasOwn(options, key)
}
