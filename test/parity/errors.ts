/**
 * What cannot be done: status and sentence of every refusal, and that nothing changed by it.
 *
 * Left out are unknown drivers (network, volume, log) and unknown conditions of wait, for which
 * 20.10 waits a quarter of a minute.
 */
import { names } from './networks.ts'
import type { Panel } from './panel.ts'

type Case = readonly [method: string, path: string, body?: unknown, headers?: Record<string, string>]

const create = (body: object, name = ''): Case =>
  ['POST', `/containers/create?name=${encodeURIComponent(name)}`, { Image: 'busybox', ...body }]
const host = (part: object): Case => create({ HostConfig: part })
const ports = (bindings: object): Case => host({ PortBindings: bindings })
const network = (body: object): Case => ['POST', '/networks/create', { Name: 'bad', ...body }]
/** Each in addresses of its own: after a refusal, 20.10 keeps the pool. */
let poolCount = 80
const pool = (...config: object[]): Case => {
  const own = JSON.stringify(config).replaceAll('10.3.', `10.${++poolCount}.`)
  return network({ IPAM: { Config: JSON.parse(own) } })
}
const driverOption = (name: string, value: string): Case => network({ Options: { [name]: value } })
const connect = (name: string, body: object): Case => ['POST', `/networks/${name}/connect`, body]
const endpoint = (ipam: object, more: object = {}): object =>
  ({ Container: 'err', EndpointConfig: { IPAMConfig: ipam, ...more } })
const update = (body: object): Case => ['POST', '/containers/err/update', body]
const mount = (part: object): Case => host({ Mounts: [part] })

