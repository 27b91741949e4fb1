/** macvlan with the stock client: a neighbour host on a cable, the daemon killed, nothing left. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { Lab } from './lab/lab.ts'
import { containers, parentLinks, refusals, sharing } from './lab/parents.ts'
import { noDockerd, saying, Two, type Said } from './lab/two.ts'

const links = `ip -o link | cut -d: -f2 | cut -d@ -f1 | tr -d ' ' | sort`
const address = '{{.NetworkSettings.Networks.lan.IPAddress}} {{.NetworkSettings.Networks.lan.Gateway}}'

test('containers of a macvlan network live on the network of the machine', async (t) => {
  const lab = await Lab.start(t)
  await lab.neighbour('neighbour', '192.0.2')
  await lab.must('ip link set lanneighbou name eth0')
  const before = await lab.must(links)
  await lab.ok(
    'network', 'create', '-d', 'macvlan', '--subnet', '192.0.2.0/24', '--gateway', '192.0.2.2',
    '--aux-address', 'host=192.0.2.1', '--ip-range', '192.0.2.0/28', '-o', 'parent=eth0', 'lan',
  )
  assert.match(await lab.ok('network', 'ls'), /lan +macvlan +local/)
  assert.equal(await lab.ok('network', 'inspect', '-f', '{{json .Options}}', 'lan'), '{"parent":"eth0"}')
  const plugins = await lab.ok('info', '-f', '{{json .Plugins.Network}}')
  assert.ok(plugins.includes('"ipvlan","macvlan"'), plugins)

  await lab.ok('run', '-d', '--name', 'c1', '--network', 'lan', '-p', '8080:80', 'busybox', 'sleep', '600')
  await lab.ok(
    'run', '-d', '--name', 'c2', '--network', 'lan', '--ip', '192.0.2.77', '--mac-address', '02:00:00:00:00:77',
    'busybox', 'sleep', '600',
  )
  assert.equal(await lab.ok('inspect', '-f', address, 'c1'), '192.0.2.3 192.0.2.2')
  assert.equal(await lab.ok('port', 'c1'), '')
  assert.match(await lab.ok('exec', 'c2', 'ip', 'link', 'show', 'eth0'), /02:00:00:00:00:77/)
  await lab.ok('exec', 'c1', 'ping', '-c', '1', '-W', '2', 'c2')
  await lab.ok('exec', 'c1', 'ping', '-c', '1', '-W', '2', '192.0.2.2')
  await lab.must('ip netns exec neighbour ping -c 1 -W 2 192.0.2.77')
  assert.notEqual((await lab.docker('exec', 'c1', 'ping', '-c', '1', '-W', '1', '192.0.2.1')).code, 0)
  const listed = await lab.ok('network', 'inspect', '-f', '{{range .Containers}}{{.Name}} {{.IPv4Address}} {{.MacAddress}};{{end}}', 'lan')
  assert.ok(listed.includes('c1 192.0.2.3/24 02:42:c0:00:02:03;'), listed)

  await lab.endDaemon('SIGKILL')
  await lab.must('ip netns exec neighbour ping -c 1 -W 2 192.0.2.3')
  await lab.startDaemon()
  await lab.ok('exec', 'c1', 'ping', '-c', '1', '-W', '2', 'c2')
  await lab.ok('network', 'disconnect', 'lan', 'c1')
  assert.doesNotMatch(await lab.ok('exec', 'c1', 'ip', 'link'), /eth0/)
  await lab.ok('network', 'connect', '--ip', '192.0.2.9', 'lan', 'c1')
  await lab.must('ip netns exec neighbour ping -c 1 -W 2 192.0.2.9')
  const inUse = await lab.docker('network', 'rm', 'lan')
  assert.match(inUse.err, /network lan has active endpoints/)
  await lab.ok('restart', '-t', '0', 'c1')
  assert.equal(await lab.ok('inspect', '-f', address, 'c1'), '192.0.2.9 192.0.2.2')

  const alone = await lab.ok('network', 'create', '-d', 'macvlan', 'alone')
  await lab.ok('run', '--rm', '--network', 'alone', 'busybox', 'true')
  assert.ok((await lab.must(links)).includes(`dm-${alone.slice(0, 12)}`))
  await lab.expectNoLeaks()
  assert.equal(await lab.must(links), before)
})

test('ipvlan is refused by name where the kernel lacks it, and nothing is left', async (t) => {
  const lab = await Lab.start(t, { busybox: false })
  const lacking = (await lab.sh('ip link add link lo name probe type ipvlan 2>&1')).out
  if (!lacking.includes('Unknown device type')) return t.skip('this kernel has ipvlan: test/uml.test.ts')
  const before = await lab.must(links)
  const ran = await lab.docker('network', 'create', '-d', 'ipvlan', '-o', 'parent=docker0', 'n')
  assert.match(ran.err, /this kernel cannot make ipvlan links: it was built without CONFIG_IPVLAN, or its module/)
  assert.equal(await lab.must(links), before)
  assert.doesNotMatch(await lab.ok('network', 'ls'), /ipvlan/)
})

test('macvlan networks as with dockerd', { skip: noDockerd }, async (t) => {
  const two = await Two.start(t, [], parentLinks)
  // What this kernel cannot make is compared in a guest (test/uml/parents.ts).
  await t.test('what is taken and refused', () => refusals(two, 'macvlan', ['vlan', 'dummy']))
  await t.test('who shares a parent', () => sharing(two, true))
  await t.test('what containers see', () => containers(two, 'macvlan'))
  await t.test('a parent that is gone, or taken', async () => {
    const create = (options: Readonly<Record<string, string>>) =>
      two.both(({ api }) => api('POST', '/networks/create', { Name: 'nn', Driver: 'macvlan', Options: options }))
    const start = (said?: Said) => two.same('start', async ({ api }) => {
      await api('POST', '/containers/create?name=c1', { Image: 'busybox', HostConfig: { NetworkMode: 'nn' } })
      const answer = await api('POST', '/containers/c1/start')
      await api('DELETE', '/containers/c1?force=1')
      return saying(answer)
    }, said)
    await create({ parent: 'port0' })
    const busy = '500 failed to set up container networking: failed to create the macvlan port: device or resource busy'
    const why = 'port0 is a port of a bridge or bond already, or carries links of another kind'
    await start([busy, `${busy}: ${why} (EBUSY)`])
    await two.same('rm', async ({ api }) => saying(await api('DELETE', '/networks/nn')))
    await create({ parent: 'lan0' })
    await two.both(({ sh }) => sh('ip link del lan0'))
    await start()
    await two.same('rm without its parent', async ({ api }) => saying(await api('DELETE', '/networks/nn')))
  })
})
