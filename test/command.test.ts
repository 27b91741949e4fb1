/** The everyday verbs of `portolan`, for machines without the docker command. */
import assert from 'node:assert/strict'
import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import test, { after, before } from 'node:test'
import { busyboxImageTar } from '../src/cli/demo/busybox-image.ts'
import { Lab, root, type Ran } from './lab/lab.ts'

let lab: Lab

/** The first process of a container ignores SIGTERM unless it asks for it. */
const untilStopped = 'trap exit TERM; sleep 1d & wait'

const portolan = (args: readonly string[], input?: string): Promise<Ran> =>
  lab.run(join(root, 'portolan'), args, input)

/** The output of a verb that must succeed. */
async function says(...args: readonly string[]): Promise<string> {
  const ran = await portolan(args)
  assert.equal(ran.code, 0, `portolan ${args.join(' ')}: exit ${ran.code}\n${ran.out}${ran.err}`)
  return ran.out.trimEnd()
}

before(async () => {
  lab = await Lab.start(undefined)
})

after(async () => {
  await lab.expectNoLeaks()
  await lab.stop()
})

test('run -d starts a server with a name, a network and a port, and everything about it can be asked', async () => {
  await says('network', 'create', '--subnet', '10.80.0.0/24', '--gateway', '10.80.0.9', '--label', 'a=b', 'localnet')
  const id = await says(
    'run', '-d', '--name', 'web', '--network', 'localnet', '--ip', '10.80.0.80', '--network-alias', 'site',
    '-p', '127.0.0.1:5050:80', '-e', 'TEXT=hi', '--label', 'tier=front', 'busybox',
    'sh', '-c', 'echo started; echo wrong >&2; mkdir /www; echo $TEXT >/www/index.html; httpd -h /www; ' + untilStopped)
  assert.match(id, /^[0-9a-f]{64}$/)
  assert.equal(await lab.must('curl -s --retry 5 --retry-connrefused 127.0.0.1:5050'), 'hi')
  assert.equal(await says('port', 'web'), '80/tcp -> 127.0.0.1:5050')
  const [head = '', row = ''] = (await says('ps')).split('\n')
  assert.match(head, /^CONTAINER ID +IMAGE +STATUS +PORTS +NAMES$/)
  assert.match(row, new RegExp(`^${id.slice(0, 12)} +busybox +Up .* 127\\.0\\.0\\.1:5050->80/tcp +web$`))
  assert.equal(await says('ps', '-q'), id.slice(0, 12))
  const [inspected] = JSON.parse(await says('inspect', 'web'))
  assert.equal(inspected.NetworkSettings.Networks.localnet.IPAddress, '10.80.0.80')
  assert.equal(inspected.Config.Labels.tier, 'front')
  const [network] = JSON.parse(await says('network', 'inspect', 'localnet'))
  assert.equal(network.IPAM.Config[0].Gateway, '10.80.0.9')
  assert.match(await says('how', 'web'), /brctl|ip link/)
  assert.match(await says('status'), /containers +1 running, 1 in all/)
  const logs = await portolan(['logs', 'web'])
  assert.deepEqual([logs.out, logs.err], ['started\n', 'wrong\n'])
  assert.equal(await says('logs', '-n', '0', 'web'), '')
  assert.match(await says('logs', '-t', 'web'), /^\d{4}-\d\d-\d\dT.*Z started$/m)
})

test('exec answers output, exit code and user; a terminal is one stream', async () => {
  assert.equal(await says('exec', '-u', '1000', 'web', 'id', '-u'), '1000')
  assert.equal((await portolan(['exec', 'web', 'sh', '-c', 'exit 7'])).code, 7)
  assert.equal((await portolan(['exec', '-i', 'web', 'cat'], 'typed\n')).out, 'typed\n')
  assert.match(await says('exec', '-t', 'web', 'tty'), /^\/dev\/pts\/\d/)
})

test('run in the foreground gives output, input and exit code, and --rm leaves nothing', async () => {
  const ran = await portolan(['run', '--rm', 'busybox', 'sh', '-c', 'echo out; echo err >&2; exit 3'])
  assert.deepEqual(ran, { code: 3, out: 'out\n', err: 'err\n' })
  assert.equal((await portolan(['run', '--rm', '-i', 'busybox', 'cat'], 'through\n')).out, 'through\n')
  assert.equal(await says('run', '--rm', '--entrypoint', 'echo', '-w', '/tmp', 'busybox', '-n', 'x'), 'x')
  assert.equal((await says('ps', '-a')).split('\n').length, 2)
})

