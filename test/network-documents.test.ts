/**
 * Networks over the API, letter by letter: paths and bodies that are taken, what inspect makes of
 * what was asked for, how things are looked up, and the documents of events.
 */
import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { Lab } from './lab/lab.ts'

let lab: Lab

before(async () => {
  lab = await Lab.start(undefined)
})

after(async () => {
  await lab.expectNoLeaks()
  await lab.stop()
})

const at = (value: unknown, ...path: readonly (string | number)[]): unknown =>
  path.reduce((inner, key) => Reflect.get(Object(inner), key), value)

const create = (body: unknown, headers: Record<string, string> = {}) =>
  lab.api('POST', '/networks/create', body, headers)
const inspect = (name: string) => lab.api('GET', `/networks/${name}`)

const json = 'application/json'

/** Bodies and media types, and the answers. */
const bodies: readonly (readonly [what: string, body: string | undefined, type: string | undefined, answer: string])[] = [
  ['parameters behind the media type', '{"Name":"typed"}', `${json}; charset=utf-8`, '201'],
  ['another media type', '{}', 'text/plain', `400 unsupported Content-Type header (text/plain): must be '${json}'`],
  ['none, with a body', '{}', '', '400 malformed Content-Type header (): mime: no media type'],
  ['none, and no body', undefined, undefined, '400 invalid name: name is empty'],
  ['cut off', '{"Name":', json, '400 invalid JSON: unexpected EOF'],
  ['blanks', '  ', json, '400 invalid JSON: got EOF while reading request body'],
  ['two documents', '{"Name":"x"}{}', json, '400 unexpected content after JSON'],
  ['a number for a name', '{"Name":5}', json,
    '400 invalid JSON: json: cannot unmarshal number into Go struct field CreateRequest.Name of type string'],
  ['a word for a bool', '{"Internal":"x"}', json,
    '400 invalid JSON: json: cannot unmarshal string into Go struct field CreateRequest.CreateOptions.Internal of type bool'],
  ['a number in a pool', '{"IPAM":{"Config":[{"Subnet":5}]}}', json,
    '400 invalid JSON: json: cannot unmarshal number into Go struct field IPAMConfig.CreateOptions.IPAM.Config.Subnet of type string'],
  ['a list', '[]', json, '400 invalid JSON: json: cannot unmarshal array into Go value of type network.CreateRequest'],
]

test('bodies: what is taken, and what is said of the others', async (t) => {
  for (const [what, body, type, answer] of bodies) {
    await t.test(what, async () => {
      const { status, json: said } = await create(body, type === undefined ? {} : { 'Content-Type': type })
      const message = at(said, 'message')
      assert.equal(message === undefined ? String(status) : `${status} ${String(message)}`, answer)
      if (status >= 400) assert.deepEqual(Object.keys(Object(said)), ['message'])
    })
  }
  await lab.ok('network', 'rm', 'typed')
})

test('paths: with and without a version, names with anything in them, a slash behind the list', async () => {
  for (const name of ['a/b', 'a b!', ' lead', 'x.y.z', 'ünï', '%41']) {
    const made = await create({ Name: name })
    assert.equal(made.status, 201, made.text)
    assert.deepEqual([at(made.json, 'Warning'), String(at(made.json, 'Id')).length], ['', 64])
    for (const prefix of ['', '/v1.24', '/v1.50']) {
      const { json: found } = await lab.api('GET', `${prefix}/networks/${encodeURIComponent(name)}`)
      assert.equal(at(found, 'Name'), name)
    }
    if (name === 'a/b') assert.equal(at((await inspect('a/b')).json, 'Name'), name)
    assert.equal((await lab.api('DELETE', `/networks/${encodeURIComponent(name)}`)).status, 204)
  }
  const [bare, slashed] = [await lab.api('GET', '/networks'), await lab.api('GET', '/networks/')]
  assert.deepEqual([slashed.status, slashed.json], [200, bare.json])
})

