/** Network and IPAM plugins in a process of their own: what they are asked, and what stays when they die. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { dockerdPath, Lab, root, sleep, type Answer, type EngineOptions, type Ran } from './lab/lab.ts'
import { Plugin, type Call } from './lab/plugin.ts'

test('a network and its addresses from a plugin', async (t) => {
  const lab = await Lab.start(t)
  const plugin = new Plugin(t, lab)
  const refused = async (sentence: RegExp, ...args: readonly string[]) => {
    const ran = await lab.docker(...args)
    assert.notEqual(ran.code, 0, args.join(' '))
    assert.match(ran.err, sentence)
  }
  const links = () => lab.must('ip -o link | grep -cE "f[hc]-|fab-" || true')
  const run = (name: string, ...more: readonly string[]) =>
    lab.ok('run', '-d', '--stop-signal', 'KILL', '--name', name, ...more, 'busybox', 'sleep', '600')

  await t.test('a plugin that is not there is not found', async () => {
    await refused(/plugin "nosuch" not found/, 'network', 'create', '-d', 'nosuch', 'n')
    await refused(/plugin "nosuch" not found/, 'network', 'create', '--ipam-driver', 'nosuch', 'n')
    const answer = await lab.api('POST', '/networks/create', { Name: 'n', Driver: '../etc/x' })
    assert.equal(answer.status, 404)
  })

  await plugin.start()

  await t.test('what a plugin refuses leaves nothing behind', async () => {
    plugin.wish('fail NetworkDriver.CreateNetwork')
    const create = ['network', 'create', '-d', 'fabric', '--ipam-driver', 'fabric', 'n1'] as const
    await refused(/remote: no NetworkDriver\.CreateNetwork today/, ...create)
    const undone = ['IpamDriver.ReleaseAddress', 'IpamDriver.ReleasePool']
    assert.deepEqual(plugin.take().slice(-3), ['NetworkDriver.CreateNetwork', ...undone])
    plugin.wish('fail IpamDriver.RequestAddress')
    await refused(/remote: no IpamDriver\.RequestAddress today/, ...create)
    assert.equal(plugin.take().at(-1), 'IpamDriver.ReleasePool')
    await refused(/network n1 not found/, 'network', 'inspect', 'n1')
    plugin.wish('')
  })

  await t.test('containers reach each other, by name, and through its routes', async () => {
    await lab.ok('network', 'create', '-d', 'fabric', '--ipam-driver', 'fabric', '--subnet', '10.77.9.0/24', 'n1')
    const ipam = await lab.ok('network', 'inspect', '-f', '{{.IPAM.Driver}} {{json .IPAM.Config}}', 'n1')
    assert.equal(ipam, 'fabric [{"Subnet":"10.77.9.0/24"}]')
    await run('anna', '--network', 'n1', '-p', '8080:80')
    await run('bert', '--network', 'n1', '--ip', '10.77.9.40')
    await lab.ok('exec', 'anna', 'ping', '-c', '1', '-w', '3', 'bert')
    const routes = await lab.ok('exec', 'anna', 'ip', 'route')
    assert.match(routes, /default via 10\.77\.9\.1 dev eth0/)
    assert.match(routes, /198\.18\.7\.0\/24 via 10\.77\.9\.1 dev eth0/)
    const shown = await lab.ok('inspect', '-f', '{{json .NetworkSettings.Networks.n1}}', 'anna')
    const mac = await lab.ok('exec', 'anna', 'cat', '/sys/class/net/eth0/address')
    assert.ok(shown.includes(mac) && shown.includes('"Gateway":"10.77.9.1"'), shown)
    const how = await lab.run(join(root, 'portolan'), ['how', 'anna'])
    assert.match(how.out, /addr(ess)? add 10\.77\.9\.\d+\/24/, how.err)
    assert.match((await lab.api('GET', '/info')).text, /"Network":\["bridge","fabric","host"/)
  })

  await t.test('connect and disconnect while it runs', async () => {
    await run('carl')
    plugin.take()
    await lab.ok('network', 'connect', 'n1', 'carl')
    await lab.ok('exec', 'carl', 'ping', '-c', '1', '-w', '3', '10.77.9.40')
    await lab.ok('network', 'disconnect', 'n1', 'carl')
    assert.doesNotMatch(await lab.ok('exec', 'carl', 'ip', 'addr'), /eth1|10\.77/)
    plugin.wish('fail NetworkDriver.Join')
    await refused(/remote: no NetworkDriver\.Join today/, 'network', 'connect', 'n1', 'carl')
    assert.deepEqual(plugin.take().slice(-2), [
      'NetworkDriver.DeleteEndpoint', 'IpamDriver.ReleaseAddress',
    ])
    await refused(/remote: no NetworkDriver\.Join today/, 'run', '--rm', '--network', 'n1', 'busybox', 'true')
    plugin.wish('')
    assert.equal(await links(), '3', 'a bridge and two pairs’ host ends')
  })

  await t.test('a network of ours with addresses of a plugin, and the other way round', async () => {
    await lab.ok('network', 'create', '--ipam-driver', 'fabric', 'n2')
    assert.match(await lab.ok('run', '--rm', '--network', 'n2', 'busybox', 'ip', 'addr'), /inet 10\.77\.\d+\.2\/24/)
    await lab.ok('network', 'create', '-d', 'fabric', '--subnet', '192.0.2.0/24', 'n3')
    assert.match(await lab.ok('run', '--rm', '--network', 'n3', 'busybox', 'ip', 'addr'), /inet 192\.0\.2\.2\/24/)
    await lab.ok('network', 'rm', 'n2', 'n3')
  })

  await t.test('a daemon that starts again without the plugin keeps containers and networks', async () => {
    await plugin.kill()
    await lab.endDaemon('SIGKILL')
    await lab.startDaemon()
    await lab.ok('exec', 'anna', 'ping', '-c', '1', '-w', '3', 'bert')
    await lab.ok('rm', '-f', 'bert')
    const waiting = lab.ok('run', '--rm', '--network', 'n1', 'busybox', 'ping', '-c', '1', '-w', '3', 'anna')
    await plugin.start()
    await waiting
  })

  await t.test('and one that starts with it tells it what is in use', async () => {
    await plugin.kill()
    await plugin.start()
    await lab.endDaemon('SIGKILL')
    await lab.startDaemon()
    const calls = plugin.take()
    const requested = calls.filter((call) => call === 'IpamDriver.RequestAddress')
    assert.equal(requested.length, 2, `the gateway and anna: ${calls.join(' ')}`)
  })

  await t.test('a daemon that is killed in the middle leaves nothing at a plugin', async () => {
    const killedDuring = async (method: string, asked: Promise<unknown>) => {
      const brokenOff = assert.rejects(asked, /socket hang up|ECONNRESET/)
      for (let tries = 0; !plugin.take().includes(method); tries++) {
        assert.ok(tries < 100, `${method} is called`)
        await sleep(50)
      }
      await lab.endDaemon('SIGKILL')
      await brokenOff
      plugin.wish('')
      await lab.startDaemon()
    }
    const before = await links()
    plugin.wish('mute NetworkDriver.CreateNetwork')
    const pool = { Driver: 'fabric', Config: [{ Subnet: '10.77.30.0/24' }] }
    const network = { Name: 'half', Driver: 'fabric', IPAM: pool }
    await killedDuring('NetworkDriver.CreateNetwork', lab.api('POST', '/networks/create', network))
    assert.deepEqual(plugin.take().filter((call) => /Release|Delete/.test(call)), [
      'IpamDriver.ReleaseAddress', 'IpamDriver.ReleasePool', 'NetworkDriver.DeleteNetwork',
    ])
    assert.equal(await links(), before)
    await lab.ok('network', 'create', '-d', 'fabric', '--ipam-driver', 'fabric', '--subnet', '10.77.30.0/24', 'half')
    await lab.ok('network', 'rm', 'half')
    plugin.wish('mute NetworkDriver.Join')
    await killedDuring('NetworkDriver.Join', lab.api('POST', '/networks/n1/connect', { Container: 'carl' }))
    assert.deepEqual(plugin.take().filter((call) => /Release|Delete|Leave/.test(call)), [
      'NetworkDriver.Leave', 'NetworkDriver.DeleteEndpoint', 'IpamDriver.ReleaseAddress',
    ])
    assert.equal(await links(), before)
    await lab.ok('network', 'connect', 'n1', 'carl')
    await lab.ok('network', 'disconnect', 'n1', 'carl')
  })

  await t.test('a plugin that was away when its network was removed hears of it', async () => {
    await lab.ok('network', 'create', '-d', 'fabric', '--ipam-driver', 'fabric', '--subnet', '10.77.31.0/24', 'away')
    plugin.wish('fail NetworkDriver.DeleteNetwork')
    await plugin.kill()
    await lab.ok('network', 'rm', 'away')
    plugin.wish('')
    await plugin.start()
    await lab.endDaemon()
    await lab.startDaemon()
    assert.ok(plugin.take().includes('NetworkDriver.DeleteNetwork'))
    await lab.endDaemon()
    await lab.startDaemon()
    assert.ok(!plugin.take().includes('NetworkDriver.DeleteNetwork'), 'once is enough')
  })

  await t.test('a plugin that dies in the middle leaves no half of a container', async () => {
    plugin.wish('die NetworkDriver.Join')
    await refused(/Post "http:\/\/plugin\.moby\.localhost\/NetworkDriver\.Join": EOF/, 'run', '--name', 'dora', '--network', 'n1', 'busybox', 'true')
    plugin.wish('')
    await lab.ok('rm', 'dora')
    await lab.ok('rm', '-f', 'anna', 'carl')
    await lab.ok('network', 'rm', 'n1')
    const left = await lab.must(`ls ${join(lab.folder, 'run/netns')}`)
    assert.equal(left.replace('default', '').trim(), '', 'no namespaces')
    await plugin.start()
    await lab.ok('network', 'create', '-d', 'fabric', '--ipam-driver', 'fabric', 'n4')
    await lab.ok('run', '--rm', '--network', 'n4', 'busybox', 'true')
    await lab.ok('network', 'rm', 'n4')
  })
})

const version = '28.2.2'
const missing = dockerdPath(version) === undefined ? `no dockerd ${version} here to ask` : false

/** An engine and its plugin, in a network namespace of their own. */
interface Side {
  readonly lab: Lab
  readonly plugin: Plugin
}

