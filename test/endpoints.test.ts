/**
 * What is said of one attachment by the stock command and the API: interface names, settings of
 * the interface, priorities; and networks whose settings come from another one.
 */
import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { dockerCliMajor, Lab } from './lab/lab.ts'

let lab: Lab

before(async () => {
  lab = await Lab.start(undefined)
  await lab.ok('network', 'create', 'net')
})

after(async () => {
  await lab.expectNoLeaks()
  await lab.stop()
})

const sysctls = 'com.docker.network.endpoint.sysctls'
const martians = 'net.ipv4.conf.eth0.log_martians'

function create(version: string, host: object, endpoint: object = {}) {
  return lab.api('POST', `/v${version}/containers/create`, {
    Image: 'busybox',
    Cmd: ['sleep', '60'],
    HostConfig: { NetworkMode: 'net', ...host },
    NetworkingConfig: { EndpointsConfig: { net: endpoint } },
  })
}

const field = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined

test('settings of eth0 move to the endpoint for older clients, newer ones are refused', async () => {
  const host = { Sysctls: { [martians]: '1', 'net.core.somaxconn': '77' } }
  const old = await create('1.47', host)
  assert.equal(old.status, 201, old.text)
  assert.deepEqual(field(old.json, 'Warnings'), [
    `Migrated sysctl "${martians}" to ` +
      `DriverOpts{"${sysctls}":"net.ipv4.conf.IFNAME.log_martians=1"}.`,
  ])
  const id = String(field(old.json, 'Id'))
  await lab.ok('start', id)
  const read = 'cat /proc/sys/net/ipv4/conf/eth0/log_martians /proc/sys/net/core/somaxconn'
  assert.equal(await lab.ok('exec', id, 'sh', '-c', read), '1\n77')
  assert.equal(await lab.ok('inspect', '-f', '{{json .HostConfig.Sysctls}}', id), '{"net.core.somaxconn":"77"}')
  const next = await create('1.48', host)
  assert.equal(next.status, 500)
  assert.equal(
    field(next.json, 'message'),
    `interface specific sysctl setting "${martians}" must be supplied using driver option '${sysctls}'`,
  )
  const eth1 = await create('1.47', { Sysctls: { 'net.ipv4.conf.eth1.log_martians': '1' } })
  assert.match(eth1.text, /unable to determine network endpoint for sysctl net\.ipv4\.conf\.eth1/)
})

/** Driver options of an endpoint; the sentence that refuses them. */
const refusals: readonly (readonly [Readonly<Record<string, string>>, string])[] = [
  [{ [sysctls]: 'zz' }, "unrecognised network interface sysctl 'zz'; represent 'net.X.Y.ethN.Z=V'" +
    " as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'"],
  [{ [sysctls]: 'net.core.conf.IFNAME.x=1' }, "unrecognised network interface sysctl 'net.core"],
  [{ [sysctls]: 'net.ipv4.conf.eth0.x=1' }, "unrecognised network interface sysctl 'net.ipv4"],
  [{ 'com.docker.network.endpoint.ifname': 'much-too-long-a-name' }, 'invalid interface name'],
  [{ 'com.docker.network.endpoint.ifname': 'a/b' }, 'invalid interface name'],
]

test('bad options of an endpoint are refused at create', async () => {
  for (const [DriverOpts, sentence] of refusals) {
    const answer = await create('1.48', {}, { DriverOpts })
    assert.equal(answer.status, 400, answer.text)
    assert.ok(String(field(answer.json, 'message')).includes(sentence), answer.text)
  }
})

test('names and settings of interfaces, in any letter case of IFNAME', async () => {
  const opt = (key: string, value: string) =>
    `"driver-opt=com.docker.network.endpoint.${key}=${value}"`
  const text = 'net.ipv4.conf.ifname.log_martians=1,net.ipv4.conf.IFNAME.forwarding=0'
  const network = ['name=net', opt('ifname', 'wan0'), opt('sysctls', text)].join(',')
  const args = ['run', '--rm', '--network', network, 'busybox', 'sh', '-c']
  const read = 'ls /sys/class/net; cat /proc/sys/net/ipv4/conf/wan0/log_martians'
  assert.equal(await lab.ok(...args, read), 'lo\nwan0\n1')
})

const olderCli = dockerCliMajor() < 28 && 'the docker command here has no such keys of --network'