const containerCases: readonly Case[] = [
  ...['a/b', '..', 'x;id', 'x', 'ä', ' ', 'ok name', '-a', '/err', 'err', '/'].map((name) => create({}, name)),
  create({ Image: 'nope:1' }), create({ Image: '' }), create({ Image: 'Bad Image' }),
  create({ Image: 'sha256:1234' }), ['POST', '/containers/create', {}],
  ['POST', '/containers/create', '{"Image":'], ['POST', '/containers/create', ''],
  ['POST', '/containers/create', { Image: 5 }], ['POST', '/containers/create', { Image: 'busybox', Env: 'x' }],
  ['POST', '/containers/create', { Image: 'busybox', HostConfig: { Memory: 'x' } }],
  ['POST', '/containers/create', { Image: 'busybox' }, { 'Content-Type': 'text/plain' }],
  ['POST', '/containers/create', '{"Image":"busybox"}{}'],
  ports({ '80/tcp': [{ HostPort: '65536' }] }), ports({ '80/tcp': [{ HostPort: 'zz' }] }),
  ports({ '80/tcp': [{ HostPort: '90-80' }] }), ports({ 'zz/tcp': [{ HostPort: '80' }] }),
  ports({ '80/zz': [{ HostPort: '80' }] }), ports({ '80/tcp': [{ HostIp: 'zz' }] }),
  ports({ '70000/tcp': [] }), ports({ '': [{}] }),
  host({ NetworkMode: 'host', Links: ['err:h'] }),
  host({ NetworkMode: 'container:err', PortBindings: { '80/tcp': [{ HostPort: '80' }] } }),
  host({ NetworkMode: 'container:err', PublishAllPorts: true }),
  host({ NetworkMode: 'container:err', Dns: ['1.1.1.1'] }),
  host({ NetworkMode: 'container:err', ExtraHosts: ['a:1.1.1.1'] }),
  host({ NetworkMode: 'container:err', Links: ['err:x'] }),
  create({ Hostname: 'x', HostConfig: { NetworkMode: 'container:err' } }),
  create({ ExposedPorts: { '80/tcp': {} }, HostConfig: { NetworkMode: 'container:err' } }),
  host({ NetworkMode: 'container:' }), host({ NetworkMode: 'container:nope' }),
  host({ Links: ['nope:x'] }), host({ Links: ['err'] }), host({ Links: [':'] }),
  host({ ExtraHosts: ['zz'] }), host({ ExtraHosts: ['a:zz'] }),
  host({ RestartPolicy: { Name: 'zz' } }), host({ RestartPolicy: { Name: 'no', MaximumRetryCount: 3 } }),
  host({ RestartPolicy: { Name: 'on-failure', MaximumRetryCount: -1 } }),
  host({ RestartPolicy: { Name: 'always' }, AutoRemove: true }),
  host({ Memory: 1000 }), host({ Memory: 8e6, MemorySwap: 7e6 }), host({ MemorySwap: 8e6 }),
  host({ Memory: 8e6, MemoryReservation: 9e6 }), host({ MemoryReservation: 1000 }),
  host({ MemorySwappiness: 101 }), host({ NanoCpus: 1e12 }), host({ NanoCpus: -1 }),
  host({ NanoCpus: 1e9, CpuPeriod: 100000 }), host({ NanoCpus: 1e9, CpuQuota: 1000 }),
  host({ CpuPeriod: 5 }), host({ CpuQuota: 5 }), host({ CpuShares: -1 }), host({ CpusetCpus: 'zz' }),
  host({ CpusetCpus: '999' }), host({ CpusetMems: 'zz' }), host({ BlkioWeight: 5 }),
  host({ ShmSize: -1 }), host({ OomScoreAdj: 5000 }), host({ CpuRealtimePeriod: 5 }),
  host({ Binds: ['zz'] }), host({ Binds: ['a:b'] }), host({ Binds: ['/a:/b:zz'] }),
  host({ Binds: ['/a:/b:ro,rw'] }), host({ Binds: ['/a:/'] }), host({ Binds: ['/a:/b:/c:/d'] }),
  host({ Binds: ['/:/host:rprivate'] }), host({ Binds: ['/tmp:/host:slave'] }),
  mount({ Type: 'bind', Source: '/', Target: '/a', BindOptions: { Propagation: 'rprivate' } }),
  host({ Binds: ['/a:/b', '/c:/b'] }), host({ Binds: [':/b'] }), host({ Binds: ['.:/b'] }),
  host({ Binds: ['bad name:/b'] }), host({ Binds: ['x:/b'] }),
  mount({ Type: 'zz', Target: '/a' }), mount({ Type: 'bind', Source: 'rel', Target: '/a' }),
  mount({ Type: 'bind', Source: '/nonexistent', Target: '/a' }), mount({ Type: 'bind', Source: '/tmp' }),
  mount({ Type: 'bind', Source: '', Target: '/a' }), mount({ Type: 'tmpfs', Source: 'x', Target: '/a' }),
  mount({ Type: 'volume', Source: '/abs', Target: '/a' }), mount({ Type: 'tmpfs', Target: '' }),
  mount({ Type: 'volume', Source: 'v', Target: 'rel' }), mount({ Type: 'volume', Target: '/' }),
  mount({ Type: 'tmpfs', Target: '/a', TmpfsOptions: { SizeBytes: -1 } }),
  mount({ Type: 'bind', Source: '/tmp', Target: '/a', BindOptions: { Propagation: 'zz' } }),
  host({ Tmpfs: { '/t': 'zz' } }), host({ Tmpfs: { rel: '' } }), host({ VolumesFrom: ['nope'] }),
  host({ VolumesFrom: ['err:zz'] }), host({ VolumesFrom: [''] }),
  host({ CapAdd: ['ZZ'] }), host({ CapDrop: ['CAP_ZZ'] }), host({ SecurityOpt: ['zz'] }),
  host({ SecurityOpt: ['seccomp=/nonexistent'] }), host({ SecurityOpt: ['no-new-privileges=zz'] }),
  host({ LogConfig: { Type: 'json-file', Config: { zz: '1' } } }),
  host({ LogConfig: { Type: 'json-file', Config: { 'max-size': 'zz' } } }),
  host({ LogConfig: { Type: 'json-file', Config: { 'max-file': 'zz' } } }),
  host({ LogConfig: { Type: 'json-file', Config: { 'max-file': '0' } } }),
  host({ LogConfig: { Type: 'json-file', Config: { mode: 'zz' } } }),
  host({ Ulimits: [{ Name: 'zz', Soft: 1, Hard: 1 }] }), host({ Ulimits: [{ Name: 'nofile', Soft: 2, Hard: 1 }] }),
  host({ PidMode: 'zz' }), host({ PidMode: 'container:nope' }), host({ PidMode: 'container:' }),
  host({ IpcMode: 'zz' }), host({ IpcMode: 'container:nope' }), host({ UTSMode: 'zz' }),
  host({ UsernsMode: 'zz' }), host({ CgroupnsMode: 'zz' }), host({ Isolation: 'zz' }),
  host({ Runtime: 'kata' }), host({ CgroupParent: 'zz.slice' }), host({ CgroupParent: '/a/../..' }),
  create({ Hostname: 'x', HostConfig: { UTSMode: 'host' } }), host({ StorageOpt: { zz: '1' } }),
  host({ Devices: [{ PathOnHost: '/dev/nope' }] }),
  host({ DeviceCgroupRules: ['zz'] }), host({ DeviceRequests: [{ Driver: 'nvidia' }] }),
  host({ Sysctls: { 'zz.zz': '1' } }), host({ NetworkMode: 'host', Sysctls: { 'net.core.somaxconn': '9' } }),
  create({ Healthcheck: { Test: ['ZZ'] } }), create({ Healthcheck: { Test: ['CMD'], Interval: 5 } }),
  create({ Healthcheck: { Test: ['CMD', 'x'], Timeout: -1 } }), create({ Healthcheck: { Test: ['CMD', 'x'], Retries: -1 } }),
  create({ StopSignal: 'SIGZZ' }), create({ StopTimeout: -5 }), create({ WorkingDir: 'rel' }),
  create({ MacAddress: 'zz' }), create({ Env: ['=x'] }), create({ Env: [''] }), create({ User: 'nobodyhere' }),
  create({ Volumes: { '/': {} } }), create({ Volumes: { rel: {} } }), create({ ExposedPorts: { zz: {} } }),
  create({ Cmd: [''], Entrypoint: [''] }), create({ Domainname: 'bad domain!' }), create({ Hostname: '-bad' }),
  host({ NetworkMode: 'nosuchnet' }),
  create({ NetworkingConfig: { EndpointsConfig: { x: {}, y: {} } } }),
  create({ NetworkingConfig: { EndpointsConfig: { bridge: { Aliases: ['x'] } } } }),
  create({ NetworkingConfig: { EndpointsConfig: { bridge: { IPAMConfig: { IPv4Address: '172.17.0.9' } } } } }),
  create({ HostConfig: { NetworkMode: 'netc' }, NetworkingConfig: { EndpointsConfig: { netc: { IPAMConfig: { IPv4Address: 'zz' } } } } }),
  create({ HostConfig: { NetworkMode: 'netc' }, NetworkingConfig: { EndpointsConfig: { netc: { IPAMConfig: { IPv4Address: '10.9.9.9' } } } } }),
]

