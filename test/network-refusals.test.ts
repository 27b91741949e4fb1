/**
 * Every refusal of networks and of endpoints, as a table: the request, the status and Docker's
 * whole sentence; and that nothing has changed by any of them.
 */
import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { Lab } from './lab/lab.ts'

let lab: Lab
/** Ids by name, for the `{name}` of sentences. */
const ids = new Map<string, string>()

before(async () => {
  lab = await Lab.start(undefined)
  const create = ['network', 'create']
  for (const [name, ...options] of [
    ['held', '--subnet', '10.77.0.0/24'], ['other', '--subnet', '10.78.0.0/24'], ['auto'],
    ['dual', '--ipv6', '--subnet', '10.79.0.0/24', '--subnet', 'fd79::/64'],
    ['tiny', '--subnet', '10.80.0.0/30'],
    ['named', '--subnet', '10.81.0.0/24', '-o', 'com.docker.network.bridge.name=brnamed'],
    ['template', '--config-only', '--subnet', '10.62.0.0/24'],
    ['used', '--config-from', 'template'],
  ]) {
    ids.set(name ?? '', await lab.ok(...create, ...options, name ?? ''))
  }
  const sleeping = ['busybox', 'sleep', '600']
  for (const [name, mode] of [
    ['holder', 'held'], ['full', 'tiny'], ['hosted', 'host'], ['alone', 'none'],
    ['guest', 'container:holder'],
  ] as const) {
    ids.set(name, await lab.ok('run', '-d', '--name', name, '--network', mode, ...sleeping))
  }
  ids.set('idle', await lab.ok('create', '--name', 'idle', '--network', 'held', ...sleeping))
})

after(async () => {
  await lab.ok('network', 'rm', 'used')
  await lab.ok('network', 'rm', 'template')
  await lab.expectNoLeaks()
  await lab.stop()
})

type Case = readonly [method: string, path: string, body: object | undefined, answer: string]

const create = (body: object, answer: string): Case =>
  ['POST', '/networks/create', { Name: 'bad', ...body }, answer]
const pools = (answer: string, ...Config: readonly object[]): Case => create({ IPAM: { Config } }, answer)
const option = (key: string, value: string, answer: string, more: object = {}): Case =>
  create({ Options: { [key]: value }, ...more }, answer)
const child = (Driver: string, Options: object, sentence: string): Case =>
  create({ Driver, Options }, `500 ${sentence}`)
const connect = (network: string, Container: string, answer: string, EndpointConfig?: object): Case =>
  ['POST', `/networks/${network}/connect`, { Container, ...(EndpointConfig ? { EndpointConfig } : {}) }, answer]
const disconnect = (network: string, Container: string, answer: string, Force = false): Case =>
  ['POST', `/networks/${network}/disconnect`, { Container, Force }, answer]
const container = (network: string, settings: object, answer: string): Case =>
  ['POST', '/containers/create', {
    Image: 'busybox', HostConfig: { NetworkMode: network },
    NetworkingConfig: { EndpointsConfig: { [network]: settings } },
  }, answer]

const bridge = 'com.docker.network.bridge'
const driver = 'com.docker.network'
const subnet = { Subnet: '10.3.0.0/24' }
const invalid = '400 invalid network config:\n'
const parent = 'parent subnet 10.3.0.0/24 doesn\'t contain this address'
const manager = '403 This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to' +
  ' connect this node to swarm and try again.'
const only = '403 configuration network can only contain network specific fields. Network operator' +
  ' fields like [ ingress | internal | attachable | scope ] are not supported.'
const depends = 'are not supported if the network depends on a configuration network'
const conflict = (why: string) => new RegExp(`^403 cannot create network \\w{64} \\(br.*\\): conflicts with` +
  ` network {named} \\(brnamed\\): networks have ${why}$`).source