/** What is asked for; what inspect shows of it. */
const shown: readonly (readonly [asked: object, shown: object])[] = [
  [{ IPAM: { Driver: 'default', Options: {}, Config: [{ Subnet: '10.9.0.0/24' }] } },
    { IPAM: { Driver: 'default', Options: {}, Config: [{ Subnet: '10.9.0.0/24' }] } }],
  [{ EnableIPv6: true, IPAM: { Config: [{ Subnet: 'fd09::/64' }, { Subnet: '10.9.0.0/24' }] } },
    { EnableIPv6: true, IPAM: { Driver: 'default', Options: null, Config: [{ Subnet: '10.9.0.0/24' }, { Subnet: 'fd09::/64' }] } }],
  [{ IPAM: { Config: [{ Subnet: 'fd09::/64' }] } },
    { EnableIPv6: false, IPAM: { Driver: 'default', Options: null,
      Config: [{ Subnet: 'fd09::/64' }, { Subnet: '172.18.0.0/16', Gateway: '172.18.0.1' }] } }],
  [{ EnableIPv4: false, EnableIPv6: true, IPAM: { Config: [{ Subnet: 'fd09::/64', Gateway: 'fd09::9' }] } },
    { EnableIPv4: false, EnableIPv6: true, IPAM: { Driver: 'default', Options: null,
      Config: [{ Subnet: 'fd09::/64', Gateway: 'fd09::9' }] } }],
  [{ IPAM: { Config: [{ Subnet: '0.0.0.0/26' }] } },
    { IPAM: { Driver: 'default', Options: null, Config: [{ Subnet: '172.18.0.0/26' }] } }],
  [{ Options: { 'com.docker.network.enable_ipv6': 'true' } },
    { EnableIPv6: true, Options: { 'com.docker.network.enable_ipv6': 'true' } }],
  [{ EnableIPv6: false, Options: { 'com.docker.network.enable_ipv6': 'true', 'com.docker.network.driver.mtu': '1400' } },
    { EnableIPv6: false, Options: { 'com.docker.network.driver.mtu': '1400' } }],
  [{ Internal: true, Attachable: true, Labels: { b: '2', a: '1' } },
    { Internal: true, Attachable: true, Labels: { a: '1', b: '2' } }],
  [{ ConfigOnly: true, Driver: 'bridge', IPAM: { Config: [{ Subnet: '10.9.0.0/24' }] } },
    { ConfigOnly: true, Driver: 'null', Scope: 'local', EnableIPv4: true,
      IPAM: { Driver: 'default', Options: null, Config: [{ Subnet: '10.9.0.0/24' }] } }],
  [{ ConfigOnly: true, IPAM: { Config: [] } }, { IPAM: { Driver: 'default', Options: null, Config: null } }],
  [{ Driver: 'macvlan', Options: { parent: 'docker0' }, IPAM: { Config: [{ Subnet: '10.9.0.0/24', Gateway: '10.9.0.1' }] } },
    { Driver: 'macvlan', Options: { parent: 'docker0' },
      IPAM: { Driver: 'default', Options: null, Config: [{ Subnet: '10.9.0.0/24', Gateway: '10.9.0.1' }] } }],
]

test('what is asked for is shown just as it was, and what was chosen beside it', async (t) => {
  for (const [asked, wanted] of shown) {
    await t.test(JSON.stringify(asked), async () => {
      assert.equal((await create({ Name: 'subject', ...asked })).status, 201)
      const { json: found, text } = await inspect('subject')
      await lab.ok('network', 'rm', 'subject')
      assert.equal(JSON.stringify(Object.fromEntries(Object.keys(wanted).map((key) => [key, at(found, key)]))), JSON.stringify(wanted))
      assert.ok(text.includes('"Containers":{}'))
    })
  }
})

test('a scope is kept, and has no effect but a warning', async () => {
  const made = await create({ Name: 'scoped', Scope: 'global' })
  assert.equal(at(made.json, 'Warning'), 'Scope global is kept and has no effect: networks are of this host.')
  assert.equal(at((await inspect('scoped')).json, 'Scope'), 'global')
  assert.equal((await inspect('scoped?scope=local')).status, 404)
  await lab.ok('network', 'rm', 'scoped')
})