const networkCases: readonly Case[] = [
  ...['host', 'none', 'bridge', 'default', '', '  ', 'netc'].map((Name) => network({ Name, CheckDuplicate: true })),
  network({ Driver: 'host' }), network({ Driver: 'null' }),
  network({ Driver: 'overlay' }), network({ Scope: 'swarm' }), network({ Scope: 'zz' }), network({ Ingress: true }),
  network({ Ingress: true, Driver: 'overlay' }), network({ ConfigOnly: true, Internal: true }),
  network({ ConfigOnly: true, ConfigFrom: { Network: 'netc' } }), network({ ConfigFrom: { Network: 'netc' } }),
  network({ IPAM: { Driver: 'null' } }),
  pool({ Subnet: '10.3.0.1/24' }), pool({ Subnet: 'bogus' }), pool({ Subnet: '10.3.0.0/33' }), pool({ Gateway: '10.3.0.1' }), pool({}),
  pool({ Subnet: '10.3.0.0/24', Gateway: '10.4.0.1' }), pool({ Subnet: '10.3.0.0/24', Gateway: 'fd00::1' }),
  pool({ Subnet: '10.3.0.0/24', Gateway: 'zz' }), pool({ Subnet: '10.3.0.0/24', Gateway: '10.3.0.0' }),
  pool({ Subnet: '10.3.0.0/24', Gateway: '10.3.0.255' }), pool({ Subnet: '10.3.0.0/24', IPRange: 'yy' }),
  pool({ Subnet: '10.3.0.0/24', IPRange: '10.3.0.0/16' }), pool({ Subnet: '10.3.0.0/24', IPRange: '10.4.0.0/25' }),
  pool({ Subnet: '10.3.0.0/24', AuxiliaryAddresses: { k: 'zz' } }), pool({ Subnet: '10.3.0.0/24', AuxiliaryAddresses: { k: '10.4.0.1' } }),
  pool({ Subnet: '10.3.0.0/24', Gateway: '10.3.0.1', AuxiliaryAddresses: { k: '10.3.0.1' } }),
  pool({ Subnet: '10.65.0.0/24' }), pool({ Subnet: '10.3.0.0/24' }, { Subnet: '10.4.0.0/24' }),
  pool({ Subnet: '10.3.0.0/32' }), pool({ Subnet: '10.3.0.0/31' }), pool({ Subnet: '0.0.0.0/0' }),
  network({ EnableIPv6: true }), pool({ Subnet: 'fd00::1/64' }),
  driverOption('com.docker.network.bridge.enable_icc', 'zz'), driverOption('com.docker.network.bridge.enable_ip_masquerade', 'zz'),
  driverOption('com.docker.network.driver.mtu', 'zz'), driverOption('com.docker.network.driver.mtu', '-5'),
  driverOption('com.docker.network.bridge.host_binding_ipv4', 'zz'), driverOption('com.docker.network.bridge.name', 'a234567890123456'),
  driverOption('com.docker.network.bridge.name', 'lo'),
  ['POST', '/networks/create', { Name: 5 }], ['POST', '/networks/create', '{"Name":'], ['POST', '/networks/create', ''],
  ['POST', '/networks/create', 'x', { 'Content-Type': 'text/plain' }],
  ['GET', '/networks/nope'], ['DELETE', '/networks/nope'], ['DELETE', '/networks/bridge'], ['DELETE', '/networks/default'],
  ['DELETE', '/networks/netc'], connect('nope', { Container: 'err' }), connect('netc', { Container: 'nope' }),
  connect('netc', { Container: 'err' }), connect('host', { Container: 'err' }), connect('none', { Container: 'err' }),
  connect('netd', { Container: '' }), connect('netd', {}),
  connect('bridge', endpoint({ IPv4Address: '172.17.0.9' })), connect('bridge', endpoint({}, { Aliases: ['a'] })),
  connect('netd', endpoint({ IPv4Address: '10.9.9.9' })), connect('netd', endpoint({ IPv4Address: '10.66.0.1' })),
  connect('netd', endpoint({ IPv4Address: 'zz' })), connect('netd', endpoint({ IPv6Address: 'zz' })),
  connect('netd', endpoint({ IPv6Address: 'fd00::9' })), connect('netd', endpoint({ LinkLocalIPs: ['zz'] })),
  ['POST', '/networks/netd/disconnect', { Container: 'err' }], ['POST', '/networks/netd/disconnect', { Container: 'idle' }],
  ['POST', '/networks/nope/disconnect', { Container: 'err' }], ['POST', '/networks/netd/disconnect', { Container: 'nope' }],
  ['POST', '/networks/netd/disconnect', { Container: 'nope', Force: true }], ['POST', '/networks/host/disconnect', { Container: 'err' }],
  ['POST', '/networks/none/disconnect', { Container: 'err' }], ['POST', '/networks/netc/connect', '{'], ['POST', '/networks/netc/connect', ''],
]

