/**
 * Bad input gets Docker's status and sentence, and leaves everything as it was: the engine's
 * lists, the links, the rules.
 */
import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { Lab } from './lab/lab.ts'

interface Case {
  readonly what: string
  readonly method?: string
  readonly path: string
  readonly body?: unknown
  readonly headers?: Record<string, string>
  readonly status: number
  /** The whole message, or what it must contain. */
  readonly message: string | RegExp
}

const network = (what: string, body: object, status: number, message: string | RegExp): Case =>
  ({ what, path: '/networks/create', body, status, message })
const child = (what: string, Driver: string, Options: object, status: number, message: string): Case =>
  network(what, { Name: 'n', Driver, Options }, status, message)
const pool = (what: string, config: object, status: number, message: string | RegExp): Case =>
  network(what, { Name: 'n', IPAM: { Config: [config] } }, status, message)
const container = (what: string, body: object, status: number, message: string | RegExp, name = ''): Case =>
  ({ what, path: `/containers/create?name=${encodeURIComponent(name)}`, body: { Image: 'busybox', ...body }, status, message })
const bindings = (what: string, ports: object, status: number, message: string | RegExp): Case =>
  container(what, { HostConfig: { PortBindings: ports } }, status, message)

const badName = (name: string) =>
  `Invalid container name (${name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`
const settings = 'invalid network config:\n'

