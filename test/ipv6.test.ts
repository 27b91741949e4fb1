/**
 * IPv6 by the stock command: what is created, shown, written into hosts, answered by name and
 * refused. Who reaches what, with each firewall, is tested in the network room.
 */
import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { Lab, sleep } from './lab/lab.ts'
import { noDockerd, saying, Two, type Engine } from './lab/two.ts'

let lab: Lab

before(async () => {
  lab = await Lab.start(undefined, { flags: ['--fixed-cidr-v6', 'fd00:17::/64'] })
})

after(async () => {
  await lab.expectNoLeaks()
  await lab.stop()
})

const web = 'mkdir -p /www; hostname >/www/index.html; exec httpd -f -p 80 -h /www'

/** Starts a web server; answers what comes before a command in its network. */
async function serve(name: string, ...options: readonly string[]): Promise<string> {
  await lab.ok('run', '-d', '--name', name, '-h', name, ...options, 'busybox', 'sh', '-c', web)
  const key = await lab.ok('inspect', '-f', '{{.NetworkSettings.SandboxKey}}', name)
  for (let tries = 0; tries < 100; tries++) {
    if (/:80\b/.test(await lab.must(`nsenter --net=${key} ss -Hltn`))) return `nsenter --net=${key}`
    await sleep(20)
  }
  assert.fail(`${name} does not serve`)
}

const field = (name: string, network: string, key: string): Promise<string> => {
  const format = `{{with index .NetworkSettings.Networks "${network}"}}{{.${key}}}{{end}}`
  return lab.ok('inspect', '-f', format, name)
}

test('forwarding begins with the first IPv6 network, and FORWARD drops from then on', async () => {
  const keys = 'net.ipv6.conf.all.forwarding net.ipv6.conf.default.forwarding'
  const read = () => lab.must(`sysctl -n ${keys}`)
  assert.equal(await read(), '0\n0')
  assert.match(await lab.must('ip6tables -S FORWARD'), /-P FORWARD ACCEPT/)
  assert.match(await lab.must('iptables -S FORWARD'), /-P FORWARD DROP/)
  assert.equal(await lab.must('ip -6 -o address show docker0'), '')
  await lab.ok('network', 'create', 'four')
  assert.equal(await read(), '0\n0')
  await lab.ok('network', 'create', '--ipv6', 'dual')
  assert.equal(await read(), '1\n1')
  assert.match(await lab.must('ip6tables -S FORWARD'), /-P FORWARD DROP/)
  const format = '{{.EnableIPv6}}{{range .IPAM.Config}} {{.Subnet}} {{.Gateway}}{{end}}'
  const shown = await lab.ok('network', 'inspect', '-f', format, 'dual')
  assert.match(shown, /^true 172\S+ 172\S+ fd[0-9a-f:]+::\/64 fd[0-9a-f:]+::1$/)
})

