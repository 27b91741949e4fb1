import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { endpointSpec, networkSpec } from '../../test/lab/network-specs.ts'
import { openLab, run } from '../../test/lab/network-lab.ts'
import type { NetworkSpec } from './model.ts'

/** A neighbour host 192.0.2.200 on the other end of the cable `lan0`. */
before(() => {
  run('ip netns add neighbour')
  run('ip link add dev lan0 type veth peer name lan1 netns neighbour')
  run('ip addr add 192.0.2.100/24 dev lan0')
  run('ip link set lan0 up')
  run('ip -n neighbour addr add 192.0.2.200/24 dev lan1')
  run('ip -n neighbour link set lan1 up')
  run('ip -n neighbour link set lo up')
})
after(() => void run('ip netns del neighbour'))

const subnet = '192.0.2.0/24'
const macvlan = (part: Partial<NetworkSpec> = {}, pool: object = {}): NetworkSpec =>
  networkSpec({
    driver: 'macvlan',
    options: { parent: 'lan0' },
    ipam: { driver: 'default', options: null, pools: [{ subnet, ...pool }] },
    ...part,
  })
const ping = (to: string, netns = '') => run(`ping -c 1 -W 1 ${to}`, netns)
const links = () =>
  run('ip -o link').split('\n').flatMap((line) => /^\d+: ([^:@]+)/.exec(line)?.[1] ?? [])
const neighbour = '/run/netns/neighbour'

test('a container is a host of its own on the parent’s network', async () => {
  const lab = await openLab()
  const { engine } = lab
  const auxiliary = { nas: '192.0.2.128' }
  const pool = { gateway: '192.0.2.200', ipRange: '192.0.2.128/27', auxiliary }
  const network = await engine.create(macvlan({ name: 'lan' }, pool))
  const c1 = await engine.open(lab.spec({ endpoints: [endpointSpec('lan')] }))
  const mac = '02:42:c0:00:02:fe'
  const fixed = endpointSpec('lan', { ipv4Address: '192.0.2.50', macAddress: mac })
  const c2 = await engine.open(lab.spec({ endpoints: [fixed], containerName: 'fixed' }))
  const [end] = c1.endpoints
  assert.equal(end?.ipv4, '192.0.2.129/24')
  assert.equal(end?.macAddress, '02:42:c0:00:02:81')
  assert.equal(end?.gateway4, '192.0.2.200')
  assert.equal(end?.hostInterface, '')
  const link = run('ip -d addr show eth0', c1.netnsPath)
  assert.match(link, /02:42:c0:00:02:81[^]*macvlan mode bridge[^]*inet 192\.0\.2\.129\/24/)
  assert.match(run('ip route', c1.netnsPath), /^default via 192\.0\.2\.200 dev eth0/)
  assert.match(run('ip link show eth0', c2.netnsPath), new RegExp(mac))
  ping('192.0.2.200', c1.netnsPath)
  ping('192.0.2.129', neighbour)
  ping('192.0.2.50', c1.netnsPath)
  assert.throws(() => ping('192.0.2.129'), 'the host does not reach containers on its own parent')
  assert.throws(() => ping('192.0.2.100', c1.netnsPath), 'nor they the host')
  const names = lab.told.zones.get(network.id)?.map((record) => record.names[0])
  assert.ok(names?.includes('fixed'))
  assert.deepEqual(await engine.plan(), [])
  for (const { spec } of [c1, c2]) await engine.close(spec.containerId)
  await engine.remove('lan')
  await engine.settled()
  assert.deepEqual(links().sort(), ['docker0', 'lan0', 'lo'])
  await lab.end()
})

