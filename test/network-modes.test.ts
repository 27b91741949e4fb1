/**
 * What a container's network mode means beside everything else that is asked for: the answers of
 * create and start, the networks that come of it, and what is shared with the host or a donor.
 */
import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { Lab, type Answer } from './lab/lab.ts'

let lab: Lab
const ids = new Map<string, string>()

before(async () => {
  lab = await Lab.start(undefined)
  for (const [name, subnet] of [['main', '10.1.0.0/24'], ['other', '10.2.0.0/24']] as const) {
    ids.set(name, await lab.ok('network', 'create', '--subnet', subnet, name))
  }
  await lab.ok('network', 'create', '--config-only', 'template')
  const run = ['run', '-d', '--name']
  const sleeping = ['busybox', 'sleep', '600']
  await lab.ok(...run, 'donor', '--network', 'main', '-h', 'donorhost', ...sleeping)
  await lab.ok(...run, 'plain', ...sleeping)
  await lab.ok('create', '--name', 'idle', 'busybox')
})

after(async () => {
  await lab.expectNoLeaks()
  await lab.stop()
})

const at = (value: unknown, ...path: readonly string[]): unknown =>
  path.reduce((inner, key) => Reflect.get(Object(inner), key), value)

/** `204`, or the status with what is said. */
function said({ status, json }: Answer): string {
  const message = at(json, 'message')
  return message === undefined ? String(status) : `${status} ${String(message)}`
}

const mode = (NetworkMode: string, more: object = {}) => ({ HostConfig: { NetworkMode, ...more } })
const withEndpoints = (networkMode: string, EndpointsConfig: object, more: object = {}) =>
  ({ ...mode(networkMode), NetworkingConfig: { EndpointsConfig }, ...more })
const ports = { PortBindings: { '80/tcp': [{ HostPort: '80' }] } }
const mac = '02:00:00:00:00:09'

interface Case {
  readonly body: object
  readonly created: string
  readonly warnings?: readonly string[]
  readonly started?: string
  /** After the start: names of networks, in order. */
  readonly networks?: string
}

const conflict = (what: string) => `400 conflicting options: ${what}`
const container = 'and the container type network mode'
const undefinedBehaviour = "can't be used with links. This would result in undefined behavior"
const setUp = 'failed to set up container networking: '
const noHost = `400 ${setUp}cannot connect container to host network - container must be created` +
  ' in host network mode'
const shared = `400 ${setUp}container sharing network namespace with another container or host` +
  ' cannot be connected to any other network'
const none = `400 ${setUp}container cannot be connected to multiple networks with one of the` +
  ' networks in private (none) mode'
const discarded = (what: string, kind: string) => [`${what} discarded when using ${kind} network mode`]
const deprecated = 'The container-wide MacAddress field is now deprecated. It should be specified' +
  ' in EndpointsConfig instead.'