const creating: readonly Case[] = [
  ...['bridge', 'host', 'none', 'default'].map((Name) =>
    create({ Name }, `403 operation is not permitted on predefined ${Name} network `)),
  create({ Name: 'held' }, '409 network with name held already exists'),
  create({ Name: 'held', CheckDuplicate: false }, '409 network with name held already exists'),
  ...['', '  '].map((Name) => create({ Name }, '400 invalid name: name is empty')),
  ...['nosuch', 'a/b', 'A'].map((Driver) => create({ Driver }, `404 plugin "${Driver}" not found`)),
  create({ IPAM: { Driver: 'nosuch' } }, '404 plugin "nosuch" not found'),
  ...['host', 'null'].map((Driver) => create({ Driver }, `403 only one instance of "${Driver}" network is allowed`)),
  pools(`${invalid}invalid subnet bogus: invalid CIDR block notation`, { Subnet: 'bogus' }),
  pools(`${invalid}invalid subnet : invalid CIDR block notation`, { Gateway: '10.3.0.1' }),
  pools(`${invalid}invalid subnet 10.3.0.1/24: it should be 10.3.0.0/24`, { Subnet: '10.3.0.1/24' }),
  ...([
    ['zz', 'invalid CIDR block notation'],
    ['fd00::/64', 'parent subnet is an IPv4 block'],
    ['10.3.0.0/16', 'CIDR block is bigger than its parent subnet 10.3.0.0/24'],
    ['10.3.0.5/25', 'it should be 10.3.0.0/25'],
    ['10.4.0.0/25', 'parent subnet 10.3.0.0/24 doesn\'t contain ip-range'],
  ] as const).map(([IPRange, why]) => pools(`${invalid}invalid ip-range ${IPRange}: ${why}`, { ...subnet, IPRange })),
  ...([['zz', 'invalid address'], ['fd00::1', 'parent subnet is an IPv4 block'], ['10.4.0.1', parent]] as const)
    .map(([Gateway, why]) => pools(`${invalid}invalid gateway ${Gateway}: ${why}`, { ...subnet, Gateway })),
  ...([['zz', 'invalid address'], ['10.4.0.1', parent]] as const).map(([k, why]) =>
    pools(`${invalid}invalid auxiliary address k: ${why}`, { ...subnet, AuxiliaryAddresses: { k } })),
  pools('400 non parsable secondary ip address (k:) passed for network bad', { ...subnet, AuxiliaryAddresses: { k: '' } }),
  pools(`${invalid}* invalid ip-range yy: invalid CIDR block notation\n* invalid gateway zz: invalid address`,
    { ...subnet, IPRange: 'yy', Gateway: 'zz' }),
  pools(`${invalid}* invalid subnet a: invalid CIDR block notation\n* invalid subnet b: invalid CIDR block notation`,
    { Subnet: 'a' }, { Subnet: 'b' }),
  ...['10.77.0.0/24', '10.77.0.128/25', '10.77.0.0/16'].map((Subnet) =>
    pools('403 invalid pool request: Pool overlaps with other one on this address space', { Subnet })),
  pools(conflict('overlapping IPv4'), { Subnet: '10.81.0.0/16', IPRange: '10.81.5.0/24' }),
  option(`${bridge}.name`, 'brnamed', conflict('same bridge name')),
  ...['10.3.0.0', '10.3.0.255'].map((Gateway) =>
    pools(`500 failed to allocate gateway (${Gateway}): Address already in use`, { ...subnet, Gateway })),
  pools('500 failed to allocate secondary ip address (k:10.3.0.1): Address already in use',
    { ...subnet, Gateway: '10.3.0.1', AuxiliaryAddresses: { k: '10.3.0.1' } }),
  pools('403 bridge driver doesn\'t support multiple subnets', subnet, { Subnet: '10.4.0.0/24' }),
  create({ EnableIPv4: false }, '400 IPv4 or IPv6 must be enabled'),
  create({ IPAM: { Driver: 'null' } }, '400 ipv4 pool is empty'),
  create({ IPAM: { Driver: 'null' }, EnableIPv4: false, EnableIPv6: true }, '400 ipv6 pool is empty'),
  ...['enable_icc', 'enable_ip_masquerade', 'inhibit_ipv4', 'default_bridge'].map((key) => option(`${bridge}.${key}`, 'zz',
    `400 failed to parse ${bridge}.${key} value: zz (strconv.ParseBool: parsing "zz": invalid syntax)`)),
  option(`${driver}.driver.mtu`, 'zz',
    `400 failed to parse ${driver}.driver.mtu value: zz (strconv.Atoi: parsing "zz": invalid syntax)`),
  option(`${driver}.driver.mtu`, '-5', '400 invalid MTU number: -5'),
  option(`${driver}.driver.mtu`, '1000', '400 invalid MTU number: 1000: IPv6 needs 1280 or more', { EnableIPv6: true }),
  ...['zz', ''].flatMap((value) => [
    option(`${bridge}.host_binding_ipv4`, value, `400 failed to parse ${bridge}.host_binding_ipv4 value: ${value} (nil ip)`),
    option(`${bridge}.gateway_mode_ipv4`, value,
      `400 failed to parse ${bridge}.gateway_mode_ipv4 value: ${value} (unknown gateway mode ${value})`),
    option(`${driver}.advertise_addr_nmsgs`, value,
      `400 value for option ${driver}.advertise_addr_nmsgs "${value}" must be an integer`),
    option(`${driver}.advertise_addr_ms`, value,
      `400 value for option ${driver}.advertise_addr_ms "${value}" must be integer milliseconds`),
  ]),
  option(`${driver}.advertise_addr_nmsgs`, '4', `400 ${driver}.advertise_addr_nmsgs must be in the range 0 to 3`),
  option(`${driver}.advertise_addr_ms`, '99', `400 ${driver}.advertise_addr_ms must be in the range 100 to 2000`),
  option(`${driver}.host_ipv4`, 'fd00::1', `400 failed to parse ${driver}.host_ipv4 value: fd00::1 (not an IPv4 address)`),
  option(`${driver}.enable_ipv6`, 'zz', `400 driver-opt "${driver}.enable_ipv6" is not a valid bool`),
  ...[4, 6].map((family) => option(`${bridge}.gateway_mode_ipv${family}`, 'isolated',
    '500 gateway mode \'isolated\' can only be used for an internal network')),
  option(`${bridge}.name`, 'lo', '500 existing interface lo is not a bridge'),
  option(`${bridge}.name`, 'a234567890123456', '500 numerical result out of range'),
  option(`${bridge}.default_bridge`, 'true',
    `403 ${bridge}.default_bridge is reserved for the predefined network "bridge": leave the option out`),
  ...[{}, { Scope: 'local' }, { Ingress: true }, { Attachable: true }, { ConfigOnly: true }].map((more) =>
    create({ Driver: 'overlay', ...more }, manager)),
  create({ Scope: 'swarm' }, '403 cannot create a swarm scoped network when swarm is not active'),
  ...[{}, { Attachable: true }, { Scope: 'swarm' }].map((more) =>
    create({ Ingress: true, ...more }, '403 Ingress network can only be global scope network')),
  ...[{ Ingress: true }, { Internal: true }, { Attachable: true }, { Scope: 'local' }].map((more) =>
    create({ ConfigOnly: true, ...more }, only)),
  create({ ConfigOnly: true, ConfigFrom: { Network: 'template' } },
    '403 a configuration network cannot depend on another configuration network'),
  ...['nope', 'bridge'].map((Network) =>
    create({ ConfigFrom: { Network } }, `404 configuration network "${Network}" does not exist`)),
  ...[{ IPAM: { Config: [subnet] } }, { IPAM: { Options: { a: 'b' } } }, { Labels: { a: 'b' } }, { EnableIPv6: true },
    { EnableIPv4: false }].map((more) =>
    create({ ConfigFrom: { Network: 'template' }, ...more }, `403 user specified configurations ${depends}`)),
  create({ ConfigFrom: { Network: 'template' }, Options: { a: 'b' } }, `403 network driver options ${depends}`),
  create({ ConfigFrom: { Network: 'template' }, EnableIPv4: true, IPAM: { Driver: 'default' } },
    '403 invalid pool request: Pool overlaps with other one on this address space'),
  child('macvlan', { parent: 'dm0' }, 'invalid subinterface vlan name dm0, example formatting is eth0.10'),
  child('ipvlan', { parent: 'dm0' }, 'invalid subinterface vlan name dm0, example formatting is eth0.10'),
  child('macvlan', { parent: 'averyveryverylongname.5' }, '-o parent interface was not found on the host: averyveryverylongname'),
  child('macvlan', { parent: 'lo' }, 'loopback interface is not a valid macvlan parent link'),
  child('ipvlan', { parent: 'lo' }, 'loopback interface is not a valid ipvlan parent link'),
  child('macvlan', { macvlan_mode: 'zz' }, 'requested macvlan mode \'zz\' is not valid, \'bridge\' mode is the macvlan driver default'),
  child('ipvlan', { ipvlan_mode: 'zz' }, 'requested ipvlan mode \'zz\' is not valid, \'l2\' mode is the ipvlan driver default'),
]