test('the host reaches containers by a macvlan link of its own, as the guide says', async () => {
  const lab = await openLab()
  const { engine } = lab
  const auxiliary = { host: '192.0.2.129' }
  await engine.create(macvlan({}, { ipRange: '192.0.2.128/27', auxiliary }))
  const c1 = await engine.open(lab.spec({ endpoints: [endpointSpec('u1')] }))
  assert.equal(c1.endpoints[0]?.ipv4, '192.0.2.128/24')
  run('ip link add lan-host link lan0 type macvlan mode bridge')
  run('ip addr add 192.0.2.129/32 dev lan-host')
  run('ip link set lan-host up')
  run('ip route add 192.0.2.128/27 dev lan-host')
  ping('192.0.2.128')
  ping('192.0.2.129', c1.netnsPath)
  await engine.reconcile()
  ping('192.0.2.128')
  assert.doesNotMatch(run('ip link show lan0'), /PROMISC/)
  run('ip link del lan-host')
  await engine.close(c1.spec.containerId)
  await engine.remove('u1')
  await lab.end()
})

test('a host link called eth0 is no hindrance, nor that it is the parent', async () => {
  const lab = await openLab()
  const { engine } = lab
  run('ip link set lan0 name eth0')
  await engine.create(macvlan({ options: { parent: 'eth0' } }))
  const c1 = await engine.open(lab.spec({ endpoints: [endpointSpec('u1')] }))
  ping('192.0.2.200', c1.netnsPath)
  assert.match(run('ip -br link show eth0', c1.netnsPath), /^eth0@if\d+ +UP/)
  await engine.close(c1.spec.containerId)
  await engine.remove('u1')
  run('ip link set eth0 name lan0')
  await lab.end()
})

test('several subnets, both families: each endpoint has the gateway of its own subnet', async () => {
  const lab = await openLab()
  const { engine } = lab
  run('ip -n neighbour addr add fd00:2::200/64 dev lan1 nodad')
  const pools = [
    { subnet, gateway: '192.0.2.200' },
    { subnet: '198.51.100.0/24', gateway: '198.51.100.1' },
    { subnet: 'fd00:2::/64', gateway: 'fd00:2::200' },
  ]
  const ipam = { driver: 'default', options: null, pools }
  await engine.create(macvlan({ ipam, enableIpv6: true }))
  const c1 = await engine.open(lab.spec({ endpoints: [endpointSpec('u1')] }))
  const there = endpointSpec('u1', { ipv4Address: '198.51.100.7' })
  const c2 = await engine.open(lab.spec({ endpoints: [there] }))
  assert.match(run('ip route', c1.netnsPath), /^default via 192\.0\.2\.200 dev eth0/)
  assert.match(run('ip route', c2.netnsPath), /^default via 198\.51\.100\.1 dev eth0/)
  assert.match(run('ip -6 route', c2.netnsPath), /^default via fd00:2::200 dev eth0/m)
  ping('fd00:2::200', c1.netnsPath)
  ping('fd00:2::1', neighbour)
  assert.equal(run('sysctl -n net.ipv6.conf.all.forwarding').trim(), '0', 'nothing is routed here')
  const internal = macvlan({ name: 'six', internal: true, enableIpv4: false, enableIpv6: true })
  const six = { ...ipam, pools: [{ subnet: 'fd00:3::/64', gateway: 'fd00:3::1' }] }
  await engine.create({ ...internal, ipam: six })
  const c3 = await engine.open(lab.spec({ endpoints: [endpointSpec('six')] }))
  assert.deepEqual([c3.endpoints[0]?.ipv4, c3.endpoints[0]?.ipv6], ['', 'fd00:3::2/64'])
  assert.equal(run('sysctl -n net.ipv6.conf.eth0.accept_ra', c3.netnsPath).trim(), '0')
  assert.deepEqual(await engine.plan(), [])
  for (const { spec } of [c1, c2, c3]) await engine.close(spec.containerId)
  for (const name of ['u1', 'six']) await engine.remove(name)
  run('ip -n neighbour addr del fd00:2::200/64 dev lan1')
  await lab.end()
})

