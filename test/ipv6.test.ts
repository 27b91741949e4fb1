/**
 * IPv6 by the stock command: what is created, shown, written into hosts, answered by name and
 * refused. Who reaches what, with each firewall, is tested in the network room.
 */
import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { Lab, sleep } from './lab/lab.ts'

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
