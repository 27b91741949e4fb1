/**
 * What a container can be created with, option by option: each value is the part of the create
 * body that it stands for. The first value of each option leaves it out.
 */

export type Part = Readonly<Record<string, unknown>>

const host = (part: Part): Part => ({ HostConfig: part })
const hosts = (key: string, ...values: readonly unknown[]): readonly Part[] =>
  [{}, ...values.map((value) => host({ [key]: value }))]
const config = (key: string, ...values: readonly unknown[]): readonly Part[] =>
  [{}, ...values.map((value) => ({ [key]: value }))]
const endpoint = (settings: Part): Part =>
  ({ HostConfig: { NetworkMode: 'net1' }, NetworkingConfig: { EndpointsConfig: { net1: settings } } })

/** Options that concern how the container is reached. */
export const networkOptions: Readonly<Record<string, readonly Part[]>> = {
  hostname: config('Hostname', 'box', 'box.corp.test'),
  domainname: config('Domainname', 'corp.test'),
  exposed: config('ExposedPorts', { '80/tcp': {} }, { '53/udp': {}, '8000/tcp': {} }, {}),
  published: [
    {}, host({ PortBindings: {} }),
    host({ PortBindings: { '80/tcp': [{ HostIp: '', HostPort: '18080' }] } }),
    host({ PortBindings: { '53/udp': [{ HostIp: '127.0.0.1', HostPort: '15353' }] } }),
    host({ PortBindings: { '81/tcp': [{ HostIp: '0.0.0.0', HostPort: '18081' },
      { HostIp: '127.0.0.1', HostPort: '18082' }] } }),
    host({ PortBindings: { '90/tcp': null } }),
    host({ PortBindings: { '91/tcp': [] } }),
  ],
  network: [
    {}, host({ NetworkMode: 'bridge' }), host({ NetworkMode: 'default' }), host({ NetworkMode: 'net1' }),
    endpoint({}), endpoint({ Aliases: ['db', 'store'] }),
    endpoint({ IPAMConfig: { IPv4Address: '10.61.0.77' } }),
    endpoint({ IPAMConfig: {}, Links: ['other:peer'], DriverOpts: { a: 'b' } }),
  ],
  mac: config('MacAddress', '02:42:aa:bb:cc:dd'),
  dns: hosts('Dns', [], ['9.9.9.9', '8.8.8.8']),
  dnsSearch: hosts('DnsSearch', ['.'], ['a.test', 'b.test']),
  dnsOptions: hosts('DnsOptions', ['ndots:3'], []),
  extraHosts: hosts('ExtraHosts', ['a:1.2.3.4', 'b:fd00::1'], ['gate:host-gateway'], []),
  sysctls: hosts('Sysctls', { 'net.ipv4.ip_forward': '0', 'net.core.somaxconn': '77' }),
}

/** Options of the process and its root. */
export const processOptions: Readonly<Record<string, readonly Part[]>> = {
  user: config('User', 'root', '33', 'nobody:nogroup', ''),
  env: config('Env', ['A=b', 'C='], [], ['A=b', 'A=c', 'PATH=/bin']),
  cmd: config('Cmd', ['sleep', '600'], 'sleep', [], null),
  entrypoint: config('Entrypoint', ['sleep'], 'sleep', [''], []),
  workdir: config('WorkingDir', '/tmp', '/made/here', ''),
  labels: config('Labels', { a: 'b', 'c.d': '' }, {}),
  streams: [
    {}, { Tty: true }, { OpenStdin: true }, { OpenStdin: true, StdinOnce: true, AttachStdin: true },
    { AttachStdout: true, AttachStderr: true }, { Tty: true, OpenStdin: true, AttachStdin: true },
  ],
  health: config('Healthcheck',
    { Test: ['CMD', 'true'], Interval: 1e9, Timeout: 2e9, Retries: 3, StartPeriod: 1e9 },
    { Test: ['NONE'] }, { Test: ['CMD-SHELL', 'exit 0'] }, {}),
  stopSignal: config('StopSignal', 'SIGKILL', '9', 'TERM'),
  stopTimeout: config('StopTimeout', 3, 0),
  volumes: config('Volumes', { '/data': {} }, {}),
  init: hosts('Init', false),
  image: [{}, { Image: 'busybox:latest' }],
  shell: config('Shell', ['/bin/sh', '-c']),
}

