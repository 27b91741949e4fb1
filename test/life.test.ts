/**
 * What lives on when a process of the engine dies: SIGKILL of daemon, keeper and containerd, each
 * in the middle of a run of operations; everything is adopted or cleaned, and nothing leaks.
 */
import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import { hasExited } from '../src/kernel/process.ts'
import { readProc } from './lab/chaos.ts'
import { Lab, sleep } from './lab/lab.ts'

const server = 'mkdir -p /www; echo alive >/www/index.html; httpd -p 80 -h /www; i=0; while :; do echo line $i; i=$((i+1)); sleep 0.2; done'

/** A process of this lab's engine, found by a word of its command line and the lab's folder. */
function pidOf(lab: Lab, word: string): number | undefined {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    try {
      const words = readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0')
      if (words.some((w) => w.includes(word)) && words.some((w) => w.includes(lab.folder))) return Number(name)
    } catch (error) {
      assert.ok(error instanceof Error) // ended while we looked
    }
  }
  return undefined
}

function kill(lab: Lab, word: string): void {
  const pid = pidOf(lab, word)
  assert.ok(pid !== undefined, `a process with "${word}" runs`)
  process.kill(pid, 'SIGKILL')
}

async function populated(t: test.TestContext): Promise<Lab> {
  const lab = await Lab.start(t, { flags: ['--live-restore'] })
  await lab.neighbour()
  await lab.ok('network', 'create', 'net')
  await lab.ok('run', '-d', '--name', 'web', '--network', 'net', '-p', '5050:80', 'busybox', 'sh', '-c', server)
  await lab.ok('run', '-d', '--name', 'client', '--network', 'net', 'busybox', 'sleep', '1d')
  return lab
}

/** A server that has just been started may not listen yet. */
const patiently = 'curl -s -m 3 --retry 3 --retry-connrefused'
const fromOutside = `ip netns exec neighbour ${patiently} 198.51.100.1:5050`

/** The container answers from everywhere and by name. */
async function expectAlive(lab: Lab): Promise<void> {
  assert.equal(await lab.must(fromOutside), 'alive')
  assert.equal(await lab.must(`${patiently} 127.0.0.1:5050`), 'alive')
  assert.equal(await lab.ok('exec', 'client', 'timeout', '3', 'wget', '-qO-', 'http://web'), 'alive')
}

/** Log lines are consecutive: nothing lost, nothing twice. */
async function expectWholeLog(lab: Lab): Promise<void> {
  const lines = (await lab.ok('logs', 'web')).split('\n').filter((line) => line.startsWith('line '))
  assert.ok(lines.length > 3)
  lines.forEach((line, index) => assert.equal(line, `line ${index}`))
}

test('SIGKILL of the daemon: containers, ports, names and logs go on; the next daemon adopts them', async (t) => {
  const lab = await populated(t)
  await expectAlive(lab)
  const before = await lab.ok('inspect', '-f', '{{.State.Pid}} {{.State.StartedAt}} {{json .NetworkSettings}}', 'web')
  const netns = await lab.must(`docker exec client sh -c 'ip -o addr; ip route'`)
  await lab.endDaemon('SIGKILL')
  assert.equal(await lab.must(fromOutside), 'alive')
  const pid = /^\d+/.exec(before)?.[0]
  assert.match(await lab.must(`nsenter -t ${pid} -n -- dig +short +time=2 +tries=1 @127.0.0.11 client`), /^172\.18\.0\.3$/)
  await sleep(600)
  await lab.startDaemon()
  await expectAlive(lab)
  assert.equal(await lab.ok('inspect', '-f', '{{.State.Pid}} {{.State.StartedAt}} {{json .NetworkSettings}}', 'web'), before)
  assert.equal(await lab.must(`docker exec client sh -c 'ip -o addr; ip route'`), netns)
  await expectWholeLog(lab)
  await lab.ok('stop', '-t', '0', 'web')
  await lab.ok('start', 'web')
  await expectAlive(lab)
  await lab.expectNoLeaks()
})

test('an exit while the daemon is away is told by the next one, with its code and last words', async (t) => {
  const lab = await Lab.start(t, { flags: ['--live-restore'] })
  await lab.ok('run', '-d', '--name', 'short', '-p', '6060:80', 'busybox', 'sh', '-c', 'sleep 1; echo last words; exit 7')
  await lab.endDaemon('SIGKILL')
  await sleep(1500)
  await lab.startDaemon()
  assert.equal(await lab.ok('inspect', '-f', '{{.State.Status}} {{.State.ExitCode}}', 'short'), 'exited 7')
  assert.equal(await lab.ok('logs', 'short'), 'last words')
  await lab.expectNoLeaks()
})