const cases: readonly Case[] = [
  network('predefined name', { Name: 'host' }, 403, 'operation is not permitted on predefined host network '),
  network('empty name', { Name: '' }, 400, 'invalid name: name is empty'),
  network('blank name', { Name: '  ' }, 400, 'invalid name: name is empty'),
  network('name taken', { Name: 'held' }, 409, 'network with name held already exists'),
  network('unknown driver', { Name: 'n', Driver: 'nosuch' }, 404, 'plugin "nosuch" not found'),
  network('driver with shell characters', { Name: 'n', Driver: '$(id)' }, 404, 'plugin "$(id)" not found'),
  network('second host network', { Name: 'n', Driver: 'host' }, 403, 'only one instance of "host" network is allowed'),
  network('bool that is none', { Name: 'n', Options: { 'com.docker.network.bridge.enable_icc': 'zz' } }, 400,
    'failed to parse com.docker.network.bridge.enable_icc value: zz (strconv.ParseBool: parsing "zz": invalid syntax)'),
  network('negative MTU', { Name: 'n', Options: { 'com.docker.network.driver.mtu': '-5' } }, 400, 'invalid MTU number: -5'),
  network('bridge name over 15 characters', { Name: 'n', Options: { 'com.docker.network.bridge.name': 'a234567890123456' } }, 500, /numerical result out of range/),
  network('a link that is no bridge', { Name: 'n', Options: { 'com.docker.network.bridge.name': 'lo' } }, 500, 'existing interface lo is not a bridge'),
  pool('subnet with host bits', { Subnet: '10.3.0.1/24' }, 400, settings + 'invalid subnet 10.3.0.1/24: it should be 10.3.0.0/24'),
  pool('subnet that is none', { Subnet: 'bogus' }, 400, settings + 'invalid subnet bogus: invalid CIDR block notation'),
  pool('prefix length 33', { Subnet: '10.3.0.0/33' }, 400, settings + 'invalid subnet 10.3.0.0/33: invalid CIDR block notation'),
  pool('gateway without subnet', { Gateway: '10.3.0.1' }, 400, settings + 'invalid subnet : invalid CIDR block notation'),
  pool('gateway outside', { Subnet: '10.3.0.0/24', Gateway: '10.4.0.1' }, 400, settings + "invalid gateway 10.4.0.1: parent subnet 10.3.0.0/24 doesn't contain this address"),
  pool('IPv6 gateway in IPv4', { Subnet: '10.3.0.0/24', Gateway: 'fd00::1' }, 400, settings + 'invalid gateway fd00::1: parent subnet is an IPv4 block'),
  pool('two problems', { Subnet: '10.3.0.0/24', IPRange: 'yy', Gateway: 'zz' }, 400, settings + '* invalid ip-range yy: invalid CIDR block notation\n* invalid gateway zz: invalid address'),
  pool('ip-range larger', { Subnet: '10.3.0.0/24', IPRange: '10.3.0.0/16' }, 400, settings + 'invalid ip-range 10.3.0.0/16: CIDR block is bigger than its parent subnet 10.3.0.0/24'),
  pool('ip-range outside', { Subnet: '10.3.0.0/24', IPRange: '10.4.0.0/25' }, 400, settings + "invalid ip-range 10.4.0.0/25: parent subnet 10.3.0.0/24 doesn't contain ip-range"),
  pool('auxiliary address', { Subnet: '10.3.0.0/24', AuxiliaryAddresses: { k: 'zz' } }, 400, settings + 'invalid auxiliary address k: invalid address'),
  pool('overlap', { Subnet: '10.77.0.0/24' }, 403, 'invalid pool request: Pool overlaps with other one on this address space'),
  pool('gateway on the network address', { Subnet: '10.3.0.0/24', Gateway: '10.3.0.0' }, 500, 'failed to allocate gateway (10.3.0.0): Address already in use'),
  child('macvlan: a parent that is not there', 'macvlan', { parent: 'dm0' }, 500, 'invalid subinterface vlan name dm0, example formatting is eth0.10'),
  child('macvlan: loopback', 'macvlan', { parent: 'lo' }, 500, 'loopback interface is not a valid macvlan parent link'),
  child('macvlan: bad mode', 'macvlan', { macvlan_mode: 'zz' }, 500, "requested macvlan mode 'zz' is not valid, 'bridge' mode is the macvlan driver default"),
  child('macvlan: VLAN without its parent', 'macvlan', { parent: 'none0.7' }, 500, '-o parent interface was not found on the host: none0'),
  child('macvlan: VLAN id too large', 'macvlan', { parent: 'docker0.4095' }, 500, 'vlan id must be between 1-4094, received: 4095'),
  child('macvlan: VLAN id that is none', 'macvlan', { parent: 'docker0.x' }, 500, 'unable to parse a valid vlan id from: x (ex. eth0.10 for vlan 10)'),
  child('macvlan: VLAN in a VLAN', 'macvlan', { parent: 'docker0.1.2' }, 500, 'required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, instead received docker0.1.2'),
  child('ipvlan: loopback', 'ipvlan', { parent: 'lo' }, 500, 'loopback interface is not a valid ipvlan parent link'),
  child('ipvlan: bad mode', 'ipvlan', { ipvlan_mode: 'zz' }, 500, "requested ipvlan mode 'zz' is not valid, 'l2' mode is the ipvlan driver default"),
  child('ipvlan: bad flag', 'ipvlan', { ipvlan_flag: 'zz' }, 500, "requested ipvlan flag 'zz' is not valid, 'bridge' is the ipvlan driver default"),
  { what: 'inspect of an unknown network', method: 'GET', path: '/networks/nope', status: 404, message: 'network nope not found' },
  { what: 'a network id of shell characters', method: 'GET', path: `/networks/${encodeURIComponent('$(id);`x`')}`, status: 404, message: 'network $(id);`x` not found' },
  { what: 'delete of a predefined network', method: 'DELETE', path: '/networks/bridge', status: 403, message: 'bridge is a pre-defined network and cannot be removed' },
  { what: 'delete of a network in use', method: 'DELETE', path: '/networks/held', status: 403, message: /^error while removing network: network held has active endpoints \(name:"holder" id:"[0-9a-f]{12}"\)$/ },
  { what: 'connect to an unknown network', path: '/networks/nope/connect', body: { Container: 'holder' }, status: 404, message: 'network nope not found' },
  { what: 'connect of an unknown container', path: '/networks/held/connect', body: { Container: 'nope' }, status: 404, message: 'No such container: nope' },
  { what: 'connect twice', path: '/networks/held/connect', body: { Container: 'holder' }, status: 403, message: 'endpoint with name holder already exists in network held' },
  { what: 'connect to host', path: '/networks/host/connect', body: { Container: 'holder' }, status: 400, message: 'cannot connect container to host network - container must be created in host network mode' },
  { what: 'connect to none', path: '/networks/none/connect', body: { Container: 'holder' }, status: 400, message: 'container cannot be connected to multiple networks with one of the networks in private (none) mode' },
  { what: 'a static address on docker0', path: '/networks/bridge/connect', body: { Container: 'holder', EndpointConfig: { IPAMConfig: { IPv4Address: '172.17.0.9' } } }, status: 400, message: /user specified IP address is supported on user defined networks only/ },
  { what: 'a static address outside', path: '/networks/other/connect', body: { Container: 'holder', EndpointConfig: { IPAMConfig: { IPv4Address: '10.9.9.9' } } }, status: 400, message: 'invalid endpoint settings:\nno configured subnet or ip-range contain the IP address 10.9.9.9' },
  { what: 'the gateway as a static address', path: '/networks/other/connect', body: { Container: 'holder', EndpointConfig: { IPAMConfig: { IPv4Address: '10.78.0.1' } } }, status: 403, message: 'Address already in use' },
  { what: 'disconnect of what is not connected', path: '/networks/other/disconnect', body: { Container: 'holder' }, status: 500, message: /^container [0-9a-f]{64} is not connected to network other$/ },
  container('name with a slash', {}, 400, badName('a/b'), 'a/b'),
  container('name of dots', {}, 400, badName('..'), '..'),
  container('name with shell characters', {}, 400, badName('x;id'), 'x;id'),
  container('name of one character', {}, 400, badName('x'), 'x'),
  container('name taken', {}, 409, /^Conflict\. The container name "\/holder" is already in use by container "[0-9a-f]{64}"\. You have to remove \(or rename\) that container to be able to reuse that name\.$/, 'holder'),
  container('unknown image', { Image: 'nope:1' }, 404, 'No such image: nope:1'),
  bindings('host port 65536', { '80/tcp': [{ HostPort: '65536' }] }, 400, 'invalid port specification: "65536"'),
  bindings('host port that is none', { '80/tcp': [{ HostPort: 'zz' }] }, 400, 'invalid port specification: "zz"'),
  bindings('host range the wrong way round', { '80/tcp': [{ HostPort: '90000-80000' }] }, 400, 'invalid port specification: "90000-80000"'),
  bindings('container port that is none', { 'zz/tcp': [{ HostPort: '80' }] }, 400, /invalid port/),
  container('links with host mode', { HostConfig: { NetworkMode: 'host', Links: ['holder:h'] } }, 400, "conflicting options: host type networking can't be used with links. This would result in undefined behavior"),
  container('ports with container mode', { HostConfig: { NetworkMode: 'container:holder', PortBindings: { '80/tcp': [{ HostPort: '80' }] } } }, 400, 'conflicting options: port publishing and the container type network mode'),
  container('hostname with container mode', { Hostname: 'x', HostConfig: { NetworkMode: 'container:holder' } }, 400, 'conflicting options: hostname and the network mode'),
  container('container mode without a container', { HostConfig: { NetworkMode: 'container:' } }, 400, 'invalid network mode: invalid container format container:<name|id>'),
  container('link to an unknown container', { HostConfig: { Links: ['nope:x'] } }, 400, 'could not get container for nope: No such container: nope'),
  container('malformed extra host', { HostConfig: { ExtraHosts: ['zz'] } }, 400, 'bad format for add-host: "zz"'),
  { what: 'unknown container', method: 'GET', path: '/containers/nope/json', status: 404, message: 'No such container: nope' },
  { what: 'start of an unknown container', path: '/containers/nope/start', status: 404, message: 'No such container: nope' },
  { what: 'removal of a running container', method: 'DELETE', path: '/containers/holder', status: 409, message: /container is running|You cannot remove a running container/ },
  container('memory nodes that are not there', { HostConfig: { CpusetMems: '99' } }, 400, /^Requested memory nodes are not available - requested 99, available: \d/),
  { what: 'an image of another platform', path: '/containers/create?platform=linux/s390x', body: { Image: 'busybox' }, status: 404, message: /^image with reference busybox was found but its platform \(linux\/\w+\) does not match the specified platform \(linux\/s390x\)$/ },
  { what: 'a start with a configuration', path: '/containers/holder/start', body: { Binds: [] }, status: 400, message: 'starting container with non-empty request body was deprecated since API v1.22 and removed in v1.24' },
  { what: 'a signal that is none, for whatever container', path: '/containers/nope/kill?signal=ZZ', status: 400, message: 'cannot kill container: nope: invalid signal: ZZ' },
  { what: 'a terminal of no height', path: '/containers/holder/resize?h=zz&w=1', status: 400, message: 'invalid resize height "zz": invalid syntax' },
  { what: 'a terminal without end', path: '/containers/holder/resize?h=1&w=99999999999', status: 400, message: 'invalid resize width "99999999999": value out of range' },
  { what: 'one sample of statistics for ever', method: 'GET', path: '/containers/holder/stats?one-shot=1', status: 400, message: 'cannot have stream=true and one-shot=true' },
  { what: 'logs of no stream', method: 'GET', path: '/containers/holder/logs', status: 400, message: 'Bad parameters: you must choose at least one stream' },
  { what: 'an exec of nothing', path: '/containers/holder/exec', body: { Cmd: [] }, status: 400, message: 'No exec command specified' },
  { what: 'an import of nothing', path: '/images/create', status: 400, message: 'one of fromImage and fromSrc is needed' },
  { what: 'unknown path', method: 'GET', path: '/nowhere', status: 404, message: 'page not found' },
  { what: 'malformed JSON', path: '/networks/create', body: '{"Name":', status: 400, message: 'invalid JSON: unexpected EOF' },
  { what: 'a second document', path: '/networks/create', body: '{"Name":"n"}{}', status: 400, message: 'unexpected content after JSON' },
  { what: 'wrong field type', path: '/networks/create', body: { Name: 5 }, status: 400, message: 'invalid JSON: json: cannot unmarshal number into Go struct field CreateRequest.Name of type string' },
  { what: 'wrong content type', path: '/networks/create', body: 'x', headers: { 'Content-Type': 'text/plain' }, status: 400, message: "unsupported Content-Type header (text/plain): must be 'application/json'" },
  { what: 'unknown filter', method: 'GET', path: '/networks?filters=%7B%22foo%22%3A%5B%22x%22%5D%7D', status: 400, message: "invalid filter 'foo'" },
  { what: 'malformed filters', method: 'GET', path: '/networks?filters=zz', status: 400, message: /^invalid filter/ },
  { what: 'a version too new', method: 'GET', path: '/v1.99/version', status: 400, message: /too new/ },
]