/** Options of the host's side. */
export const hostOptions: Readonly<Record<string, readonly Part[]>> = {
  restart: hosts('RestartPolicy', { Name: 'no' }, { Name: 'always' }, { Name: 'unless-stopped' },
    { Name: 'on-failure', MaximumRetryCount: 3 }, {}, { Name: 'on-failure' }),
  capAdd: hosts('CapAdd', ['NET_ADMIN'], ['cap_sys_admin', 'ALL'], []),
  capDrop: hosts('CapDrop', ['ALL'], ['NET_RAW', 'chown']),
  binds: hosts('Binds', ['{{root}}/dir:/mnt'], ['{{root}}/dir:/mnt:ro', 'vol1:/vol'],
    ['vol2:/vol:ro,nocopy'], ['{{root}}/made:/made'], []),
  mounts: hosts('Mounts',
    [{ Type: 'bind', Source: '{{root}}/dir', Target: '/b', ReadOnly: true }],
    [{ Type: 'volume', Source: 'vol3', Target: '/v', VolumeOptions: { NoCopy: true, Labels: { a: 'b' } } }],
    [{ Type: 'tmpfs', Target: '/t', TmpfsOptions: { SizeBytes: 1048576, Mode: 1023 } }],
    [{ Type: 'volume', Target: '/anon' }], []),
  tmpfs: hosts('Tmpfs', { '/scratch': 'size=1m', '/other': '' }, {}),
  ulimits: hosts('Ulimits', [{ Name: 'nofile', Soft: 1000, Hard: 2000 }], []),
  memory: [{}, host({ Memory: 67108864 }), host({ Memory: 67108864, MemorySwap: 134217728 }),
    host({ Memory: 67108864, MemoryReservation: 33554432, MemorySwappiness: 10 })],
  cpu: [{}, host({ NanoCpus: 500000000 }), host({ CpuShares: 512 }),
    host({ CpuPeriod: 50000, CpuQuota: 25000 }), host({ CpusetCpus: '0' })],
  pids: hosts('PidsLimit', 50, 0, -1),
  logs: hosts('LogConfig', { Type: 'json-file', Config: { 'max-size': '1m', 'max-file': '2' } },
    { Type: 'none' }, { Type: '', Config: {} }, { Type: 'json-file' }),
  readonly: hosts('ReadonlyRootfs', true),
  privileged: hosts('Privileged', true),
  security: hosts('SecurityOpt', ['no-new-privileges'], ['seccomp=unconfined'],
    ['label=disable', 'no-new-privileges:true'], []),
  shm: hosts('ShmSize', 1048576, 0),
  pid: hosts('PidMode', 'host', ''),
  ipc: hosts('IpcMode', 'private', 'shareable', 'host', 'none'),
  uts: hosts('UTSMode', 'host'),
  groupAdd: hosts('GroupAdd', ['audio', '33']),
  oomScore: hosts('OomScoreAdj', 100),
  oomKill: hosts('OomKillDisable', false),
  devices: hosts('Devices',
    [{ PathOnHost: '/dev/null', PathInContainer: '/dev/nothing', CgroupPermissions: 'rwm' }], []),
  publishAll: hosts('PublishAllPorts', true),
  autoRemove: hosts('AutoRemove', false),
  cgroupParent: hosts('CgroupParent', '/parity'),
  blkio: hosts('BlkioWeight', 0),
  cgroupns: hosts('CgroupnsMode', 'host', 'private'),
  console: hosts('ConsoleSize', [24, 80]),
  volumeDriver: hosts('VolumeDriver', 'local'),
  runtime: hosts('Runtime', 'runc', ''),
  masked: hosts('MaskedPaths', ['/proc/kcore'], []),
}

/** One create body out of several parts, deep. */
export function merged(parts: Iterable<Part>): Part {
  const result: Record<string, unknown> = {}
  for (const part of parts) {
    for (const [key, value] of Object.entries(part)) {
      const old = result[key]
      const deep = ['HostConfig', 'NetworkingConfig'].includes(key)
      result[key] = deep && isPart(old) && isPart(value) ? merged([old, value]) : value
    }
  }
  return result
}

function isPart(value: unknown): value is Part {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