const cases: readonly Case[] = [
  { body: mode(''), created: '201', started: '204', networks: 'bridge' },
  { body: mode('default'), created: '201', started: '204', networks: 'bridge' },
  { body: mode('host'), created: '201', started: '204', networks: 'host' },
  { body: mode('none'), created: '201', started: '204', networks: 'none' },
  { body: mode('container:donor'), created: '201', started: '204', networks: '' },
  { body: mode('absent'), created: '201', started: `404 ${setUp}network absent not found` },
  { body: mode('template'), created: '201',
    started: `403 ${setUp}cannot create endpoint on configuration-only network` },
  { body: withEndpoints('default', { default: {} }), created: '201', started: '204', networks: 'bridge' },
  { body: withEndpoints('bridge', { main: {} }), created: '201', started: '204', networks: 'main' },
  { body: withEndpoints('main', { other: {} }), created: '201', started: '204', networks: 'other' },
  { body: withEndpoints('none', { main: {} }), created: '201', started: '204', networks: 'main' },
  { body: withEndpoints('main', { none: {} }), created: '201', started: '204', networks: 'none' },
  { body: withEndpoints('main', { main: {}, other: {} }), created: '201', started: '204', networks: 'main other' },
  { body: withEndpoints('main', { main: null }),
    created: '400 invalid config for network main: EndpointsConfig is nil' },
  { body: withEndpoints('main', { absent: {} }), created: '201',
    started: `404 ${setUp}network absent not found` },
  { body: withEndpoints('none', { none: {}, main: {} }), created: '201', started: none },
  { body: withEndpoints('host', { host: {}, main: {} }), created: '201', started: shared },
  { body: withEndpoints('host', { main: {} }), created: '201', started: shared },
  { body: withEndpoints('main', { host: {} }), created: '201', started: noHost },
  // container:
  { body: mode('container:'),
    created: '400 invalid network mode: invalid container format container:<name|id>' },
  { body: mode('container:absent'), created: '201',
    started: '500 joining network namespace of container: No such container: absent' },
  { body: mode('container:idle'), created: '201',
    started: '409 cannot join network namespace of a non running container: container idle is created' },
  { body: mode('container:subject'), created: '201', started: '500 cannot join own network namespace' },
  { body: { ...mode('container:donor'), Hostname: 'x' }, created: conflict('hostname and the network mode') },
  { body: { ...mode('container:donor'), ExposedPorts: { '80/tcp': {} } },
    created: conflict(`port exposing ${container}`) },
  { body: mode('container:donor', ports), created: conflict(`port publishing ${container}`) },
  { body: mode('container:donor', { PublishAllPorts: true }), created: conflict(`port publishing ${container}`) },
  { body: mode('container:donor', { Dns: ['1.1.1.1'] }), created: conflict('dns and the network mode') },
  { body: mode('container:donor', { ExtraHosts: ['a:1.1.1.1'] }),
    created: conflict('custom host-to-IP mapping and the network mode') },
  { body: mode('container:donor', { Links: ['plain:x'] }),
    created: conflict(`container type network ${undefinedBehaviour}`) },
  { body: { ...mode('container:donor'), Domainname: 'x' }, created: '201', started: '204', networks: '' },
  { body: mode('container:donor', { DnsSearch: ['a'], DnsOptions: ['ndots:1'] }), created: '201', started: '204',
    warnings: discarded('DnsSearch and DnsOptions are', 'container') },
  { body: { ...mode('container:donor'), MacAddress: mac }, created: '201', started: '204',
    warnings: discarded('MacAddress is', 'container') },
  // host and none:
  { body: mode('host', { Links: ['plain:x'] }), created: conflict(`host type networking ${undefinedBehaviour}`) },
  { body: mode('host', ports), created: '201', started: '204', warnings: discarded('Published ports are', 'host') },
  { body: mode('none', ports), created: '201', started: '204', warnings: discarded('Published ports are', 'none') },
  { body: mode('none', { Links: ['plain:x'] }), created: '201', started: '204',
    warnings: discarded('Links are', 'none') },
  { body: { ...mode('host'), MacAddress: mac }, created: '201', started: '204',
    warnings: discarded('MacAddress is', 'host') },
  { body: { ...mode('host'), Hostname: 'hh', Domainname: 'dd' }, created: '201', started: '204', networks: 'host' },
  { body: mode('host', { Sysctls: { 'net.ipv4.ip_forward': '1' } }), created: '201',
    started: '500 *sysctl "net.ipv4.ip_forward" not allowed in host network namespace' },
  // Links, MAC addresses, names, hosts, ports.
  { body: mode('bridge', { Links: ['absent:x'] }),
    created: '400 could not get container for absent: No such container: absent' },
  { body: mode('bridge', { Links: ['a:b:c'] }), created: '400 bad format for links: a:b:c' },
  { body: mode('bridge', { Links: [''] }), created: '400 empty string specified for links' },
  { body: mode('bridge', { Links: ['idle:x'] }), created: '201',
    started: '500 Cannot link to a non running container: /idle AS /subject/x' },
  { body: mode('bridge', { Links: ['donor:x'] }), created: '201',
    started: '500 container DONOR not attached to default bridge network' },
  { body: mode('main', { Links: ['absent:x'] }), created: '201', started: '204', networks: 'main' },
  { body: mode('main', { Links: ['a:b:c'] }),
    created: '400 invalid config for network main: invalid endpoint settings:\nbad format for links: a:b:c' },
  { body: { ...withEndpoints('main', { main: { MacAddress: mac } }), MacAddress: '02:00:00:00:00:08' },
    created: '400 the container-wide MAC address must match the endpoint-specific MAC address for the main' +
      ' network, or be left empty' },
  { body: { ...withEndpoints('main', { other: {} }), MacAddress: mac },
    created: '400 unable to migrate container-wide MAC address to a specific network: HostConfig.NetworkMode' +
      ' must match the identity of a network in NetworkSettings.Networks' },
  { body: { ...withEndpoints('main', { main: { MacAddress: mac } }), MacAddress: mac }, created: '201',
    started: '204', warnings: [deprecated] },
  { body: { ...mode('main'), MacAddress: 'zz' },
    created: '400 invalid config for network main: invalid MAC address zz' },
  { body: { ...mode('main'), Hostname: 'x'.repeat(65) }, created: '201',
    started: '500 *sethostname: invalid argument' },
  { body: mode('main', { ExtraHosts: ['zz'] }), created: '400 bad format for add-host: "zz"' },
  { body: mode('main', { ExtraHosts: ['a:zz'] }), created: '400 invalid IP address in add-host: "zz"' },
  { body: mode('main', { Dns: ['zz'] }), created: '201',
    started: '500 bad nameserver address zz: ParseAddr("zz"): unable to parse IP' },
  { body: { ...mode('main', { PortBindings: { '80/zz': [{ HostIp: 'q' }] } }), ExposedPorts: { y: {} } },
    created: '201', warnings: ['ExposedPorts "y" is no port. It has no effect.'] },
]

