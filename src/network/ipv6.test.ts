import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import type { NetworkConfig } from './config.ts'
import { endpointSpec, networkSpec } from './fixture.ts'
import { openLab, run, type Lab } from './lab.ts'
import type { EndpointSpec, Network, NetworkSpec, Sandbox, SandboxSpec } from './model.ts'
import { realRooms, serve, type BackendName } from '../../test/lab/real-rooms.ts'

const lan = '/run/netns/lan'
const hostAddress = '2001:db8:5::1'
const lanAddress = '2001:db8:5::2'

/** A host beside this one that routes what containers have by way of it. */
function makeLan(): void {
  for (const line of [
    'ip netns add lan',
    'ip link add cable type veth peer name eth0 netns lan',
    `ip addr add ${hostAddress}/64 dev cable nodad`,
    'ip addr add 198.51.100.1/24 dev cable',
    'ip link set cable up',
    'ip -n lan link set lo up',
    `ip -n lan addr add ${lanAddress}/64 dev eth0 nodad`,
    'ip -n lan addr add 198.51.100.2/24 dev eth0',
    'ip -n lan link set eth0 up',
    `ip -n lan route add fd00::/8 via ${hostAddress}`,
    'ip -n lan route add 10.0.0.0/8 via 198.51.100.1',
  ]) {
    run(line)
  }
}

test.before(makeLan)

/** What a web server answers, '' when nothing comes. */
function tried(host: string, netns = ''): string {
  try {
    return run(`curl -gs --connect-timeout 0.4 -m 2 http://${host}/`, netns).trim()
  } catch {
    return ''
  }
}

const pools = (...subnets: readonly string[]) => {
  return { driver: 'default', options: null, pools: subnets.map((subnet) => ({ subnet })) }
}
const port8080 = { hostPortFirst: 8080, hostPortLast: 8080, hostIp: '' }
const published = { publications: [{ protocol: 'tcp', containerPort: 80, ...port8080 }] } as const
const ipv6Of = (sandbox: Sandbox) => sandbox.endpoints[0]?.ipv6.split('/')[0] ?? ''

interface Scene {
  readonly lab: Lab
  /** A container of this name. */
  place(name: string, endpoint: EndpointSpec, part?: Partial<SandboxSpec>): Promise<Sandbox>
  network(part: Partial<NetworkSpec>): Promise<Network>
}

/** An engine whose containers and networks end with the test. */
async function scene(
  t: TestContext,
  backend: BackendName = 'iptables',
  config: Partial<NetworkConfig> = {},
): Promise<Scene> {
  const lab = await openLab(config, realRooms(config.userlandProxy ?? true, backend))
  const made: Sandbox[] = []
  t.after(async () => {
    for (const { spec } of made) await lab.engine.close(spec.containerId)
    for (const { spec, id } of lab.engine.list()) {
      if (!['bridge', 'host', 'none'].includes(spec.name)) await lab.engine.remove(id)
    }
    await lab.end()
    run('ip link del docker0')
    run('nft flush ruleset')
  })
  return {
    lab,
    network: (part) => lab.engine.create(networkSpec({ enableIpv6: true, ...part })),
    place: async (name, endpoint, part = {}) => {
      const spec = lab.spec({ containerName: name, hostname: name, endpoints: [endpoint], ...part })
      const sandbox = await lab.engine.open(spec)
      made.push(sandbox)
      return sandbox
    },
  }
}

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
  const [web, other] = [await place('a', endpointSpec('in')), await place('b', endpointSpec('in'))]
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