test('private mode keeps the containers of a parent apart', async () => {
  const lab = await openLab()
  const { engine } = lab
  await engine.create(macvlan({ options: { parent: 'lan0', macvlan_mode: 'private' } }))
  const c1 = await engine.open(lab.spec({ endpoints: [endpointSpec('u1')] }))
  const c2 = await engine.open(lab.spec({ endpoints: [endpointSpec('u1')] }))
  assert.match(run('ip -d link show eth0', c1.netnsPath), /macvlan mode private/)
  ping('192.0.2.200', c1.netnsPath)
  assert.equal(c1.endpoints[0]?.ipv4, '192.0.2.1/24', 'no gateway is reserved unless named')
  assert.doesNotMatch(run('ip route', c1.netnsPath), /default/)
  assert.throws(() => ping('192.0.2.2', c1.netnsPath))
  for (const { spec } of [c1, c2]) await engine.close(spec.containerId)
  await engine.remove('u1')
  await lab.end()
})

test('in vepa mode the switch outside decides; ports published are ignored', async () => {
  const lab = await openLab()
  const { engine } = lab
  await engine.create(macvlan({ options: { parent: 'lan0', macvlan_mode: 'vepa' } }))
  const publication = { protocol: 'tcp', containerPort: 80, hostIp: '' } as const
  const publications = [{ ...publication, hostPortFirst: 8080, hostPortLast: 8080 }]
  const spec = lab.spec({ endpoints: [endpointSpec('u1')], publications })
  const c1 = await engine.open(spec)
  assert.match(run('ip -d link show eth0', c1.netnsPath), /macvlan mode vepa/)
  assert.deepEqual(c1.ports, {})
  assert.equal(lab.told.ports.size, 0)
  await engine.close(spec.containerId)
  await engine.remove('u1')
  await lab.end()
})

test('passthru gives the parent to one container and one network', async () => {
  const lab = await openLab()
  const { engine } = lab
  const passthru = { parent: 'lan0', macvlan_mode: 'passthru' }
  const mac = /link\/ether (\S+)/.exec(run('ip link show lan0'))?.[1]
  const other = await engine.create(macvlan({ name: 'other' }))
  const uses = (id: string) =>
    `macvlan network ${id} is already using parent interface lan0`
  const elsewhere = { subnet: '192.0.3.0/24' }
  await assert.rejects(engine.create(macvlan({ name: 'pass', options: passthru }, elsewhere)), {
    kind: 'internal',
    message: `cannot use mode passthru, ${uses(other.id)}`,
  })
  await engine.remove('other')
  const pass = await engine.create(macvlan({ name: 'pass', options: passthru }))
  await assert.rejects(engine.create(macvlan({ name: 'other' }, elsewhere)), {
    message: `${uses(pass.id)} in mode passthru`,
  })
  const endpoints = [endpointSpec('pass')]
  const c1 = await engine.open(lab.spec({ endpoints }))
  assert.equal(c1.endpoints[0]?.macAddress, mac)
  assert.match(run('ip link show eth0', c1.netnsPath), new RegExp(`link/ether ${mac}`))
  ping('192.0.2.200', c1.netnsPath)
  await assert.rejects(engine.open(lab.spec({ endpoints })), /passes lan0 through to one/)
  await engine.close(c1.spec.containerId)
  const own = endpointSpec('pass', { macAddress: '02:00:00:00:00:07' })
  const c2 = await engine.open(lab.spec({ endpoints: [own] }))
  assert.match(run('ip link show eth0', c2.netnsPath), /02:00:00:00:00:07/)
  assert.deepEqual(await engine.plan(), [])
  await engine.close(c2.spec.containerId)
  await engine.settled()
  assert.match(run('ip link show lan0'), new RegExp(`link/ether ${mac}`), 'the parent’s own again')
  await engine.remove('pass')
  await lab.end()
})