test('network modes, and what each refuses when', async (t) => {
  const donor = await lab.ok('inspect', '-f', '{{.Id}}', 'donor')
  const fits = (found: string, wanted: string) => {
    const [head = '', tail] = wanted.replace('DONOR', donor).split('*')
    if (tail === undefined) assert.equal(found, head)
    else assert.ok(found.startsWith(head) && found.includes(tail), found)
  }
  for (const { body, created, started, warnings, networks } of cases) {
    await t.test(JSON.stringify(body), async () => {
      const sent = { Image: 'busybox', Cmd: ['sleep', '600'], ...body }
      const made = await lab.api('POST', '/containers/create?name=subject', sent)
      const ran = await lab.api('POST', '/containers/subject/start')
      const { json } = await lab.api('GET', '/containers/subject/json')
      await lab.api('DELETE', '/containers/subject?force=1')
      fits(said(made), created)
      if (created === '201') assert.deepEqual(at(made.json, 'Warnings'), warnings ?? [])
      if (started !== undefined) fits(said(ran), started)
      if (networks === undefined) return
      const found = Object.keys(Object(at(json, 'NetworkSettings', 'Networks')))
      assert.equal(found.join(' '), networks)
    })
  }
})

/** The document of a container, started with this body, and removed. */
async function inspected(body: object): Promise<unknown> {
  const sent = { Image: 'busybox', Cmd: ['sleep', '600'], ...body }
  await lab.api('POST', '/containers/create?name=subject', sent)
  assert.equal(said(await lab.api('POST', '/containers/subject/start')), '204')
  const { json } = await lab.api('GET', '/containers/subject/json')
  await lab.api('DELETE', '/containers/subject?force=1')
  return json
}

const settings = (document: unknown, ...path: readonly string[]) =>
  at(document, 'NetworkSettings', ...path)

test('a container on the host’s network: its key, no addresses, the host’s name', async () => {
  const host = await inspected(mode('host', ports))
  const folder = lab.folder
  assert.equal(settings(host, 'SandboxKey'), `${folder}/run/netns/default`)
  assert.match(String(settings(host, 'SandboxID')), /^\w{64}$/)
  assert.match(String(settings(host, 'Networks', 'host', 'EndpointID')), /^\w{64}$/)
  assert.equal(settings(host, 'Networks', 'host', 'NetworkID'), await lab.ok('network', 'inspect', '-f', '{{.Id}}', 'host'))
  for (const field of ['IPAddress', 'Gateway', 'MacAddress']) {
    assert.equal(settings(host, 'Networks', 'host', field), '')
  }
  assert.deepEqual(settings(host, 'Ports'), {})
  assert.equal(at(host, 'Config', 'Hostname'), await lab.must('hostname'))
  await lab.ok('run', '-d', '--name', 'h1', '--network', 'host', 'busybox', 'sleep', '600')
  assert.equal(await lab.ok('ps', '--filter', 'name=h1', '--format', '{{.Ports}}'), '')
  assert.match(
    (await lab.api('GET', '/networks/host')).text,
    /"\w{64}":\{"Name":"h1","EndpointID":"\w{64}","MacAddress":"","IPv4Address":"","IPv6Address":""\}/,
  )
  const borrowed = ['run', '--rm', '--network', 'container:h1', 'busybox', 'sh', '-c']
  const seen = await lab.ok(...borrowed, 'test -d /sys/class/net/docker0 && hostname')
  assert.equal(seen, await lab.must('hostname'))
  await lab.ok('rm', '-f', 'h1')
})

test('a container without a network, and one in another’s namespace', async () => {
  const alone = await inspected(mode('none'))
  assert.equal(settings(alone, 'Networks', 'none', 'IPAddress'), '')
  assert.match(String(settings(alone, 'Networks', 'none', 'EndpointID')), /^\w{64}$/)
  assert.match(String(settings(alone, 'SandboxKey')), /\/netns\/\w{12}$/)
  const [donor, guest] = [
    (await lab.api('GET', '/containers/donor/json')).json,
    await inspected(mode('container:donor')),
  ]
  for (const field of ['SandboxID', 'SandboxKey']) assert.equal(settings(guest, field), '')
  assert.deepEqual([settings(guest, 'Networks'), settings(guest, 'Ports')], [{}, {}])
  assert.equal(at(guest, 'Config', 'Hostname'), 'donorhost')
  for (const path of ['HostnamePath', 'HostsPath', 'ResolvConfPath']) {
    assert.equal(at(guest, path), at(donor, path))
  }
  assert.equal(at(guest, 'HostConfig', 'NetworkMode'), `container:${String(at(donor, 'Id'))}`)
  const shown = (await lab.api('GET', '/networks/main')).text
  assert.ok(shown.includes('"Name":"donor"') && !shown.includes('"Name":"subject"'))
})

