/** Clients other than the newest stock command: an old one, and a library that speaks HTTP itself. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { once } from 'node:events'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import test from 'node:test'
import Docker from 'dockerode'
import { Lab, dockerCliMajor, dockerCliPath, oldDockerCliPath, root } from './lab/lab.ts'

const oldCli = oldDockerCliPath

test('the docker command of 20.10', { skip: !existsSync(oldCli) }, async (t) => {
  const lab = await Lab.start(t)
  const old = async (...args: readonly string[]) => {
    const ran = await lab.run(oldCli, args)
    assert.equal(ran.code, 0, `docker ${args.join(' ')}: ${ran.err}`)
    return ran.out.trim()
  }
  assert.equal(await old('version', '--format', '{{.Client.APIVersion}}'), '1.41')
  assert.match(await old('info'), /Storage Driver: overlay2/)
  await old('network', 'create', 'net')
  await old(
    'run',
    '-d',
    '--name',
    'web',
    '--network',
    'net',
    '-p',
    '8080:80',
    'busybox',
    'sleep',
    '1d',
  )
  assert.equal(await old('run', '--rm', 'busybox', 'echo', 'hello'), 'hello')
  assert.equal(
    (await lab.run(oldCli, ['run', '--rm', '-i', 'busybox', 'cat'], 'piped')).out,
    'piped',
  )
  assert.equal(
    await old('exec', 'web', 'hostname'),
    await old('inspect', '-f', '{{.Config.Hostname}}', 'web'),
  )
  assert.equal(
    (await lab.run(oldCli, ['exec', '-i', 'web', 'wc', '-c'], 'x'.repeat(5000))).out.trim(),
    '5000',
  )
  assert.match(await old('ps'), /0\.0\.0\.0:8080->80\/tcp/)
  assert.match(await old('network', 'inspect', 'net'), /"Name": "web"/)
  assert.match(await old('system', 'df'), /Containers +1 +1/)
  await old('rm', '-f', 'web')
  await lab.expectNoLeaks()
})

/** The commands of the README's walk, as printed, one line each. */
function readmeWalk(): readonly string[] {
  const [, walk = ''] = readFileSync(join(root, 'README.md'), 'utf8').split(/^Then, as ever.*:$/m)
  const [block = ''] = walk.split('No registry at hand?')
  const lines = block.replaceAll('\\\n', '').split('\n')
  return lines.map((line) => line.trim()).filter((line) => line !== '')
}

for (const cli of new Set([oldCli, dockerCliPath()])) {
  const whose = `the docker command of ${cli === oldCli ? '20.10' : dockerCliMajor(cli)}`
  const skip = existsSync(cli) ? false : `${whose} is not there`
  test(`the README’s commands work as printed with ${whose}`, { skip }, async (t) => {
    const lab = await Lab.start(t, { cli })
    const lines = readmeWalk()
    assert.ok(lines.length > 8, 'the README has a walk')
    const shown = new Map<string, string>()
    for (const line of lines) {
      // The socket is this lab's; there is no context of `up`.
      if (line.startsWith('docker context')) continue
      shown.set(line.split(/ (?!network|run|exec|port)/)[0] ?? '', await lab.must(`cd ${root}; ${line}`))
    }
    assert.match(shown.get('docker exec') ?? '', /2 packets received/)
    assert.equal(shown.get('curl'), 'hi')
    assert.match(shown.get('docker port') ?? '', /80\/tcp -> 0\.0\.0\.0:5050/)
    assert.match(shown.get('docker network') ?? '', /"Name": "web"/)
    assert.match(shown.get('iptables') ?? '', /dpt:5050 to:172\.18\.0\.3:80/)
    assert.match(shown.get('./portolan') ?? '', /ip link/)
    await lab.ok('rm', '-f', 'c1', 'web')
    await lab.expectNoLeaks()
  })
}

test('dockerode: containers, streams, exec, events', async (t) => {
  const lab = await Lab.start(t)
  const docker = new Docker({ socketPath: lab.socket })
  assert.equal((await docker.ping()).toString(), 'OK')
  const events = await docker.getEvents({ filters: { type: ['container'], event: ['create'] } })
  const created = once(events, 'data')
  const network = await docker.createNetwork({ Name: 'rode', Labels: { a: 'b' } })
  const container = await docker.createContainer({
    name: 'worker',
    Image: 'busybox',
    Cmd: ['cat'],
    OpenStdin: true,
    StdinOnce: true,
    AttachStdin: true,
    AttachStdout: true,
    HostConfig: { NetworkMode: 'rode' },
  })
  const [event] = await created
  assert.match(String(event), /"Action":"create"/)
  events.removeAllListeners()
  if ('destroy' in events && typeof events.destroy === 'function') events.destroy()

  const stream = await container.attach({ stream: true, stdin: true, stdout: true, hijack: true })
  const output = new PassThrough()
  container.modem.demuxStream(stream, output, output)
  await container.start()
  const exec = await container.exec({
    Cmd: ['sh', '-c', 'read line; echo got $line'],
    AttachStdin: true,
    AttachStdout: true,
  })
  const talk = await exec.start({ hijack: true, stdin: true })
  const answer = new PassThrough()
  container.modem.demuxStream(talk, answer, answer)
  talk.write('words\n')
  const [said] = await once(answer, 'data')
  assert.equal(String(said), 'got words\n')

  stream.write('to the end')
  stream.end()
  assert.equal((await container.wait()).StatusCode, 0)
  assert.equal(String(output.read()), 'to the end')
  const logs = await container.logs({ stdout: true, stderr: true })
  assert.match(logs.toString(), /to the end/)
  await container.remove()
  await network.remove()
  await assert.rejects(
    network.inspect(),
    (error: unknown) =>
      typeof error === 'object' && error !== null && Reflect.get(error, 'statusCode') === 404,
  )
  await lab.expectNoLeaks()
})

test('dockerode: an attach that asks for no upgrade, and one command run whole', async (t) => {
  const lab = await Lab.start(t)
  const docker = new Docker({ socketPath: lab.socket })
  const container = await docker.createContainer({
    Image: 'busybox',
    Cmd: ['sh', '-c', 'sleep 0.2; echo plain'],
  })
  const stream = await container.attach({ stream: true, stdout: true, stderr: true })
  const output = new PassThrough()
  container.modem.demuxStream(stream, output, output)
  await container.start()
  await once(stream, 'end')
  assert.equal(String(output.read()), 'plain\n')
  await container.wait()
  await container.remove()
  const sink = new PassThrough()
  const [outcome] = await docker.run('busybox', ['echo', 'whole'], sink)
  assert.equal(outcome.StatusCode, 0)
  assert.match(String(sink.read()), /whole/)
})
