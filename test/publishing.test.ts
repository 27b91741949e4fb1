/**
 * Published ports: which host ports a request gets and how they are shown, what is refused, and
 * who reaches what over them, with the relay and without.
 */
import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { Lab } from './lab/lab.ts'

let lab: Lab

/** The first automatic port of these tests; the lab's kernel is asked to start here. */
const first = 40_000

before(async () => {
  lab = await Lab.start(undefined)
  await lab.must(`sysctl -qw net.ipv4.ip_local_port_range="${first} 40030"`)
  await lab.neighbour('lan')
  await lab.must('ip -n lan route add default via 198.51.100.1')
})

after(async () => {
  await lab.expectNoLeaks()
  await lab.stop()
})

const web = 'mkdir -p /www; hostname >/www/index.html; exec httpd -f -vv -p 80 -h /www'

const serve = (name: string, ...options: readonly string[]): Promise<string> =>
  lab.ok('run', '-d', '--name', name, '-h', name, ...options, 'busybox', 'sh', '-c', web)

/** `80/tcp=0.0.0.0:8080,:::8080` for every key of NetworkSettings.Ports. */
async function portsOf(name: string): Promise<string> {
  const list = '{{range $b}}{{.HostIp}}:{{.HostPort}},{{end}}'
  const one = `{{$p}}={{if $b}}${list}{{else}}null,{{end}}`
  const ports = `{{range $p, $b := .NetworkSettings.Ports}}${one}{{end}}`
  return (await lab.ok('inspect', '-f', ports, name)).replace(/,$/, '')
}

const both = (port: number): string => `0.0.0.0:${port},:::${port}`

/** Options; the ports that come of them; PORTS of ps where it is not plain. */
const views: readonly (readonly [options: string, ports: string, ps?: string])[] = [
  ['-p 80', `80/tcp=${both(first)}`, `0.0.0.0:${first}->80/tcp, [::]:${first}->80/tcp`],
  ['-p 80', `80/tcp=${both(first + 1)}`],
  ['-p 127.0.0.1::80', `80/tcp=127.0.0.1:${first}`, `127.0.0.1:${first}->80/tcp`],
  ['-p 80/udp', `80/udp=${both(first)}`],
  ['-p 0:80', `80/tcp=${both(first + 2)}`],
  ['-p 8080:80', `80/tcp=${both(8080)}`],
  ['-p 0.0.0.0:8080:80', '80/tcp=0.0.0.0:8080', '0.0.0.0:8080->80/tcp'],
  ['-p [::]:8080:80', '80/tcp=:::8080', '[::]:8080->80/tcp'],
  ['-p [::1]:8080:80', '80/tcp=::1:8080', '[::1]:8080->80/tcp'],
  ['-p 8080-8082:80', `80/tcp=${both(8080)}`],
  ['-p 8080-8081:80-81', `80/tcp=${both(8080)},81/tcp=${both(8081)}`],
  ['-p 8080:80 -p 8081:80', '80/tcp=0.0.0.0:8080,:::8080,0.0.0.0:8081,:::8081'],
  ['-p published=8080,target=80,protocol=udp', `80/udp=${both(8080)}`],
  ['--expose 90 -p 80/udp', `80/udp=${both(first + 1)},90/tcp=null`,
    `90/tcp, 0.0.0.0:${first + 1}->80/udp, [::]:${first + 1}->80/udp`],
  ['-P --expose 90 --expose 80', `80/tcp=${both(first + 3)},90/tcp=${both(first + 4)}`],
  ['-P -p 6000:80 --expose 90', `80/tcp=${both(6000)},90/tcp=${both(first + 5)}`],
  ['--expose 90', '90/tcp=null', '90/tcp'],
  ['--network none -p 80:80', '', ''],
  ['--network host -p 80:80', '', ''],
  ['--network closed -p 8080:80', '', ''],
  ['--network here -p 8080:80', '80/tcp=127.0.0.1:8080', '127.0.0.1:8080->80/tcp'],
]

