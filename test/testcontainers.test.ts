/**
 * testcontainers, a library that starts containers for other people's tests: wait strategies,
 * mapped ports, networks, files. Its reaper is off: that is an image of its own from a registry.
 */
import assert from 'node:assert/strict'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import { PassThrough, Readable } from 'node:stream'
import { extract, pack } from 'tar-stream'
import { GenericContainer, Network, Wait } from 'testcontainers'
import { Lab } from './lab/lab.ts'

let lab: Lab
const serve = 'mkdir -p /www; echo hi >/www/index.html; echo ready; exec httpd -f -p 80 -h /www'

before(async () => {
  lab = await Lab.start(undefined)
  // Read by the library at its first use.
  process.env['DOCKER_HOST'] = `unix://${lab.socket}`
  process.env['DOCKER_CONFIG'] = join(lab.folder, 'cli')
  process.env['TESTCONTAINERS_RYUK_DISABLED'] = 'true'
  process.env['TESTCONTAINERS_HOST_OVERRIDE'] = '127.0.0.1'
})
after(async () => {
  await lab.expectNoLeaks()
  await lab.stop()
})

/** A web server in busybox that serves `hi`. */
function web(): GenericContainer {
  return new GenericContainer('busybox').withCommand(['sh', '-c', serve])
}

test('a port is mapped and waited for, and serves', async () => {
  const started = await web().withExposedPorts(80).start()
  const page = await fetch(`http://${started.getHost()}:${started.getMappedPort(80)}/`)
  assert.equal(await page.text(), 'hi\n')
  await started.restart({ timeout: 1000 })
  // A restart takes another ephemeral port; the library asks again.
  const again = await fetch(`http://${started.getHost()}:${started.getFirstMappedPort()}/`)
  assert.equal(again.status, 200)
  await started.stop()
  assert.equal(await lab.ok('ps', '-aq'), '')
})

test('every way to wait: HTTP, log line, health, command, one shot, ports of both protocols', async () => {
  const asked = await web()
    .withExposedPorts(80, '53/udp', { container: 81, host: 18081 })
    .withWaitStrategy(Wait.forAll([
      Wait.forHttp('/', 80).forStatusCode(200).forResponsePredicate((body) => body === 'hi\n'),
      Wait.forLogMessage(/^ready/),
      Wait.forSuccessfulCommand('test -f /www/index.html'),
    ]))
    .start()
  assert.equal(asked.getMappedPort(81), 18081)
  assert.ok(asked.getMappedPort('53/udp') > 0)
  const healthy = await web()
    .withHealthCheck({ test: ['CMD-SHELL', 'wget -qO- localhost'], interval: 200, retries: 5 })
    .withWaitStrategy(Wait.forHealthCheck())
    .start()
  const shot = await new GenericContainer('busybox')
    .withCommand(['echo', 'done'])
    .withWaitStrategy(Wait.forOneShotStartup())
    .start()
  await Promise.all([asked, healthy, shot].map((container) => container.stop({ timeout: 1 })))
  await assert.rejects(
    new GenericContainer('busybox')
      .withCommand(['sleep', '1d'])
      .withWaitStrategy(Wait.forLogMessage('never').withStartupTimeout(300))
      .start(),
    /not received after 300ms/,
  )
  assert.equal(await lab.ok('ps', '-aq'), '', 'what did not start in time was removed')
})

test('networks with aliases, extra hosts, addresses', async () => {
  await using network = await new Network().start()
  await using server = await web().withNetwork(network).withNetworkAliases('site', 'shop').start()
  await using client = await new GenericContainer('busybox')
    .withCommand(['sleep', '1d'])
    .withNetwork(network)
    .withExtraHosts([{ host: 'pinned', ipAddress: '192.0.2.7' }])
    .withHostname('asker')
    .start()
  for (const name of ['site', 'shop', server.getName().slice(1)]) {
    const { output, exitCode } = await client.exec(['wget', '-qO-', `http://${name}/`])
    assert.deepEqual({ output, exitCode }, { output: 'hi\n', exitCode: 0 })
  }
  assert.equal(client.getHostname(), 'asker')
  assert.match((await client.exec('cat /etc/hosts')).output, /192\.0\.2\.7\s+pinned/)
  assert.ok(server.getNetworkNames().includes(network.getName()))
  assert.equal(server.getNetworkId(network.getName()), network.getId())
  const looked = await client.exec(['nslookup', 'site'])
  assert.match(looked.output, new RegExp(server.getIpAddress(network.getName()).replaceAll('.', '\\.')))
})

test('exec: user, folder, environment, output of both streams', async () => {
  await using container = await new GenericContainer('busybox')
    .withCommand(['sleep', '1d'])
    .withEnvironment({ COLOUR: 'red' })
    .withTmpFs({ '/scratch': 'rw,size=1m' })
    .withUser('root')
    .start()
  const said = await container.exec(['sh', '-c', 'echo $COLOUR $SIZE $PWD $(id -un); echo bad >&2; exit 4'], {
    user: 'www-data', workingDir: '/scratch', env: { SIZE: 'big' },
  })
  assert.deepEqual([said.stdout, said.stderr, said.exitCode], ['red big /scratch www-data\n', 'bad\n', 4])
  assert.match((await container.exec('mount')).output, /tmpfs on \/scratch .*size=1024k/)
})

test('files, folders, content and archives go in and come out; logs; commit', async () => {
  const folder = join(lab.folder, 'copied')
  mkdirSync(folder)
  writeFileSync(join(folder, 'file'), 'from the host\n')
  const logs = new PassThrough()
  const started = await new GenericContainer('busybox')
    .withCommand(['sh', '-c', 'cat /in/file /tree/file /text; exec sleep 1d'])
    .withCopyFilesToContainer([{ source: join(folder, 'file'), target: '/in/file', mode: 0o600 }])
    .withCopyDirectoriesToContainer([{ source: folder, target: '/tree' }])
    .withCopyContentToContainer([{ content: 'typed\n', target: '/text' }])
    .withBindMounts([{ source: folder, target: '/bound', mode: 'ro' }])
    .withLogConsumer((stream) => stream.pipe(logs))
    .withWaitStrategy(Wait.forLogMessage('typed'))
    .start()
  assert.match(String(logs.read()), /from the host\nfrom the host\ntyped/)
  const tar = pack()
  tar.entry({ name: 'late' }, 'by archive\n')
  tar.finalize()
  await started.copyArchiveToContainer(Readable.from(tar), '/tmp')
  await started.copyContentToContainer([{ content: 'more\n', target: '/tmp/more' }])
  assert.equal((await started.exec('cat /tmp/late /tmp/more /bound/file')).output, 'by archive\nmore\nfrom the host\n')
  assert.match((await started.exec('stat -c %a /in/file')).output, /600/)
  const names: string[] = []
  for await (const entry of (await started.copyArchiveFromContainer('/tree')).pipe(extract())) {
    names.push(entry.header.name)
    entry.resume()
  }
  assert.deepEqual(names.sort(), ['tree/', 'tree/file'])
  const image = await started.commit({ repo: 'kept', tag: 'by-tc', deleteOnExit: false })
  assert.match(image, /^sha256:/)
  await started.stop()
  await lab.ok('rmi', 'kept:by-tc')
})

test('an image that no registry in reach has fails the start with the engine’s words', async () => {
  await assert.rejects(new GenericContainer('registry.invalid/nope:1').start(), /registry\.invalid.*(lookup|no such host|connect|resolve)/)
})