let lab: Lab

before(async () => {
  lab = await Lab.start(undefined)
  await lab.ok('network', 'create', '--subnet', '10.77.0.0/24', 'held')
  await lab.ok('network', 'create', '--subnet', '10.78.0.0/24', 'other')
  await lab.ok('run', '-d', '--name', 'holder', '--network', 'held', '-p', '8080:80', 'busybox', 'sleep', '600')
})

after(async () => {
  await lab.expectNoLeaks()
  await lab.stop()
})

/** Links, addresses, rules, sockets; without the carrier, which follows the last link by its own time. */
const kernel = `ip -br link | awk '{print $1}'; ip -br addr | awk '{print $1, $3}'; iptables-save | grep ^-A; ss -Hlntu | sort`

/** What must not change: lists, links, rules (without counters and times). */
async function state(): Promise<string> {
  const networks = await lab.api('GET', '/networks')
  const containers = await lab.ok('ps', '-a', '--no-trunc', '--format', '{{.ID}} {{.Names}} {{.State}} {{.Ports}}')
  const inspected = await lab.ok('inspect', '-f', '{{json .NetworkSettings}}', 'holder')
  return [networks.text.length, containers, inspected, await lab.must(kernel)].join('\n')
}

test('bad input is refused in Docker\'s words', async (t) => {
  for (const { what, method = 'POST', path, body, headers, status, message } of cases) {
    await t.test(what, async () => {
      const answer = await lab.api(method, path, body, headers)
      const text = message instanceof RegExp ? answer.text : JSON.stringify({ message })
      if (message instanceof RegExp) {
        const said = /"message":"(.*)"}/.exec(answer.text)?.[1] ?? ''
        assert.match(JSON.parse(`"${said}"`), message)
      } else assert.deepEqual(answer.json, JSON.parse(text))
      assert.equal(answer.status, status)
    })
  }
})