test('without a parent, or internal, nothing leads out', async () => {
  const lab = await openLab()
  const { engine } = lab
  const network = await engine.create(macvlan({ options: {} }, { gateway: '192.0.2.1' }))
  const dummy = `dm-${network.id.slice(0, 12)}`
  const shown = new RegExp(`UP[^]*(dummy|ifb)[^]*alias portolan:${network.id}`)
  assert.match(run(`ip -d link show ${dummy}`), shown)
  const c1 = await engine.open(lab.spec({ endpoints: [endpointSpec('u1')] }))
  const c2 = await engine.open(lab.spec({ endpoints: [endpointSpec('u1')] }))
  ping('192.0.2.2', c2.netnsPath)
  assert.doesNotMatch(run('ip route', c1.netnsPath), /default/)
  assert.equal(lab.told.resolvers.get(c1.id)?.hostUpstreamsAllowed, false)
  const inner = { subnet: '192.0.3.0/24', gateway: '192.0.3.1' }
  await engine.create(macvlan({ name: 'inner', internal: true }, inner))
  const c3 = await engine.open(lab.spec({ endpoints: [endpointSpec('inner')] }))
  assert.equal(c3.endpoints[0]?.ipv4, '192.0.3.2/24')
  assert.doesNotMatch(run('ip route', c3.netnsPath), /default/)
  assert.equal(lab.told.resolvers.get(c3.id)?.hostUpstreamsAllowed, false)
  for (const { spec } of [c1, c2, c3]) await engine.close(spec.containerId)
  await engine.remove('inner')
  await engine.remove('u1')
  await engine.settled()
  assert.ok(!links().includes(dummy))
  await lab.end()
})

test('networks share a parent, and a subnet by ranges', async () => {
  const lab = await openLab()
  const { engine } = lab
  await engine.create(macvlan({ name: 'low' }, { ipRange: '192.0.2.0/27' }))
  await engine.create(macvlan({ name: 'high' }, { ipRange: '192.0.2.32/27' }))
  const c1 = await engine.open(lab.spec({ endpoints: [endpointSpec('low')] }))
  const c2 = await engine.open(lab.spec({ endpoints: [endpointSpec('high')] }))
  assert.equal(c2.endpoints[0]?.ipv4, '192.0.2.32/24')
  ping('192.0.2.32', c1.netnsPath)
  for (const { spec } of [c1, c2]) await engine.close(spec.containerId)
  for (const name of ['low', 'high']) await engine.remove(name)
  await lab.end()
})

test('connect, disconnect, restart, drift and its repair', async () => {
  let lab = await openLab()
  await lab.engine.create(macvlan({ name: 'lan' }, { gateway: '192.0.2.200' }))
  await lab.engine.create(macvlan({ name: 'alone', options: {} }, { subnet: '192.0.3.0/24' }))
  await lab.engine.create(networkSpec({ name: 'bridged' }))
  const spec = lab.spec({ endpoints: [endpointSpec('bridged')] })
  const { netnsPath } = await lab.engine.open(spec)
  await lab.engine.connect(spec.containerId, endpointSpec('lan', { gwPriority: 1 }))
  await lab.engine.connect(spec.containerId, endpointSpec('alone'))
  assert.match(run('ip route', netnsPath), /default via 192\.0\.2\.200 dev eth1/)
  assert.equal(lab.engine.endpointsOf(lab.engine.find('lan').id).length, 1)
  const index = () => run('ip -o link show eth1', netnsPath).split(':')[0]
  const before = index()
  lab = await lab.restart([spec.containerId])
  assert.deepEqual(await lab.engine.plan(), [])
  assert.equal(index(), before, 'adopted, not made again')
  run('ip addr flush dev eth1', netnsPath)
  run('ip link del eth2', netnsPath)
  run(`ip link del ${links().find((name) => name.startsWith('dm-'))}`)
  const plan = (await lab.engine.plan()).join('\n')
  assert.match(plan, /ip link add dm-\w+ type (dummy|ifb)\n/)
  assert.match(plan, /add link dm-\w+ name portolan-new address 02:42:c0:00:03:01 netns /)
  assert.match(plan, / type macvlan mode bridge\n.*name eth2 up/)
  await lab.engine.reconcile()
  assert.deepEqual(await lab.engine.plan(), [])
  ping('192.0.2.200', netnsPath)
  run('ip link set eth1 down', netnsPath)
  await lab.engine.reconcile()
  ping('192.0.2.200', netnsPath)
  await lab.engine.disconnect(spec.containerId, 'lan', false)
  await lab.engine.settled()
  assert.doesNotMatch(run('ip -br link', netnsPath), /eth1/)
  assert.match(run('ip route', netnsPath), /default via 172\.18\.0\.1 dev eth0/)
  await lab.engine.connect(spec.containerId, endpointSpec('lan'))
  ping('192.0.2.200', netnsPath)
  await lab.engine.close(spec.containerId)
  for (const name of ['lan', 'alone', 'bridged']) await lab.engine.remove(name)
  await lab.engine.settled()
  assert.deepEqual(links().filter((name) => /^(dm-|br-|veth)/.test(name)), [])
  await lab.end()
})

