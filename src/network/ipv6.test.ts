import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { serve } from '../../test/lab/real-rooms.ts'
import {
  hostAddress,
  ipv6Of,
  lan,
  lanAddress,
  makeLan,
  pools,
  published,
  scene,
  tried,
} from '../../test/lab/scene.ts'
import { endpointSpec } from '../../test/lab/network-specs.ts'
import { run } from '../../test/lab/network-lab.ts'

test.before(makeLan)
test.after(() => run('ip netns del lan'))

for (const backend of ['iptables', 'nftables'] as const) {
  for (const userlandProxy of [true, false]) {
    const how = `${backend}, userland proxy ${userlandProxy ? 'on' : 'off'}`
    test(`IPv6 ports are published by translation: ${how}`, async (t) => {
      const { lab, network, place } = await scene(t, backend, { userlandProxy })
      await network({ name: 'one', ipam: pools('fd00:21::/64') })
      await network({ name: 'two', ipam: pools('fd00:22::/64') })
      const web = await place('web', endpointSpec('one'), published)
      const same = await place('same', endpointSpec('one'))
      const apart = await place('apart', endpointSpec('two'))
      await serve(web, 'web')
      const url = `[${hostAddress}]:8080`
      assert.equal(tried(url, lan), 'web', 'from another host')
      assert.equal(tried(url), 'web', 'from the host itself')
      // The kernel has no route_localnet for IPv6: without the relay ::1 leads nowhere.
      assert.equal(tried('[::1]:8080'), userlandProxy ? 'web' : '')
      assert.equal(tried(url, web.netnsPath), 'web', 'hairpin')
      assert.equal(tried(url, same.netnsPath), 'web', 'neighbour')
      // As with Docker 28: what separates networks comes before what is published.
      assert.equal(tried(url, apart.netnsPath), userlandProxy ? 'web' : '', 'other network')
      assert.equal(tried(`[${ipv6Of(web)}]`, same.netnsPath), 'web')
      assert.equal(tried(`[${ipv6Of(web)}]`, lan), '', 'not directly')
      assert.equal(tried(`[${ipv6Of(web)}]`, apart.netnsPath), '', 'networks are apart')
      run(`ping -6 -c 1 -W 2 ${lanAddress}`, same.netnsPath)
      assert.deepEqual(await lab.engine.plan(), [])
    })
  }
}

test('an internal IPv6 network leads nowhere, its containers reach each other', async (t) => {
  const { network, place } = await scene(t)
  const subnet = 'fd00:23::/64'
  await network({ name: 'in', internal: true, ipam: pools(subnet) })
  const web = await place('web', endpointSpec('in'))
  const other = await place('other', endpointSpec('in'))
  await serve(web, 'web')
  assert.equal(tried(`[${ipv6Of(web)}]`, other.netnsPath), 'web')
  assert.equal(tried(`[${ipv6Of(web)}]`, lan), '')
  assert.equal(run('ip -6 route show default', web.netnsPath), '')
  run(`ip -6 route add default via fd00:23::1`, web.netnsPath)
  assert.throws(() => run(`ping -6 -c 1 -W 1 ${lanAddress}`, web.netnsPath))
  const rules = run('ip6tables -S DOCKER-ISOLATION-STAGE-1')
  assert.match(rules, /! -s fd00:23::\/64 ! -i br-\w+ -o br-\w+ -j DROP/)
  assert.match(rules, /! -d fd00:23::\/64 -i br-\w+ ! -o br-\w+ -j DROP/)
})

for (const backend of ['iptables', 'nftables'] as const) {
  test(`icc=false and a link over both families: ${backend}`, async (t) => {
    const config = { icc: false, ipv6: true, fixedCidr6: 'fd00:17::/64' }
    const { lab, place } = await scene(t, backend, config)
    const child = await place('child', endpointSpec('bridge'), { exposed: ['80/tcp'] })
    await serve(child, 'child')
    const { containerId, containerName } = child.spec
    const links = [{ containerId, containerName, alias: 'db', exposed: ['80/tcp'] }]
    const parent = await place('parent', endpointSpec('bridge'), { links })
    const other = await place('other', endpointSpec('bridge'))
    for (const host of ['172.17.0.2', `[${ipv6Of(child)}]`]) {
      assert.equal(tried(host, parent.netnsPath), 'child', host)
      assert.equal(tried(host, other.netnsPath), '', host)
    }
    assert.deepEqual(await lab.engine.plan(), [])
  })
}