test('refusals leave everything as it was', async () => {
  const before = await state()
  for (const { method = 'POST', path, body, headers } of cases) await lab.api(method, path, body, headers)
  assert.equal(await state(), before)
})

test('a start that fails leaves a created container, its reason, and nothing in the kernel', async (t) => {
  const starts: readonly [string, readonly string[], number, RegExp][] = [
    ['a port that is taken', ['-p', '8080:80', 'busybox', 'true'], 125, /Bind for 0\.0\.0\.0:8080 failed: port is already allocated/],
    ['the same port twice', ['-p', '9090:80', '-p', '127.0.0.1:9090:80', 'busybox', 'true'], 125, /address already in use/],
    ['an address that is not here', ['-p', '192.0.2.9:80:80', 'busybox', 'true'], 125, /cannot assign requested address/],
    ['a network that is not there', ['--network', 'nope', 'busybox', 'true'], 125, /network nope not found/],
    ['a program that is not there', ['busybox', '/no/such'], 127, /no such file or directory/],
    ['a program not on the path', ['busybox', 'nosuch'], 127, /executable file not found in \$PATH/],
    ['a file that is no program', ['busybox', '/etc/passwd'], 126, /permission denied/],
    ['a donor that is not there', ['--network', 'container:nope', 'busybox', 'true'], 125, /No such container: nope/],
  ]
  for (const [what, args, code, message] of starts) {
    await t.test(what, async () => {
      const before = await lab.must(kernel)
      const ran = await lab.docker('run', '--name', 'failing', ...args)
      assert.match(ran.err, message)
      assert.equal(ran.code, code)
      await lab.docker('rm', '-f', 'failing')
      assert.equal(await lab.must(kernel), before)
    })
  }
})

test('a huge body is refused and the engine lives on', async () => {
  const huge = JSON.stringify({ Name: 'n', Labels: { a: 'x'.repeat(80 * 1024 * 1024) } })
  const answer = await lab.api('POST', '/networks/create', huge).catch(() => ({ status: 400 }))
  assert.ok(answer.status >= 400 && answer.status < 500)
  const deep = '['.repeat(200_000) + ']'.repeat(200_000)
  assert.equal((await lab.api('POST', '/networks/create', `{"Name":"n","Labels":${deep}}`)).status, 400)
  assert.equal((await lab.api('GET', '/_ping')).status, 200)
})
