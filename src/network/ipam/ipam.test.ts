import assert from 'node:assert/strict'
import test from 'node:test'
import { defaultPoolSources, parsePoolSources } from '../../address/pools.ts'
import { overlaps, parsePrefix, type Prefix } from '../../address/prefix.ts'
import { networkSpec } from '../../../test/lab/network-specs.ts'
import type { AllocatedPool, IpamPoolSpec, Network } from '../model.ts'
import { Ipam } from './ipam.ts'

const demand = (networkId: string, pools: readonly IpamPoolSpec[]) => ({
  networkId,
  networkName: networkId,
  pools,
  families: [4] as const,
  gatewayFamilies: new Set<4 | 6>([4]),
  namedGatewaysOnly: false,
  busy: [],
})
const prefixOf = (text: string): Prefix => {
  const prefix = parsePrefix(text)?.prefix
  assert.ok(prefix, text)
  return prefix
}
const networkOf = (id: string, pools: readonly AllocatedPool[]): Network => {
  return { id, created: '', spec: networkSpec({ name: 'tiny' }), pools }
}

test('an automatic pool shows its gateway, a given one just what was given', () => {
  const ipam = new Ipam(defaultPoolSources)
  const [automatic] = ipam.allocate(demand('a', []))
  assert.deepEqual(automatic?.shown, { subnet: '172.17.0.0/16', gateway: '172.17.0.1' })
  const [given] = ipam.allocate(demand('b', [{ subnet: '10.3.0.0/24' }]))
  assert.deepEqual(given?.shown, { subnet: '10.3.0.0/24' })
  assert.equal(given?.gateway, '10.3.0.1')
})

test('a subnet without an address is taken from the pools', () => {
  const ipam = new Ipam(defaultPoolSources)
  const [pool] = ipam.allocate(demand('a', [{ subnet: '0.0.0.0/24' }]))
  assert.equal(pool?.subnet, '172.17.0.0/24')
})

test('overlaps and taken gateways or auxiliary addresses are refused, nothing is kept', () => {
  const ipam = new Ipam(defaultPoolSources)
  ipam.allocate(demand('a', [{ subnet: '10.3.0.0/24' }]))
  assert.throws(() => ipam.allocate(demand('b', [{ subnet: '10.3.0.0/16' }])), {
    kind: 'forbidden',
    message: 'invalid pool request: Pool overlaps with other one on this address space',
  })
  const first = { subnet: '10.4.0.0/24', gateway: '10.4.0.0' }
  assert.throws(() => ipam.allocate(demand('b', [first])), {
    message: 'failed to allocate gateway (10.4.0.0): Address already in use',
  })
  const auxiliary = { k: '10.4.0.1' }
  const taken = { subnet: '10.4.0.0/24', gateway: '10.4.0.1', auxiliary }
  assert.throws(() => ipam.allocate(demand('b', [taken])), {
    message: 'failed to allocate secondary ip address (k:10.4.0.1): Address already in use',
  })
  ipam.allocate(demand('b', [{ subnet: '10.4.0.0/24' }]))
})

test('networks that share a subnet by ranges know of each other’s addresses', () => {
  const ipam = new Ipam(defaultPoolSources)
  const subnet = '10.7.0.0/24'
  const free = { gatewayFamilies: new Set<4 | 6>(), namedGatewaysOnly: true }
  const low = { subnet, ipRange: '10.7.0.0/25', gateway: '10.7.0.1' }
  const one = networkOf('one', ipam.allocate({ ...demand('one', [low]), ...free }))
  const overlap = /Pool overlaps with other one on this address space/
  assert.throws(() => ipam.allocate({ ...demand('two', [low]), ...free }), overlap)
  assert.throws(() => ipam.allocate({ ...demand('two', [{ subnet }]), ...free }), overlap)
  const high = { subnet, ipRange: '10.7.0.128/25' }
  assert.throws(() => ipam.allocate({ ...demand('two', [{ ...high, gateway: '10.7.0.1' }]), ...free }), {
    message: 'failed to allocate gateway (10.7.0.1): Address already in use',
  })
  const two = networkOf('two', ipam.allocate({ ...demand('two', [high]), ...free }))
  assert.equal(ipam.takeAddress(two, 4), '10.7.0.128/24')
  assert.throws(() => ipam.takeAddress(one, 4, '10.7.0.128'), /Address already in use/)
  assert.equal(ipam.usage('one')[0]?.available, 126n)
  ipam.release('one')
  assert.equal(ipam.takeAddress(two, 4, '10.7.0.1'), '10.7.0.1/24')
  assert.throws(() => ipam.allocate(demand('three', [{ subnet }])), overlap)
  ipam.release('two')
  ipam.allocate(demand('three', [{ subnet }]))
})

test('the global address space is one of its own', () => {
  const ipam = new Ipam(defaultPoolSources)
  ipam.allocate(demand('a', [{ subnet: '10.0.0.0/24' }]))
  const wide = { ...demand('b', []), space: 'GlobalDefault' } as const
  const pools = ipam.allocate(wide)
  assert.deepEqual(pools.map(({ subnet, addressSpace }) => [subnet, addressSpace]), [['10.0.0.0/24', 'GlobalDefault']])
  const after = new Ipam(defaultPoolSources)
  after.restore(networkOf('b', pools))
  assert.equal(after.allocate({ ...wide, networkId: 'c' })[0]?.subnet, '10.0.1.0/24')
  const six = { ...wide, networkId: 'd', families: [6] as const }
  assert.throws(() => ipam.allocate(six), /^Refusal: all predefined address pools have been fully subnetted$/)
})

