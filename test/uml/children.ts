/**
 * Runs inside a user-mode-linux guest: the network room on a kernel that has ipvlan, 802.1q and
 * dummy links. The cable `lan0` leads to a host `neighbour`, 192.0.2.200.
 */
import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { endpointSpec, networkSpec } from '../lab/network-specs.ts'
import { openLab, run } from '../lab/network-lab.ts'
import type { NetworkSpec } from '../../src/network/model.ts'

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

type Options = NetworkSpec['options']
const ipv4 = { subnet: '192.0.2.0/24' }
const spec = (driver: string, options: Options, part: Partial<NetworkSpec> = {}, pool: object = {}) =>
  networkSpec({
    driver,
    options,
    ipam: { driver: 'default', options: null, pools: [{ ...ipv4, ...pool }] },
    ...part,
  })
const ping = (to: string, netns = '') => run(`ping -c 1 -W 1 ${to}`, netns)
const unreachable = (to: string, netns = '') => assert.throws(() => ping(to, netns), `${to} answers`)
const links = () =>
  run('ip -o link').split('\n').flatMap((line) => /^\d+: ([^:@]+)/.exec(line)?.[1] ?? [])
const neighbour = '/run/netns/neighbour'

test('ipvlan l2: containers share the parent’s address and are on its network', async () => {
  const lab = await openLab()
  const { engine } = lab
  await engine.create(spec('ipvlan', { parent: 'lan0' }, {}, { gateway: '192.0.2.200' }))
  const c1 = await engine.open(lab.spec({ endpoints: [endpointSpec('u1')] }))
  const c2 = await engine.open(lab.spec({ endpoints: [endpointSpec('u1')] }))
  const mac = /link\/ether (\S+)/.exec(run('ip link show lan0'))?.[1]
  assert.match(run('ip -d link show eth0', c1.netnsPath), new RegExp(`${mac}[^]*ipvlan +mode l2 bridge`))
  assert.equal(c1.endpoints[0]?.macAddress, '')
  assert.equal(c1.endpoints[0]?.ipv4, '192.0.2.1/24')
  assert.match(run('ip route', c1.netnsPath), /^default via 192\.0\.2\.200 dev eth0/)
  ping('192.0.2.200', c1.netnsPath)
  ping('192.0.2.2', c1.netnsPath)
  ping('192.0.2.2', neighbour)
  unreachable('192.0.2.1')
  const fixed = endpointSpec('u1', { macAddress: '02:00:00:00:00:01' })
  await assert.rejects(engine.open(lab.spec({ endpoints: [fixed] })), {
    kind: 'internal',
    message: 'ipvlan interfaces do not support custom mac address assignment',
  })
  assert.deepEqual(await engine.plan(), [])
  for (const one of [c1, c2]) await engine.close(one.spec.containerId)
  await engine.remove('u1')
  await lab.end()
})

test('ipvlan l2 private: the containers of a parent are kept apart', async () => {
  const lab = await openLab()
  const { engine } = lab
  await engine.create(spec('ipvlan', { parent: 'lan0', ipvlan_flag: 'private' }))
  const c1 = await engine.open(lab.spec({ endpoints: [endpointSpec('u1')] }))
  const c2 = await engine.open(lab.spec({ endpoints: [endpointSpec('u1')] }))
  assert.match(run('ip -d link show eth0', c1.netnsPath), /ipvlan +mode l2 private/)
  ping('192.0.2.200', c1.netnsPath)
  unreachable('192.0.2.2', c1.netnsPath)
  for (const one of [c1, c2]) await engine.close(one.spec.containerId)
  await engine.remove('u1')
  await lab.end()
})