const sorted = (calls: readonly unknown[]) => calls.map((call) => JSON.stringify(call)).sort()

/** dockerd and Portolan, each with a plugin of its own: the folder of plugins is one for both. */
class Sides {
  readonly sides: readonly Side[]

  readonly #test: TestContext

  private constructor(t: TestContext, sides: readonly Side[]) {
    this.#test = t
    this.sides = sides
  }

  static async start(t: TestContext): Promise<Sides> {
    const before = Lab.idle(t)
    const start = async (name: string, options: EngineOptions): Promise<Side> => {
      await before.must(`ip netns add ${name} && ip -n ${name} link set lo up`)
      const flags = ['--live-restore']
      const lab = await Lab.start(t, { ...options, netns: name, flags })
      const plugin = new Plugin(t, lab, `fabric-${name}`, name)
      await plugin.start()
      return { lab, plugin }
    }
    return new Sides(t, await Promise.all([
      start('docker', { engine: 'dockerd', version }), start('portolan', {}),
    ]))
  }

  wish(...lines: readonly string[]): void {
    for (const { plugin } of this.sides) plugin.wish(...lines)
  }

  /** The same done on both: the same outcome, the same calls. `fabric` is the plugin's name. */
  async same(line: string): Promise<void> {
    const args = line.split(' ')
    await this.#compare(line, ({ lab, plugin }) => {
      return lab.docker(...args.map((word) => (word === 'fabric' ? plugin.name : word)))
    })
  }

  async restart(): Promise<void> {
    await this.#compare('restart', async ({ lab }) => {
      await lab.endDaemon()
      await lab.startDaemon()
      return { code: 0, out: '', err: '' }
    }, sorted)
  }

  /** The plugin starts anew with these wishes, and the engines, which forget what it could. */
  async again(...lines: readonly string[]): Promise<void> {
    this.wish(...lines)
    await Promise.all(this.sides.map(async ({ lab, plugin }) => {
      await lab.endDaemon()
      await plugin.kill()
      await plugin.start()
      await lab.startDaemon()
    }))
  }

  /** Making a network, or starting a container on n1, is refused by both with this sentence. */
  async refused(wish: string, what: 'create' | 'start', sentence: Bad[1]): Promise<void> {
    const said = await Promise.all(this.sides.map(async (side) => {
      const { status, text } = await (what === 'create' ? this.#create(side, wish) : this.#start(side))
      side.plugin.calls()
      return this.#word(`${status} ${String(JSON.parse(text).message)}`)
    }))
    assert.deepEqual(said, typeof sentence === 'string' ? [sentence, sentence] : sentence, wish)
  }

  /** Another plugin, which nobody has spoken to yet, does not get further than this. */
  async refusedOf(name: string, wish: string, sentence: Bad[1]): Promise<void> {
    const strangers = await Promise.all(this.sides.map(async ({ lab, plugin }): Promise<Side> => {
      const stranger = new Plugin(this.#test, lab, `${name}-${plugin.netns}`, plugin.netns)
      stranger.wish(`answer ${wish}`)
      await stranger.start()
      return { lab, plugin: stranger }
    }))
    await new Sides(this.#test, strangers).refused(wish, 'create', sentence)
    await Promise.all(strangers.map(({ plugin }) => plugin.kill()))
  }

  async #create({ lab, plugin }: Side, wish: string): Promise<Answer> {
    const driver = wish.startsWith('IpamDriver') ? 'bridge' : plugin.name
    const ipam = wish.startsWith('IpamDriver') ? plugin.name : 'default'
    const body = { Name: 'bad', Driver: driver, IPAM: { Driver: ipam } }
    return lab.api('POST', '/v1.50/networks/create', body)
  }

  async #start({ lab }: Side): Promise<Answer> {
    const body = { Image: 'busybox', Cmd: ['sleep', '9'], HostConfig: { NetworkMode: 'n1' } }
    const made = await lab.api('POST', '/v1.50/containers/create?name=cc', body)
    assert.equal(made.status, 201, made.text)
    const answer = await lab.api('POST', '/v1.50/containers/cc/start')
    await lab.api('DELETE', '/v1.50/containers/cc?force=1')
    return answer
  }

  /** @param order of the calls, where that is one of ids */
  async #compare(
    what: string, act: (side: Side) => Promise<Ran>, order = (calls: readonly unknown[]) => calls,
  ): Promise<void> {
    const [docker, portolan] = await Promise.all(this.sides.map(async (side) => {
      const { code, out, err } = await act(side)
      const calls = side.plugin.calls().map((call) => this.#known(call))
      return { code, out: this.#word(out), err: this.#word(err), calls: order(calls) }
    }))
    assert.deepEqual(portolan, docker, what)
  }

  #known({ method, body }: Call): unknown {
    return { method, body: body === undefined ? undefined : JSON.parse(this.#word(JSON.stringify(body))) }
  }

  /** Without what no two runs have in common. */
  #word(text: string): string {
    return text
      .replaceAll(/(fabric|bad\d)-(docker|portolan)/g, 'fabric')
      .replaceAll(/\b[0-9a-f]{64}\b/g, '<id>')
      .replaceAll(/"[^"]*\/netns\/[0-9a-f]{12}"/g, '"<key>"')
      .replaceAll(/\b(?!02:11)[0-9a-f]{2}(:[0-9a-f]{2}){5}\b/g, '<mac>')
      .replaceAll(/\b(f[hc]-)[0-9a-f]{8}/g, '$1<8>')
      // Docker names ports in the order of a Go map.
      .replaceAll(/\[(\{"Proto":[^\]]*)\]/g, (_, list: string) => {
        return `[${list.split(/(?<=\}),/).sort().join()}]`
      })
  }
}

test(`plugins hear the same from dockerd ${version} and Portolan`, { skip: missing }, async (t) => {
  const both = await Sides.start(t)

  await t.test('a driver of this host, with addresses of its own', async () => {
    await both.same('network create -d fabric --ipam-driver fabric --subnet 10.77.9.0/24 -o color=blue n1')
    await both.same('network inspect -f {{.Scope}}{{json.IPAM}}{{json.Options}} n1')
    await both.same('run -d --name anna --network n1 -p 8080:80 --expose 90 busybox sleep 600')
    await both.same('network create u1')
    await both.same('run -d --name carl -p 8081:80 --network u1 busybox sleep 600')
    await both.same('network connect n1 carl')
    await both.same('network disconnect n1 carl')
    await both.same('network connect --driver-opt a=b --ip 10.77.9.40 n1 carl')
    await both.same('network disconnect u1 carl')
    await both.same('network connect u1 carl')
    await both.same('restart -t 0 anna')
    await both.same('rename anna anne')
    await both.restart()
    await both.same('rm -f anne')
    await both.same('rm -f carl')
    await both.same('network rm n1')
  })

  await t.test('a driver of more hosts, which has gateways of its own and wants MACs', async () => {
    await both.again(
      'answer NetworkDriver.GetCapabilities {"Scope":"global","GwAllocChecker":true}',
      'answer NetworkDriver.GwAllocCheck {"SkipIPv4":true}',
      'answer IpamDriver.GetCapabilities {"RequiresMACAddress":true}',
      'answer NetworkDriver.Join {"InterfaceName":null,"Gateway":"","DisableGatewayService":true}',
    )
    const pools = '--subnet 10.77.8.0/24 --ip-range 10.77.8.128/25 --aux-address r=10.77.8.7'
    await both.same(`network create -d fabric --ipam-driver fabric --ipam-opt k=v ${pools} --internal g1`)
    await both.same('network inspect -f {{.Scope}}{{json.IPAM}}{{json.Options}} g1')
    await both.same('run -d --name gina -p 8080:80 --network g1 busybox sleep 600')
    await both.same('rm -f gina')
    await both.restart()
    await both.same('network rm g1')
    await both.same('network create -d fabric --ipv6 --subnet fd00:5::/64 g2')
    await both.same('network inspect -f {{.Scope}}{{json.IPAM}} g2')
    await both.same('network create -d fabric --ipam-driver null g3')
    await both.same('network inspect -f {{json.IPAM}} g3')
    await both.same('network create -d fabric --scope local g4')
    await both.same('network create -d fabric --scope swarm g4')
    await both.same('network create --config-only --subnet 10.6.0.0/24 template')
    await both.same('network create -d fabric --config-from template g5')
    for (const name of ['g2', 'g3', 'g5', 'template']) await both.same(`network rm ${name}`)
  })

  await t.test('what an endpoint is said to be', async () => {
    await both.again()
    await both.same('network create -d fabric n1')
    await both.same('network create -d fabric --internal --subnet 10.77.7.0/24 --gateway 10.77.7.9 n2')
    const mac = 'name=n1,mac-address=02:11:22:33:44:55,driver-opt=x=y'
    await both.same(`run -d --name paul -P --expose 81 --network ${mac} busybox sleep 600`)
    await both.same('rm -f paul')
    await both.same('run -d --name quin --network n1 -p 127.0.0.1:84-86:80/udp -p 90:90/sctp busybox sleep 600')
    await both.same('inspect -f {{json.NetworkSettings.Ports}} quin')
    await both.same('stop -t 0 quin')
    await both.same('rm quin')
    await both.same('network create -d fabric --ipv6 --subnet fd00:7::/64 --subnet 10.5.0.0/24 --aux-address a=10.5.0.4 n3')
    await both.same('run -d --name rosa --network n3 --ip 10.5.0.77 --ip6 fd00:7::77 busybox sleep 600')
    await both.same('rm -f rosa')
    await both.same('network create u1')
    await both.same('run -d --name sven -p 82:80 --network u1 busybox sleep 600')
    await both.same('network connect n2 sven')
    await both.same('network disconnect n2 sven')
    await both.same('rm -f sven')
    await both.same('network rm n1 n2 n3 u1')
  })

  await t.test('answers that are none: the same sentences', async () => {
    await both.again()
    for (const [wish, sentence] of badNetworks) {
      both.wish(`answer ${wish}`)
      await both.refused(wish, 'create', sentence)
    }
    both.wish()
    await both.same('network create -d fabric n1')
    for (const [wish, sentence] of badEndpoints) {
      both.wish(`answer ${wish}`, ...(wish.includes('CreateEndpoint') ? ['answer NetworkDriver.DeleteEndpoint {}'] : []))
      await both.refused(wish, 'start', sentence)
    }
    both.wish()
    await both.same('network rm n1')
    for (const [index, [wish, sentence]] of badActivations.entries()) {
      await both.refusedOf(`bad${index}`, wish, sentence)
    }
  })
})

/** What is answered to a method, and what both engines say then; a pair: dockerd, Portolan. */
type Bad = readonly [wish: string, sentence: string | readonly [docker: string, portolan: string]]

const badNetworks: readonly Bad[] = [
  ['NetworkDriver.CreateNetwork garbage', "500 invalid character 'g' looking for beginning of value"],
  ['NetworkDriver.CreateNetwork ', '500 EOF'],
  ['NetworkDriver.CreateNetwork []',
    '500 json: cannot unmarshal array into Go value of type api.CreateNetworkResponse'],
  ['NetworkDriver.CreateNetwork {"Err":7}',
    '500 json: cannot unmarshal number into Go struct field CreateNetworkResponse.Response.Err of type string'],
  ['NetworkDriver.CreateNetwork {"err":"no"}', '500 remote: no'],
  ['NetworkDriver.CreateNetwork {"Err":"no"', '500 unexpected EOF'],
  ['IpamDriver.RequestPool garbage', "500 invalid character 'g' looking for beginning of value"],
  ['IpamDriver.RequestPool {"Pool":"zz"}', '500 netip.ParsePrefix("zz"): no \'/\''],
  ['IpamDriver.RequestPool {"Error":"no"}', '500 remote: no'],
  ['IpamDriver.RequestPool {"Err":"no"}', ['500 netip.ParsePrefix(""): no \'/\'', '500 remote: no']],
  ['IpamDriver.RequestPool {"Pool":"10.9.0.0/24","PoolID":"x","Data":{"com.docker.network.gateway":"zz"}}',
    '400 failed to parse gateway address (zz) returned by ipam driver: invalid CIDR address: zz'],
  ['IpamDriver.RequestAddress garbage',
    "500 failed to allocate gateway (): invalid character 'g' looking for beginning of value"],
  ['IpamDriver.RequestAddress {"Address":"zz"}',
    '500 failed to allocate gateway (): invalid CIDR address: zz'],
  ['IpamDriver.RequestAddress {}', '500 failed to allocate gateway (): no address returned'],
  ['IpamDriver.RequestAddress {"Error":"no"}', '500 failed to allocate gateway (): remote: no'],
  ['IpamDriver.GetDefaultAddressSpaces garbage',
    "404 failed to get default address space: invalid character 'g' looking for beginning of value"],
]

const start = '500 failed to set up container networking:'
const create = `${start} failed to create endpoint cc on network n1:`
const program = `${start} driver failed programming external connectivity on endpoint cc (<id>):`
/** What was done is taken back here, too. */
const alsoBack = (sentence: string): Bad[1] => [sentence, `${sentence}; rolled back`]
const badEndpoints: readonly Bad[] = [
  ['NetworkDriver.CreateEndpoint garbage', `${create} invalid character 'g' looking for beginning of value`],
  ['NetworkDriver.CreateEndpoint {"Err":"no"}', `${create} remote: no`],
  ['NetworkDriver.CreateEndpoint {"Interface":"x"}', alsoBack(
    `${create} json: cannot unmarshal string into Go struct field CreateEndpointResponse.Interface of type api.EndpointInterface`)],
  ['NetworkDriver.CreateEndpoint {"Interface":{"Address":"zz"}}', `${create} invalid CIDR address: zz; rolled back`],
  ['NetworkDriver.CreateEndpoint {"Interface":{"Address":"10.1.1.1/24"}}',
    `${create} driver modified interface address: endpoint interface IP present (172.18.0.2/16). Cannot be modified with (10.1.1.1/24).; rolled back`],
  ['NetworkDriver.CreateEndpoint {"Interface":{"MacAddress":"zz"}}',
    `${create} address zz: invalid MAC address; rolled back`],
  ['NetworkDriver.Join garbage', `${start} invalid character 'g' looking for beginning of value`],
  ['NetworkDriver.Join {"Err":"no"}', `${start} remote: no`],
  ['NetworkDriver.Join {"Gateway":"zz"}', `${start} unable to parse Gateway "zz"; rolled back`],
  ['NetworkDriver.Join {"GatewayIPv6":"zz"}', `${start} unable to parse GatewayIPv6 "zz"; rolled back`],
  ['NetworkDriver.Join {"InterfaceName":{"SrcName":"nope","DstPrefix":"eth"}}',
    `${start} failed to add interface nope to sandbox: failed to get link by name "nope": Link not found`],
  ['NetworkDriver.Join {"StaticRoutes":7}', alsoBack(
    `${start} json: cannot unmarshal number into Go struct field JoinResponse.StaticRoutes of type []api.StaticRoute`)],
  ['NetworkDriver.Join {"StaticRoutes":[{"Destination":"zz"}]}', `${start} invalid CIDR address: zz; rolled back`],
  ['NetworkDriver.Join {"StaticRoutes":[{"Destination":"10.1.0.0/16","NextHop":"zz"}]}',
    `${start} failed to parse nexthop IP zz; rolled back`],
  ['NetworkDriver.Join {"StaticRoutes":[{"Destination":"10.1.0.0/16"}]}', [
    `${start} failed to add static route 10.1.0.0/16: route for the next hop <nil> could not be found: numerical result out of range`,
    `${start} failed to add static route 10.1.0.0/16: route for the next hop <nil> could not be found; rolled back`,
  ]],
  ['NetworkDriver.ProgramExternalConnectivity garbage',
    `${program} invalid character 'g' looking for beginning of value`],
  ['NetworkDriver.ProgramExternalConnectivity {"Err":"no"}', `${program} remote: no`],
]

const legacy = '500 legacy plugin:'
const registry = '500 could not resolve driver fabric in registry'
const badActivations: readonly Bad[] = [
  ['Plugin.Activate garbage', `${legacy} invalid character 'g' looking for beginning of value`],
  ['Plugin.Activate {"Implements":7}',
    `${legacy} json: cannot unmarshal number into Go struct field Manifest.Implements of type []string`],
  ['Plugin.Activate {"Implements":["VolumeDriver"]}',
    `${legacy} Plugin does not implement the requested driver: plugin="fabric", requested implementation="NetworkDriver"`],
  ['NetworkDriver.GetCapabilities {"Scope":"mars"}', registry],
  ['NetworkDriver.GetCapabilities {"Scope":"local","ConnectivityScope":"mars"}', registry],
  ['NetworkDriver.GetCapabilities nonsense', registry],
]