test('a parent that is gone, or taken, is named', async () => {
  const lab = await openLab()
  const { engine } = lab
  await engine.create(macvlan({ options: { parent: 'lan0' } }))
  run('ip link set lan0 down')
  run('ip link set lan0 name lan9')
  const opened = () => engine.open(lab.spec({ endpoints: [endpointSpec('u1')] }))
  await assert.rejects(opened, /the requested parent interface lan0 was not found on the Docker host/)
  run('ip link set lan9 name lan0')
  run('ip link add br9 type bridge')
  run('ip link set lan0 master br9')
  await assert.rejects(opened, /port of a bridge/)
  run('ip link del br9')
  run('ip link set lan0 up')
  await engine.settled()
  await engine.remove('u1')
  await lab.end()
})

test('what Docker refuses about parents and modes is refused in its words', async () => {
  const lab = await openLab()
  const cases: readonly (readonly [NetworkSpec['options'], string])[] = [
    [{ parent: 'dm0' }, 'invalid subinterface vlan name dm0, example formatting is eth0.10'],
    [{ parent: 'lo' }, 'loopback interface is not a valid macvlan parent link'],
    [
      { parent: 'lan0', macvlan_mode: 'zz' },
      "requested macvlan mode 'zz' is not valid, 'bridge' mode is the macvlan driver default",
    ],
    [
      { parent: 'lan0.1.2' },
      'required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10,' +
        ' instead received lan0.1.2',
    ],
    [{ parent: 'lan0.x' }, 'unable to parse a valid vlan id from: x (ex. eth0.10 for vlan 10)'],
    [{ parent: 'no.5' }, '-o parent interface was not found on the host: no'],
    [{ parent: 'lan0.4095' }, 'vlan id must be between 1-4094, received: 4095'],
    [{ parent: 'lan0.0' }, 'vlan id must be between 1-4094, received: 0'],
  ]
  for (const [options, message] of cases) {
    await assert.rejects(lab.engine.create(macvlan({ options })), { kind: 'internal', message })
  }
  const none = { driver: 'null', options: null, pools: [] }
  await assert.rejects(lab.engine.create(macvlan({ ipam: none })), {
    kind: 'invalid',
    message: 'ipv4 pool is empty',
  })
  const large = { parent: 'lan0', 'com.docker.network.driver.mtu': '9000' }
  await assert.rejects(lab.engine.create(macvlan({ options: large })), {
    message: 'invalid MTU number: 9000: parent interface lan0 has 1500',
  })
  assert.deepEqual(links().filter((name) => name.includes('.')), [])
  await lab.end()
})