test('networks of IPv6 alone, and endpoints of IPv4 alone', async () => {
  const body = { Name: 'six', EnableIPv4: false, EnableIPv6: true }
  const created = await lab.api('POST', '/v1.48/networks/create', body)
  assert.equal(created.status, 201, created.text)
  const old = await lab.api('POST', '/v1.47/networks/create', { ...body, Name: 'old' })
  assert.equal(old.status, 201)
  assert.match(await lab.ok('network', 'inspect', '-f', '{{json .IPAM.Config}}', 'old'), /"172\./)
  const alone = await serve('alone', '--network', 'six', '--network-alias', 'al', '-p', '8080:80')
  const other = await serve('other', '--network', 'six')
  const address = await field('alone', 'six', 'GlobalIPv6Address')
  assert.equal(await field('alone', 'six', 'IPAddress'), '')
  assert.equal(await field('alone', 'six', 'GlobalIPv6PrefixLen'), '64')
  assert.match(await field('alone', 'six', 'IPv6Gateway'), /^fd/)
  assert.equal(await lab.must(`${alone} ip -4 -o address show eth0`), '')
  assert.equal(await lab.ok('port', 'alone'), '80/tcp -> [::]:8080')
  assert.match(await lab.must('curl -gs -m 3 http://[::1]:8080/'), /alone/)
  const dig = `${other} dig +short @127.0.0.11`
  assert.equal(await lab.must(`${dig} AAAA al`), address)
  assert.equal(await lab.must(`${dig} A al`), '')
  assert.equal(await lab.must(`${dig} -x ${address}`), 'alone.six.')
  assert.match(await lab.ok('exec', 'other', 'wget', '-qO-', 'http://al/'), /alone/)
  const port = ['-p', '0.0.0.0:9:9']
  const refused = await lab.docker('run', '--rm', '--network', 'six', ...port, 'busybox', 'true')
  assert.match(refused.err, /cannot publish 0\.0\.0\.0: the container has no IPv4 address/)
  const four = await serve('four', '--network', 'four')
  assert.equal(await lab.must(`${four} ip -6 -o address show eth0`), '')
  await lab.ok('network', 'connect', 'six', 'four')
  assert.match(await lab.must(`${four} ip -6 route`), /default via fd\S+ dev eth1/)
  assert.match(await lab.ok('exec', 'four', 'cat', '/etc/hosts'), /\n172\S+\tfour\nfd\S+\tfour$/)
})

test('static addresses are given, kept and refused', async () => {
  const subnets = ['--subnet', 'fd00:33::/64', '--subnet', '10.33.0.0/24']
  await lab.ok('network', 'create', '--ipv6', ...subnets, 'sub')
  await serve('fixed', '--network', 'sub', '--ip6', 'fd00:33::5')
  await lab.ok('restart', '-t', '0', 'fixed')
  assert.equal(await field('fixed', 'sub', 'GlobalIPv6Address'), 'fd00:33::5')
  const refusals: readonly (readonly [network: string, address: string, sentence: RegExp])[] = [
    ['sub', 'fd00:33::5', /Address already in use/],
    ['sub', 'fd00:34::5', /no configured subnet or ip-range contain the IP address fd00:34::5/],
    ['sub', '10.33.0.9', /invalid IPv6 address: 10\.33\.0\.9/],
    ['dual', 'fd00:33::9', /only when connecting to networks with user configured subnets/],
  ]
  for (const [network, address, sentence] of refusals) {
    const options = ['--rm', '--network', network, '--ip6', address]
    assert.match((await lab.docker('run', ...options, 'busybox', 'true')).err, sentence)
  }
})

test('a container whose IPv6 is switched off has no IPv6 address anywhere', async () => {
  const off = ['--network', 'sub', '--sysctl', 'net.ipv6.conf.all.disable_ipv6=1']
  await serve('without', ...off)
  assert.equal(await field('without', 'sub', 'GlobalIPv6Address'), '')
  const [hosts = '', rest] = (await lab.ok('exec', 'without', 'sh', '-c',
    'cat /etc/hosts; echo %; ip -6 -o address; cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6')).split('\n%\n')
  assert.match(hosts, /^127\.0\.0\.1\tlocalhost\n10\.33\.0\.\d+\twithout$/)
  assert.equal(rest, '1')
  const asked = await lab.docker('run', '--rm', ...off, '--ip6', 'fd00:33::9', 'busybox', 'true')
  assert.match(asked.err, /address fd00:33::9: IPv6 is switched off in this container/)
})

test('IPv6 on the default bridge after a restart of the daemon', async () => {
  await lab.endDaemon()
  await lab.startDaemon(['--ipv6', '--fixed-cidr-v6', 'fd00:17::/64', '--userland-proxy=false'])
  const shown = await lab.ok('network', 'inspect', '-f', '{{json .IPAM.Config}}', 'bridge')
  assert.match(shown, /\{"Subnet":"fd00:17::\/64","IPRange":"fd00:17::\/64"\}\]$/)
  const inside = await serve('onbridge', '-p', '8090:80')
  assert.match(await lab.ok('port', 'onbridge'), /0\.0\.0\.0:8090\n80\/tcp -> \[::\]:8090/)
  assert.equal(await field('onbridge', 'bridge', 'GlobalIPv6Address'), 'fd00:17::2')
  assert.match(await lab.must(`${inside} ip -6 route`), /default via fd00:17::1 dev eth0/)
  assert.match(await lab.ok('exec', 'onbridge', 'cat', '/etc/hosts'), /\nfd00:17::2\tonbridge$/)
})

