/**
 * API versions: what changes from one to the next, asked by raw requests and by dockerode, since
 * the stock command here asks for one version alone.
 */
import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import Docker from 'dockerode'
import { busyboxImageTar } from '../src/cli/demo/busybox-image.ts'
import { Lab } from './lab/lab.ts'

let lab: Lab
const all = ['1.24', '1.27', '1.28', '1.41', '1.42', '1.43', '1.44', '1.45', '1.46', '1.47', '1.48', '1.49', '1.50', '1.51']

before(async () => {
  lab = await Lab.start(undefined)
  await lab.ok('network', 'create', '--subnet', '10.61.0.0/24', 'first')
  await lab.ok('network', 'create', '--subnet', '10.62.0.0/24', 'second')
})

after(async () => {
  await lab.expectNoLeaks()
  await lab.stop()
})

/** A value deep in a document. */
const at = (value: unknown, ...path: readonly (string | number)[]): unknown =>
  path.reduce((inner, key) => Reflect.get(Object(inner), key), value)

/** From which of all versions on this holds; it must hold for all that follow. */
async function since(holds: (version: string) => Promise<boolean>): Promise<string> {
  const holding: boolean[] = []
  for (const version of all) holding.push(await holds(version))
  const first = holding.indexOf(true)
  assert.ok(holding.every((one, index) => one === (first >= 0 && index >= first)), String(holding))
  return all[first] ?? 'never'
}

async function get(version: string, path: string): Promise<unknown> {
  const { status, json, text } = await lab.api('GET', `/v${version}${path}`)
  assert.equal(status, 200, text)
  return json
}

const create = (version: string, body: object) =>
  lab.api('POST', `/v${version}/containers/create`, { Image: 'busybox', Cmd: ['sleep', '60'], ...body })

/** Whether the answer's container has this; the container is removed. */
async function made(version: string, body: object, look: (inspected: unknown, answer: unknown) => boolean): Promise<boolean> {
  const answer = await create(version, body)
  assert.equal(answer.status, 201, answer.text)
  const id = String(at(answer.json, 'Id'))
  const found = look(await get('1.51', `/containers/${id}/json`), answer.json)
  await lab.ok('rm', id)
  return found
}

test('versions are negotiated: too old and too new ones are refused, none means the newest', async () => {
  const message = async (path: string) => {
    const { status, json, text } = await lab.api('GET', path)
    assert.equal(status, 400)
    return at(json, 'message') ?? text // a line of text before 1.24
  }
  assert.equal(
    await message('/v1.23/info'),
    'client version 1.23 is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version\n',
  )
  assert.equal(
    await message('/v1.52/info'),
    'client version 1.52 is too new. Maximum supported API version is 1.51',
  )
  for (const path of ['/_ping', '/v1.24/_ping', '/v1.51/_ping']) {
    const { headers, text } = await lab.api('GET', path)
    assert.deepEqual([text, headers['api-version'], headers['ostype']], ['OK', '1.51', 'linux'])
  }
  assert.equal((await lab.api('HEAD', '/_ping')).headers['api-version'], '1.51')
  for (const version of ['1.24', '1.41', '1.51']) {
    const docker = new Docker({ socketPath: lab.socket, version: `v${version}` })
    const { ApiVersion, MinAPIVersion } = await docker.version()
    assert.deepEqual([ApiVersion, MinAPIVersion], ['1.51', '1.24'])
    assert.deepEqual(await docker.listContainers({ all: true }), [])
  }
})

test('networks: containers in lists until 1.27, IPv4 switched off since 1.48, no Status yet', async () => {
  await lab.ok('run', '-d', '--name', 'member', '--network', 'first', 'busybox', 'sleep', '60')
  const listed = async (version: string) => {
    const networks = await get(version, '/networks?filters=%7B%22name%22%3A%5B%22first%22%5D%7D')
    return Object.keys(Object(at(networks, 0, 'Containers'))).length === 0
  }
  assert.equal(await since(listed), '1.28')
  for (const version of all) {
    const inspected = await get(version, '/networks/first')
    assert.equal(Object.keys(Object(at(inspected, 'Containers'))).length, 1)
    assert.equal(at(inspected, 'EnableIPv4'), true)
    assert.equal(at(inspected, 'Status'), undefined)
  }
  await lab.ok('rm', '-f', 'member')
  const ipv4Off = async (version: string) => {
    const made = await lab.api('POST', `/v${version}/networks/create`, {
      Name: 'six', EnableIPv4: false, EnableIPv6: true, IPAM: { Config: [{ Subnet: 'fd61::/64' }] },
    })
    assert.equal(made.status, 201, made.text)
    const off = at(await get('1.51', '/networks/six'), 'EnableIPv4') === false
    await lab.ok('network', 'rm', 'six')
    return off
  }
  assert.equal(await since(ipv4Off), '1.48')
})