const removing: readonly Case[] = [
  ['DELETE', '/networks/bridge', undefined, '403 bridge is a pre-defined network and cannot be removed'],
  ['DELETE', '/networks/host', undefined, '403 host is a pre-defined network and cannot be removed'],
  ['DELETE', '/networks/default', undefined, '404 network default not found'],
  ['DELETE', '/networks/nope', undefined, '404 network nope not found'],
  ['DELETE', '/networks/template', undefined,
    '403 error while removing network: configuration network "template" is in use'],
  ['DELETE', '/networks/held', undefined,
    '^403 error while removing network: network held has active endpoints \\(name:"holder" id:"\\w{12}"\\)$'],
  ['GET', '/networks/nope', undefined, '404 network nope not found'],
  ['GET', '/networks/held?scope=swarm', undefined, '404 network held not found'],
  ['GET', '/networks/held?scope=zz', undefined, '404 network held not found'],
  ['GET', '/networks/held?verbose=zz', undefined,
    '400 invalid value for verbose: zz: strconv.ParseBool: parsing "zz": invalid syntax'],
]

/** What only a manager of a swarm has, each with what is asked of it. */
const swarm: readonly Case[] = [
  ...['swarm', 'nodes', 'services', 'tasks', 'secrets', 'configs', 'nodes/x', 'services/x', 'swarm/unlockkey']
    .map((path): Case => ['GET', `/${path}`, undefined, manager.replace('403', '503')]),
  ...['services/create', 'secrets/create', 'configs/create']
    .map((path): Case => ['POST', `/${path}`, {}, manager.replace('403', '503')]),
  ['POST', '/swarm/leave', {}, '503 This node is not part of a swarm'],
]