const pools = (...subnets: readonly string[]) => ({ IPAM: { Config: subnets.map((Subnet) => ({ Subnet })) } })
const mode6 = (mode: string) => ({ Options: { 'com.docker.network.bridge.gateway_mode_ipv6': mode } })
const six = { EnableIPv6: true }
const networks: Readonly<Record<string, object>> = {
  dual: { ...six, ...pools('fd00:21::/64', '10.21.0.0/24') },
  alone: { ...six, EnableIPv4: false, ...pools('fd00:22::/64') },
  four: pools('10.23.0.0/24'),
  inner: { ...six, Internal: true, ...pools('fd00:24::/64', '10.24.0.0/24') },
  local: { ...six, ...pools('10.25.0.0/24') },
  routed: { ...six, ...pools('fd00:26::/64', '10.26.0.0/24'), ...mode6('routed') },
  open: { ...six, ...pools('fd00:27::/64', '10.27.0.0/24'), ...mode6('nat-unprotected') },
  shut: { ...six, Internal: true, ...pools('fd00:28::/64', '10.28.0.0/24'), ...mode6('isolated') },
  from: { ...six, ...pools('fd00:29::/64', '10.29.0.0/24'), Options: { 'com.docker.network.host_ipv6': '2001:db8::9' } },
}

/** A bridge's settings and addresses. Docker leaves IPv6 on where a network has none. */
async function bridgeOf({ api, sh }: Engine, name: string): Promise<string> {
  const bridge = `br-${String(Object((await api('GET', `/networks/${name}`)).json).Id).slice(0, 12)}`
  const settings = await sh(`cd /proc/sys/net/ipv6/conf/${bridge}; echo $(cat forwarding accept_ra disable_ipv6 proxy_ndp)`)
  return `${settings} ${await sh(`ip -6 -o addr show dev ${bridge} scope global | sed "s/.*inet6/inet6/;s/ scope.*//"`)}`.trim()
}

interface Wanted {
  readonly hostIp?: string
  readonly address?: string
}

/** What a container has of IPv6, and its ports. Docker leaves accept_ra on. */
async function inside({ api, sh }: Engine, network: string, { hostIp, address }: Wanted = {}): Promise<unknown> {
  const ports = hostIp === undefined ? {} : { PortBindings: { '80/tcp': [{ HostIp: hostIp, HostPort: '8081' }] } }
  const settings = address === undefined ? {} : { IPAMConfig: { IPv6Address: address } }
  const made = await api('POST', '/containers/create?name=cc', {
    Image: 'busybox', Cmd: ['sleep', '600'], StopSignal: 'SIGKILL', ExposedPorts: { '80/tcp': {} },
    HostConfig: { NetworkMode: network, ...ports }, NetworkingConfig: { EndpointsConfig: { [network]: settings } },
  })
  const answer = made.status === 201 ? await api('POST', '/containers/cc/start') : made
  if (answer.status >= 300) {
    await api('DELETE', '/containers/cc?force=1')
    return saying(answer)
  }
  const { NetworkSettings: { Ports, Networks }, State: { Pid } } = Object((await api('GET', '/containers/cc/json')).json)
  const { GlobalIPv6Address, GlobalIPv6PrefixLen, IPv6Gateway } = Networks[network]
  const enter = `nsenter --net=/proc/${Pid}/ns/net`
  const addresses = await sh(`${enter} ip -6 -o addr show dev eth0 scope global | sed "s/.*inet6/inet6/;s/ scope.*//"`)
  const routes = await sh(`${enter} ip -6 route | grep -v fe80; true`)
  const off = await sh(`${enter} cat /proc/sys/net/ipv6/conf/eth0/disable_ipv6`)
  await api('DELETE', '/containers/cc?force=1')
  return { Ports, shown: [GlobalIPv6Address, GlobalIPv6PrefixLen, IPv6Gateway], addresses, routes, off }
}