test('endpoints at create: several and with a MAC address since 1.44, priorities since 1.48', async () => {
  const EndpointsConfig = { first: {}, second: {} }
  const several = async (version: string) => {
    const { status, json } = await create(version, { NetworkingConfig: { EndpointsConfig }, HostConfig: { NetworkMode: 'first' } })
    if (status === 201) await lab.ok('rm', String(at(json, 'Id')))
    else {
      assert.equal(status, 400)
      assert.match(String(at(json, 'message')), /^Container cannot be created with multiple network endpoints: (first, second|second, first)$/)
    }
    return status === 201
  }
  assert.equal(await since(several), '1.44')
  const endpoint = (settings: object) => ({
    HostConfig: { NetworkMode: 'first' }, NetworkingConfig: { EndpointsConfig: { first: settings } },
  })
  const networks = (inspected: unknown, field: string) => at(inspected, 'NetworkSettings', 'Networks', 'first', field)
  const mac = '02:00:00:00:00:61'
  const ofEndpoint = (version: string) =>
    made(version, endpoint({ MacAddress: mac }), (inspected) => networks(inspected, 'MacAddress') === mac)
  assert.equal(await since(ofEndpoint), '1.44')
  const priority = (version: string) =>
    made(version, endpoint({ GwPriority: 7 }), (inspected) => networks(inspected, 'GwPriority') === 7)
  assert.equal(await since(priority), '1.48')
  // The container-wide address counts at every version; since 1.44 with a word about it.
  const warned = (version: string) =>
    made(version, { MacAddress: mac, HostConfig: { NetworkMode: 'first' } }, (inspected, answer) => {
      assert.equal(networks(inspected, 'MacAddress'), mac)
      return /container-wide MacAddress field is now deprecated/.test(JSON.stringify(at(answer, 'Warnings')))
    })
  assert.equal(await since(warned), '1.44')
})

test('endpoints shown: short id and hostname among the aliases until 1.44, names at every version', async () => {
  await lab.ok('run', '-d', '--name', 'shown', '-h', 'hosty', '--network', 'first', '--network-alias', 'al', 'busybox', 'sleep', '60')
  const plain = async (version: string) => {
    const endpoint = at(await get(version, '/containers/shown/json'), 'NetworkSettings', 'Networks', 'first')
    assert.deepEqual(at(endpoint, 'GwPriority'), 0)
    assert.equal(at(endpoint, 'MacAddress'), '02:42:0a:3d:00:02')
    assert.match(JSON.stringify(at(endpoint, 'DNSNames')), /^\["shown","al","\w{12}","hosty"\]$/)
    return !JSON.stringify(at(endpoint, 'Aliases')).includes('hosty')
  }
  assert.equal(await since(plain), '1.45')
  for (const version of all) {
    assert.equal(at(await get(version, '/containers/shown/json'), 'NetworkSettings', 'Bridge'), '')
  }
  await lab.ok('rm', '-f', 'shown')
})

