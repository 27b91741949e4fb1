import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import test from 'node:test'
import { serve } from '../../test/lab/real-rooms.ts'
import {
  hostAddress,
  ipv6Of,
  lan,
  makeLan,
  pools,
  published,
  scene,
  tried,
} from '../../test/lab/scene.ts'
import { formatAddress, parseAddress } from '../address/ip.ts'
import { optionKeys } from './drivers/options.ts'
import { endpointSpec } from '../../test/lab/network-specs.ts'
import { run } from '../../test/lab/network-lab.ts'
import type { Sandbox } from './model.ts'

test.before(makeLan)
test.after(() => run('ip netns del lan'))

const ipam = pools('10.9.0.0/24', 'fd00:9::/64')
const modes = (mode: string) => {
  return { [optionKeys.gatewayMode4]: mode, [optionKeys.gatewayMode6]: mode }
}
const ipv4Of = (sandbox: Sandbox) => sandbox.endpoints[0]?.ipv4.split('/')[0] ?? ''

function shell(line: string): string {
  return execFileSync('sh', ['-c', line], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
}

/** The address from which a container's connection comes to the other host. */
function sourceSeen(from: Sandbox, peer: string): string {
  const isV6 = peer.includes(':')
  const listen = `${isV6 ? 'TCP6' : 'TCP4'}-LISTEN:7777,reuseaddr`
  const inLan = 'ip netns exec lan'
  const lines = [
    `${inLan} timeout 3 socat -u ${listen} SYSTEM:'echo $SOCAT_PEERADDR' &`,
    `for i in $(seq 50); do ${inLan} ss -Hltn | grep -q :7777 && break; sleep 0.02; done`,
    `nsenter --net=${from.netnsPath} socat -u OPEN:/dev/null TCP:${isV6 ? `[${peer}]` : peer}:7777`,
    'wait',
  ]
  return canonical(shell(lines.join('\n')).trim().replace(/[[\]]/g, ''))
}

const canonical = (text: string): string => {
  const address = parseAddress(text)
  return address === undefined ? text : formatAddress(address)
}

/** What another host gets: the published port on the host, at the container, another port, a ping. */
interface Reach {
  readonly hostPort: boolean
  readonly published: boolean
  readonly unpublished: boolean
  readonly ping: boolean
  readonly masqueraded: boolean
}

const expected: Readonly<Record<string, Reach>> = {
  nat: { hostPort: true, published: false, unpublished: false, ping: false, masqueraded: true },
  'nat-unprotected': {
    hostPort: true, published: true, unpublished: true, ping: true, masqueraded: true,
  },
  routed: { hostPort: false, published: true, unpublished: false, ping: true, masqueraded: false },
}

for (const backend of ['iptables', 'nftables'] as const) {
  for (const [mode, reach] of Object.entries(expected)) {
    test(`gateway mode ${mode} from another host: ${backend}`, async (t) => {
      const { lab, network, place } = await scene(t, backend)
      await network({ name: 'net', ipam, options: modes(mode) })
      await network({ name: 'other', ipam: pools('10.10.0.0/24', 'fd00:10::/64') })
      const web = await place('web', endpointSpec('net'), published)
      const apart = await place('apart', endpointSpec('other'))
      await serve(web, 'web')
      await serve(web, 'web', 81)
      const families = [
        { host: '198.51.100.1', peer: '198.51.100.2', container: ipv4Of(web) },
        { host: `[${hostAddress}]`, peer: '2001:db8:5::2', container: `[${ipv6Of(web)}]` },
      ]
      const answers = (yes: boolean) => (yes ? 'web' : '')
      for (const { host, peer, container } of families) {
        assert.equal(tried(`${host}:8080`, lan), answers(reach.hostPort), `${host}:8080`)
        assert.equal(tried(container, lan), answers(reach.published), container)
        assert.equal(tried(`${container}:81`, lan), answers(reach.unpublished), `${container}:81`)
        const bare = container.replace(/[[\]]/g, '')
        const ping = () => run(`ping -c 1 -W 0.4 ${bare}`, lan)
        if (reach.ping) ping()
        else assert.throws(ping)
        const own = host.replace(/[[\]]/g, '')
        assert.equal(sourceSeen(web, peer), reach.masqueraded ? own : bare)
        if (mode !== 'routed') assert.equal(tried(container, apart.netnsPath), '', 'other network')
      }
      const shown = web.ports['80/tcp']?.map(({ hostIp, hostPort }) => `${hostIp} ${hostPort}`)
      const port = mode === 'routed' ? 0 : 8080
      assert.deepEqual(shown, [`0.0.0.0 ${port}`, `:: ${port}`])
      assert.deepEqual(await lab.engine.plan(), [])
    })
  }
}

for (const backend of ['iptables', 'nftables'] as const) {
  test(`isolated: the host itself has no address there: ${backend}`, async (t) => {
    const { lab, network, place } = await scene(t, backend)
    const isolated = { ipam, internal: true, options: modes('isolated') }
    const { id } = await network({ name: 'net', ...isolated })
    const [one, two] = [
      await place('one', endpointSpec('net')), await place('two', endpointSpec('net')),
    ]
    await serve(one, 'one')
    const bridge = `br-${id.slice(0, 12)}`
    assert.equal(run(`ip -o address show dev ${bridge}`), '')
    assert.equal(one.endpoints[0]?.ipv4, '10.9.0.1/24', 'no gateway is reserved')
    for (const host of [ipv4Of(one), `[${ipv6Of(one)}]`]) {
      assert.equal(tried(host, two.netnsPath), 'one')
      assert.equal(tried(host), '')
      assert.equal(tried(host, lan), '')
    }
    assert.deepEqual(await lab.engine.plan(), [])
    await assert.rejects(network({ name: 'open', options: modes('isolated') }), {
      message: "gateway mode 'isolated' can only be used for an internal network",
    })
  })

  test(`trusted interfaces, and a given source of what goes out: ${backend}`, async (t) => {
    const { lab, network, place } = await scene(t, backend)
    run('ip addr add 198.51.100.77/24 dev cable')
    run('ip addr add 2001:db8:5::77/64 dev cable nodad')
    const options = {
      [optionKeys.trusted]: 'cable:nosuch',
      [optionKeys.host4]: '198.51.100.77',
      [optionKeys.host6]: '2001:db8:5::77',
    }
    await network({ name: 'net', ipam, options })
    const web = await place('web', endpointSpec('net'), published)
    await serve(web, 'web')
    await serve(web, 'web', 81)
    for (const host of [ipv4Of(web), `[${ipv6Of(web)}]`]) {
      assert.equal(tried(host, lan), 'web')
      assert.equal(tried(`${host}:81`, lan), '', 'published ports only')
    }
    assert.equal(sourceSeen(web, '198.51.100.2'), '198.51.100.77')
    assert.equal(sourceSeen(web, '2001:db8:5::2'), '2001:db8:5::77')
    assert.deepEqual(await lab.engine.plan(), [])
    run('ip addr del 198.51.100.77/24 dev cable')
    run('ip addr del 2001:db8:5::77/64 dev cable')
  })
}

test('inhibit_ipv4 leaves the bridge without the gateway that containers still use', async (t) => {
  const { lab, network, place } = await scene(t)
  const options = { [optionKeys.inhibitIpv4]: 'true', [optionKeys.interfacePrefix]: 'net' }
  const { id } = await network({ name: 'net', ipam, options })
  const one = await place('one', endpointSpec('net'))
  assert.equal(run(`ip -4 -o address show dev br-${id.slice(0, 12)}`), '')
  assert.match(run('ip -4 route', one.netnsPath), /default via 10\.9\.0\.1 dev net0/)
  assert.equal(one.endpoints[0]?.ipv4, '10.9.0.2/24')
  assert.deepEqual(await lab.engine.plan(), [])
})

test('the default route and the ports go where gw-priority says', async (t) => {
  const { lab, network, place } = await scene(t)
  await network({ name: 'aa', enableIpv6: false, ipam: pools('10.9.0.0/24') })
  await network({ name: 'bb', enableIpv6: false, ipam: pools('10.10.0.0/24') })
  await network({ name: 'cc', enableIpv6: false, ipam: pools('10.11.0.0/24') })
  const driverOpts = { 'com.docker.network.endpoint.ifname': 'uplink' }
  const web = await place('web', endpointSpec('bb', { gwPriority: 5, driverOpts }), published)
  await serve(web, 'web')
  const { containerId } = web.spec
  const route = () => run('ip -4 route show default', web.netnsPath).trim()
  const target = () => /DNAT --to-destination (\S+):80/.exec(run('iptables-save -t nat'))?.[1]
  assert.equal(route(), 'default via 10.10.0.1 dev uplink')
  await lab.engine.connect(containerId, endpointSpec('aa'))
  assert.equal(route(), 'default via 10.10.0.1 dev uplink')
  await lab.engine.connect(containerId, endpointSpec('cc', { gwPriority: 9 }))
  assert.equal(route(), 'default via 10.11.0.1 dev eth1')
  assert.equal(target(), '10.11.0.2')
  assert.equal(tried('198.51.100.1:8080', lan), 'web')
  await lab.engine.disconnect(containerId, 'cc', false)
  assert.equal(route(), 'default via 10.10.0.1 dev uplink')
  assert.equal(target(), '10.10.0.2')
})

test('ports are taken anew when the gateway changes between translating and routing', async (t) => {
  const { lab, network, place } = await scene(t)
  const only4 = { enableIpv6: false }
  await network({ name: 'nat', ...only4, ipam: pools('10.9.0.0/24') })
  const routed = { [optionKeys.gatewayMode4]: 'routed' }
  await network({ name: 'routed', ...only4, options: routed, ipam: pools('10.10.0.0/24') })
  const any = { protocol: 'tcp', containerPort: 80, hostIp: '' } as const
  const web = await place('web', endpointSpec('nat'), {
    publications: [{ ...any, hostPortFirst: 0, hostPortLast: 0 }],
  })
  await serve(web, 'web')
  const { containerId } = web.spec
  const ports = () =>
    lab.engine.sandbox(containerId)?.ports['80/tcp']?.map((one) => `${one.hostIp} ${one.hostPort}`)
  const port = web.ports['80/tcp']?.[0]?.hostPort ?? 0
  assert.deepEqual(ports(), [`0.0.0.0 ${port}`, `:: ${port}`])
  await lab.engine.connect(containerId, endpointSpec('routed', { gwPriority: 1 }))
  assert.deepEqual(ports(), ['0.0.0.0 0', `:: ${port}`])
  assert.equal(tried(`198.51.100.1:${port}`, lan), '')
  assert.equal(tried('10.10.0.2', lan), 'web')
  await lab.engine.disconnect(containerId, 'routed', false)
  assert.deepEqual(ports(), [`0.0.0.0 ${port}`, `:: ${port}`])
  assert.equal(tried(`198.51.100.1:${port}`, lan), 'web')
})
