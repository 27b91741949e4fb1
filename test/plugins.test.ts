/** Network and IPAM plugins in a process of their own: what they are asked, and what stays when they die. */
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { Lab, root, sleep } from './lab/lab.ts'

const folder = '/run/docker/plugins'

class Plugin {
  readonly #lab: Lab
  #process: ChildProcess | undefined

  constructor(t: TestContext, lab: Lab) {
    this.#lab = lab
    t.after(() => this.kill())
  }

  get #calls(): string {
    return join(this.#lab.folder, 'calls')
  }

  async start(): Promise<void> {
    mkdirSync(folder, { recursive: true })
    const socket = join(folder, 'fabric.sock')
    const program = join(root, 'test/lab/network-plugin.ts')
    const args = ['--disable-warning=ExperimentalWarning', program, socket, this.#calls]
    this.#process = spawn(join(root, 'scripts/node'), [...args, join(this.#lab.folder, 'wishes')], {
      stdio: 'inherit',
    })
    const answers = () => this.#lab.sh(`curl -s --unix-socket ${socket} -X POST http://p/Plugin.Activate`)
    for (let tries = 0; (await answers()).code !== 0; tries++) {
      assert.ok(tries < 100, 'the plugin starts')
      await sleep(50)
    }
    this.take()
  }

  async kill(): Promise<void> {
    const running = this.#process
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return
    const gone = new Promise((done) => running.once('exit', done))
    running.kill('SIGKILL')
    await gone
  }

  wish(line: string): void {
    writeFileSync(join(this.#lab.folder, 'wishes'), `${line}\n`)
  }

  /** Methods called since the last time. */
  take(): readonly string[] {
    const text = existsSync(this.#calls) ? readFileSync(this.#calls, 'utf8') : ''
    writeFileSync(this.#calls, '')
    return text.split('\n').filter((line) => line !== '').map((line) => line.split(' ')[0] ?? '')
  }
}

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
    const calls = plugin.take()
    assert.deepEqual(calls.slice(-3), [
      'NetworkDriver.CreateNetwork', 'IpamDriver.ReleaseAddress', 'IpamDriver.ReleasePool',
    ])
    plugin.wish('fail IpamDriver.RequestAddress')
    await refused(/remote: no IpamDriver\.RequestAddress today/, ...create)
    assert.equal(plugin.take().at(-1), 'IpamDriver.ReleasePool')
    await refused(/network n1 not found/, 'network', 'inspect', 'n1')
    plugin.wish('')
  })

  await t.test('containers reach each other, by name, and through its routes', async () => {
    await lab.ok('network', 'create', '-d', 'fabric', '--ipam-driver', 'fabric', '--subnet', '10.77.9.0/24', 'n1')
    const ipam = await lab.ok('network', 'inspect', '-f', '{{.IPAM.Driver}} {{(index .IPAM.Config 0).Gateway}}', 'n1')
    assert.equal(ipam, 'fabric 10.77.9.1')
    await run('anna', '--network', 'n1', '-p', '8080:80')
    assert.deepEqual(plugin.take().slice(-4), [
      'IpamDriver.RequestAddress', 'NetworkDriver.CreateEndpoint', 'NetworkDriver.Join',
      'NetworkDriver.ProgramExternalConnectivity',
    ])
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
    assert.deepEqual(plugin.take().slice(-3), [
      'NetworkDriver.Leave', 'NetworkDriver.DeleteEndpoint', 'IpamDriver.ReleaseAddress',
    ])
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
    await refused(/cannot reach the plugin/, 'run', '--rm', '--network', 'n1', 'busybox', 'true')
    await plugin.start()
    await lab.ok('run', '--rm', '--network', 'n1', 'busybox', 'ping', '-c', '1', '-w', '3', 'anna')
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
    await refused(/broke off|cannot reach/, 'run', '--name', 'dora', '--network', 'n1', 'busybox', 'true')
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