test('what is asked for and what is shown', async (t) => {
  await lab.ok('network', 'create', '--internal', 'closed')
  const binding = 'com.docker.network.bridge.host_binding_ipv4=127.0.0.1'
  await lab.ok('network', 'create', '-o', binding, 'here')
  for (const [options, ports, ps] of views) {
    await t.test(options, async () => {
      await lab.ok('run', '-d', '--name', 'one', ...options.split(' '), 'busybox', 'sleep', '60')
      const found = await portsOf('one')
      const shown = await lab.ok('ps', '--filter', 'name=one', '--format', '{{.Ports}}')
      await lab.ok('rm', '-f', 'one')
      assert.equal(found, ports)
      if (ps !== undefined) assert.equal(shown, ps)
    })
  }
  await lab.ok('network', 'rm', 'closed', 'here')
})

const wrapped = 'failed to set up container networking: driver failed programming external'
const bind = (where: string, why: string): string =>
  `failed to bind host port for ${where}:172.17.0.3:80/tcp: ${why}`
const conflicts: readonly (readonly [options: string, sentence: string])[] = [
  ['-p 8080:80', 'Bind for 0.0.0.0:8080 failed: port is already allocated'],
  ['-p 127.0.0.1:8080:80', bind('127.0.0.1:8080', 'address already in use')],
  ['-p 8123:80', bind('0.0.0.0:8123', 'address already in use')],
  ['-p 127.0.0.1:8123:80', bind('127.0.0.1:8123', 'address already in use')],
  ['-p 203.0.113.9:80:80', bind('203.0.113.9:80', 'cannot assign requested address')],
  ['-p 80:80 -p 80:80', 'failed to listen on TCP socket: address already in use'],
  ['-p 81:80 -p 127.0.0.1:81:80', 'failed to listen on TCP socket: address already in use'],
]

/** Runs a line of the shell again and again until it succeeds, two seconds long. */
const until = (line: string): Promise<string> =>
  lab.must(`for i in $(seq 40); do ${line} && exit; sleep 0.05; done; exit 1`)

test('a taken port is refused in Docker’s words, and nothing is left', async (t) => {
  await serve('held', '-p', '8080:80')
  const service = 'socat TCP4-LISTEN:8123,bind=127.0.0.1,fork /dev/null'
  await lab.must(`(timeout 30 ${service} >/dev/null 2>&1 &)`)
  await until('ss -Hlnt | grep -q :8123')
  const rules = 'iptables-save | grep ^-A'
  const before = await lab.must(rules)
  for (const [options, sentence] of conflicts) {
    await t.test(options, async () => {
      const words = ['run', '-d', '--name', 'two', ...options.split(' '), 'busybox', 'true']
      const ran = await lab.docker(...words)
      assert.equal(ran.code, 125)
      assert.ok(ran.err.includes(wrapped), ran.err)
      assert.ok(ran.err.includes(`: ${sentence}\n`), ran.err)
      const state = '{{.State.Status}} {{.State.ExitCode}} {{.State.StartedAt}}'
      assert.equal(await lab.ok('inspect', '-f', state, 'two'), 'created 128 0001-01-01T00:00:00Z')
      await lab.ok('rm', 'two')
      assert.equal(await lab.must(rules), before)
    })
  }
  await lab.ok('run', '-d', '--name', 'two', '-p', '8123-8125:80', 'busybox', 'sleep', '60')
  assert.equal(await portsOf('two'), `80/tcp=${both(8124)}`)
  await lab.ok('rm', '-f', 'two')
  const stolen = await lab.sh('timeout 2 socat TCP4-LISTEN:8080 /dev/null')
  assert.match(stolen.err, /Address already in use/)
  await lab.ok('rm', '-f', 'held')
})

/** From where, a URL, and the hostname that answers; '' for nobody. */
type Reach = readonly (readonly [from: string, url: string, answer: string])[]

async function where(from: string): Promise<string> {
  if (from === 'host') return ''
  if (from === 'lan') return 'ip netns exec lan '
  return `nsenter -t ${await lab.ok('inspect', '-f', '{{.State.Pid}}', from)} -n `
}

/** All at once: what is dropped costs its time only once. */
async function expectReach(table: Reach): Promise<void> {
  const found = table.map(async ([from, url]) => {
    const { out } = await lab.sh(`${await where(from)}curl -s -g -m 1 http://${url}`)
    return [from, url, out.trim()]
  })
  assert.deepEqual(await Promise.all(found), table)
}