test('router advertisements from containers change nothing unless their receiver wants', async (t) => {
  const { network, place } = await scene(t)
  const { id } = await network({ name: 'six' })
  const rogue = await place('rogue', endpointSpec('six'))
  const victim = await place('victim', endpointSpec('six'))
  const key = 'com.docker.network.endpoint.sysctls'
  const driverOpts = { [key]: 'net.ipv6.conf.IFNAME.accept_ra=1' }
  const eager = await place('eager', endpointSpec('six', { driverOpts }))
  const bridge = `br-${id.slice(0, 12)}`
  const places = [[victim.netnsPath, 'eth0'], [eager.netnsPath, 'eth0'], ['', bridge]] as const
  await settled(rogue.netnsPath)
  for (const [netns, link] of places) {
    const [target = ''] = /fe80:[0-9a-f:]+/.exec(run(`ip -6 address show dev ${link}`, netns)) ?? []
    const to = `IP6-SENDTO:[${target}%eth0]:58,ipv6-unicast-hops=255`
    const send = [`--net=${rogue.netnsPath}`, 'socat', '-u', '-', to]
    execFileSync('nsenter', send, { input: routerAdvertisement })
  }
  const state = (netns: string) => run('ip -6 address', netns) + run('ip -6 route', netns)
  for (let tries = 0; tries < 100 && !/bad:/.test(state(eager.netnsPath)); tries++) await sleep(20)
  assert.match(state(eager.netnsPath), /2001:db8:bad:/, 'it was a good one')
  assert.doesNotMatch(state(victim.netnsPath), /2001:db8:bad:|proto ra/)
  assert.doesNotMatch(state(''), /2001:db8:bad:|proto ra/)
})

/** A link-local address may send once no other has been found on the link. */
async function settled(netns: string): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const shown = run('ip -6 address show dev eth0', netns)
    if (shown.includes('fe80:') && !shown.includes('tentative')) return
    await sleep(20)
  }
}

/** A router for half an hour; 2001:db8:bad::/64 is on the link and for addresses. */
const routerAdvertisement = Buffer.concat([
  Buffer.from([134, 0, 0, 0, 64, 0, 0x07, 0x08]),
  Buffer.alloc(8),
  Buffer.from([3, 4, 64, 0xc0, 0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0]),
  Buffer.from('20010db80bad00000000000000000000', 'hex'),
])

test('ports follow the gateway of each family', async (t) => {
  const { lab, network, place } = await scene(t)
  await network({ name: 'a4', enableIpv6: false })
  const ipam = pools('fd00:24::/64')
  await network({ name: 'b6', enableIpv4: false, ipam })
  const web = await place('web', endpointSpec('a4'), published)
  await serve(web, 'web')
  const url = `[${hostAddress}]:8080`
  assert.equal(tried(url, lan), 'web', 'by the relay')
  assert.equal(run('ip -6 address show dev eth0', web.netnsPath), '', 'no IPv6 without a subnet')
  const { containerId } = web.spec
  await lab.engine.connect(containerId, endpointSpec('b6'))
  assert.match(run('ip6tables-save -t nat'), /8080 -j DNAT --to-destination \[fd00:24::2\]:80/)
  assert.equal(tried(url, lan), 'web', 'by translation')
  assert.equal(tried('198.51.100.1:8080', lan), 'web')
  assert.match(run('ip -6 route', web.netnsPath), /default via fd00:24::1 dev eth1/)
  assert.match(run('ip -4 route', web.netnsPath), /default via 172\S+ dev eth0/)
  assert.equal(run('ip -4 address show dev eth1', web.netnsPath), '')
  await lab.engine.disconnect(containerId, 'b6', false)
  assert.doesNotMatch(run('ip6tables-save -t nat'), /8080/)
  assert.equal(tried(url, lan), 'web')
  await lab.engine.settled()
  assert.deepEqual(await lab.engine.plan(), [])
})

test('link-local addresses stand beside the link’s own, and only where there is IPv6', async (t) => {
  const { network, place } = await scene(t)
  await network({ name: 'six' })
  await network({ name: 'four', enableIpv6: false })
  const linkLocalIps = ['fe80::5:5', '169.254.5.5']
  const one = await place('one', endpointSpec('six', { linkLocalIps }))
  const shown = run('ip -o address show dev eth0', one.netnsPath)
  for (const text of ['fe80::5:5/64', '169.254.5.5/16']) assert.ok(shown.includes(text), shown)
  assert.match(shown, /inet6 fe80::[0-9a-f]+:[0-9a-f]+ff:fe/)
  const with5 = (network: string, text: string) =>
    place('no', endpointSpec(network, { linkLocalIps: [text] }))
  await assert.rejects(with5('six', '10.0.0.5'), {
    message: 'invalid link local IP address: 10.0.0.5',
  })
  await assert.rejects(with5('four', 'fe80::5'), {
    message: 'link local address fe80::5: network four has no IPv6',
  })
})

test('with ip6tables off the relay serves other hosts', async (t) => {
  const { network, place } = await scene(t, 'iptables', { ip6tables: false })
  await network({ name: 'one', ipam: pools('fd00:21::/64') })
  const web = await place('web', endpointSpec('one'), published)
  await serve(web, 'web')
  assert.doesNotMatch(run('ip6tables-save'), /DOCKER/)
  assert.equal(tried(`[${hostAddress}]:8080`, lan), 'web')
  assert.equal(tried('198.51.100.1:8080', lan), 'web')
})
