import assert from 'node:assert/strict'
import test from 'node:test'
import { endpointSpec, networkSpec } from '../../test/lab/network-specs.ts'
import { parseBridgeOptions } from './drivers/options.ts'
import type { IpamPoolSpec, Network } from './model.ts'
import { endpointSysctls, validateEndpointSpec } from './validate-endpoint.ts'
import { specOfRequest, validateIpam, validateNetwork } from './validate.ts'

const heading = 'invalid network config:\n'
const refusesPool = (pool: IpamPoolSpec, problem: string) =>
  assert.throws(() => validateIpam([pool], true), { kind: 'invalid', message: heading + problem })

test('subnets that cannot be are refused in Docker’s words', () => {
  refusesPool({ subnet: 'bogus' }, 'invalid subnet bogus: invalid CIDR block notation')
  refusesPool({ subnet: '' }, 'invalid subnet : invalid CIDR block notation')
  refusesPool({ subnet: '10.3.0.0/33' }, 'invalid subnet 10.3.0.0/33: invalid CIDR block notation')
  refusesPool({ subnet: '10.3.0.1/24' }, 'invalid subnet 10.3.0.1/24: it should be 10.3.0.0/24')
  const wide = 'invalid subnet 192.168.1.0/16: it should be 192.168.0.0/16'
  refusesPool({ subnet: '192.168.1.0/16' }, wide)
})

test('ip-ranges, gateways and auxiliary addresses must lie in their subnet', () => {
  const subnet = '10.3.0.0/24'
  for (const [ipRange, why] of [
    ['zz', 'invalid CIDR block notation'],
    ['fd00::/64', 'parent subnet is an IPv4 block'],
    ['10.3.0.0/16', 'CIDR block is bigger than its parent subnet 10.3.0.0/24'],
    ['10.3.0.5/25', 'it should be 10.3.0.0/25'],
    ['10.4.0.0/25', "parent subnet 10.3.0.0/24 doesn't contain ip-range"],
  ] as const) {
    refusesPool({ subnet, ipRange }, `invalid ip-range ${ipRange}: ${why}`)
  }
  for (const [gateway, why] of [
    ['zz', 'invalid address'],
    ['fd00::1', 'parent subnet is an IPv4 block'],
    ['10.4.0.1', "parent subnet 10.3.0.0/24 doesn't contain this address"],
  ] as const) {
    refusesPool({ subnet, gateway }, `invalid gateway ${gateway}: ${why}`)
  }
  const auxiliary = { k: 'zz' }
  refusesPool({ subnet, auxiliary }, 'invalid auxiliary address k: invalid address')
})

test('several problems are listed, each behind a star', () => {
  refusesPool(
    { subnet: '10.3.0.0/24', ipRange: 'yy', gateway: 'zz' },
    '* invalid ip-range yy: invalid CIDR block notation\n* invalid gateway zz: invalid address',
  )
})

test('predefined names, blank names and impossible combinations are refused', () => {
  const request = (name: string) => ({
    ...networkSpec({ name }),
    enableIpv4: undefined,
    enableIpv6: undefined,
  })
  assert.throws(() => specOfRequest(request('host'), {}), {
    kind: 'forbidden',
    message: 'operation is not permitted on predefined host network ',
  })
  const refuses = (part: Parameters<typeof networkSpec>[0], message: string) =>
    assert.throws(() => validateNetwork(networkSpec(part)), { message })
  refuses({ name: ' ' }, 'invalid name: name is empty')
  refuses({ enableIpv4: false }, 'IPv4 or IPv6 must be enabled')
  refuses({ ingress: true }, 'Ingress network can only be global scope network')
  refuses(
    { configFrom: 'co', labels: { a: 'b' } },
    'user specified configurations are not supported' +
      ' if the network depends on a configuration network',
  )
})

test('an explicit family wins over the option of the same meaning and removes it', () => {
  const options = { 'com.docker.network.enable_ipv6': 'true', other: 'x' }
  const base = { ...networkSpec({ options }), enableIpv4: undefined }
  assert.equal(specOfRequest({ ...base, enableIpv6: undefined }, {}).enableIpv6, true)
  const explicit = specOfRequest({ ...base, enableIpv6: false }, { bridge: { more: 'y' } })
  assert.equal(explicit.enableIpv6, false)
  assert.deepEqual(explicit.options, { other: 'x', more: 'y' })
  const bad = { ...base, options: { 'com.docker.network.enable_ipv6': 'zz' } }
  assert.throws(() => specOfRequest({ ...bad, enableIpv6: undefined }, {}), {
    message: 'driver-opt "com.docker.network.enable_ipv6" is not a valid bool',
  })
})

