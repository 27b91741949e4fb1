/**
 * Portolan on newer containerds than Debian's: what it asks of containerd, each verb once, and their
 * ends. The other tests run on the machine's own; here 2.1 and 1.7, as `scripts/engines` fetches them.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'
import { Lab, containerdFolder, sleep } from './lab/lab.ts'

const versions = ['2.1.3', '1.7.12']
const eventTimeoutMs = 20_000

/**
 * A runc that takes a second for an exec or, without keeping its caller, for a kill, while the file
 * `slow` stands beside it.
 */
const tools = mkdtempSync(join(tmpdir(), 'tools-'))
const slow = join(tools, 'slow')
const runc = spawnSync('sh', ['-c', 'command -v runc'], { encoding: 'utf8' }).stdout.trim()
const script = `#!/bin/sh
[ -e ${slow} ] && case " $* " in
*' exec '*) sleep 1;;
*' kill '*) (sleep 1; exec ${runc} "$@") >/dev/null 2>&1 & exit;;
*' resume '*) echo 'container not paused' >&2; exit 1;;
esac
exec ${runc} "$@"
`
writeFileSync(join(tools, 'runc'), script, { mode: 0o755 })
process.env['PATH'] = `${tools}:${process.env['PATH']}`
after(() => rmSync(tools, { recursive: true }))

async function until(what: string, holds: () => Promise<boolean>, seen = () => ''): Promise<void> {
  const deadline = Date.now() + eventTimeoutMs
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, `${what} within ${eventTimeoutMs / 1000} s: ${seen()}`)
    await sleep(100)
  }
}

/** Run, attach, logs, exec, stats, top, cp, health and their like. */
async function liveOn(lab: Lab): Promise<void> {
  assert.equal(await lab.ok('run', '--rm', 'busybox', 'echo', 'hello'), 'hello')
  assert.equal((await lab.docker('run', '--rm', 'busybox', 'sh', '-c', 'exit 42')).code, 42)
  const missing = await lab.docker('run', '--rm', 'busybox', '/no/such')
  assert.equal(missing.code, 127)
  assert.match(missing.err, /docker: Error response from daemon: failed to create task for container: .*no such file/)
  const piped = await lab.run('docker', ['run', '--rm', '-i', 'busybox', 'sh', '-c', 'cat; echo oops >&2'], 'typed\n')
  assert.deepEqual([piped.out, piped.err], ['typed\n', 'oops\n'])
  await lab.ok('network', 'create', 'net')
  await lab.ok(
    'run', '-d', '--name', 'web', '--network', 'net', '-p', '127.0.0.1:8080:80', '-m', '64m', '--ulimit', 'nofile=456',
    '--health-cmd', 'wget -qO- http://127.0.0.1', '--health-interval', '200ms', 'busybox', 'sh', '-c',
    'echo began; mkdir /www; echo served >/www/index.html; exec httpd -f -p 80 -h /www',
  )
  await until('health', async () => (await lab.ok('inspect', '-f', '{{.State.Health.Status}}', 'web')) === 'healthy')
  assert.equal(await lab.must('curl -s http://127.0.0.1:8080'), 'served')
  assert.equal(await lab.ok('logs', 'web'), 'began')
  assert.equal(await lab.ok('exec', 'web', 'sh', '-c', 'ulimit -n; exit 0'), '456')
  assert.equal((await lab.docker('exec', 'web', 'sh', '-c', 'exit 9')).code, 9)
  assert.equal((await lab.docker('exec', 'web', '/no/such')).code, 127)
  assert.match(await lab.ok('stats', '--no-stream', '--format', '{{.Name}} {{.MemUsage}}', 'web'), /^web .*64MiB/)
  assert.match(await lab.ok('top', 'web'), /httpd/)
  await lab.ok('update', '-m', '80m', '--memory-swap', '80m', 'web')
  assert.match(await lab.ok('stats', '--no-stream', '--format', '{{.MemUsage}}', 'web'), /80MiB/)
  await lab.ok('cp', 'web:/www/index.html', join(lab.folder, 'copied'))
  assert.match(await lab.ok('diff', 'web'), /A \/www\/index\.html/)
}

/** Pauses and commits while health checks and execs start all the time: nothing gets stuck. */
async function freezeOn(lab: Lab): Promise<void> {
  const execs = lab.sh('while docker exec web true || docker ps -q --filter name=web | grep -q .; do :; done')
  for (let round = 0; round < 5; round++) {
    await lab.ok('pause', 'web')
    assert.match((await lab.docker('exec', 'web', 'true')).err, /is paused, unpause the container before exec/)
    await lab.ok('unpause', 'web')
    await lab.ok('commit', 'web', 'kept:1')
  }
  await lab.ok('stop', '-t', '0', 'web')
  await execs
  assert.equal(await lab.ok('run', '--rm', 'kept:1', 'cat', '/www/index.html'), 'served')
  await lab.ok('start', 'web')
}