for (const mode of ['l3', 'l3s']) {
  test(`ipvlan ${mode}: the link is the default route, outside needs a route back`, async () => {
    const lab = await openLab()
    const { engine } = lab
    const pools = [{ subnet: '10.31.0.0/24' }, { subnet: '10.32.0.0/24' }, { subnet: 'fd31::/64' }]
    const ipam = { driver: 'default', options: null, pools }
    const options = { parent: 'lan0', ipvlan_mode: mode }
    await engine.create(spec('ipvlan', options, { ipam, enableIpv6: true }))
    const c1 = await engine.open(lab.spec({ endpoints: [endpointSpec('u1')] }))
    const there = endpointSpec('u1', { ipv4Address: '10.32.0.9' })
    const c2 = await engine.open(lab.spec({ endpoints: [there] }))
    assert.match(run('ip -d link show eth0', c1.netnsPath), new RegExp(`ipvlan +mode ${mode} bridge`))
    assert.match(run('ip route', c1.netnsPath), /^default dev eth0/)
    assert.match(run('ip -6 route', c1.netnsPath), /^default dev eth0/m)
    assert.equal(c1.endpoints[0]?.gateway4, '')
    assert.equal(c2.endpoints[0]?.ipv4, '10.32.0.9/24')
    ping('10.32.0.9', c1.netnsPath)
    unreachable('10.31.0.1', neighbour)
    run('ip route add 10.31.0.0/24 via 192.0.2.100', neighbour)
    run('sysctl -q -w net.ipv4.ip_forward=1')
    ping('10.31.0.1', neighbour)
    assert.deepEqual(await engine.plan(), [])
    run('ip route del default', c1.netnsPath)
    assert.match((await engine.plan()).join('\n'), /ip route add default dev eth0$/)
    await engine.reconcile()
    assert.match(run('ip route', c1.netnsPath), /^default dev eth0/)
    run('ip route del 10.31.0.0/24', neighbour)
    for (const one of [c1, c2]) await engine.close(one.spec.containerId)
    await engine.remove('u1')
    await lab.end()
  })
}

test('an internal l3 network has no default route; a bridge’s gateway goes first', async () => {
  const lab = await openLab()
  const { engine } = lab
  const options = { parent: 'lan0', ipvlan_mode: 'l3' }
  await engine.create(spec('ipvlan', options, { name: 'inner', internal: true }))
  await engine.create(spec('ipvlan', options, { name: 'outer' }, { subnet: '10.31.0.0/24' }))
  await engine.create(networkSpec({ name: 'bridged' }))
  const c1 = lab.spec({ endpoints: [endpointSpec('inner')] })
  const { netnsPath } = await engine.open(c1)
  assert.doesNotMatch(run('ip route', netnsPath), /default/)
  await engine.connect(c1.containerId, endpointSpec('outer'))
  assert.match(run('ip route', netnsPath), /^default dev eth1/)
  await engine.connect(c1.containerId, endpointSpec('bridged'))
  assert.match(run('ip route', netnsPath), /^default via 172\.18\.0\.1 dev eth2/)
  await engine.disconnect(c1.containerId, 'bridged', false)
  assert.match(run('ip route', netnsPath), /^default dev eth1/)
  await engine.close(c1.containerId)
  for (const name of ['inner', 'outer', 'bridged']) await engine.remove(name)
  await lab.end()
})

test('networks of one parent agree on mode and flag; bad ones are refused', async () => {
  const lab = await openLab()
  const { engine } = lab
  const { id } = await engine.create(spec('ipvlan', { parent: 'lan0' }))
  const refused = (options: Options, message: string) =>
    assert.rejects(engine.create(spec('ipvlan', options, { name: 'u2' }, { subnet: '10.31.0.0/24' })), {
      kind: 'internal',
      message,
    })
  const uses = `network di-${id.slice(0, 12)} is already using parent interface lan0`
  await refused({ parent: 'lan0', ipvlan_mode: 'l3' }, `${uses} in mode l2 with flag bridge`)
  await refused({ parent: 'lan0', ipvlan_flag: 'vepa' }, `${uses} in mode l2 with flag bridge`)
  await refused({ parent: 'lo' }, 'loopback interface is not a valid ipvlan parent link')
  const otherwise = (what: string) => `is not valid, ${what} is the ipvlan driver default`
  await refused({ ipvlan_mode: 'zz' }, `requested ipvlan mode 'zz' ${otherwise("'l2' mode")}`)
  await refused({ ipvlan_flag: 'zz' }, `requested ipvlan flag 'zz' ${otherwise("'bridge'")}`)
  await engine.create(spec('macvlan', { parent: 'lan0' }, { name: 'mac' }, { subnet: '10.32.0.0/24' }))
  const c1 = await engine.open(lab.spec({ endpoints: [endpointSpec('u1')] }))
  const other = lab.spec({ endpoints: [endpointSpec('mac')] })
  await assert.rejects(engine.open(other), /failed to create the \w+ port: device or resource busy: lan0 is a port/)
  await engine.close(c1.spec.containerId)
  const c2 = await engine.open(other)
  await engine.close(c2.spec.containerId)
  for (const name of ['u1', 'mac']) await engine.remove(name)
  await lab.end()
})