interface HealthView {
  readonly Status: string
  readonly FailingStreak: number
  readonly Log: readonly { readonly Start: string; readonly ExitCode: number; readonly Output: string }[]
}

/** Health as inspect shows it, as soon as `wanted` is true of it. */
async function healthOf(lab: Lab, name: string, wanted: (health: HealthView) => boolean = () => true): Promise<HealthView> {
  for (let tries = 0; ; tries++) {
    const health: HealthView = JSON.parse(await lab.ok('inspect', '-f', '{{json .State.Health}}', name))
    if (wanted(health)) return health
    assert.ok(tries < 100, JSON.stringify(health))
    await sleep(100)
  }
}

test('what is known of a health outlives the daemon, killed or ended; nothing starts anew', async (t) => {
  const lab = await Lab.start(t, { flags: ['--live-restore'] })
  const probed = (name: string, command: string, interval: string, ...more: readonly string[]) =>
    lab.ok('run', '-d', '--name', name, '--health-cmd', command, '--health-interval', interval, ...more, 'busybox', 'sleep', '1d')
  await probed('well', 'echo fine', '1h', '--health-start-period', '20s', '--health-start-interval', '100ms')
  await probed('ill', 'echo no; exit 3', '100ms', '--health-retries', '2')
  await probed('failing', 'echo not yet; exit 1', '300ms', '--health-retries', '10000')
  await probed('gone', 'true', '100ms')
  const well = await healthOf(lab, 'well', ({ Status }) => Status === 'healthy')
  await healthOf(lab, 'ill', ({ Status, Log }) => Status === 'unhealthy' && Log.length === 5)
  await healthOf(lab, 'gone', ({ Status }) => Status === 'healthy')
  await lab.ok('kill', 'gone')
  const gone = await healthOf(lab, 'gone')
  assert.equal(gone.Status, 'unhealthy')
  const since = await lab.must('date +%s.%N')
  for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
    const before = await healthOf(lab, 'failing', ({ FailingStreak }) => FailingStreak > 2)
    await lab.endDaemon(signal)
    await lab.startDaemon()
    assert.deepEqual(await healthOf(lab, 'well'), well)
    assert.equal((await healthOf(lab, 'ill')).Status, 'unhealthy')
    assert.deepEqual(await healthOf(lab, 'gone'), gone)
    assert.equal(await lab.ok('ps', '--filter', 'health=healthy', '--format', '{{.Names}}'), 'well')
    const after = await healthOf(lab, 'failing', ({ FailingStreak }) => FailingStreak > before.FailingStreak + 2)
    assert.equal(after.Status, 'starting')
    assert.ok(after.Log.every(({ Output }) => Output === 'not yet\n'), JSON.stringify(after.Log.map(({ Start, ExitCode, Output }) => [Start, ExitCode, Output])))
  }
  const told = await lab.ok('events', '--since', since, '--until', await lab.must('date +%s.%N'), '--filter', 'event=health_status')
  assert.equal(told, '')
  // A start is a new beginning, of which the old results are told.
  const wasIll = await healthOf(lab, 'ill')
  await lab.ok('stop', '-t', '0', 'ill')
  await lab.ok('start', 'ill')
  const again = await healthOf(lab, 'ill', ({ Status }) => Status === 'unhealthy')
  assert.equal(again.Log.length, 5)
  assert.ok(wasIll.FailingStreak > 2)
  await lab.expectNoLeaks()
})

test('SIGKILL of the keeper: names, ports and logs are back within a second', async (t) => {
  const lab = await populated(t)
  kill(lab, 'keeper')
  await sleep(1000)
  await expectAlive(lab)
  await expectWholeLog(lab)
  await lab.expectNoLeaks()
})

test('SIGKILL of containerd: containers do not notice, and new ones start', async (t) => {
  const lab = await populated(t)
  kill(lab, 'containerd.toml')
  assert.equal(await lab.must(fromOutside), 'alive')
  await sleep(1500)
  await expectAlive(lab)
  assert.equal(await lab.ok('run', '--rm', '--network', 'net', 'busybox', 'wget', '-qO-', 'http://web'), 'alive')
  await lab.ok('stop', '-t', '0', 'web')
  assert.equal(await lab.ok('inspect', '-f', '{{.State.Status}}', 'web'), 'exited')
  await lab.expectNoLeaks()
})