test('networks are found by id, then name, then a part of the id', async () => {
  const id = await lab.ok('network', 'create', '--subnet', '10.9.0.0/24', 'first')
  const part = id.slice(0, 6)
  assert.equal(at((await inspect(part)).json, 'Name'), 'first')
  await create({ Name: part, IPAM: { Config: [{ Subnet: '10.10.0.0/24' }] } })
  await create({ Name: id, IPAM: { Config: [{ Subnet: '10.11.0.0/24' }] } })
  assert.equal(at((await inspect(part)).json, 'IPAM', 'Config', 0, 'Subnet'), '10.10.0.0/24')
  assert.equal(at((await inspect(id)).json, 'Name'), 'first')
  for (const none of [id.toUpperCase() === id ? `${id}a` : id.toUpperCase(), id.slice(1), 'First']) {
    assert.equal((await inspect(none)).status, 404, none)
  }
  for (const each of [part, id, id]) assert.equal((await lab.api('DELETE', `/networks/${each}`)).status, 204)
})

test('containers are found by id, name, then a part of the id; of several is said so', async () => {
  const found = async (key: string) => {
    const { status, json: document } = await lab.api('GET', `/containers/${key}/json`)
    return status === 200 ? at(document, 'Name') : `${status} ${String(at(document, 'message'))}`
  }
  const names = Array.from({ length: 17 }, (_, number) => `c${number}`)
  const made: string[] = []
  for (const name of names) made.push(await lab.ok('create', '--name', name, 'busybox'))
  const shared = made.find((id, index) => made.findIndex((other) => other[0] === id[0]) !== index)?.[0] ?? ''
  assert.equal(await found(shared), `400 multiple IDs found with provided prefix: ${shared}`)
  const [first = ''] = made
  assert.equal(await found(first), '/c0')
  await lab.ok('create', '--name', first.slice(0, 6), 'busybox')
  assert.equal(await found(first.slice(0, 6)), `/${first.slice(0, 6)}`)
  assert.equal(await found(first.slice(0, 7)), '/c0')
  assert.equal(await found('nope'), '404 No such container: nope')
  const connect = (Container: string) => lab.api('POST', '/networks/bridge/connect', { Container })
  assert.deepEqual((await connect('')).json, { message: 'invalid name or ID supplied: ""' })
  assert.equal((await connect('/c0')).status, 200)
  await lab.ok('rm', ...names, first.slice(0, 6))
})

test('what an inspect of anything asks for is not found cleanly, one after another', async () => {
  const nothing = await lab.docker('inspect', 'nope')
  assert.deepEqual([nothing.code, nothing.out.trim()], [1, '[]'])
  assert.match(nothing.err, /^[Ee]rror: [Nn]o such object: nope$/m)
  for (const [path, message] of [
    ['/volumes/nope', 'get nope: no such volume'], ['/plugins/nope/json', 'plugin "nope" not found'],
    ['/images/nope/json', 'No such image: nope:latest'], ['/networks/nope', 'network nope not found'],
  ] as const) {
    const { status, json: said } = await lab.api('GET', path)
    assert.deepEqual([status, said], [404, { message }])
  }
})

