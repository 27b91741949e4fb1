/**
 * dockerode, a library that speaks HTTP itself: its public API, as programs call it. What it has
 * for images that are built, pushed or distributed by a swarm is asked only for its refusal.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { PassThrough, Readable } from 'node:stream'
import test, { after, before } from 'node:test'
import Docker from 'dockerode'
import { extract, pack } from 'tar-stream'
import { Lab } from './lab/lab.ts'

let lab: Lab
let docker: Docker

before(async () => {
  lab = await Lab.start(undefined)
  docker = new Docker({ socketPath: lab.socket })
})
after(async () => {
  await lab.expectNoLeaks()
  await lab.stop()
})

/** Everything of a stream, as text. */
async function textOf(stream: NodeJS.ReadableStream): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks).toString()
}

/** A multiplexed stream taken apart; resolves when it ends. */
async function demuxed(stream: NodeJS.ReadableStream): Promise<{ out: string; err: string }> {
  const [out, err] = [new PassThrough(), new PassThrough()]
  docker.modem.demuxStream(stream, out, err)
  await once(stream, 'end')
  const said = (part: PassThrough) => String(part.read() ?? '')
  return { out: said(out), err: said(err) }
}

/** A container of busybox that runs this in its shell. */
async function shell(script: string, options: Docker.ContainerCreateOptions = {}) {
  return docker.createContainer({ Image: 'busybox', Cmd: ['sh', '-c', script], ...options })
}

/** A rejected call: its status and the engine's sentence, which the modem hands on. */
function says(status: number, sentence = /./): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof Error, String(error))
    assert.equal(Reflect.get(error, 'statusCode'), status, error.message)
    if (status !== 304) assert.match(error.message, sentence)
    // The modem found the sentence in the JSON, and not a text it did not understand.
    assert.doesNotMatch(error.message, /\{"message"/)
    return true
  }
}

/** One-file tar. */
function tarOf(name: string, content: string): NodeJS.ReadableStream {
  const tar = pack()
  tar.entry({ name }, content)
  tar.finalize()
  return Readable.from(tar)
}

/** Name → content of a tar. */
async function filesOf(stream: NodeJS.ReadableStream): Promise<ReadonlyMap<string, string>> {
  const files = new Map<string, string>()
  for await (const entry of stream.pipe(extract())) files.set(entry.header.name, await textOf(Readable.from(entry)))
  return files
}

test('an engine is asked for its version, its facts and its disk usage', async () => {
  assert.equal((await docker.ping()).toString(), 'OK')
  const version = await docker.version()
  assert.equal(version.Os, 'linux')
  assert.match(version.ApiVersion, /^1\.\d+$/)
  const info: unknown = await docker.info()
  assert.equal(typeof Reflect.get(Object(info), 'NCPU'), 'number')
  const usage: unknown = await docker.df()
  assert.equal(Array.isArray(Reflect.get(Object(usage), 'Images')), true)
})