const toHost = '400 cannot connect container to host network - container must be created in host network mode'
const shared = '400 container sharing network namespace with another container or host cannot be connected' +
  ' to any other network'
const privately = '400 container cannot be connected to multiple networks with one of the networks in' +
  ' private (none) mode'
const endpoint = '400 invalid endpoint settings:\n'
const userOnly = 'user specified IP address is supported on user defined networks only'
const configured = 'user specified IP address is supported only when connecting to networks with user' +
  ' configured subnets'
const alias = 'network-scoped alias is supported only for containers in user defined networks'
const address = (IPv4Address: string) => ({ IPAMConfig: { IPv4Address } })

const attaching: readonly Case[] = [
  connect('nope', 'holder', '404 network nope not found'),
  connect('other', 'nope', '404 No such container: nope'),
  connect('other', '', '400 invalid name or ID supplied: ""'),
  connect('template', 'holder', '403 cannot create endpoint on configuration-only network'),
  connect('held', 'holder', '403 endpoint with name holder already exists in network held'),
  connect('host', 'holder', toHost), connect('host', 'idle', toHost),
  connect('host', 'hosted', '403 endpoint with name hosted already exists in network host'),
  connect('other', 'hosted', shared), connect('other', 'guest', shared), connect('host', 'guest', shared),
  connect('none', 'holder', privately), connect('other', 'alone', privately),
  connect('tiny', 'holder', '500 no available IPv4 addresses on this network\'s address pools: tiny ({tiny})'),
  disconnect('nope', 'holder', '404 network nope not found'),
  disconnect('other', 'nope', '404 No such container: nope'),
  disconnect('other', 'nope', '404 endpoint nope not found', true),
  disconnect('host', 'hosted', '400 cannot disconnect container from host network - container was created' +
    ' in host network mode'),
  disconnect('other', 'holder', '500 container {holder} is not connected to network other'),
  disconnect('nope', 'holder', '500 container {holder} is not connected to the network nope', true),
  disconnect('other', 'idle', '500 container {idle} is not connected to the network other'),
  connect('bridge', 'holder', `${endpoint}* ${userOnly}\n* ${configured}`, address('172.17.0.9')),
  container('none', address('172.17.0.9'),
    `400 invalid config for network none: invalid endpoint settings:\n* ${userOnly}\n* ${configured}`),
  connect('bridge', 'holder', endpoint + alias, { Aliases: ['a'] }),
  container('host', { Aliases: ['a'] }, `400 invalid config for network host: invalid endpoint settings:\n${alias}`),
  connect('other', 'holder', `${endpoint}no configured subnet or ip-range contain the IP address 10.0.0.9`, address('10.0.0.9')),
  connect('auto', 'holder', endpoint + configured, address('172.18.0.9')),
  connect('other', 'holder', endpoint + configured, { IPAMConfig: { IPv6Address: 'fd78::9' } }),
  connect('other', 'holder', `${endpoint}* invalid IPv4 address: zz\n* no configured subnet or ip-range contain` +
    ' the IP address zz', address('zz')),
  connect('other', 'holder', `${endpoint}invalid link-local IP address: zz`, { IPAMConfig: { LinkLocalIPs: ['zz'] } }),
  connect('other', 'holder', '400 invalid link local IP address: 10.0.0.9', { IPAMConfig: { LinkLocalIPs: ['10.0.0.9'] } }),
  connect('other', 'holder', '400 invalid MAC address zz', { MacAddress: 'zz' }),
  connect('other', 'holder', `${endpoint}bad format for links: a:b:c`, { Links: ['a:b:c'] }),
  container('other', address('10.0.0.9'), '400 invalid config for network other: invalid endpoint settings:\n' +
    'no configured subnet or ip-range contain the IP address 10.0.0.9'),
  container('other', { MacAddress: 'zz' }, '400 invalid config for network other: invalid MAC address zz'),
  connect('other', 'holder', '403 Address already in use', address('10.78.0.1')),
  connect('dual', 'holder', '403 Address already in use', { IPAMConfig: { IPv6Address: 'fd79::1' } }),
  connect('other', 'holder', '409 interface name lo is in use in this container already',
    { DriverOpts: { [`${driver}.endpoint.ifname`]: 'lo' } }),
]