/** Addresses: host 198.51.100.1, red 10.1.0.x, blue 10.2.0.x, internal 10.3.0.x. */
const reach: Reach = [
  ['red2', '10.1.0.2', 'red1'],
  ['red1', '198.51.100.1:8080', 'red1'],
  ['red2', '198.51.100.1:8080', 'red1'],
  ['red2', '10.1.0.1:8080', 'red1'],
  ['blue1', '198.51.100.1:8080', 'red1'],
  ['blue1', '10.1.0.1:8080', 'red1'],
  ['blue1', '10.2.0.1:8080', 'red1'],
  ['blue1', '10.1.0.2', ''],
  ['blue1', '10.1.0.3', ''],
  ['host', '10.1.0.2', 'red1'],
  ['host', '10.2.0.2', 'blue1'],
  ['host', '127.0.0.1:8080', 'red1'],
  ['host', '198.51.100.1:8080', 'red1'],
  ['host', '127.0.0.1:8081', 'red2'],
  ['host', '198.51.100.1:8081', ''],
  ['lan', '198.51.100.1:8080', 'red1'],
  ['lan', '198.51.100.1:8081', ''],
  ['lan', '10.1.0.2', ''],
  ['lan', '10.2.0.2', ''],
  ['lan', '10.3.0.2', ''],
  ['host', '10.3.0.2', 'inn1'],
  ['inn1', '198.51.100.1:8080', ''],
  ['inn1', '10.3.0.1:8080', ''],
]

async function populate(): Promise<void> {
  await lab.ok('network', 'create', '--subnet', '10.1.0.0/24', 'red')
  await lab.ok('network', 'create', '--subnet', '10.2.0.0/24', 'blue')
  await lab.ok('network', 'create', '--internal', '--subnet', '10.3.0.0/24', 'inn')
  await serve('red1', '--network', 'red', '-p', '8080:80')
  await serve('red2', '--network', 'red', '-p', '127.0.0.1:8081:80')
  await serve('blue1', '--network', 'blue')
  await serve('inn1', '--network', 'inn')
  const all = ['10.1.0.2', '10.1.0.3', '10.2.0.2', '10.3.0.2']
  for (const each of all) await until(`curl -sf ${each}`)
}

async function clear(): Promise<void> {
  await lab.ok('rm', '-f', 'red1', 'red2', 'blue1', 'inn1')
  await lab.ok('network', 'rm', 'red', 'blue', 'inn')
}

test('who reaches what', async () => {
  await populate()
  await expectReach([...reach, ['host', '[::1]:8080', 'red1']])
  const log = await lab.must('docker logs red1 2>&1')
  assert.match(log, /198\.51\.100\.2/, 'the real source is seen')
  assert.match(await lab.must(`${await where('inn1')}ping -c 1 -W 1 10.3.0.1`), / 0% packet loss/)
  const away = await lab.sh(`${await where('inn1')}ping -c 1 -W 1 198.51.100.2`)
  assert.match(away.err, /Network is unreachable/)
  await lab.must('iptables -A DOCKER-USER -i lanlan -j DROP')
  await expectReach([['lan', '198.51.100.1:8080', ''], ['host', '127.0.0.1:8080', 'red1']])
  await lab.must('iptables -F DOCKER-USER')
  await expectReach([['lan', '198.51.100.1:8080', 'red1']])
  await clear()
})

test("rules of the user's before ours open what ours close, within a moment, and no longer than they are there", async () => {
  await populate()
  const id = await lab.ok('network', 'inspect', '-f', '{{.Id}}', 'blue')
  const ways = [
    [`br-${id.slice(0, 12)}`, `${await where('blue1')}curl -sf -m 1 10.1.0.2`],
    ['lanlan', 'ip netns exec lan curl -sf -m 1 10.2.0.2'],
  ] as const
  for (const [link, asks] of ways) {
    const rule = (verb: string, place: string) => lab.must(`iptables -t ${place} -j ACCEPT`.replace('+', verb))
    // Answers to another network are dropped there, too.
    const raw = 'raw + PREROUTING -p tcp'
    const forward = `filter + DOCKER-USER -i ${link}`
    await until(`! ${asks}`)
    await rule('-I', raw)
    await rule('-I', forward)
    await until(asks)
    await rule('-D', forward)
    await until(`! ${asks}`)
    await rule('-I', forward)
    await until(asks)
    await rule('-D', raw)
    await until(`! ${asks}`)
    await rule('-D', forward)
  }
  await clear()
})

