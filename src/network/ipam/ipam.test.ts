import assert from 'node:assert/strict'
import test from 'node:test'
import { defaultPoolSources } from '../../address/pools.ts'
import { networkSpec } from '../fixture.ts'
import type { AllocatedPool, IpamPoolSpec, Network } from '../model.ts'
import { Ipam } from './ipam.ts'

const demand = (networkId: string, pools: readonly IpamPoolSpec[]) => ({
  networkId,
  pools,
  families: [4] as const,
  gatewayFamilies: new Set<4 | 6>([4]),
  namedGatewaysOnly: false,
  busy: [],
})
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