/** `403 sentence`, with ids as `{name}` where the table has them. */
async function answerOf([method, path, body]: Case): Promise<string> {
  const { status, json } = await lab.api(method, path, body)
  return `${status} ${String(Reflect.get(Object(json), 'message'))}`
}

function withIds(text: string): string {
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => ids.get(name) ?? whole)
}

const state = `ip -br link | cut -d' ' -f1; ip -br addr | awk '{print $1, $3, $4}'; iptables-save | grep ^-A;
  docker network ls --no-trunc; docker ps -a --no-trunc --format '{{.ID}} {{.Networks}} {{.State}}';
  docker exec holder sh -c 'ip -o addr; ip route; cat /etc/hosts'`

for (const [what, table] of Object.entries({ creating, removing, attaching, swarm })) {
  test(`${what}: what cannot be is refused in Docker’s words, and changes nothing`, async (t) => {
    const before = await lab.must(state)
    for (const one of table) {
      const [method, path, body, wanted] = one
      await t.test(`${method} ${path} ${JSON.stringify(body) ?? ''}`, async () => {
        const found = await answerOf(one)
        if (wanted.startsWith('^')) assert.match(found, new RegExp(withIds(wanted)))
        else assert.equal(found, withIds(wanted))
      })
    }
    assert.equal(await lab.must(state), before)
  })
}

test('what stands beside the refusals: connected twice while stopped, disconnected from none', async () => {
  const ask = async (...one: Case) => (await lab.api(one[0], one[1], one[2])).status
  assert.equal(await ask(...connect('held', 'idle', '')), 200)
  assert.equal(await ask(...disconnect('none', 'alone', '')), 200)
  const { json } = await lab.api('GET', '/containers/alone/json')
  assert.deepEqual(Reflect.get(Object(Reflect.get(Object(json), 'NetworkSettings')), 'Networks'), {})
  assert.equal(await ask(...connect('none', 'alone', '')), 200)
})

test('what is half removed is connected to nothing any more', async () => {
  const id = await lab.ok('run', '-d', '--name', 'doomed', '--network', 'held', 'busybox', 'sleep', '600')
  const folder = `${lab.folder}/data/containers/${id}`
  await lab.must(`mkdir -p ${folder}/held && mount -t tmpfs none ${folder}/held`)
  assert.notEqual((await lab.docker('rm', '-f', 'doomed')).code, 0)
  assert.equal(await lab.ok('inspect', '-f', '{{.State.Status}}', 'doomed'), 'dead')
  const sentence = `container ${id} is marked for removal and cannot be connected or disconnected to the network`
  assert.equal(await answerOf(connect('other', 'doomed', '')), `500 ${sentence}`)
  assert.equal(await answerOf(disconnect('held', 'doomed', '')), `500 ${sentence}`)
  await lab.must(`umount ${folder}/held`)
  await lab.ok('rm', '-f', 'doomed')
})