test('a UDP flow that goes on is led to whoever publishes the port now', async () => {
  const said: string[] = []
  const target = 'UDP4:198.51.100.1:5353,sourceport=4000'
  const send = (word: string) =>
    lab.sh(`ip netns exec lan sh -c 'echo ${word} | socat -t 0.1 - ${target}'`)
  await send('zero')
  for (const name of ['udp1', 'udp2']) {
    await lab.ok('run', '-d', '--name', name, '-p', '5353:53/udp', 'busybox', 'sleep', '60')
    const file = `${lab.folder}/${name}`
    const listen = `${await where(name)}timeout 3 socat -u UDP4-RECV:53 OPEN:${file},creat`
    await lab.must(`(${listen} >/dev/null 2>&1 &) ; sleep 0.3`)
    await send(name)
    await until(`[ -s ${file} ]`)
    said.push(await lab.must(`cat ${file}`))
    await lab.ok('rm', '-f', name)
  }
  assert.deepEqual(said, ['udp1', 'udp2'])
})

/** Design: 28.2's layout, with the raw rule per network and a hairpin rule per port always. */
const listing = `-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER -d 10.1.0.2/32 ! -i brred -o brred -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER ! -i brred -o brred -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-BRIDGE -o brred -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-CT -o brred -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
-A DOCKER-FORWARD -i brred -j ACCEPT
-A DOCKER-FORWARD -i brinn -o brinn -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 ! -s 10.3.0.0/24 -o brinn -j DROP
-A DOCKER-ISOLATION-STAGE-1 ! -d 10.3.0.0/24 -i brinn -j DROP
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -i brred ! -o brred -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-2 -o brred -j DROP
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 10.1.0.0/24 ! -o brred -j MASQUERADE
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -s 10.1.0.2/32 -d 10.1.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE
-A DOCKER -i brred -j RETURN
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i brred -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.1.0.2:80
-A PREROUTING -d 172.17.0.0/16 ! -i docker0 -m addrtype ! --dst-type LOCAL -j DROP
-A PREROUTING -d 10.1.0.0/24 ! -i brred -m addrtype ! --dst-type LOCAL -j DROP`

test('the rules are those of the 28.2 layout, line by line', async () => {
  const create = ['network', 'create', '--subnet']
  const red = `br-${(await lab.ok(...create, '10.1.0.0/24', 'red')).slice(0, 12)}`
  const inn = `br-${(await lab.ok(...create, '10.3.0.0/24', '--internal', 'inn')).slice(0, 12)}`
  await serve('one', '--network', 'red', '-p', '8080:80')
  const saved = (table: string) => lab.must(`iptables-save -t ${table} | grep ^-A`)
  const found = [await saved('filter'), await saved('nat'), await saved('raw')].join('\n')
  const shown = found.replaceAll(red, 'brred').replaceAll(inn, 'brinn')
  assert.deepEqual(shown.split('\n'), listing.split('\n'))
  assert.match(await lab.must('iptables-save -t filter'), /:FORWARD DROP[\s\S]*:DOCKER-USER - /)
  assert.equal(await lab.must('cat /proc/sys/net/ipv4/ip_forward'), '1')
  await lab.ok('rm', '-f', 'one')
  await lab.ok('network', 'rm', 'red', 'inn')
})

test('without the relay, and with containers kept apart on the default bridge', async () => {
  await lab.endDaemon()
  await lab.startDaemon(['--userland-proxy=false', '--icc=false'])
  await populate()
  // Rules alone do it, and those of isolation come before what is published, as with Docker.
  const kept = (from: string, url: string) => from === 'blue1' && url.includes(':')
  await expectReach(reach.map(([from, url, who]) => [from, url, kept(from, url) ? '' : who]))
  assert.equal(await portsOf('red1'), '80/tcp=0.0.0.0:8080')
  await serve('open', '--expose', '80')
  await serve('shut', '--expose', '80')
  await serve('user', '--link', 'open:o')
  const address = (name: string) => lab.ok('inspect', '-f', '{{.NetworkSettings.IPAddress}}', name)
  const [open, shut] = [await address('open'), await address('shut')]
  for (const each of [open, shut]) await until(`curl -sf ${each}`)
  await expectReach([
    ['user', open, 'open'], ['user', shut, ''], ['shut', open, ''], ['host', shut, 'shut'],
  ])
  await lab.ok('rm', '-f', 'open', 'shut', 'user')
  await clear()
})