const verbCases: readonly Case[] = [
  ...['json', 'logs?stdout=1', 'top', 'changes', 'stats?stream=0', 'archive?path=/', 'export'].map((verb): Case => ['GET', `/containers/nope/${verb}`]),
  ...['start', 'stop', 'kill', 'restart', 'pause', 'unpause', 'wait', 'rename?name=b', 'resize?h=1&w=1', 'update', 'attach', 'exec']
    .map((verb): Case => ['POST', `/containers/nope/${verb}`, verb === 'exec' || verb === 'update' ? { Cmd: ['x'] } : undefined]),
  ['DELETE', '/containers/nope'], ['DELETE', '/containers/err'], ['GET', '/containers/err/logs'], ['GET', '/containers/err/logs?stdout=1&tail=zz'],
  ['GET', '/containers/err/logs?stdout=1&since=zz'], ['POST', '/containers/err/kill?signal=ZZ'], ['POST', '/containers/err/kill?signal=99'],
  ['POST', '/containers/idle/kill'], ['POST', '/containers/idle/pause'], ['POST', '/containers/idle/unpause'], ['POST', '/containers/err/unpause'],
  ['POST', '/containers/idle/stop'], ['GET', '/containers/idle/top'], ['GET', '/containers/err/top?ps_args=zz'],
  ['POST', '/containers/err/rename?name='], ['POST', '/containers/err/rename?name=a%20b'], ['POST', '/containers/err/rename?name=idle'],
  ['POST', '/containers/err/rename?name=err'], ['POST', '/containers/err/resize?h=zz&w=1'],
  ['POST', '/containers/idle/resize?h=1&w=1'], ['POST', '/containers/idle/exec', { Cmd: ['x'] }], ['POST', '/containers/err/exec', {}],
  ['POST', '/containers/err/exec', { Cmd: [] }], ['POST', '/containers/err/exec', '{'], ['POST', '/exec/nope/start', {}], ['GET', '/exec/nope/json'],
  ['POST', '/exec/nope/resize?h=1&w=1'], ['POST', '/containers/err/exec', { Cmd: ['x'], DetachKeys: 'zz-y' }],
  ['GET', '/containers/err/archive?path=/nope'], ['GET', '/containers/err/archive'], ['HEAD', '/containers/err/archive?path=/nope'],
  ['PUT', '/containers/err/archive?path=/nope', ''], ['PUT', '/containers/err/archive?path=/etc/passwd', ''], ['PUT', '/containers/err/archive', ''],
['POST', '/containers/err/attach?detachKeys=zz-y&stream=1'],
  update({ Memory: 1000 }), update({ RestartPolicy: { Name: 'zz' } }), update({ CpuPeriod: 5 }), update({ CpusetCpus: '999' }), update({}), ['POST', '/containers/err/update', '{'],
  ['POST', '/containers/idle/update', { RestartPolicy: { Name: 'always' }, Memory: 8e6 }],
  ['GET', '/images/nope/json'], ['GET', '/images/nope/history'], ['DELETE', '/images/nope'], ['DELETE', '/images/busybox'], ['POST', '/images/nope/tag?repo=x'],
  ['POST', '/images/busybox/tag?repo=Bad'], ['POST', '/images/busybox/tag?repo=a&tag=b%20c'], ['POST', '/images/busybox/tag'], ['GET', '/images/nope/get'],
  ['POST', '/images/create?fromImage=Bad%20Name'], ['POST', '/images/create'], ['POST', '/commit?container=nope'], ['POST', '/commit?container=err&repo=Bad'],
  ['POST', '/commit?container=err&changes=ZZ%20x'], ['POST', '/commit'], ['GET', '/volumes/nope'], ['DELETE', '/volumes/nope'], ['POST', '/volumes/create', { Name: 'bad name' }],
  ['POST', '/volumes/create', { Name: 'a/b' }], ['POST', '/volumes/create', { Name: 'v', DriverOpts: { zz: '1' } }],
  ['POST', '/volumes/create', { Name: 'v', DriverOpts: { type: 'tmpfs' } }], ['POST', '/volumes/create', '{'], ['POST', '/volumes/create', ''],
  ['GET', '/nowhere'], ['POST', '/containers/json'], ['PUT', '/networks'], ['DELETE', '/containers'], ['GET', '/containers/create'],
  ['GET', '/events?since=zz'], ['GET', '/events?filters=zz&until=1'], ['GET', '/containers/json?filters=zz'], ['GET', '/containers/json?limit=zz'],
  ['GET', '/images/json?filters=zz'], ['GET', '/volumes?filters=zz'], ['GET', '/swarm'], ['GET', '/nodes'], ['GET', '/services'], ['GET', '/tasks'], ['GET', '/secrets'], ['GET', '/configs'],
  ['GET', '/plugins'], ['GET', '/plugins/nope/json'], ['GET', '/distribution/Bad%20Name/json'], ['POST', '/swarm/leave'],
]

