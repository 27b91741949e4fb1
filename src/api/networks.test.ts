import assert from 'node:assert/strict'
import { request } from 'node:http'
import { join } from 'node:path'
import test, { after } from 'node:test'
import { endpointSpec } from '../../test/lab/network-specs.ts'
import { openLab } from '../../test/lab/network-lab.ts'
import { listen } from './listen.ts'
import { networkRoutes } from './networks.ts'
import { createApi } from './server.ts'

const lab = await openLab()
const calls: unknown[] = []
const routes = networkRoutes(lab.engine, {
  connectNetwork: async (...args) => void calls.push(args.slice(0, 2)),
  disconnectNetwork: async (...args) => void calls.push(args),
})
const api = createApi(routes, { experimental: false })
const socketPath = join(lab.folder, 'api.sock')
await listen(api, { kind: 'unix', path: socketPath }, { group: 'docker' })
after(async () => {
  await api.close()
  await lab.end()
})

interface Answer {
  readonly status: number
  readonly text: string
  readonly message: string
}

function ask(method: string, path: string, body?: unknown): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = body === undefined ? {} : { 'Content-Type': 'application/json' }
    const call = request({ socketPath, method, path, headers, agent: false }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => (text += chunk))
      response.on('end', () => {
        const message = /^\{"message":"(.*)"\}\s*$/s.exec(text)?.[1] ?? ''
        resolve({ status: response.statusCode ?? 0, text, message: message.replace(/\\"/g, '"') })
      })
    })
    call.on('error', reject)
    call.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

/** What the stock command sends. */
const fromCli = (Name: string, more: object = {}) => ({
  Name, Driver: 'bridge', Scope: '', Internal: false, Attachable: false, Ingress: false,
  IPAM: { Driver: 'default', Options: {}, Config: [] }, ConfigOnly: false, ConfigFrom: null,
  Options: {}, Labels: {}, ...more,
})

test('a network is created, shown with every field in Docker’s order, and removed', async () => {
  const created = await ask('POST', '/v1.41/networks/create', fromCli('web'))
  assert.equal(created.status, 201)
  const id = /"Id":"([0-9a-f]{64})","Warning":""/.exec(created.text)?.[1] ?? ''
  const shown = await ask('GET', '/networks/web')
  assert.match(shown.text, /"Created":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"/)
  assert.equal(
    shown.text.replace(/"Created":"[^"]*"/, '"Created":""').trim(),
    `{"Name":"web","Id":"${id}","Created":"","Scope":"local","Driver":"bridge","EnableIPv4":true,` +
      '"EnableIPv6":false,"IPAM":{"Driver":"default","Options":{},"Config":' +
      '[{"Subnet":"172.18.0.0/16","Gateway":"172.18.0.1"}]},"Internal":false,' +
      '"Attachable":false,"Ingress":false,"ConfigFrom":{"Network":""},"ConfigOnly":false,' +
      '"Containers":{},"Options":{},"Labels":{}}',
  )
  assert.equal((await ask('GET', `/networks/${id.slice(0, 5)}`)).status, 200)
  assert.equal((await ask('DELETE', '/networks/web')).status, 204)
  const gone = await ask('GET', '/networks/web')
  assert.deepEqual([gone.status, gone.message], [404, 'network web not found'])
})

test('containers are listed by inspect with their addresses', async () => {
  await ask('POST', '/networks/create', fromCli('u1'))
  const spec = lab.spec({ endpoints: [endpointSpec('u1')] })
  const { endpoints } = await lab.engine.open(spec)
  const { text } = await ask('GET', '/networks/u1')
  const entry = `"${spec.containerId}":{"Name":"${spec.containerName}",` +
    `"EndpointID":"${endpoints[0]?.id}","MacAddress":"02:42:ac:12:00:02",` +
    '"IPv4Address":"172.18.0.2/16","IPv6Address":""}'
  assert.ok(text.includes(entry), text)
  const refused = await ask('DELETE', '/networks/u1')
  assert.equal(refused.status, 403)
  assert.match(refused.message, /^error while removing network: network u1 has active endpoints/)
  await lab.engine.close(spec.containerId)
  assert.equal((await ask('DELETE', '/networks/u1')).status, 204)
})

test('the predefined networks are shown as Docker shows them', async () => {
  const host = (await ask('GET', '/networks/host')).text
  assert.match(host, /"Driver":"host".*"IPAM":\{"Driver":"default","Options":null,"Config":null\}/)
  const bridge = (await ask('GET', '/networks/bridge')).text
  assert.ok(bridge.includes(
    '"Options":{"com.docker.network.bridge.default_bridge":"true",' +
      '"com.docker.network.bridge.enable_icc":"true",' +
      '"com.docker.network.bridge.enable_ip_masquerade":"true",' +
      '"com.docker.network.bridge.host_binding_ipv4":"0.0.0.0",' +
      '"com.docker.network.bridge.name":"docker0","com.docker.network.driver.mtu":"1500"}',
  ), bridge)
  const refused = await ask('DELETE', '/networks/bridge')
  const sentence = 'bridge is a pre-defined network and cannot be removed'
  assert.deepEqual([refused.status, refused.message], [403, sentence])
})

test('bad requests get Docker’s status and sentence and leave nothing', async () => {
  const before = (await ask('GET', '/networks')).text
  const subnet = (Subnet: string, more: object = {}) =>
    fromCli('bad', { IPAM: { Driver: 'default', Config: [{ Subnet, ...more }] } })
  const cases: readonly [object, number, string][] = [
    [fromCli('host'), 403, 'operation is not permitted on predefined host network '],
    [fromCli(' '), 400, 'invalid name: name is empty'],
    [fromCli('bad', { Driver: 'nosuch' }), 404, 'plugin "nosuch" not found'],
    [fromCli('bad', { Driver: 'host' }), 403, 'only one instance of "host" network is allowed'],
    [subnet('192.168.1.0/16'), 400,
      'invalid network config:\\ninvalid subnet 192.168.1.0/16: it should be 192.168.0.0/16'],
    [subnet('172.17.0.0/24'), 403,
      'invalid pool request: Pool overlaps with other one on this address space'],
    [subnet('10.3.0.0/24', { Gateway: '10.3.0.0' }), 500,
      'failed to allocate gateway (10.3.0.0): Address already in use'],
    [fromCli('bad', { Options: { 'com.docker.network.bridge.name': 'lo' } }), 500,
      'existing interface lo is not a bridge'],
    [fromCli('bad', { ConfigFrom: { Network: 'nope' } }), 404,
      'configuration network "nope" does not exist'],
    [{ Name: 1 }, 400, 'invalid JSON: json: cannot unmarshal number into Go struct field ' +
      'CreateRequest.Name of type string'],
  ]
  for (const [body, status, message] of cases) {
    const answer = await ask('POST', '/networks/create', body)
    assert.deepEqual([answer.status, answer.message], [status, message])
  }
  assert.equal((await ask('GET', '/networks')).text, before)
})

test('list filters by driver, name, type and dangling; unknown ones are refused', async () => {
  await ask('POST', '/networks/create', fromCli('f1', { Labels: { a: 'b' } }))
  const names = async (filters: object) => {
    const query = encodeURIComponent(JSON.stringify(filters))
    const { text, status, message } = await ask('GET', `/networks?filters=${query}`)
    if (status !== 200) return `${status} ${message}`
    return [...text.matchAll(/"Name":"(\w+)"/g)].map((match) => match[1]).sort().join(' ')
  }
  assert.equal(await names({ driver: { bridge: true } }), 'bridge f1')
  assert.equal(await names({ name: ['^f1$'] }), 'f1')
  assert.equal(await names({ type: ['builtin'] }), 'bridge host none')
  assert.equal(await names({ dangling: ['true'] }), 'f1')
  assert.equal(await names({ label: ['a=b'] }), 'f1')
  assert.equal(await names({ label: ['a=c'] }), '')
  assert.equal(await names({ foo: ['x'] }), "400 invalid filter 'foo'")
  assert.equal(await names({ type: ['zz'] }), "500 invalid filter: 'type'='zz'")
  const pruned = await ask('POST', '/networks/prune')
  assert.equal(pruned.text.trim(), '{"NetworksDeleted":["f1"]}')
  const again = await ask('POST', '/networks/prune')
  assert.equal(again.text.trim(), '{"NetworksDeleted":null}')
})

test('config-only networks are templates that others copy', async () => {
  const ipam = { Driver: 'default', Options: {}, Config: [{ Subnet: '10.9.0.0/24' }] }
  const template = fromCli('co', { ConfigOnly: true, IPAM: ipam })
  assert.equal((await ask('POST', '/networks/create', template)).status, 201)
  assert.match((await ask('GET', '/networks/co')).text, /"Driver":"null".*10\.9\.0\.0\/24/)
  const copy = fromCli('copy', { ConfigFrom: { Network: 'co' } })
  assert.equal((await ask('POST', '/networks/create', copy)).status, 201)
  const shown = (await ask('GET', '/networks/copy')).text
  assert.match(shown, /"Config":\[\{"Subnet":"10\.9\.0\.0\/24"\}\].*"ConfigFrom":\{"Network":"co"\}/)
  const refused = await ask('DELETE', '/networks/co')
  const sentence = 'error while removing network: configuration network "co" is in use'
  assert.deepEqual([refused.status, refused.message], [403, sentence])
  assert.equal((await ask('DELETE', '/networks/copy')).status, 204)
  assert.equal((await ask('DELETE', '/networks/co')).status, 204)
})

test('connect and disconnect are passed on as they were asked for', async () => {
  const EndpointConfig = { IPAMConfig: { IPv4Address: '10.3.0.9' }, Aliases: ['db'] }
  const connected = await ask('POST', '/networks/a%2Fb/connect', { Container: 'c1', EndpointConfig })
  assert.deepEqual([connected.status, connected.text], [200, ''])
  const spec = endpointSpec('a/b', { ipv4Address: '10.3.0.9', aliases: ['db'] })
  assert.deepEqual(calls.pop(), ['c1', spec])
  await ask('POST', '/networks/u1/disconnect', { Container: 'c1', Force: true })
  assert.deepEqual(calls.pop(), ['c1', 'u1', true])
})