test('sysctls of an interface: as driver option since 1.46, of eth0 refused among sysctls since 1.48', async () => {
  const key = 'com.docker.network.endpoint.sysctls'
  const text = 'net.ipv4.conf.IFNAME.log_martians=1'
  const kept = (inspected: unknown) =>
    at(inspected, 'NetworkSettings', 'Networks', 'first', 'DriverOpts', key) === text
  const asOption = (version: string) => made(version, {
    HostConfig: { NetworkMode: 'first' },
    NetworkingConfig: { EndpointsConfig: { first: { DriverOpts: { [key]: text } } } },
  }, kept)
  assert.equal(await since(asOption), '1.24', 'driver options were taken before they had a meaning')
  const moved = async (version: string) => {
    const body = { HostConfig: { NetworkMode: 'first', Sysctls: { 'net.ipv4.conf.eth0.log_martians': '1' } } }
    if (Number(version.slice(2)) < 48) {
      assert.ok(await made(version, body, (inspected, answer) => kept(inspected) &&
        /^\["Migrated sysctl /.test(JSON.stringify(at(answer, 'Warnings')))), version)
      return false
    }
    const { status, json } = await create(version, body)
    assert.equal(status, 500)
    assert.match(String(at(json, 'message')), /^interface specific sysctl setting "net\.ipv4\.conf\.eth0\.log_martians" must be supplied/)
    return true
  }
  assert.equal(await since(moved), '1.48')
})

test('info, images, streams: what else depends on the version', async () => {
  const told = (field: string) => async (version: string) =>
    at(await get(version, '/info'), field) !== undefined
  assert.equal(await since(told('FirewallBackend')), '1.49')
  assert.equal(await since(told('Containerd')), '1.46')
  const unexpected = async (version: string) => {
    const info = await get(version, '/info')
    const expected = at(info, 'RuncCommit', 'Expected')
    if (expected !== undefined) assert.equal(expected, at(info, 'RuncCommit', 'ID'))
    return expected === undefined
  }
  assert.equal(await since(unexpected), '1.49')
  assert.equal(await since(async (version) => !(await told('BridgeNfIptables')(version))), '1.50')
  const image = (field: string) => async (version: string) =>
    at(await get(version, '/images/busybox/json'), field) === undefined
  assert.equal(await since(image('VirtualSize')), '1.44')
  // docker-compose 1.29 cannot do without; what it was built in is told of none.
  assert.deepEqual(await Promise.all(['1.41', '1.51'].map(image('ContainerConfig'))), [false, false])
  assert.equal(await image('Container')('1.41'), true)
  const sparse = async (version: string) =>
    at(await get(version, '/images/busybox/json'), 'Config', 'Hostname') === undefined
  assert.equal(await since(sparse), '1.50')
  const typed = async (version: string) =>
    at(await get(version, '/system/df?type=volume'), 'Containers') === null
  assert.equal(await since(typed), '1.42')
  const described = async (version: string) =>
    at(await get(version, '/images/busybox/json'), 'Descriptor') !== undefined
  assert.equal(await since(described), '1.48')
  const id = await lab.ok('create', 'busybox', 'echo', 'hi')
  await lab.ok('start', '-a', id)
  const framed = async (version: string) => {
    const { headers } = await lab.api('GET', `/v${version}/containers/${id}/logs?stdout=1`)
    return headers['content-type'] === 'application/vnd.docker.multiplexed-stream'
  }
  assert.equal(await since(framed), '1.42')
})

test('the platform of an image is looked at since 1.46 to 1.50, and another one refused', async () => {
  const arm = encodeURIComponent('{"os":"linux","architecture":"arm64"}')
  const ours = encodeURIComponent(await lab.ok('inspect', '-f', '{"os":"{{.Os}}","architecture":"{{.Architecture}}"}', 'busybox'))
  const asked = (method: string, path: string) => (version: string) =>
    lab.api(method, `/v${version}/images/${path}`, method === 'POST' ? '' : undefined)
  const calls: readonly (readonly [string, string, string])[] = [
    ['1.46', 'POST', 'busybox/push?tag=latest&platform='], ['1.48', 'GET', 'busybox/history?platform='],
    ['1.48', 'GET', 'busybox/get?platform='], ['1.49', 'GET', 'busybox/json?platform='],
  ]
  for (const [first, method, path] of calls) {
    const refused = async (version: string) =>
      /for platform linux\/arm64|specified platform \(linux\/arm64\)/.test((await asked(method, path + arm)(version)).text)
    assert.equal(await since(refused), first, path)
    assert.match((await asked(method, `${path}zz`)('1.51')).text, /"failed to parse platform: invalid character 'z' looking/)
    if (method === 'GET') assert.equal((await asked(method, path + ours)('1.51')).status, 200, path)
  }
  const message = async (method: string, path: string) => at((await asked(method, path)('1.51')).json, 'message')
  assert.equal(await message('GET', `busybox/json?manifests=1&platform=${ours}`), 'conflicting options: manifests and platform options cannot both be set')
  assert.equal(await message('GET', 'busybox/json?platform={}'), 'both OS and Architecture must be provided')
  assert.match(String(await message('DELETE', `busybox?platforms=${arm}`)), /^image with reference busybox was found but its platform \(linux\/\w+\) does not match/)
  assert.equal(await message('DELETE', `busybox?platforms=${arm}&platforms=${ours}`), 'multiple platforms are not supported')
  const tar = await busyboxImageTar('/bin/busybox', ['spare:latest'], ['sh'], [])
  const loaded = await lab.api('POST', `/v1.51/images/load?platform=${arm}`, tar)
  assert.equal(at(loaded.json, 'message'), 'the archive has no image for platform linux/arm64')
  await lab.ok('tag', 'busybox', 'spare')
  assert.equal((await lab.api('DELETE', `/v1.49/images/spare?platforms=${arm}`)).status, 200, 'older versions do not know it')
})
