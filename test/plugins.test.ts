/** Network and IPAM plugins in a process of their own: what they are asked, and what stays when they die. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { dockerdPath, Lab, root, type EngineOptions, type Ran } from './lab/lab.ts'
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

/** dockerd and Portolan, each with a plugin of its own: the folder of plugins is one for both. */
class Sides {
  readonly sides: readonly Side[]

  private constructor(sides: readonly Side[]) {
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
    return new Sides(await Promise.all([
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
    })
  }

  async #compare(what: string, act: (side: Side) => Promise<Ran>): Promise<void> {
    const [docker, portolan] = await Promise.all(this.sides.map(async (side) => {
      const { code, out, err } = await act(side)
      const calls = side.plugin.calls().map((call) => this.#known(call))
      return { code, out: this.#word(out), err: this.#word(err), calls }
    }))
    assert.deepEqual(portolan, docker, what)
  }

  #known({ method, body }: Call): unknown {
    return { method, body: body === undefined ? undefined : JSON.parse(this.#word(JSON.stringify(body))) }
  }

  /** Without what no two runs have in common. */
  #word(text: string): string {
    return text
      .replaceAll(/fabric-(docker|portolan)/g, 'fabric')
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
})