for (const victim of ['daemon', 'keeper', 'containerd'] as const) {
  test(`SIGKILL of ${victim} in the middle of a run of operations leaves nothing half-made`, async (t) => {
    const lab = await Lab.start(t, { flags: ['--live-restore'] })
    await lab.ok('network', 'create', 'busy')
    const operations = Array.from({ length: 6 }, (_, i) =>
      lab.docker('run', '-d', '--name', `c${i}`, '--network', 'busy', '-p', `${7000 + i}:80`, 'busybox', 'sleep', '1d'))
    await sleep(400)
    if (victim === 'daemon') {
      await lab.endDaemon('SIGKILL')
      await Promise.all(operations)
      await lab.startDaemon()
    } else {
      kill(lab, victim === 'keeper' ? 'keeper' : 'containerd.toml')
      await Promise.all(operations)
      await sleep(1500)
    }
    // Whatever says it runs does run; all of it can be used and removed.
    const running = (await lab.ok('ps', '-q')).split('\n').filter((id) => id !== '')
    for (const id of running) await lab.ok('exec', id, 'true')
    await lab.ok('run', '--rm', '--network', 'busy', 'busybox', 'true')
    await lab.expectNoLeaks()
  })
}

test('a shim that does not answer is ended: that of a start that was cut off, and when its container is', async (t) => {
  const lab = await Lab.start(t, { flags: ['--live-restore'] })
  const idOf = (name: string) => lab.ok('inspect', '-f', '{{.Id}}', name)
  const stopShim = (id: string) => {
    const pid = readdirSync('/proc').filter((one) => /^\d+$/.test(one)).find((one) => {
      const words = readProc(`/proc/${one}/cmdline`).split('\0')
      return words[0]?.includes('containerd-shim') === true && words.includes(id)
    })
    process.kill(Number(pid ?? assert.fail(`no shim of ${id}`)), 'SIGSTOP')
  }
  for (const name of ['cut', 'stuck', 'fine']) await lab.ok('run', '-d', '--name', name, 'busybox', 'sleep', '1d')
  const [cut, stuck] = [await idOf('cut'), await idOf('stuck')]
  const pid = Number(await lab.ok('inspect', '-f', '{{.State.Pid}}', 'cut'))
  await lab.endDaemon('SIGKILL')
  // As the daemon leaves it that is killed before it has heard of the start.
  const db = new DatabaseSync(join(lab.folder, 'data/portolan.db'))
  db.prepare("UPDATE document SET body = json_set(body, '$.state.status', 'created', '$.state.pid', 0) WHERE id = ? AND collection = 'containers'").run(cut)
  db.close()
  stopShim(cut)
  await lab.startDaemon()
  assert.equal(await lab.ok('ps', '-a', '--format', '{{.Names}} {{.State}}'), 'fine running\nstuck running\ncut created')
  assert.ok(hasExited(pid), 'the container of the start that was cut off has ended')
  await lab.ok('start', 'cut')
  stopShim(stuck)
  await lab.ok('rm', '-f', 'stuck', 'cut')
  await lab.ok('exec', 'fine', 'true')
  await lab.expectNoLeaks()
})

test('a clean stop without live-restore stops containers; the next start restarts those that ask for it', async (t) => {
  const lab = await Lab.start(t)
  await lab.ok('run', '-d', '--name', 'always', '--restart', 'always', '-p', '5050:80', 'busybox', 'sleep', '1d')
  await lab.ok('run', '-d', '--name', 'once', 'busybox', 'sleep', '1d')
  await lab.endDaemon()
  assert.equal(await lab.must('ip -br link | grep -c veth || true'), '0')
  await lab.startDaemon()
  assert.equal(await lab.ok('inspect', '-f', '{{.State.Status}}', 'always', 'once'), 'running\nexited')
  await lab.expectNoLeaks()
})

test('a flushed firewall is put back without a request', async (t) => {
  const lab = await populated(t)
  const before = await lab.must('iptables-save | grep ^-A')
  await lab.must('iptables -F; iptables -X; iptables -t nat -F; iptables -t nat -X; iptables -t raw -F')
  for (let tries = 0; tries < 40; tries++) {
    if ((await lab.sh('iptables-save | grep ^-A')).out.trimEnd() === before) break
    await sleep(250)
  }
  assert.equal(await lab.must('iptables-save | grep ^-A'), before)
  await expectAlive(lab)
  await lab.expectNoLeaks()
})

test('restart policies count, back off and give up', async (t) => {
  const lab = await Lab.start(t)
  await lab.ok('run', '-d', '--name', 'failing', '--restart', 'on-failure:2', 'busybox', 'false')
  for (let tries = 0; tries < 60; tries++) {
    if ((await lab.ok('inspect', '-f', '{{.State.Status}} {{.RestartCount}}', 'failing')) === 'exited 2') break
    await sleep(100)
  }
  assert.equal(await lab.ok('inspect', '-f', '{{.State.Status}} {{.RestartCount}}', 'failing'), 'exited 2')
  await lab.expectNoLeaks()
})