export async function errorTopic(panel: Panel): Promise<void> {
  await panel.do('POST', '/networks/create', { Name: 'netc', IPAM: { Config: [{ Subnet: '10.65.0.0/16' }] } })
  await panel.do('POST', '/networks/create', { Name: 'netd', IPAM: { Config: [{ Subnet: '10.66.0.0/16' }] } })
  const body = { Image: 'busybox', Cmd: ['sleep', '600'], HostConfig: { NetworkMode: 'netc' } }
  for (const name of ['err', 'idle']) {
    await panel.ask(`create ${name}`, 'POST', `/containers/create?name=${name}`, body, { keep: name })
  }
  await panel.do('POST', '/containers/err/start')
  for (const cases of [containerCases, networkCases, verbCases]) {
    for (const [method, path, sent, headers] of cases) {
      const what = `${method} ${path} ${JSON.stringify(sent) ?? ''}`.replace('"Image":"busybox",', '')
      const known = path.includes('/create')
      await panel.ask(`error: ${what}`, method, path, sent,
        { line: true, ...(headers === undefined ? {} : { headers }), ...(known ? { keep: 'wrong' } : {}) })
      if (path.startsWith('/containers/create')) await panel.do('DELETE', '/containers/{{wrong}}?force=1&v=1')
      if (path.startsWith('/networks/create')) await panel.do('DELETE', '/networks/{{wrong}}')
      if (path.startsWith('/volumes/create')) await panel.do('POST', '/volumes/prune')
    }
  }
  await panel.ask('networks after all refusals', 'GET', '/networks', undefined, { pick: names })
  await panel.ask('containers after all refusals', 'GET', '/containers/json?all=1')
  await panel.ask('err after all refusals', 'GET', '/containers/err/json')
  for (const name of ['err', 'idle']) await panel.do('DELETE', `/containers/${name}?force=1`)
  for (const name of ['netc', 'netd']) await panel.do('DELETE', `/networks/${name}`)
  // 20.10 keeps the image of a commit whose name it refuses.
  await panel.do('POST', '/images/prune')
}