test('the long form of --network says everything of an endpoint', { skip: olderCli }, async () => {
  await lab.ok('network', 'create', '--ipv6', '--subnet', '10.91.0.0/24', '--subnet', 'fd91::/64', 'long')
  const long = ['NAME=long', 'alias=x', 'alias=y', 'ip=10.91.0.9', 'ip6=fd91::9', 'link-local-ip=169.254.9.9',
    'mac-address=02:00:00:00:00:91', 'driver-opt=com.docker.network.endpoint.ifname=wan9', 'gw-priority=-3']
  await lab.ok('run', '-d', '--name', 'all', '--network', long.join(','), '--network', 'net', 'busybox', 'sleep', '60')
  const format = '{{with .NetworkSettings.Networks.long}}{{json .IPAMConfig}} {{.MacAddress}} {{json .DriverOpts}} {{.GwPriority}} {{slice .Aliases 0 2}}{{end}}'
  assert.equal(await lab.ok('inspect', '-f', format, 'all'),
    '{"IPv4Address":"10.91.0.9","IPv6Address":"fd91::9","LinkLocalIPs":["169.254.9.9"]} 02:00:00:00:00:91' +
    ' {"com.docker.network.endpoint.ifname":"wan9"} -3 [x y]')
  const seen = await lab.ok('exec', 'all', 'sh', '-c', 'ip -o addr show wan9; cat /sys/class/net/wan9/address; ip route')
  for (const part of ['10.91.0.9/24', 'fd91::9/64', '169.254.9.9/16', '02:00:00:00:00:91', 'dev eth0']) {
    assert.ok(seen.includes(part), `${part}\n${seen}`)
  }
  assert.match(seen, /default via \S+ dev eth0/)
  const connect = ['network', 'connect', '--alias', 'z', '--ip', '10.91.0.10', '--link', 'all:other', '--link-local-ip',
    '169.254.9.10', '--gw-priority', '5', '--driver-opt', 'com.docker.network.endpoint.ifname=wan5', 'long']
  await lab.ok('run', '-d', '--name', 'second', '--network', 'net', 'busybox', 'sleep', '60')
  await lab.ok(...connect, 'second')
  const inside = await lab.ok('exec', 'second', 'sh', '-c', 'ip -4 -o addr show wan5; ip route; nslookup other 127.0.0.11')
  for (const part of ['10.91.0.10/24', '169.254.9.10/16', 'default via 10.91.0.1 dev wan5', '10.91.0.9']) {
    assert.ok(inside.includes(part), `${part}\n${inside}`)
  }
  await lab.ok('rm', '-f', 'all', 'second')
  await lab.ok('network', 'rm', 'long')
})

test('sysctls of the network are refused with the host’s network', async () => {
  const key = 'net.ipv4.ip_forward=1'
  const ran = await lab.docker('run', '--rm', '--network', 'host', '--sysctl', key, 'busybox', 'true')
  assert.notEqual(ran.code, 0)
  assert.match(ran.err, /sysctl "net\.ipv4\.ip_forward" not allowed in host network namespace/)
  const tuned = ['net.core.somaxconn=4096', 'net.ipv4.tcp_fin_timeout=15', 'net.ipv4.tcp_keepalive_time=600']
  const range = 'net.ipv4.ip_local_port_range=1024 65000'
  const options = [...tuned, range].flatMap((one) => ['--sysctl', one])
  const files = ['core/somaxconn', 'ipv4/tcp_fin_timeout', 'ipv4/tcp_keepalive_time', 'ipv4/ip_local_port_range']
  const read = files.map((file) => `/proc/sys/net/${file}`).join(' ')
  const shown = await lab.ok('run', '--rm', ...options, 'busybox', 'sh', '-c', `cat ${read}`)
  assert.equal(shown, '4096\n15\n600\n1024\t65000')
})

test('an older client’s priority of the gateway is not looked at', async () => {
  await lab.ok('network', 'create', 'aaa')
  const made = await create('1.47', {}, { GwPriority: 9 })
  const id = String(field(made.json, 'Id'))
  await lab.ok('network', 'connect', 'aaa', id)
  await lab.ok('start', id)
  const gateway = await lab.ok('network', 'inspect', '-f', '{{(index .IPAM.Config 0).Gateway}}', 'aaa')
  assert.match(await lab.ok('exec', id, 'ip', 'route'), new RegExp(`default via ${gateway} `))
})

test('a network takes its settings from a config-only one', async () => {
  const given = ['--subnet', '10.81.0.0/24', '--gateway', '10.81.0.9', '-o', 'com.docker.network.driver.mtu=1400']
  await lab.ok('network', 'create', '--config-only', '--label', 'tier=a', ...given, 'template')
  assert.equal(await lab.must('ip -br link | grep -c "^br-"'), '2')
  await lab.ok('network', 'create', '--config-from', 'template', '--internal=false', 'derived')
  const format = '{{.Driver}} {{.ConfigFrom.Network}} {{json .IPAM.Config}} {{json .Options}} {{json .Labels}}'
  assert.equal(
    await lab.ok('network', 'inspect', '-f', format, 'derived'),
    'bridge template [{"Subnet":"10.81.0.0/24","Gateway":"10.81.0.9"}]' +
      ' {"com.docker.network.driver.mtu":"1400"} {"tier":"a"}',
  )
  const shown = await lab.ok('run', '--rm', '--network', 'derived', 'busybox', 'sh', '-c', 'ip route; ip link show eth0')
  assert.match(shown, /default via 10\.81\.0\.9 [^]*mtu 1400/)
  const sentences: readonly (readonly [readonly string[], RegExp])[] = [
    [['network', 'create', '--config-from', 'template', 'second'], /Pool overlaps with other one on this address space/],
    [['network', 'create', '--config-from', 'nope', 'x'], /configuration network "nope" does not exist/],
    [['network', 'create', '--config-from', 'template', '--subnet', '10.82.0.0/24', 'x'], /user specified configurations are not supported/],
    [['network', 'create', '--config-from', 'template', '-o', 'a=b', 'x'], /network driver options are not supported/],
    [['network', 'create', '--config-only', '--internal', 'x'], /configuration network can only contain network specific fields/],
    [['network', 'rm', 'template'], /configuration network "template" is in use/],
    [['run', '--rm', '--network', 'template', 'busybox', 'true'], /cannot create endpoint on configuration-only network/],
  ]
  for (const [args, sentence] of sentences) assert.match((await lab.docker(...args)).err, sentence)
  await lab.ok('network', 'rm', 'derived')
  await lab.ok('network', 'rm', 'template')
})
