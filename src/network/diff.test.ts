import assert from 'node:assert/strict'
import test from 'node:test'
import type { KernelObject } from '../kernel/object.ts'
import { diffObjects, undoOf } from './diff.ts'
import { endpointSpec } from '../../test/lab/network-specs.ts'
import { chooseGateways } from './gateway.ts'
import type { Endpoint } from './model.ts'

const bridge: KernelObject = { type: 'bridge', name: 'br0', alias: 'portolan:a', adopted: false }
const address: KernelObject = { type: 'address', netns: '', link: 'br0', address: '10.0.0.1/24' }
const route = (gateway: string): KernelObject => {
  return { type: 'route', netns: '/n', destination: 'default', gateway, link: 'eth0' }
}

test('what is needed comes first, and undoing goes the other way', () => {
  const steps = diffObjects([address, bridge], [])
  assert.deepEqual(steps.map(({ object }) => object.type), ['bridge', 'address'])
  assert.deepEqual(undoOf(steps), [
    { verb: 'delete', object: address },
    { verb: 'delete', object: bridge },
  ])
})

test('what is right already is left alone, whatever else it has', () => {
  const found: KernelObject = { ...bridge, mac: '02:42:00:00:00:01', mtu: 1500 }
  assert.deepEqual(diffObjects([bridge, address], [found, address]), [])
  const wanted: KernelObject = { ...bridge, mtu: 1400 }
  const change = { verb: 'change', object: wanted, before: found }
  assert.deepEqual(diffObjects([wanted], [found]), [change])
})

test('a default route is replaced, never doubled; surplus is deleted dependants first', () => {
  assert.deepEqual(diffObjects([route('10.0.0.1')], [route('10.0.0.2')]), [
    { verb: 'change', object: route('10.0.0.1'), before: route('10.0.0.2') },
  ])
  const surplus = diffObjects([], [bridge, address, route('10.0.0.1')])
  const types = surplus.map(({ object }) => object.type)
  assert.deepEqual(types, ['route', 'address', 'bridge'])
})

const endpoint = (networkName: string, part: Partial<Endpoint> = {}): Endpoint => ({
  id: networkName,
  networkId: networkName,
  networkName,
  sandboxId: '',
  containerId: '',
  spec: endpointSpec(networkName),
  interfaceName: '',
  hostInterface: '',
  macAddress: '',
  ipv4: '',
  ipv6: '',
  gateway4: '10.0.0.1',
  gateway6: '',
  dnsNames: [],
  ...part,
})

test('the gateway is chosen by priority, then not internal, then families, then name', () => {
  const choose = (...all: Endpoint[]) =>
    chooseGateways(all.map((one) => ({ endpoint: one, internal: one.gateway4 === '' })))
  assert.equal(choose(endpoint('uu'), endpoint('aa')).ipv4?.id, 'aa')
  const dual = endpoint('zz', { gateway6: 'fd00::1' })
  assert.equal(choose(endpoint('aa'), dual).ipv4?.id, 'zz')
  const low = endpoint('aa', { spec: endpointSpec('aa', { gwPriority: -1 }) })
  assert.equal(choose(low, endpoint('uu')).ipv4?.id, 'uu')
  assert.equal(choose(endpoint('aa', { gateway4: '' })).ipv4, undefined)
})