test('networks are connected, disconnected, listed and removed', async () => {
  await says('network', 'create', '--internal', '-o', 'com.docker.network.bridge.name=inner', 'inside')
  await says('run', '-d', '--name', 'c1', 'busybox', 'sh', '-c', untilStopped)
  await says('network', 'connect', '--ip', '10.80.0.81', 'localnet', 'c1')
  assert.equal(await says('exec', 'c1', 'wget', '-qO-', 'http://site'), 'hi')
  await says('network', 'disconnect', 'localnet', 'c1')
  assert.notEqual((await portolan(['exec', 'c1', 'wget', '-qO-', '-T', '2', 'http://10.80.0.80'])).code, 0)
  assert.match(await says('network', 'ls'), /^[0-9a-f]{12} +inside +bridge +local$/m)
  assert.match(await lab.must('ip -br link show inner'), /^inner /)
  assert.equal(await says('network', 'rm', 'inside'), 'inside')
  await says('network', 'create', 'unused')
  assert.equal(await says('network', 'prune'), 'unused')
})

test('containers are stopped, started and removed', async () => {
  assert.equal(await says('stop', 'c1', 'web'), 'c1\nweb')
  assert.equal(await says('start', 'web'), 'web')
  assert.equal(await lab.must('curl -s --retry 5 --retry-connrefused 127.0.0.1:5050'), 'hi')
  const refused = await portolan(['rm', 'web'])
  assert.equal(refused.code, 1)
  assert.match(refused.err, /^portolan rm: .*cannot remove container "?\/?web"?.*running/m)
  assert.equal(await says('rm', '-f', '-v', 'web', 'c1'), 'web\nc1')
  assert.equal(await says('plan'), 'The kernel is as it should be.')
})

test('images are loaded, imported and listed', async () => {
  const file = join(lab.folder, 'image.tar')
  await pipeline(await busyboxImageTar('/bin/busybox', ['loaded:1'], ['sh']), createWriteStream(file))
  assert.match(await says('load', '-i', file), /Loaded image: loaded:1/)
  await lab.must(`mkdir -p ${lab.folder}/fs/bin && cp /bin/busybox ${lab.folder}/fs/bin/ && tar -C ${lab.folder}/fs -cf ${lab.folder}/fs.tar .`)
  assert.match(await says('import', `${lab.folder}/fs.tar`, 'imported:2'), /^sha256:[0-9a-f]{64}$/)
  const images = await says('images')
  for (const name of ['loaded:1', 'imported:2', 'busybox:latest']) assert.match(images, new RegExp(`^${name} `, 'm'))
})

test('what is wrong is said in a line, with exit code 125 before anything was asked of the engine', async () => {
  const cases: readonly (readonly [readonly string[], number, RegExp])[] = [
    [['ps', '--bad'], 125, /^portolan ps: Unknown option '--bad'/],
    [['status', 'surplus'], 125, /^portolan status: takes no arguments$/m],
    [['network', 'connect', 'one'], 125, /^portolan network connect: takes a network and a container$/m],
    [['run'], 125, /^portolan run: name an image$/m],
    [['run', '-p', 'a:b:c:d', 'busybox'], 125, /^portolan run: publish "a:b:c:d" is not/],
    [['load', '-i', '/nowhere'], 1, /^portolan load: .*ENOENT.*\/nowhere/],
    [['logs', 'nobody'], 1, /^portolan logs: No such container: nobody$/m],
    [['inspect', 'nothing'], 1, /^portolan inspect: No such object: nothing$/m],
    [['how', 'nothing'], 1, /^portolan how: .*nothing/],
    [['pull', '127.0.0.1:1/x'], 1, /^portolan pull: .*(refused|ECONNREFUSED)/],
    [['fly'], 125, /^portolan: 'fly' is not a command/],
  ]
  for (const [args, code, words] of cases) {
    const ran = await portolan(args)
    assert.equal(ran.code, code, `${args.join(' ')}: ${ran.err}`)
    assert.match(ran.err, words)
  }
})