test('a network by its id, or by a part of it, is kept by its name', async () => {
  const id = ids.get('main') ?? ''
  const create = ['create', '--name', 'byid', '--network', id.slice(0, 9), 'busybox', 'sleep', '60']
  await lab.ok(...create)
  const shownMode = () => lab.ok('inspect', '-f', '{{.HostConfig.NetworkMode}}', 'byid')
  assert.equal(await shownMode(), id.slice(0, 9))
  await lab.ok('start', 'byid')
  assert.equal(await shownMode(), id)
  const networks = '{{range $n, $e := .NetworkSettings.Networks}}{{$n}}={{$e.IPAddress}} {{end}}'
  assert.equal(await lab.ok('inspect', '-f', networks, 'byid'), 'main=10.1.0.3 ')
  await lab.ok('rm', '-f', 'byid')
  const byId = await inspected(withEndpoints('main', { [id]: { Aliases: ['x'] } }))
  assert.deepEqual(Object.keys(Object(settings(byId, 'Networks'))), ['main'])
  const beside = await inspected(withEndpoints('main', { anything: { NetworkID: ids.get('other') } }))
  assert.deepEqual(Object.keys(Object(settings(beside, 'Networks'))), ['other'])
  const wrong = { NetworkID: 'zz' }
  await lab.api('POST', '/containers/create?name=subject', { Image: 'busybox', ...withEndpoints('main', { main: wrong }) })
  assert.equal(said(await lab.api('POST', '/containers/subject/start')), `404 ${setUp}network zz not found`)
  await lab.ok('rm', 'subject')
  const connect = (network: string, NetworkID: string) =>
    lab.api('POST', `/networks/${network}/connect`, { Container: 'donor', EndpointConfig: { NetworkID } })
  assert.equal(said(await connect('other', 'zz')), '404 network zz not found')
  assert.equal(said(await connect('other', id)), `400 NetworkID ${id} is not that of network other`)
})

test('networking switched off: lo alone, and no networks', async () => {
  const off = { Image: 'busybox', Cmd: ['sleep', '60'], NetworkDisabled: true }
  await lab.api('POST', '/containers/create?name=off', off)
  await lab.ok('start', 'off')
  const look = ['sh', '-c', 'ls /sys/class/net; cat /etc/hosts /etc/resolv.conf']
  assert.equal(await lab.ok('exec', 'off', ...look), 'lo')
  const { json } = await lab.api('GET', '/containers/off/json')
  assert.deepEqual([settings(json, 'Networks'), settings(json, 'SandboxID')], [{}, ''])
  await lab.ok('rm', '-f', 'off')
})

test('the network of the mode must be there, also for a container that has left it', async () => {
  await lab.ok('create', '--name', 'left', '--network', 'later', 'busybox', 'sleep', '60')
  await lab.ok('network', 'disconnect', 'later', 'left')
  await lab.ok('network', 'connect', 'main', 'left')
  const sentence = `404 ${setUp}could not find a network matching network mode later: network later not found`
  assert.equal(said(await lab.api('POST', '/containers/left/start')), sentence)
  await lab.ok('network', 'create', 'later')
  await lab.ok('start', 'left')
  assert.equal(await lab.ok('inspect', '-f', '{{range $n, $e := .NetworkSettings.Networks}}{{$n}}{{end}}', 'left'), 'main')
  await lab.ok('rm', '-f', 'left')
  await lab.ok('network', 'rm', 'later')
})

test('who shares a namespace has the old one until its own restart', async () => {
  const routes = () => lab.ok('exec', 'sharer', 'ip', 'route')
  await lab.ok('run', '-d', '--name', 'sharer', '--network', 'container:donor', 'busybox', 'sleep', '600')
  assert.match(await routes(), /default via 10\.1\.0\.1 dev eth0/)
  await lab.ok('restart', '-t', '0', 'donor')
  assert.equal(await routes(), '')
  await lab.ok('restart', '-t', '0', 'sharer')
  assert.match(await routes(), /default via 10\.1\.0\.1 dev eth0/)
  await lab.ok('rm', '-f', 'sharer')
})
