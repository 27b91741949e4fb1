/**
 * Networks and their containers over the API: the documents letter by letter, filters, look-up,
 * the order of events, and what connect and disconnect do to containers in every state.
 */
import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { Lab } from './lab/lab.ts'

let lab: Lab

before(async () => {
  lab = await Lab.start(undefined)
})

after(async () => {
  await lab.expectNoLeaks()
  await lab.stop()
})

const start = (name: string, ...options: readonly string[]): Promise<string> =>
  lab.ok('run', '-d', '--name', name, ...options, 'busybox', 'sleep', '600')

/** The body of an answer without what differs from run to run. */
async function body(path: string): Promise<string> {
  const { text } = await lab.api('GET', path)
  return text
    .trim()
    .replaceAll(/"(Id|EndpointID|NetworkID)":"\w{64}"/g, '"$1":"#"')
    .replaceAll(/"\w{64}":/g, '"#":')
    .replaceAll(/"Created":"\d{4}-\d\d-\d\dT[\d:]+\.\d+Z"/g, '"Created":"@"')
}

const middle = '"Internal":false,"Attachable":false,"Ingress":false,' +
  '"ConfigFrom":{"Network":""},"ConfigOnly":false,"Containers":{},'

/** The whole document of a network, in the order of its keys. */
const shown = (name: string, driver: string, ipam: string, rest: string): string =>
  `{"Name":"${name}","Id":"#","Created":"@","Scope":"local","Driver":"${driver}",` +
  `"EnableIPv4":true,"EnableIPv6":false,"IPAM":{"Driver":"default",${ipam}},` +
  `${middle}${rest}}`

const defaultOptions = [
  'com.docker.network.bridge.default_bridge":"true',
  'com.docker.network.bridge.enable_icc":"true',
  'com.docker.network.bridge.enable_ip_masquerade":"true',
  'com.docker.network.bridge.host_binding_ipv4":"0.0.0.0',
  'com.docker.network.bridge.name":"docker0',
  'com.docker.network.driver.mtu":"1500',
].map((pair) => `"${pair}"`).join(',')

test('networks are shown key by key as Docker shows them', async () => {
  const none = '"Options":null,"Config":null'
  const bare = '"Options":{},"Labels":{}'
  assert.equal(await body('/networks/none'), shown('none', 'null', none, bare))
  assert.equal(await body('/networks/host'), shown('host', 'host', none, bare))
  const pool = '"Options":null,"Config":[{"Subnet":"172.17.0.0/16","Gateway":"172.17.0.1"}]'
  const bridge = shown('bridge', 'bridge', pool, `"Options":{${defaultOptions}},"Labels":{}`)
  assert.equal(await body('/networks/bridge'), bridge)
  await lab.api('POST', '/networks/create', { Name: 'auto' })
  const automatic = '"Options":null,"Config":[{"Subnet":"172.18.0.0/16","Gateway":"172.18.0.1"}]'
  const auto = shown('auto', 'bridge', automatic, '"Options":{},"Labels":{}')
  assert.equal(await body('/networks/auto'), auto)
  await lab.must('docker network create --subnet 10.8.0.0/24 --ip-range 10.8.0.128/25 ' +
    '--aux-address k=10.8.0.3 -o foo=bar --label a=b given')
  const asGiven = '"Options":{},"Config":[{"Subnet":"10.8.0.0/24","IPRange":"10.8.0.128/25",' +
    '"AuxiliaryAddresses":{"k":"10.8.0.3"}}]'
  const rest = '"Options":{"foo":"bar"},"Labels":{"a":"b"}'
  assert.equal(await body('/networks/given'), shown('given', 'bridge', asGiven, rest))
  const list = await body('/networks')
  for (const each of [bridge, auto]) assert.ok(list.includes(each), list)
  await start('member', '--network', 'given')
  const member = '"Containers":{"#":{"Name":"member","EndpointID":"#",' +
    '"MacAddress":"02:42:0a:08:00:81","IPv4Address":"10.8.0.129/24","IPv6Address":""}}'
  assert.ok((await body('/networks/given')).includes(member))
  assert.ok((await body('/v1.27/networks')).includes(member))
  assert.ok(!(await body('/networks')).includes(member))
  await lab.ok('stop', '-t', '0', 'member')
  assert.ok((await body('/networks/given')).includes('"Containers":{}'))
  await lab.ok('rm', 'member')
  await lab.ok('network', 'rm', 'auto', 'given')
})