/** A frozen container that takes its time to end: waited for, whatever the shim says of the thaw. */
async function lateEndOn(lab: Lab): Promise<void> {
  for (const [name, verb] of [['forced', ['rm', '-f']], ['killed', ['kill']]] as const) {
    await lab.ok('run', '-d', '--name', name, '--network', 'none', 'busybox', 'sleep', '1d')
    await lab.ok('pause', name)
    writeFileSync(slow, '')
    assert.equal(await lab.ok(...verb, name), name)
    rmSync(slow)
  }
  assert.equal(await lab.ok('ps', '-a', '--filter', 'name=forced', '--filter', 'name=killed', '--format', '{{.Names}} {{.State}}'), 'killed exited')
  await lab.ok('rm', 'killed')
}

/** Layers out of and into containerd's content store and snapshots. */
async function imagesOn(lab: Lab): Promise<void> {
  const archive = join(lab.folder, 'kept.tar')
  await lab.ok('save', '-o', archive, 'kept:1')
  await lab.ok('rmi', 'kept:1')
  assert.match(await lab.ok('load', '-i', archive), /Loaded image: kept:1/)
  assert.equal(await lab.ok('run', '--rm', 'kept:1', 'cat', '/www/index.html'), 'served')
  await lab.must('docker export web | docker import - flat:1')
  assert.equal(await lab.ok('run', '--rm', 'flat:1', 'cat', '/www/index.html'), 'served')
  assert.match(await lab.ok('history', 'kept:1'), /echo began/)
  await lab.ok('rmi', 'kept:1', 'flat:1')
  await lab.ok('image', 'prune', '-f')
}

/** containerd killed while a process is started in a container: it is started all the same, once. */
async function cutOffOn(lab: Lab): Promise<void> {
  const pid = await lab.ok('inspect', '-f', '{{.State.Pid}}', 'web')
  const containerd = (await lab.must(`cat ${lab.folder}/run/containerd.pid`)).trim()
  writeFileSync(slow, '')
  const started = lab.docker('exec', 'web', 'sh', '-c', 'echo started | tee -a /times')
  await sleep(500)
  process.kill(Number(containerd), 'SIGKILL')
  rmSync(slow)
  assert.deepEqual(await started, { code: 0, out: 'started\n', err: '' })
  await sleep(500) // a shim that crashes does so when the process has ended
  assert.equal(await lab.ok('inspect', '-f', '{{.State.Pid}} {{.State.Running}}', 'web'), `${pid} true`)
  assert.equal(await lab.ok('exec', 'web', 'cat', '/times'), 'started')
}

/** The daemon and containerd killed: what runs goes on, and its end is seen. */
async function killsOn(lab: Lab): Promise<void> {
  const pid = await lab.ok('inspect', '-f', '{{.State.Pid}}', 'web')
  await lab.ok('run', '-d', '--name', 'teller', 'busybox', 'sh', '-c', 'while :; do echo tick; sleep 0.1; done')
  const containerd = (await lab.must(`cat ${lab.folder}/run/containerd.pid`)).trim()
  await lab.endDaemon('SIGKILL')
  await lab.startDaemon()
  assert.equal(await lab.ok('inspect', '-f', '{{.State.Pid}}', 'web'), pid)
  process.kill(Number(containerd), 'SIGKILL')
  let said = ''
  await until('an exec after containerd died', async () => {
    const { code, err } = await lab.docker('exec', 'web', 'true')
    said = `${new Date().toISOString()} ${code} ${err}`
    return code === 0
  }, () => `${said}\n${lab.log().slice(-6000)}`)
  assert.notEqual((await lab.must(`cat ${lab.folder}/run/containerd.pid`)).trim(), containerd)
  assert.equal(await lab.must('curl -s http://127.0.0.1:8080'), 'served')
  process.kill(Number(pid), 'SIGKILL')
  assert.equal(await lab.ok('wait', 'web'), '137')
  assert.match(await lab.ok('logs', '--tail', '1', 'teller'), /^tick$/)
  await lab.ok('rm', '-f', 'teller', 'web')
  await lab.expectNoLeaks()
}

for (const version of versions) {
  const skip = containerdFolder(version) === undefined && `scripts/engines could not fetch containerd ${version}`
  test(`containerd ${version}: containers, streams, images, deaths`, { skip }, async (t) => {
    const lab = await Lab.start(t, { containerd: version, flags: ['--live-restore'] })
    assert.ok((await lab.ok('version')).includes(version))
    await liveOn(lab)
    await freezeOn(lab)
    await lateEndOn(lab)
    await imagesOn(lab)
    await cutOffOn(lab)
    await killsOn(lab)
  })
}

test('the machine’s containerd: freezes and execs keep out of each other’s way', async (t) => {
  const lab = await Lab.start(t)
  t.diagnostic(spawnSync('containerd', ['--version'], { encoding: 'utf8' }).stdout.trim())
  await liveOn(lab)
  await freezeOn(lab)
  await lateEndOn(lab)
  await lab.expectNoLeaks()
})