test('a size from the pools has neither range nor gateway of its own', () => {
  const ipam = new Ipam(defaultPoolSources)
  const any = { subnet: '0.0.0.0/24' }
  assert.throws(() => ipam.allocate(demand('a', [{ ...any, ipRange: '0.0.0.0/25' }])), {
    message: 'failed to parse pool request for address space "LocalDefault" pool "" ' +
      'subpool "0.0.0.0/25": invalid address subpool',
  })
  assert.throws(() => ipam.allocate(demand('a', [{ ...any, gateway: '0.0.0.1' }])), {
    message: 'failed to allocate gateway (0.0.0.1): requested address is out of range',
  })
  const full = { subnet: '10.3.0.0/24', ipRange: '10.3.0.0/32' }
  assert.throws(() => ipam.allocate(demand('a', [full])), {
    message: 'failed to allocate gateway (): no available addresses on this pool',
  })
  assert.equal(ipam.allocate(demand('a', [any]))[0]?.subnet, '172.17.0.0/24')
})

test('addresses are taken, refused when taken, and exhausted with Docker’s sentence', () => {
  const ipam = new Ipam(defaultPoolSources)
  const network = networkOf('id', ipam.allocate(demand('id', [{ subnet: '10.3.0.0/30' }])))
  assert.throws(() => ipam.takeAddress(network, 4, '10.3.0.1'), {
    message: 'Address already in use',
  })
  assert.equal(ipam.takeAddress(network, 4), '10.3.0.2/30')
  assert.throws(() => ipam.takeAddress(network, 4), {
    kind: 'internal',
    message: "no available IPv4 addresses on this network's address pools: tiny (id)",
  })
  ipam.releaseAddress('id', '10.3.0.2/30')
  assert.equal(ipam.takeAddress(network, 4, '10.3.0.2'), '10.3.0.2/30')
})

test('a stored network gets its pools, gateway and addresses back', () => {
  const before = new Ipam(defaultPoolSources)
  const network = networkOf('id', before.allocate(demand('id', [])))
  const after = new Ipam(defaultPoolSources)
  after.restore(network)
  assert.ok(after.hold('id', '172.17.0.2/16'))
  assert.equal(after.takeAddress(network, 4), '172.17.0.3/16')
  assert.equal(after.allocate(demand('other', []))[0]?.subnet, '172.18.0.0/16')
  assert.equal(after.usage('id')[0]?.inUse, 5n)
})

test('4,000 networks have subnets apart from each other and from the host’s routes', () => {
  const ipam = new Ipam(defaultPoolSources)
  const busy = ['172.17.0.0/16', '192.168.16.0/20', '10.200.0.0/16'].map(prefixOf)
  const subnets = new Set<string>()
  for (let number = 0; number < 4000; number++) {
    const [pool] = ipam.allocate({ ...demand(String(number), []), busy })
    const subnet = pool?.subnet ?? ''
    assert.ok(!busy.some((one) => overlaps(one, prefixOf(subnet))), subnet)
    subnets.add(subnet)
  }
  assert.equal(subnets.size, 4000)
  assert.ok(ipam.isSubnet('172.18.0.0/16') && !ipam.isSubnet('172.17.0.0/16'))
  ipam.release('0')
  assert.equal(ipam.allocate({ ...demand('again', []), busy })[0]?.subnet, '172.18.0.0/16')
})

test('routes that leave no room are named', () => {
  const ipam = new Ipam(defaultPoolSources)
  const busy = ['10.0.0.0/8', '172.16.0.0/12', '172.20.5.0/24', '192.168.0.0/16', '192.0.2.0/24']
  const full = 'all predefined address pools have been fully subnetted'
  assert.throws(() => ipam.allocate({ ...demand('a', []), busy: busy.map(prefixOf) }), {
    message:
      `${full}: routes or name servers of this host are in the way: ` +
      '10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16',
  })
  const small = new Ipam(parsePoolSources([{ base: '10.0.0.0/24', size: 24 }]))
  small.allocate(demand('a', []))
  assert.throws(() => small.allocate(demand('b', [])), { message: full })
})

test('60,000 addresses of a /16, the last as quickly as the first', () => {
  const ipam = new Ipam(defaultPoolSources)
  const pools = ipam.allocate(demand('big', []))
  const network = networkOf('big', pools)
  assert.equal(ipam.takeAddress(network, 4, '172.17.100.7'), '172.17.100.7/16')
  const given = new Set<string>()
  const thousandMs: number[] = []
  for (let thousand = 0; thousand < 60; thousand++) {
    const start = performance.now()
    for (let one = 0; one < 1000; one++) given.add(ipam.takeAddress(network, 4))
    thousandMs.push(performance.now() - start)
  }
  assert.equal(given.size, 60_000)
  assert.ok(!given.has('172.17.100.7/16') && !given.has('172.17.0.1/16'))
  const middle = (from: number) => thousandMs.slice(from, from + 20).sort((a, b) => a - b)[10] ?? 0
  assert.ok(middle(40) < middle(20) * 4 + 2, thousandMs.map(Math.round).join(' '))
  ipam.releaseAddress('big', '172.17.55.5/16')
  assert.equal(ipam.takeAddress(network, 4), '172.17.55.5/16')
})