test('a container’s networks are shown key by key, legacy fields too', async () => {
  await lab.ok('network', 'create', '--subnet', '10.1.0.0/24', 'one')
  await start('c1', '--network', 'one', '--network-alias', 'al', '-h', 'hosty')
  const short = await lab.ok('inspect', '-f', '{{slice .Id 0 12}}', 'c1')
  const text = await body('/containers/c1/json')
  const endpoint = (aliases: string) => '"Networks":{"one":{"IPAMConfig":null,"Links":null,' +
    `"Aliases":[${aliases}],"MacAddress":"02:42:0a:01:00:02","DriverOpts":null,"GwPriority":0,` +
    '"NetworkID":"#","EndpointID":"#","Gateway":"10.1.0.1","IPAddress":"10.1.0.2",' +
    '"IPPrefixLen":24,"IPv6Gateway":"","GlobalIPv6Address":"","GlobalIPv6PrefixLen":0,' +
    `"DNSNames":["c1","al","${short}","hosty"]}}`
  assert.ok(text.includes(endpoint(`"al","${short}"`)), text)
  const old = await body('/v1.44/containers/c1/json')
  assert.ok(old.includes(endpoint(`"al","${short}","hosty"`)), old)
  const legacy = '"HairpinMode":false,"LinkLocalIPv6Address":"","LinkLocalIPv6PrefixLen":0,' +
    '"SecondaryIPAddresses":null,"SecondaryIPv6Addresses":null,'
  const fields = (id: string, gateway: string, ip: string, length: number, mac: string) =>
    `${legacy}"EndpointID":"${id}","Gateway":"${gateway}","GlobalIPv6Address":"",` +
    `"GlobalIPv6PrefixLen":0,"IPAddress":"${ip}","IPPrefixLen":${length},"IPv6Gateway":"",` +
    `"MacAddress":"${mac}",`
  assert.ok(text.includes(fields('', '', '', 0, '')), text)
  await start('c2')
  const bridged = await body('/containers/c2/json')
  assert.ok(bridged.includes(fields('#', '172.17.0.1', '172.17.0.2', 16, '02:42:ac:11:00:02')))
  assert.match(bridged, /\{"Bridge":"","SandboxID":"\w{64}","SandboxKey":"[^"]+","Ports":/)
  await lab.ok('rm', '-f', 'c1', 'c2')
  await lab.ok('network', 'rm', 'one')
})

/** Filters, and the names that pass (of n1 n2 n3 and the predefined ones) or the sentence. */
const filters: readonly (readonly [filters: object, answer: string])[] = [
  [{ name: ['n'] }, 'n1 n2 n3 none'],
  [{ name: ['^n1$'] }, 'n1'],
  [{ name: { n1: true, n2: true } }, 'n1 n2'],
  [{ name: ['('] }, ''],
  [{ label: ['lab'] }, 'n1 n2 n3'],
  [{ label: ['lab=n1', 'all'] }, 'n1'],
  [{ label: ['lab=n1', 'lab=n2'] }, ''],
  [{ driver: ['bri'] }, ''],
  [{ driver: ['null', 'host'] }, 'host none'],
  [{ type: ['builtin'] }, 'bridge host none'],
  [{ type: ['custom'] }, 'n1 n2 n3'],
  [{ type: ['zz'] }, "500 invalid filter: 'type'='zz'"],
  [{ scope: ['local'], name: ['n2'] }, 'n2'],
  [{ scope: ['swarm'] }, ''],
  [{ dangling: ['true'] }, 'n2 n3'],
  [{ dangling: ['0'] }, 'bridge host n1 none'],
  [{ dangling: ['zz'] },
    `400 invalid value for filter 'dangling', must be "true" (or "1"), or "false" (or "0")`],
  [{ dangling: ['1', '0'] }, '400 got more than one value for filter key "dangling"'],
  [{ foo: ['x'] }, "400 invalid filter 'foo'"],
]

const prunes: readonly (readonly [filters: object, answer: string])[] = [
  [{ until: ['1s', '2s'] }, '400 more than one until filter specified'],
  [{ until: ['zz'] }, '400 failed to parse value as time or duration: "zz"'],
  [{ foo: ['x'] }, "400 invalid filter 'foo'"],
  [{ until: ['24h'] }, 'null'],
  [{ 'label!': ['all'] }, 'null'],
  [{ label: ['lab=n2'] }, 'n2'],
  [{ 'label!': ['zz'] }, 'n3'],
  [{}, 'null'],
]

async function filtered(method: string, path: string, of: object): Promise<string> {
  const query = encodeURIComponent(JSON.stringify(of))
  const { status, text } = await lab.api(method, `${path}?filters=${query}`)
  const json: unknown = JSON.parse(text)
  if (status !== 200) {
    return `${status} ${/"message":"(.*)"\}/.exec(text)?.[1]?.replaceAll('\\"', '"')}`
  }
  if (text.includes('Deleted":null')) return 'null'
  const names = Array.isArray(json)
    ? [...text.matchAll(/"Name":"([^"]+)","Id"/g)].map(([, name]) => name)
    : [...text.matchAll(/"([^"]+)"[,\]]/g)].map(([, name]) => name)
  return names.sort().join(' ')
}

test('filters of list and prune', async (t) => {
  for (const name of ['n1', 'n2', 'n3']) {
    await lab.ok('network', 'create', '--label', `lab=${name}`, '--label', 'all', name)
  }
  await start('user', '--network', 'n1')
  for (const [of, answer] of filters) {
    await t.test(JSON.stringify(of), async () =>
      assert.equal(await filtered('GET', '/networks', of), answer))
  }
  const id = await lab.ok('network', 'inspect', '-f', '{{.Id}}', 'n2')
  for (const part of [id, id.slice(3, 20), `^${id.slice(0, 6)}`]) {
    assert.equal(await filtered('GET', '/networks', { id: [part] }), 'n2')
  }
  for (const [of, answer] of prunes) {
    await t.test(`prune ${JSON.stringify(of)}`, async () =>
      assert.equal(await filtered('POST', '/networks/prune', of), answer))
  }
  await lab.ok('rm', '-f', 'user')
  await lab.ok('network', 'rm', 'n1')
})

test('an id prefix of several networks is refused by every verb that looks one up', async () => {
  await start('user')
  const names = Array.from({ length: 17 }, (_, number) => `many${number}`)
  for (const [number, name] of names.entries()) {
    await lab.ok('network', 'create', '--subnet', `10.50.${number}.0/24`, name)
  }
  const ids = (await lab.ok('network', 'ls', '-q', '--no-trunc')).split('\n')
  const isSecond = (id: string, at: number) => ids.findIndex((other) => other[0] === id[0]) !== at
  const shared = ids.find(isSecond)?.[0] ?? ''
  const count = ids.filter((id) => id.startsWith(shared)).length
  const message = `${count} matches found based on ID prefix: network ${shared} is ambiguous`
  const attach = { Container: 'user' }
  for (const [method, path, sent] of [
    ['GET', '', undefined], ['DELETE', '', undefined],
    ['POST', '/connect', attach], ['POST', '/disconnect', attach],
  ] as const) {
    const { status, json } = await lab.api(method, `/networks/${shared}${path}`, sent)
    assert.deepEqual([status, json], [400, { message }], `${method} ${path}`)
  }
  await lab.ok('rm', '-f', 'user')
  await lab.ok('network', 'rm', ...names)
})

/** Commands, and the events of each: network and container ones, network by name. */
const told: readonly (readonly [command: string, events: string])[] = [
  ['run -d --name ev --network e1 busybox sleep 600', 'create connect:e1 start'],
  ['network connect e2 ev', 'connect:e2'],
  ['stop -t 0 ev', 'kill:15 kill:9 disconnect:e1 disconnect:e2 stop die'],
  ['network connect e3 ev', ''],
  ['network disconnect e3 ev', ''],
  ['start ev', 'connect:e1 connect:e2 start'],
  ['restart -t 0 ev',
    'kill:15 kill:9 disconnect:e1 disconnect:e2 stop die connect:e1 connect:e2 start restart'],
  ['network disconnect e2 ev', 'disconnect:e2'],
  ['kill ev', 'kill:9 disconnect:e1 die'],
  ['start ev', 'connect:e1 start'],
  ['rm -f ev', 'kill:9 disconnect:e1 die destroy'],
  ['run --rm --name ev busybox true',
    'create attach connect:bridge start disconnect:bridge die destroy'],
  ['run -d --name ev --network none busybox sleep 600', 'create connect:none start'],
  ['rm -f ev', 'kill:9 disconnect:none die destroy'],
  ['run -d --name ev --network host busybox sleep 600', 'create connect:host start'],
  ['rm -f ev', 'kill:9 disconnect:host die destroy'],
  ['network create --config-only --subnet 10.77.0.0/24 co', 'create:co'],
  ['network rm co', ''],
  ['network rm e1', 'destroy:e1'],
]

test('events come in Docker’s order', async (t) => {
  for (const name of ['e1', 'e2', 'e3']) await lab.ok('network', 'create', name)
  const format = '{{.Action}}{{if eq .Type "network"}}:{{.Actor.Attributes.name}}' +
    '{{else}}{{if .Actor.Attributes.signal}}:{{.Actor.Attributes.signal}}{{end}}{{end}}'
  for (const [command, events] of told) {
    await t.test(command, async () => {
      const since = await lab.must('date +%s.%N')
      await lab.ok(...command.split(' '))
      if (command.startsWith('kill')) await lab.ok('wait', 'ev')
      const until = await lab.must('sleep 0.1; date +%s.%N')
      const out = await lab.ok('events', '--since', since, '--until', until, '--format', format)
      assert.equal(out.split('\n').join(' '), events)
    })
  }
  await lab.ok('network', 'rm', 'e2', 'e3')
})

/** `u1=10.1.0.2 u2=` : networks of a container with their addresses. */
const networksOf = async (name: string): Promise<string> => {
  const each = '{{range $n, $e := .NetworkSettings.Networks}}{{$n}}={{$e.IPAddress}} {{end}}'
  return (await lab.ok('inspect', '-f', each, name)).trim()
}

const inside = (name: string, command: string): Promise<string> =>
  lab.ok('exec', name, 'sh', '-c', command)

const gateway = (name: string): Promise<string> =>
  inside(name, "ip route | sed -n 's/^default via //p'").then((route) => route.trim())

async function fourNetworks(): Promise<void> {
  await lab.ok('network', 'create', '--subnet', '10.1.0.0/24', 'aa')
  await lab.ok('network', 'create', '--subnet', '10.2.0.0/24', 'uu')
  await lab.ok('network', 'create', '--internal', '--subnet', '10.3.0.0/24', 'a0')
  await lab.ok('network', 'create', '--subnet', '10.4.0.0/30', 'tiny')
}

const dropFour = (): Promise<string> => lab.ok('network', 'rm', 'aa', 'uu', 'a0', 'tiny')

const verb = (network: string, what: string, container: string, endpoint?: object) => {
  const sent = { Container: container, ...(endpoint ? { EndpointConfig: endpoint } : {}) }
  return lab.api('POST', `/networks/${network}/${what}`, sent)
}

test('a container that never ran keeps what it is connected to for its start', async () => {
  await fourNetworks()
  await lab.ok('create', '--name', 'c1', '--network', 'uu', 'busybox', 'sleep', '600')
  const fixed = { Aliases: ['x'], IPAMConfig: { IPv4Address: '10.1.0.9' } }
  assert.equal((await verb('aa', 'connect', 'c1', fixed)).status, 200)
  assert.equal((await verb('later', 'connect', 'c1')).status, 200)
  assert.equal(await networksOf('c1'), 'aa= later= uu=')
  const failed = await lab.docker('start', 'c1')
  assert.match(failed.err, /failed to set up container networking: network later not found/)
  assert.equal((await verb('later', 'disconnect', 'c1')).status, 200)
  const gone = await verb('later', 'disconnect', 'c1')
  assert.match(gone.text, /container \w{64} is not connected to the network later/)
  await lab.ok('start', 'c1')
  assert.equal(await networksOf('c1'), 'aa=10.1.0.9 uu=10.2.0.2')
  await lab.ok('restart', '-t', '0', 'c1')
  assert.equal(await networksOf('c1'), 'aa=10.1.0.9 uu=10.2.0.2')
  const { json } = await verb('later', 'disconnect', 'c1')
  assert.deepEqual(json, { message: 'network later not found' })
  await lab.ok('rm', '-f', 'c1')
  await dropFour()
})

test('default route, ports and interface numbers follow connect and disconnect', async () => {
  await fourNetworks()
  await start('c1', '--network', 'uu', '-p', '8080:80')
  const translated = () => lab.must("iptables-save -t nat | sed -n 's/.*--to-destination //p'")
  const state = async () => [
    await gateway('c1'), await translated(), await inside('c1', 'echo $(ls /sys/class/net)'),
  ]
  assert.deepEqual(await state(), ['10.2.0.1 dev eth0', '10.2.0.2:80', 'eth0 lo'])
  await lab.ok('network', 'connect', 'aa', 'c1')
  assert.deepEqual(await state(), ['10.1.0.1 dev eth1', '10.1.0.2:80', 'eth0 eth1 lo'])
  await lab.ok('network', 'connect', 'a0', 'c1')
  assert.deepEqual(await state(), ['10.1.0.1 dev eth1', '10.1.0.2:80', 'eth0 eth1 eth2 lo'])
  await lab.ok('network', 'disconnect', 'uu', 'c1')
  assert.deepEqual(await state(), ['10.1.0.1 dev eth1', '10.1.0.2:80', 'eth1 eth2 lo'])
  assert.equal((await verb('uu', 'connect', 'c1', { GwPriority: -1 })).status, 200)
  assert.deepEqual(await state(), ['10.1.0.1 dev eth1', '10.1.0.2:80', 'eth0 eth1 eth2 lo'])
  await lab.ok('network', 'disconnect', 'uu', 'c1')
  assert.equal((await verb('uu', 'connect', 'c1', { GwPriority: 5 })).status, 200)
  assert.deepEqual(await state(), ['10.2.0.1 dev eth0', '10.2.0.2:80', 'eth0 eth1 eth2 lo'])
  assert.equal(await lab.ok('port', 'c1'), '80/tcp -> 0.0.0.0:8080\n80/tcp -> [::]:8080')
  await lab.ok('network', 'disconnect', 'uu', 'c1')
  await lab.ok('network', 'disconnect', 'aa', 'c1')
  assert.deepEqual(await state(), ['', '', 'eth2 lo'])
  assert.equal(await lab.ok('inspect', '-f', '{{json .NetworkSettings.Ports}}', 'c1'), '{}')
  await lab.ok('network', 'connect', 'aa', 'c1')
  assert.deepEqual(await state(), ['10.1.0.1 dev eth0', '10.1.0.2:80', 'eth0 eth2 lo'])
  await lab.ok('rm', '-f', 'c1')
  await dropFour()
})

test('a connect that fails leaves nothing behind', async () => {
  await fourNetworks()
  await start('full', '--network', 'tiny')
  await start('c1', '--network', 'aa')
  const look = async () => [
    await lab.ok('inspect', '-f', '{{json .NetworkSettings.Networks}}', 'c1'),
    await inside('c1', 'ip addr; ip route; cat /etc/hosts'),
    await body('/networks/tiny'), await body('/networks/uu'),
    await lab.must('iptables-save | grep ^-A; ip -br link | cut -d" " -f1'),
  ]
  const before = await look()
  const sysctls = { DriverOpts: { 'com.docker.network.endpoint.sysctls': 'zz' } }
  const fixed = (IPv4Address: string) => ({ IPAMConfig: { IPv4Address } })
  const tries: readonly (readonly [string, object | undefined, number, RegExp])[] = [
    ['tiny', undefined, 500, /no available IPv4 addresses on this network's address pools: tiny /],
    ['aa', undefined, 403, /endpoint with name c1 already exists in network aa/],
    ['uu', fixed('10.2.0.1'), 403, /Address already in use/],
    ['uu', fixed('zz'), 400, /invalid endpoint settings:\\n\* invalid IPv4 address: zz\\n\* no conf/],
    ['uu', sysctls, 400, /unrecognised network interface sysctl 'zz'/],
    ['host', undefined, 400, /cannot connect container to host network/],
    ['none', undefined, 400, /with one of the networks in private \(none\) mode/],
  ]
  for (const [network, endpoint, status, sentence] of tries) {
    const answer = await verb(network, 'connect', 'c1', endpoint)
    assert.equal(answer.status, status, answer.text)
    assert.match(answer.text, sentence)
    assert.deepEqual(await look(), before)
  }
  await lab.ok('rm', '-f', 'full', 'c1')
  await dropFour()
})

test('a network whose subnet the container leads elsewhere is refused', async () => {
  await fourNetworks()
  await start('c1', '--network', 'aa')
  const pid = await lab.ok('inspect', '-f', '{{.State.Pid}}', 'c1')
  const within = (command: string) => lab.must(`nsenter -t ${pid} -n ip ${command}`)
  for (const route of ['10.2.0.0/24 dev eth0', '10.2.0.0/16 via 10.1.0.1', '10.2.0.128/25 dev eth0']) {
    await within(`route add ${route}`)
    const before = await within('route')
    const { status, json } = await verb('uu', 'connect', 'c1')
    const [destination = ''] = route.split(' ')
    const message = 'cannot program address 10.2.0.2/24 in sandbox interface because it conflicts with' +
      ` existing route ${destination}`
    assert.deepEqual([status, json], [500, { message }])
    assert.equal(await within('route'), before)
    await within(`route del ${route}`)
  }
  // A network that is left has no say in it, however soon the other comes.
  await lab.ok('network', 'connect', 'uu', 'c1')
  await lab.ok('network', 'disconnect', 'aa', 'c1')
  await lab.ok('network', 'disconnect', 'uu', 'c1')
  assert.equal((await verb('uu', 'connect', 'c1')).status, 200)
  await lab.ok('rm', '-f', 'c1')
  await dropFour()
})

test('addresses: the lowest free one with each start, but a static one for good; MACs as asked for', async () => {
  await lab.ok('network', 'create', '--subnet', '10.1.0.0/24', '--ip-range', '10.1.0.128/25', 'one')
  await start('fixed', '--network', 'one', '--ip', '10.1.0.50', '--mac-address', '02:00:00:00:00:50')
  await start('c1', '--network', 'one')
  await start('c2', '--network', 'one')
  assert.equal(await networksOf('c1'), 'one=10.1.0.129')
  await lab.ok('stop', '-t', '0', 'c1', 'fixed')
  const macs = '{{.Config.MacAddress}} {{.NetworkSettings.Networks.one.MacAddress}}'
  assert.equal(await lab.ok('inspect', '-f', macs, 'fixed'), '02:00:00:00:00:50 ')
  // What a stopped container had is free, its static address, too.
  await start('c3', '--network', 'one')
  assert.equal(await networksOf('c3'), 'one=10.1.0.129')
  await lab.ok('start', 'c1')
  assert.equal(await networksOf('c1'), 'one=10.1.0.131')
  await start('thief', '--network', 'one', '--ip', '10.1.0.50')
  assert.match((await lab.docker('start', 'fixed')).err, /Address already in use/)
  await lab.ok('rm', '-f', 'thief')
  await lab.ok('start', 'fixed')
  assert.equal(await networksOf('fixed'), 'one=10.1.0.50')
  assert.equal(await lab.ok('inspect', '-f', macs, 'fixed'), '02:00:00:00:00:50 02:00:00:00:00:50')
  assert.equal(await inside('fixed', 'cat /sys/class/net/eth0/address'), '02:00:00:00:00:50')
  await lab.ok('rm', '-f', 'fixed', 'c1', 'c2', 'c3')
  await start('c4', '--network', 'one', '--link-local-ip', '169.254.7.7')
  assert.match(await inside('c4', 'ip -4 -o addr show eth0'), /169\.254\.7\.7\/16/)
  await lab.ok('rm', '-f', 'c4')
  await lab.ok('network', 'rm', 'one')
})