test('bridge options with values that do not parse are refused', () => {
  for (const [key, value, why] of [
    ['bridge.enable_icc', 'zz', 'strconv.ParseBool: parsing "zz": invalid syntax'],
    ['driver.mtu', 'zz', 'strconv.Atoi: parsing "zz": invalid syntax'],
    ['bridge.host_binding_ipv4', 'zz', 'nil ip'],
    ['bridge.gateway_mode_ipv4', 'zz', 'unknown gateway mode zz'],
    ['bridge.host_binding_ipv4', '', 'nil ip'],
    ['bridge.gateway_mode_ipv6', '', 'unknown gateway mode '],
    ['host_ipv4', '', 'nil ip'],
    ['host_ipv4', 'fd00::1', 'not an IPv4 address'],
    ['host_ipv6', '10.0.0.1', 'not an IPv6 address'],
  ] as const) {
    const name = `com.docker.network.${key}`
    assert.throws(() => parseBridgeOptions({ [name]: value }), {
      kind: 'invalid',
      message: `failed to parse ${name} value: ${value} (${why})`,
    })
  }
  assert.throws(() => parseBridgeOptions({ 'com.docker.network.driver.mtu': '-5' }), {
    message: 'invalid MTU number: -5',
  })
  assert.throws(() => parseBridgeOptions({ 'com.docker.network.bridge.name': 'x'.repeat(16) }), {
    message: 'numerical result out of range',
  })
})

const networkWith = (subnets: readonly string[]): Network => ({
  id: 'a'.repeat(64),
  created: '',
  spec: networkSpec({
    ipam: { driver: 'default', options: null, pools: subnets.map((subnet) => ({ subnet })) },
  }),
  pools: [],
})

test('endpoint settings are refused in Docker’s words', () => {
  const headed = (problems: string) => `invalid endpoint settings:\n${problems}`
  const refuses = (
    name: string,
    part: Parameters<typeof endpointSpec>[1],
    network: Network | undefined,
    problems: string,
    sentence = headed(problems),
  ) =>
    assert.throws(() => validateEndpointSpec(name, endpointSpec(name, part), network), {
      kind: 'invalid',
      message: sentence,
    })
  const bridge = { ...networkWith([]), spec: networkSpec({ name: 'bridge' }) }
  refuses(
    'bridge',
    { ipv4Address: '172.17.0.9' },
    bridge,
    '* user specified IP address is supported on user defined networks only\n' +
      '* user specified IP address is supported only when connecting to networks' +
      ' with user configured subnets',
  )
  refuses(
    'bridge',
    { aliases: ['a'] },
    bridge,
    'network-scoped alias is supported only for containers in user defined networks',
  )
  refuses(
    'u1',
    { ipv4Address: '10.0.0.9' },
    networkWith(['10.3.0.0/24']),
    'no configured subnet or ip-range contain the IP address 10.0.0.9',
  )
  refuses('u1', { ipv4Address: 'zz' }, undefined, 'invalid IPv4 address: zz')
  refuses('u1', { macAddress: 'zz', ipv4Address: 'zz' }, undefined, '', 'invalid MAC address zz')
  refuses('u1', { linkLocalIps: ['zz'] }, undefined, 'invalid link-local IP address: zz')
  refuses('u1', { links: ['a:b:c'] }, undefined, 'bad format for links: a:b:c')
  const none = { ...bridge, spec: networkSpec({ name: 'none' }) }
  const only = 'network-scoped alias is supported only for containers in user defined networks'
  refuses('none', { aliases: ['a'] }, none, only)
  refuses(
    'u1',
    { ipv4Address: 'zz', ipv6Address: 'fd00::9', linkLocalIps: ['q'] },
    networkWith(['10.3.0.0/24']),
    '* invalid IPv4 address: zz\n* invalid link-local IP address: q\n' +
      '* no configured subnet or ip-range contain the IP address zz\n' +
      '* user specified IP address is supported only when connecting to networks' +
      ' with user configured subnets',
  )
  const right = endpointSpec('u1', { ipv4Address: '10.3.0.9' })
  validateEndpointSpec('u1', right, networkWith(['10.3.0.0/24']))
})

test('sysctls of an endpoint name the interface by IFNAME', () => {
  const key = 'com.docker.network.endpoint.sysctls'
  const text = 'net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.ifname.accept_ra=0'
  assert.deepEqual(endpointSysctls({ [key]: text }, 'eth1'), [
    { key: 'net/ipv4/conf/eth1/log_martians', value: '1' },
    { key: 'net/ipv6/conf/eth1/accept_ra', value: '0' },
  ])
  for (const bad of ['', 'zz', 'net.ipv4.conf.eth0.x=1', 'net.core.conf.IFNAME.x=1']) {
    assert.throws(() => endpointSysctls({ [key]: bad }, 'eth1'), /unrecognised network interface/)
  }
})
