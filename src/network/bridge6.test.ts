import assert from 'node:assert/strict'
import test from 'node:test'
import { networkSpec } from '../../test/lab/network-specs.ts'
import { openLab, run, type Lab } from '../../test/lab/network-lab.ts'

const bridgeOf = (lab: Lab) => lab.engine.find('bridge')

async function end(lab: Lab): Promise<void> {
  await lab.end()
  run('ip link del docker0')
}

test('the default bridge takes IPv6 and gives it up again, IPv4 stays', async () => {
  let lab = await openLab({ hostId: 'here' })
  const first = bridgeOf(lab).pools
  assert.equal(first.length, 1)
  lab = await lab.restart([], { ipv6: true })
  const [four, six] = bridgeOf(lab).pools
  assert.deepEqual(four?.subnet, first[0]?.subnet)
  assert.match(six?.subnet ?? '', /^fd[0-9a-f:]+::\/64$/)
  assert.equal(six?.shown.gateway, six?.gateway)
  assert.match(run('ip -6 -o address show docker0'), new RegExp(`${six?.gateway}/64 `))
  const again = await lab.restart([], { ipv6: true })
  assert.deepEqual(bridgeOf(again).pools, [four, six])
  const cidr = await again.restart([], { ipv6: true, fixedCidr6: 'fd00:9::/64' })
  const range = { ipRange: 'fd00:9::/64' }
  assert.deepEqual(bridgeOf(cidr).pools[1]?.shown, { subnet: 'fd00:9::/64', ...range })
  const addresses = run('ip -6 -o address show docker0 scope global')
  assert.match(addresses, /fd00:9::1\/64/)
  assert.doesNotMatch(addresses, new RegExp(`${six?.gateway}/`))
  const bip = { fixedCidr6: '', bip6: 'fd00:a::7/64', defaultGateway6: 'fd00:a::fe' }
  const named = await cidr.restart([], bip)
  const container = await named.engine.open(
    named.spec({ endpoints: [{ ...endpoint, network: 'bridge' }] }),
  )
  assert.equal(container.endpoints[0]?.gateway6, 'fd00:a::fe')
  assert.equal(container.endpoints[0]?.ipv6, 'fd00:a::1/64')
  await named.engine.close(container.spec.containerId)
  const off = await named.restart([], { ipv6: false })
  assert.equal(bridgeOf(off).pools.length, 1)
  assert.equal(bridgeOf(off).spec.enableIpv6, false)
  assert.doesNotMatch(run('ip -6 -o address show docker0'), /fd00/)
  assert.match(run('ip -4 -o address show docker0'), /172\.17\.0\.1\/16/)
  await end(off)
})

const endpoint = { linkLocalIps: [], aliases: [], links: [], driverOpts: {}, gwPriority: 0 }

test('a default gateway outside of the subnet is refused when the daemon starts', async () => {
  const start = (config: Parameters<typeof openLab>[0]) => openLab(config)
  await assert.rejects(start({ bip: '10.5.0.1/24', defaultGateway: '10.6.0.1' }), {
    message:
      'Error initializing network controller: error creating default "bridge" network: invalid' +
      ' default-gateway 10.6.0.1: subnet 10.5.0.0/24 of the default bridge' +
      " doesn't contain this address",
  })
  await assert.rejects(start({ bip: '10.5.0.1/24', fixedCidr: '10.6.0.0/25' }), {
    message: /invalid fixed-cidr 10\.6\.0\.0\/25: subnet 10\.5\.0\.0\/24 of the default bridge/,
  })
  const six = { ipv6: true, fixedCidr6: 'fd00:1::/64', defaultGateway6: 'fd00:2::1' }
  await assert.rejects(start(six), {
    message: /invalid default-gateway-v6 fd00:2::1: subnet fd00:1::\/64 of the default bridge/,
  })
  await assert.rejects(start({ bip: '10.5.0.1/24', defaultGateway: 'fd00::1' }), {
    message: /invalid default-gateway fd00::1: not an IPv4 address$/,
  })
  await assert.rejects(start({ defaultGateway: 'zz' }), {
    message: /invalid default-gateway zz: not an IPv4 address$/,
  })
  await assert.rejects(start({ defaultGateway: '10.6.0.1' }), {
    message: /DefaultGatewayIPv4: parent subnet 172\.17\.0\.0\/16 doesn't contain this address$/,
  })
  const lab = await openLab({ defaultGateway: '172.17.0.254' })
  assert.equal(bridgeOf(lab).pools[0]?.shown.gateway, '172.17.0.1')
  const { endpoints, spec } = await lab.engine.open(
    lab.spec({ endpoints: [{ ...endpoint, network: 'bridge' }] }),
  )
  assert.equal(endpoints[0]?.gateway4, '172.17.0.254')
  await lab.engine.close(spec.containerId)
  await end(lab)
})

test('IPv6 subnets come from a local prefix, or from the pool configured for them', async () => {
  const lab = await openLab({ hostId: 'here' })
  const six = await lab.engine.create(networkSpec({ name: 'six', enableIpv6: true }))
  const [, pool] = six.pools
  assert.match(pool?.subnet ?? '', /^fd/)
  assert.equal(pool?.shown.gateway, pool?.gateway)
  const only = networkSpec({ name: 'only6', enableIpv6: true, enableIpv4: false })
  const next = await lab.engine.create(only)
  assert.deepEqual(next.pools.map(({ family }) => family), [6])
  assert.notEqual(next.pools[0]?.subnet, pool?.subnet)
  await end(lab)
  const defaultAddressPools = [
    { base: '2001:db8::/56', size: 64 },
    { base: '10.9.0.0/16', size: 24 },
  ]
  const other = await openLab({ defaultAddressPools })
  const net = await other.engine.create(networkSpec({ name: 'six', enableIpv6: true }))
  assert.deepEqual(
    net.pools.map(({ subnet }) => subnet),
    ['10.9.1.0/24', '2001:db8::/64'],
  )
  await end(other)
})