test('a container: created, listed, inspected, renamed, changed, paused, stopped, removed', async () => {
  const container = await shell('trap "exit 3" TERM; while :; do sleep 0.1; done', {
    name: 'one',
    Labels: { tier: 'back' },
    Env: ['A=b'],
    WorkingDir: '/tmp',
    HostConfig: { Memory: 64 << 20, RestartPolicy: { Name: 'no' } },
  })
  await container.start()
  await assert.rejects(container.start(), says(304))
  const listed = await docker.listContainers({ filters: { label: ['tier=back'], status: ['running'] } })
  assert.deepEqual(listed.map(({ Id, Names, State }) => ({ Id, Names, State })), [
    { Id: container.id, Names: ['/one'], State: 'running' },
  ])
  await container.rename({ name: 'two' })
  await container.update({ Memory: 96 << 20, MemorySwap: -1 })
  const inspected = await docker.getContainer('two').inspect()
  assert.equal(inspected.Name, '/two')
  assert.equal(inspected.HostConfig.Memory, 96 << 20)
  await container.pause()
  assert.equal((await container.inspect()).State.Paused, true)
  await assert.rejects(container.exec({ Cmd: ['true'] }), says(409, /is paused/))
  await container.unpause()
  const top: unknown = await container.top({ ps_args: '-o pid,args' })
  assert.match(JSON.stringify(top), /"Titles":\["PID",.*while :/)
  const ended = container.wait()
  await container.stop({ t: 5 })
  assert.equal((await ended).StatusCode, 3)
  await assert.rejects(container.stop(), says(304))
  await container.restart({ t: 0 })
  await assert.rejects(container.remove(), says(409, /container is running/))
  await container.kill({ signal: 'SIGKILL' })
  await container.wait()
  await container.remove({ v: true })
  await assert.rejects(container.inspect(), says(404, /No such container/))
})

test('attach: three streams without a terminal, one with', async () => {
  const plain = await shell('read line; echo "out $line"; echo "err $line" >&2', {
    OpenStdin: true,
    StdinOnce: true,
  })
  const stream = await plain.attach({
    stream: true, stdin: true, stdout: true, stderr: true, hijack: true,
  })
  const heard = demuxed(stream)
  await plain.start()
  stream.write('words\n')
  assert.deepEqual(await heard, { out: 'out words\n', err: 'err words\n' })
  await plain.wait({ condition: 'not-running' })
  // Later, the logs hold the same.
  const replayed = await plain.attach({ logs: true, stream: false, stdout: true, stderr: true })
  assert.deepEqual(await demuxed(replayed), { out: 'out words\n', err: 'err words\n' })
  await plain.remove()

  const terminal = await shell('read line; stty size; echo "got $line"', {
    Tty: true,
    OpenStdin: true,
  })
  const screen = await terminal.attach({
    stream: true, stdin: true, stdout: true, stderr: true, hijack: true,
  })
  const shown = textOf(screen)
  await terminal.start()
  await terminal.resize({ h: 17, w: 71 })
  screen.write('typed\n')
  assert.match(await shown, /typed\r\n17 71\r\ngot typed\r\n$/)
  await terminal.wait()
  await terminal.remove()
})

test('logs: tail, timestamps, one stream of two, and followed to the end', async () => {
  const container = await shell('echo one; echo two >&2; read go; echo three', { OpenStdin: true })
  const input = await container.attach({ stream: true, stdin: true, hijack: true })
  await container.start()
  const followed = await container.logs({ follow: true, stdout: true, stderr: true })
  const lines = demuxed(followed)
  await once(followed, 'data')
  input.write('go\n')
  assert.deepEqual(await lines, { out: 'one\nthree\n', err: 'two\n' })
  await container.wait()
  const last = await container.logs({ stdout: true, stderr: true, tail: 1, timestamps: true })
  assert.match(last.subarray(8).toString(), /^\d{4}-\d\d-\d\dT[\d:.]+Z three\n$/)
  const errors = await container.logs({ stdout: false, stderr: true })
  assert.deepEqual([errors[0], errors.subarray(8).toString()], [2, 'two\n'])
  await assert.rejects(
    container.logs({ stdout: false, stderr: false }),
    says(400, /you must choose at least one stream/),
  )
  await container.remove()
})

test('exec: streams taken apart, exit code, environment, terminal, detached', async () => {
  const container = await shell('exec sleep 1d')
  await container.start()
  const exec = await container.exec({
    Cmd: ['sh', '-c', 'echo $WHAT in $PWD; echo oops >&2; exit 7'],
    Env: ['WHAT=it'],
    WorkingDir: '/tmp',
    AttachStdout: true,
    AttachStderr: true,
  })
  assert.deepEqual(await demuxed(await exec.start({})), { out: 'it in /tmp\n', err: 'oops\n' })
  const { ExitCode, Running, ContainerID } = await exec.inspect()
  assert.deepEqual({ ExitCode, Running, ContainerID }, {
    ExitCode: 7, Running: false, ContainerID: container.id,
  })
  await assert.rejects(exec.start({}), says(409, /has already run/))

  const typed = await container.exec({
    Cmd: ['sh', '-c', 'read line; stty size; echo "$line"'],
    AttachStdin: true, AttachStdout: true, AttachStderr: true, Tty: true,
  })
  const screen = await typed.start({ hijack: true, stdin: true, Tty: true })
  const shown = textOf(screen)
  await typed.resize({ h: 11, w: 55 })
  screen.write('hello\n')
  assert.match(await shown, /11 55\r\nhello\r\n$/)

  const detached = await container.exec({ Cmd: ['touch', '/tmp/been'] })
  await detached.start({ Detach: true })
  for (let tries = 0; (await detached.inspect()).Running; tries++) assert.ok(tries < 500)
  assert.equal((await detached.inspect()).ExitCode, 0)
  assert.match(JSON.stringify(await container.changes()), /"Path":"\/tmp\/been"/)
  await assert.rejects(container.exec({ Cmd: [] }), says(400, /No exec command specified/))
  await container.remove({ force: true })
})

test('stats: once and as a stream', async () => {
  const container = await shell('exec sleep 1d')
  await container.start()
  const once_ = await container.stats({ stream: false, 'one-shot': true })
  assert.deepEqual(Object.keys(once_.networks), ['eth0'])
  assert.ok(once_.memory_stats.usage > 0)
  const stream = await container.stats({ stream: true })
  const [first] = await once(stream, 'data')
  assert.match(String(first), /"cpu_stats":/)
  await container.remove({ force: true })
  await textOf(stream)
})

test('files: put, asked for, fetched; a container exported, committed and compared', async () => {
  const container = await shell('cat /etc/put')
  await container.putArchive(tarOf('put', 'by tar\n'), { path: '/etc' })
  assert.ok(await container.infoArchive({ path: '/etc/put' }))
  const fetched = await filesOf(await container.getArchive({ path: '/etc/put' }))
  assert.deepEqual([...fetched], [['put', 'by tar\n']])
  await assert.rejects(container.getArchive({ path: '/nowhere' }), says(404, /Could not find the file/))
  assert.equal((await filesOf(await container.export())).get('etc/put'), 'by tar\n')
  const changes: unknown = await container.changes()
  assert.deepEqual(
    Array.isArray(changes) ? changes.filter(({ Path }) => Path === '/etc/put') : changes,
    [{ Path: '/etc/put', Kind: 1 }],
  )
  const committed: unknown = await container.commit({ repo: 'made', tag: 'once', comment: 'c' })
  assert.match(JSON.stringify(committed), /^\{"Id":"sha256:[0-9a-f]{64}"\}$/)
  const sink = new PassThrough()
  const [outcome, run] = await docker.run('made:once', ['cat', '/etc/put'], sink, { HostConfig: { AutoRemove: true } })
  assert.deepEqual([outcome.StatusCode, String(sink.read())], [0, 'by tar\r\n'])
  await container.remove()
  // It may be gone before it is asked for.
  await run.wait({ condition: 'removed' }).catch((error: unknown) => says(404, /No such container/)(error))
  await docker.getImage('made:once').remove()
})

test('networks: with addresses, joined, left, listed, pruned', async () => {
  const network = await docker.createNetwork({
    Name: 'rode',
    Driver: 'bridge',
    CheckDuplicate: true,
    Labels: { by: 'rode' },
    IPAM: { Driver: 'default', Config: [{ Subnet: '10.77.0.0/24', Gateway: '10.77.0.1' }] },
    Options: { 'com.docker.network.bridge.name': 'br-rode' },
  })
  const web = await shell('exec sleep 1d', {
    name: 'web',
    NetworkingConfig: { EndpointsConfig: { rode: { Aliases: ['site'], IPAMConfig: { IPv4Address: '10.77.0.9' } } } },
    HostConfig: { NetworkMode: 'rode' },
  })
  const late = await shell('exec sleep 1d', { name: 'late' })
  await Promise.all([web.start(), late.start()])
  await network.connect({ Container: late.id, EndpointConfig: { Aliases: ['after'] } })
  const exec = await late.exec({ Cmd: ['nslookup', 'site'], AttachStdout: true })
  assert.match((await demuxed(await exec.start({}))).out, /10\.77\.0\.9/)
  const inspected = await network.inspect()
  assert.deepEqual(
    Object.values(inspected.Containers ?? {}).map(({ Name }) => Name).sort(),
    ['late', 'web'],
  )
  await assert.rejects(
    network.connect({ Container: late.id }),
    says(403, /endpoint with name late already exists in network rode/),
  )
  await assert.rejects(network.remove(), says(403, /has active endpoints/))
  await network.disconnect({ Container: late.id })
  assert.deepEqual(Object.keys((await late.inspect()).NetworkSettings.Networks), ['bridge'])
  const listed = await docker.listNetworks({ filters: { label: ['by=rode'] } })
  assert.deepEqual(listed.map(({ Name, Driver }) => [Name, Driver]), [['rode', 'bridge']])
  await Promise.all([web, late].map((container) => container.remove({ force: true })))
  const pruned = await docker.pruneNetworks({ filters: { label: ['by=rode'] } })
  assert.deepEqual(pruned.NetworksDeleted, ['rode'])
  await assert.rejects(network.inspect(), says(404, /network [0-9a-f]{64} not found/))
  await assert.rejects(
    docker.createNetwork({ Name: 'bad', IPAM: { Driver: 'default', Config: [{ Subnet: 'zz' }] } }),
    says(400, /invalid/),
  )
})

test('volumes: created, used, listed, refused while in use, pruned', async () => {
  await docker.createVolume({ Name: 'data', Labels: { keep: 'no' } })
  const user = await shell('echo kept >/data/file', { HostConfig: { Binds: ['data:/data'] } })
  await user.start()
  await user.wait()
  const volume = docker.getVolume('data')
  assert.equal((await volume.inspect()).Driver, 'local')
  await assert.rejects(volume.remove(), says(409, /volume is in use/))
  await user.remove()
  const { Volumes } = await docker.listVolumes({ filters: { dangling: ['true'] } })
  assert.deepEqual(Volumes.map(({ Name }) => Name), ['data'])
  const pruned = await docker.pruneVolumes({ filters: { all: ['true'] } })
  assert.deepEqual(pruned.VolumesDeleted, ['data'])
  await assert.rejects(volume.inspect(), says(404, /no such volume/))
})

test('images: tagged, saved, removed, loaded, imported; what cannot be had is refused', async () => {
  await docker.getImage('busybox').tag({ repo: 'kept', tag: '1' })
  const image = docker.getImage('kept:1')
  assert.equal((await image.inspect()).Architecture, process.arch === 'x64' ? 'amd64' : process.arch)
  const history: unknown = await image.history()
  assert.equal(Array.isArray(history) && history.length, 1)
  const chunks: Buffer[] = []
  for await (const chunk of await image.get()) chunks.push(Buffer.from(chunk))
  const removed: unknown = await image.remove()
  assert.deepEqual(removed, [{ Untagged: 'kept:1' }])
  const saved = new PassThrough()
  saved.end(Buffer.concat(chunks))
  assert.match(await textOf(await docker.loadImage(saved)), /Loaded image: kept:1/)
  const container = await shell('true')
  const imported = await docker.importImage(await container.export(), { repo: 'bare', tag: 'x' })
  assert.match(await textOf(imported), /"status":"sha256:[0-9a-f]{64}"/)
  await container.remove()
  const names = (await docker.listImages()).flatMap(({ RepoTags }) => RepoTags ?? [])
  assert.deepEqual(names.sort(), ['bare:x', 'busybox:latest', 'kept:1'])
  await Promise.all(['bare:x', 'kept:1'].map((name) => docker.getImage(name).remove()))
  await assert.rejects(docker.getImage('kept:1').inspect(), says(404, /No such image: kept:1/))
  await assert.rejects(docker.createContainer({ Image: 'kept:1' }), says(404, /No such image: kept:1/))
})

test('events: filtered as they come, and between two times', async () => {
  const since = Math.floor(Date.now() / 1000)
  const live = await docker.getEvents({ filters: { type: ['container'], event: ['create', 'destroy'] } })
  const container = await shell('true', { name: 'eventful' })
  const [created] = await once(live, 'data')
  assert.match(String(created), /"Action":"create".*"name":"eventful"/)
  const network = await docker.createNetwork({ Name: 'eventful' })
  await network.remove()
  const destroyed = once(live, 'data')
  await container.remove()
  assert.match(String((await destroyed)[0]), /"Action":"destroy"/)
  if ('destroy' in live && typeof live.destroy === 'function') live.destroy()
  const past = await docker.getEvents({
    since, until: Math.floor(Date.now() / 1000) + 1, filters: { network: [network.id] },
  })
  const actions = (await textOf(past)).trim().split('\n').map((line): unknown => JSON.parse(line))
  assert.deepEqual(actions.map((event) => Reflect.get(Object(event), 'Action')), ['create', 'destroy'])
})

test('callbacks instead of promises, a name taken twice, an engine that is not there', async () => {
  const listed = await new Promise((done, fail) => {
    docker.listContainers({ all: true }, (error, result) => (error ? fail(error) : done(result)))
  })
  assert.deepEqual(listed, [])
  const first = await shell('true', { name: 'twin' })
  await assert.rejects(shell('true', { name: 'twin' }), says(409, /name "\/twin" is already in use/))
  await first.remove()
  const pruned = await docker.pruneContainers()
  assert.deepEqual(pruned.ContainersDeleted ?? [], [])
  await assert.rejects(docker.listServices(), says(503, /This node is not a swarm manager/))
  const absent = new Docker({ socketPath: `${lab.folder}/nobody.sock` })
  await assert.rejects(absent.ping(), { code: 'ENOENT' })
})