test('endpoint settings are shown as they were sent, and what is so now only while it is', async () => {
  await lab.ok('network', 'create', '--subnet', '10.9.0.0/24', 'net')
  const settings = { IPAMConfig: {}, Links: [], Aliases: ['al'], DriverOpts: {}, GwPriority: 3 }
  const sent = { Image: 'busybox', Cmd: ['sleep', '60'], HostConfig: { NetworkMode: 'net' }, Hostname: 'hosty',
    NetworkingConfig: { EndpointsConfig: { net: settings } } }
  const id = String(at((await lab.api('POST', '/containers/create?name=subject', sent)).json, 'Id'))
  const endpoint = async () =>
    at((await lab.api('GET', '/containers/subject/json')).json, 'NetworkSettings', 'Networks', 'net')
  const idle = { Gateway: '', IPAddress: '', IPPrefixLen: 0, IPv6Gateway: '', GlobalIPv6Address: '', GlobalIPv6PrefixLen: 0 }
  const wished = { ...settings, Aliases: ['al', id.slice(0, 12)] }
  const names = ['subject', 'al', id.slice(0, 12), 'hosty']
  const network = await lab.ok('network', 'inspect', '-f', '{{.Id}}', 'net')
  assert.deepEqual(await endpoint(), { ...wished, MacAddress: '', NetworkID: '', EndpointID: '', ...idle, DNSNames: null })
  await lab.ok('start', 'subject')
  const running = await endpoint()
  const now = { Gateway: '10.9.0.1', IPAddress: '10.9.0.2', IPPrefixLen: 24, MacAddress: '02:42:0a:09:00:02' }
  const EndpointID = at(running, 'EndpointID')
  assert.match(String(EndpointID), /^\w{64}$/)
  assert.deepEqual(running, { ...wished, ...idle, ...now, NetworkID: network, EndpointID, DNSNames: names })
  const { json: list } = await lab.api('GET', '/containers/json')
  assert.equal(at(list, 0, 'NetworkSettings', 'Networks', 'net', 'DNSNames'), null)
  await lab.ok('stop', '-t', '0', 'subject')
  assert.deepEqual(await endpoint(),
    { ...wished, MacAddress: '', NetworkID: network, EndpointID: '', ...idle, DNSNames: names })
  await lab.ok('rm', 'subject')
  await lab.ok('network', 'rm', 'net')
})

test('events: every key, attributes in order, of networks and of containers', async () => {
  const told = async (act: () => Promise<unknown>): Promise<string[]> => {
    const since = await lab.must('date +%s.%N')
    await act()
    const { text } = await lab.api('GET', `/events?since=${since}&until=${await lab.must('date +%s.%N')}`)
    return text.trim().split('\n').map((line) => line
      .replaceAll(/\b[0-9a-f]{64}\b/g, '#').replace(/"time":\d{10},"timeNano":\d{19}/, '"time"'))
  }
  const event = (action: string, id: string, attributes: string) =>
    `{"Type":"network","Action":"${action}","Actor":{"ID":"${id}","Attributes":{${attributes}}},"scope":"local","time"}`
  const ofContainer = (action: string, attributes: string) =>
    `{"status":"${action}","id":"#","from":"busybox","Type":"container","Action":"${action}",` +
    `"Actor":{"ID":"#","Attributes":{${attributes}}},"scope":"local","time"}`
  const own = '"name":"ev","type":"bridge"'
  const labelled = '"image":"busybox","label":"1","name":"told"'
  assert.deepEqual(await told(() => create({ Name: 'ev', Labels: { a: 'b' } })), [event('create', '#', own)])
  const run = ['run', '-d', '--name', 'told', '--label', 'label=1', '--network', 'ev', 'busybox', 'sleep', '60']
  assert.deepEqual(await told(() => lab.ok(...run)), [
    ofContainer('create', labelled), event('connect', '#', `"container":"#",${own}`), ofContainer('start', labelled),
  ])
  assert.deepEqual(await told(() => lab.ok('rename', 'told', 'retold')), [
    ofContainer('rename', '"image":"busybox","label":"1","name":"retold","oldName":"/told"'),
  ])
  const [, , , , die = ''] = await told(() => lab.ok('stop', '-t', '0', 'retold'))
  assert.match(die, /"Attributes":\{"execDuration":"\d+","exitCode":"137","image":"busybox","label":"1","name":"retold"\}/)
  await lab.ok('rm', 'retold')
  assert.deepEqual(await told(() => lab.api('POST', '/networks/prune')), [
    event('destroy', '#', own), event('prune', '', '"reclaimed":"0"'),
  ])
})