/** What the whole host does with IPv6. */
const hostOf = ({ sh }: Engine) => sh([
  'cd /proc/sys/net/ipv6/conf', 'echo $(cat all/forwarding default/forwarding all/proxy_ndp)',
  'cat /proc/sys/net/ipv4/ip_forward', 'iptables -S FORWARD | head -n 1', 'ip6tables -S FORWARD | head -n 1',
  'ip6tables-save | grep -c -- "^-A" || true',
].join('; '))

test('IPv6 networks as with dockerd', { skip: noDockerd }, async (t) => {
  const two = await Two.start(t, ['--ipv6', '--fixed-cidr-v6', 'fd00:17::/64'])
  await two.same('docker0', async ({ api, sh }) => [
    Object((await api('GET', '/networks/bridge')).json).IPAM,
    await sh('ip -6 -o addr show dev docker0 scope global | sed "s/.*inet6/inet6/;s/ scope.*//"'),
  ])
  await two.same('on docker0', (engine) => inside(engine, 'bridge', { hostIp: '' }))
  for (const [name, body] of Object.entries(networks)) {
    await two.same(`create ${name}`, async ({ api }) => saying(await api('POST', '/networks/create', { Name: name, ...body })))
    const off = name === 'four' ? (['1 0 0 0', '1 0 1 0'] as const) : undefined
    await two.same(`bridge of ${name}`, (engine) => bridgeOf(engine, name), off)
    await two.same(`on ${name}`, (engine) => inside(engine, name))
    const isBasic = ['dual', 'alone', 'four', 'routed'].includes(name)
    for (const hostIp of isBasic ? ['', '0.0.0.0', '::', '127.0.0.1', '::1'] : ['']) {
      if (name === 'alone' && hostIp.includes('.')) continue // refused here: on the page of differences
      const ports = async (engine: Engine) => Object(await inside(engine, name, { hostIp })).Ports
      await two.same(`${name} published on «${hostIp}»`, ports)
    }
  }
  for (const [name, address] of [['dual', 'fd00:21::9'], ['dual', 'fd00:22::9'], ['dual', 'fd00:21::1'],
    ['dual', '10.21.0.9'], ['four', 'fd00:21::9'], ['local', 'fd00:21::9'], ['bridge', 'fd00:17::9']] as const) {
    await two.same(`${address} on ${name}`, (engine) => inside(engine, name, { address }))
  }
})

for (const flags of [[], ['--ip-forward=false', '--ip6tables=false'], ['--ip-forward-no-drop', '--userland-proxy=false']]) {
  test(`the host's forwarding as with dockerd ${flags.join(' ')}`, { skip: noDockerd }, async (t) => {
    const two = await Two.start(t, flags)
    const isBare = flags.includes('--ip6tables=false')
    // The rules themselves are compared elsewhere: here, whether there are any.
    const look = (what: string) => two.same(what, async (engine) => {
      const [switches = '', forward, four, sixth, count] = (await hostOf(engine)).split('\n')
      return [switches, forward, four, sixth, isBare ? count : Number(count) > 0]
    })
    await look('at the start')
    await two.both(({ api }) => api('POST', '/networks/create', { Name: 'four' }))
    await look('with an IPv4 network')
    await two.both(({ api }) => api('POST', '/networks/create', { Name: 'dual', ...networks['dual'] }))
    await look('with an IPv6 network')
    await two.same('on it', (engine) => inside(engine, 'dual', { hostIp: '' }))
    await two.same('on IPv4 alone', (engine) => inside(engine, 'four', { hostIp: '' }))
    await two.both(({ api }) => api('DELETE', '/networks/dual'))
    await look('without it again')
  })
}