test('a sub-interface is made for its first network and goes with its last', async () => {
  let lab = await openLab()
  const vlan = { parent: 'lan0.50' }
  await lab.engine.create(spec('macvlan', vlan, { name: 'v1' }, { subnet: '10.50.0.0/24' }))
  await lab.engine.create(spec('macvlan', vlan, { name: 'v2' }, { subnet: '10.51.0.0/24' }))
  const shown = run('ip -d link show lan0.50')
  assert.match(shown, /lan0\.50@lan0: .*UP[^]*vlan protocol 802\.1Q id 50[^]*alias portolan:parent/)
  run('ip -n neighbour link add link lan1 name lan1.50 type vlan id 50')
  run('ip -n neighbour link set lan1.50 up')
  run('ip -n neighbour addr add 10.50.0.200/24 dev lan1.50')
  const c1 = lab.spec({ endpoints: [endpointSpec('v1', { ipv4Address: '10.50.0.7' })] })
  const { netnsPath } = await lab.engine.open(c1)
  ping('10.50.0.200', netnsPath)
  ping('10.50.0.7', neighbour)
  lab = await lab.restart([c1.containerId])
  assert.deepEqual(await lab.engine.plan(), [])
  ping('10.50.0.200', netnsPath)
  run('ip link del lan0.50')
  const plan = (await lab.engine.plan()).join('\n')
  assert.match(plan, /ip link add link lan0 name lan0\.50 type vlan id 50\nip link set lan0\.50 alias portolan:parent up/)
  await lab.engine.reconcile()
  ping('10.50.0.200', netnsPath)
  assert.deepEqual(await lab.engine.plan(), [])
  await lab.engine.close(c1.containerId)
  await lab.engine.remove('v1')
  assert.ok(links().includes('lan0.50'), 'the other network is on it')
  await Promise.all([
    lab.engine.remove('v2'),
    lab.engine.create(spec('ipvlan', vlan, { name: 'v3' }, { subnet: '10.50.0.0/24' })),
  ])
  assert.ok(links().includes('lan0.50'))
  await lab.engine.remove('v3')
  await lab.engine.settled()
  assert.ok(!links().includes('lan0.50'))
  run('ip -n neighbour link del lan1.50')
  await lab.end()
})

test('a sub-interface of the user’s own stays, and one that cannot be made leaves nothing', async () => {
  const lab = await openLab()
  const { engine } = lab
  run('ip link add link lan0 name lan0.60 type vlan id 60')
  run('ip link set lan0.60 up')
  await engine.create(spec('macvlan', { parent: 'lan0.60' }, {}, { subnet: '10.60.0.0/24' }))
  assert.deepEqual(await engine.plan(), [])
  await engine.reconcile()
  await engine.remove('u1')
  await engine.settled()
  assert.ok(links().includes('lan0.60'))
  run('ip link del lan0.60')
  run('ip link set lan0 down')
  await assert.rejects(engine.create(spec('macvlan', { parent: 'lan0.61' })), /lan0 is down/)
  run('ip link set lan0 up')
  assert.ok(!links().includes('lan0.61'))
  await lab.end()
})

test('without a parent a dummy link holds the containers together', async () => {
  const lab = await openLab()
  const { engine } = lab
  for (const [driver, prefix] of [['macvlan', 'dm-'], ['ipvlan', 'di-']] as const) {
    const { id } = await engine.create(spec(driver, {}))
    const parent = prefix + id.slice(0, 12)
    assert.match(run(`ip -d link show ${parent}`), new RegExp(`UP[^]*dummy[^]*alias portolan:${id}`))
    const c1 = await engine.open(lab.spec({ endpoints: [endpointSpec('u1')] }))
    const c2 = await engine.open(lab.spec({ endpoints: [endpointSpec('u1')] }))
    ping('192.0.2.2', c1.netnsPath)
    assert.doesNotMatch(run('ip route', c1.netnsPath), /default/)
    assert.deepEqual(await engine.plan(), [])
    for (const one of [c1, c2]) await engine.close(one.spec.containerId)
    await engine.remove('u1')
    await engine.settled()
    assert.ok(!links().includes(parent))
  }
  await lab.end()
})
