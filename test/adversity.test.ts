/**
 * The worst moments of a machine: a reboot, a daemon that is away while thirty containers serve,
 * files that are stale, foreign or cannot be written, containers that do not want to end, and a
 * firewall that somebody keeps flushing.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { DatabaseSync } from 'node:sqlite'
import { unmountBelow } from '../src/cli/machine.ts'
import { pidOf, readProc } from './lab/chaos.ts'
import { inventoryOf } from './lab/inventory.ts'
import { Lab, root, sleep } from './lab/lab.ts'

const serve = 'mkdir -p /www; hostname >/www/index.html; exec httpd -f -p 80 -h /www'

/** As the power button does it: processes, links, rules, mounts and /run are gone. */
async function pullThePlug(lab: Lab): Promise<void> {
  await lab.endDaemon('SIGKILL')
  const engines = ['keeper', 'containerd.toml', 'c.sock'].map((word) => () => pidOf(lab, word))
  const containers = (await lab.must('cat /sys/fs/cgroup/pids/docker/*/cgroup.procs /sys/fs/cgroup/docker/*/cgroup.procs 2>/dev/null || true'))
  for (const find of engines) {
    for (let pid = find(); pid !== undefined; pid = find()) {
      process.kill(pid, 'SIGKILL')
      await sleep(10)
    }
  }
  for (const pid of containers.split('\n').map(Number)) {
    if (pid > 0 && readProc(`/proc/${pid}/stat`) !== '') process.kill(pid, 'SIGKILL')
  }
  await lab.must(`for l in $(ip -br link | grep -oE '^(veth|br-|docker0)[^ @]*'); do ip link del $l 2>/dev/null; done
    nft flush ruleset; echo 0 >/proc/sys/net/ipv4/ip_forward; iptables -P FORWARD ACCEPT`)
  unmountBelow(lab.folder)
  rmSync(join(lab.folder, 'run'), { recursive: true })
  rmSync('/run/containerd', { recursive: true, force: true })
}

const problems = (lab: Lab): readonly string[] =>
  lab.log().split('\n').filter((line) => /level=(error|warn)/.test(line))

test('after a reboot containers with a policy run again, others have exited, networks are remade', async (t) => {
  const lab = await Lab.start(t, { flags: ['--live-restore'] })
  await lab.neighbour()
  await lab.ok('network', 'create', 'net')
  await lab.ok('run', '-d', '--name', 'always', '--restart', 'always', '--network', 'net', '-p', '5050:80', 'busybox', 'sh', '-c', serve)
  await lab.ok('run', '-d', '--name', 'unless', '--restart', 'unless-stopped', '--network', 'net', 'busybox', 'sleep', '1d')
  await lab.ok('run', '-d', '--name', 'halted', '--restart', 'unless-stopped', 'busybox', 'sleep', '1d')
  await lab.ok('stop', '-t', '0', 'halted')
  await lab.ok('run', '-d', '--name', 'plain', '-v', 'data:/data', '-p', '5051:80', 'busybox', 'sh', '-c', 'echo kept >/data/f; sleep 1d')
  await lab.ok('run', '-d', '--name', 'paused', 'busybox', 'sleep', '1d')
  await lab.ok('pause', 'paused')
  await lab.ok('run', '-d', '--rm', '--name', 'passing', 'busybox', 'sleep', '1d')
  await lab.ok('create', '--name', 'created', 'busybox', 'true')
  await sleep(200)
  await pullThePlug(lab)
  const logged = problems(lab).length
  await lab.startDaemon()
  const state = (name: string) => lab.ok('inspect', '-f', '{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}', name)
  for (const name of ['always', 'unless']) assert.match(await state(name), /^running 0 [1-9]/)
  assert.match(await state('plain'), /^exited 255 0$/)
  assert.match(await state('paused'), /^exited 255 0$/)
  assert.match(await state('halted'), /^exited 137 0$/)
  assert.match(await state('created'), /^created 0 0$/)
  assert.equal(await lab.ok('ps', '-aq', '--filter', 'name=passing'), '')
  const id = (await lab.ok('inspect', '-f', '{{.Id}}', 'always')).slice(0, 12)
  const patiently = 'curl -s -m 3 --retry 3 --retry-connrefused'
  assert.equal(await lab.must(`ip netns exec neighbour ${patiently} 198.51.100.1:5050`), id)
  assert.equal(await lab.ok('exec', 'unless', 'wget', '-qO-', 'http://always'), id)
  await lab.ok('start', 'plain', 'halted', 'created', 'paused')
  assert.equal(await lab.ok('exec', 'plain', 'cat', '/data/f'), 'kept')
  assert.deepEqual(problems(lab).slice(logged), [])
  await lab.expectNoLeaks()
})

test('thirty containers serve and are found by name while the daemon is killed and started', async (t) => {
  const lab = await Lab.start(t, { flags: ['--live-restore'] })
  await lab.neighbour()
  await lab.ok('network', 'create', 'net')
  const ports = Array.from({ length: 30 }, (_, index) => 7000 + index)
  for (const port of ports) {
    const created = await lab.api('POST', `/containers/create?name=p${port}`, {
      Image: 'busybox', Cmd: ['sh', '-c', serve],
      HostConfig: { NetworkMode: 'net', PortBindings: { '80/tcp': [{ HostPort: String(port) }] } },
    })
    assert.equal(created.status, 201, created.text)
    assert.equal((await lab.api('POST', `/containers/p${port}/start`)).status, 204)
  }
  const pid = await lab.ok('inspect', '-f', '{{.State.Pid}}', 'p7000')
  const stop = join(lab.folder, 'stop')
  const loop = (probe: string) =>
    lab.sh(`n=0; bad=0; while [ ! -e ${stop} ]; do for p in ${ports.join(' ')}; do ${probe} || { bad=$((bad+1)); echo lost $p >&2; }; n=$((n+1)); done; done; echo $n probes $bad lost`)
  await lab.must(`${ports.map((port) => `curl -s -o /dev/null -m 3 --retry 5 --retry-connrefused 127.0.0.1:${port}`).join(' && ')}`)
  const probes = [
    loop('ip netns exec neighbour curl -s -o /dev/null -m 1 198.51.100.1:$p'),
    loop('curl -s -o /dev/null -m 1 127.0.0.1:$p'),
    loop(`nsenter -t ${pid} -n -- dig +short +time=1 +tries=1 @127.0.0.11 p$p | grep -q 172`),
  ]
  await sleep(500)
  await lab.endDaemon('SIGKILL')
  await sleep(1000)
  const startedMs = performance.now()
  await lab.startDaemon()
  const tookMs = performance.now() - startedMs
  await sleep(500)
  writeFileSync(stop, '')
  for (const { out, err } of await Promise.all(probes)) assert.match(out, /^[1-9]\d* probes 0 lost$/m, err)
  t.diagnostic(`API back after ${Math.round(tookMs)} ms; probes beside it`)
  await lab.expectNoLeaks()
})

test('stale files of killed processes, and numbers that others have now, keep nobody from starting', async (t) => {
  const lab = await Lab.start(t, { flags: ['--live-restore'] })
  await lab.ok('run', '-d', '--name', 'web', '-p', '5050:80', 'busybox', 'sh', '-c', serve)
  const path = (name: string) => join(lab.folder, name)
  await lab.endDaemon('SIGKILL')
  for (const word of ['keeper', 'containerd.toml']) process.kill(pidOf(lab, word) ?? 0, 'SIGKILL')
  // Somebody else has the numbers by now.
  for (const name of ['data/daemon.lock', 'run/daemon.lock', 'pid']) writeFileSync(path(name), String(process.pid))
  for (const name of ['data/daemon.lock', 'run/daemon.lock', 'pid']) writeFileSync(path(`${name}.mark`), `${process.pid} 1\n`)
  writeFileSync(path('run/keeper.pid'), `${process.pid} 1\n`)
  writeFileSync(path('run/containerd.pid'), `${process.pid}\n`)
  writeFileSync(path('run/containerd.pid.json'), '{"pid": ')
  assert.ok(readdirSync(path('run')).includes('k.sock'), 'the socket of the killed keeper is there')
  await lab.startDaemon()
  assert.match(await lab.must('curl -s -m 3 127.0.0.1:5050'), /^[0-9a-f]{12}$/)
  await lab.expectNoLeaks()
})

function daemonOn(lab: Lab, data: string): { readonly code: number | null; readonly text: string } {
  const file = (name: string) => join(lab.folder, name)
  const ran = spawnSync(join(root, 'portolan'), [
    'daemon', '--host', `unix://${file('e.sock')}`, '--data-root', data, '--exec-root', file('run2'), '--pidfile', file('pid2'),
  ], { encoding: 'utf8', timeout: 30_000 })
  return { code: ran.status, text: ran.stdout + ran.stderr }
}

test('a data root of a newer version, a damaged one and a full disk are refused with a sentence', async (t) => {
  const lab = Lab.idle(t)
  const folder = (name: string) => join(lab.folder, name)
  for (const [name, change, sentence] of [
    ['newer', 'PRAGMA user_version = 4711', /has schema 4711, this portolan knows \d+: start the newer portolan that wrote it/],
    ['foreign', 'PRAGMA application_id = 1', /is not a state file of portolan: choose another --data-root/],
  ] as const) {
    mkdirSync(folder(name))
    const database = new DatabaseSync(join(folder(name), 'portolan.db'))
    database.exec(`CREATE TABLE document (collection TEXT, id TEXT, body TEXT); PRAGMA application_id = 1349481076; ${change}`)
    database.close()
    const ran = daemonOn(lab, folder(name))
    assert.equal(ran.code, 1)
    assert.match(ran.text, sentence)
  }
  mkdirSync(folder('damaged'))
  writeFileSync(join(folder('damaged'), 'portolan.db'), 'no database at all, but long enough to look like one'.repeat(100))
  const damaged = daemonOn(lab, folder('damaged'))
  assert.equal(damaged.code, 1)
  assert.match(damaged.text, /failed to start daemon: .*portolan\.db/)
  mkdirSync(folder('full'))
  await lab.must(`mount -t tmpfs -o size=64k tmpfs ${folder('full')} && dd if=/dev/zero of=${folder('full')}/fill bs=1k 2>/dev/null || true`)
  const full = daemonOn(lab, folder('full'))
  assert.equal(full.code, 1)
  assert.match(full.text, /failed to start daemon: .*(no space left|disk is full|ENOSPC)/)
  assert.doesNotMatch(full.text, /\n {4}at /, 'a sentence, no stack')
})

test('on a disk that fills up a run is refused whole', async (t) => {
  const lab = await Lab.start(t)
  await lab.endDaemon()
  const data = join(lab.folder, 'data')
  await lab.must(`mv ${data} ${data}.old && mkdir ${data} && mount -t tmpfs -o size=12m tmpfs ${data}`)
  await lab.startDaemon()
  await lab.loadBusybox()
  await lab.must(`dd if=/dev/zero of=${data}/fill bs=4k 2>/dev/null || true`)
  const before = inventoryOf(lab, new Set())
  const ran = await lab.docker('run', '-d', '--name', 'half', '-p', '5050:80', 'busybox', 'sleep', '1d')
  assert.notEqual(ran.code, 0)
  assert.match(ran.err, /no space left on device|disk is full/i)
  await lab.must(`rm ${data}/fill`)
  if ((await lab.ok('ps', '-aq')) !== '') await lab.ok('rm', '-f', 'half')
  assert.deepEqual(inventoryOf(lab, new Set()), before)
  await lab.ok('run', '--rm', '-p', '5050:80', 'busybox', 'true')
  await lab.endDaemon()
})

test('teardown ends containers that ignore SIGTERM, after a SIGKILL of everything too', async (t) => {
  const lab = await Lab.start(t, { flags: ['--live-restore'] })
  await lab.ok('network', 'create', 'net')
  await lab.ok('run', '-d', '--name', 'deaf', '--stop-timeout', '1', '--network', 'net', '-p', '5050:80', 'busybox', 'sh', '-c', 'trap "" TERM; while :; do sleep 1; done')
  await lab.ok('run', '-d', '--name', 'frozen', '--stop-timeout', '1', 'busybox', 'sleep', '1d')
  await lab.ok('pause', 'frozen')
  const ids = new Set((await lab.ok('ps', '-q', '--no-trunc')).split('\n'))
  await lab.endDaemon('SIGKILL')
  for (const word of ['keeper', 'containerd.toml']) process.kill(pidOf(lab, word) ?? 0, 'SIGKILL')
  const flags = ['--data-root', join(lab.folder, 'data'), '--exec-root', join(lab.folder, 'run'), '--pidfile', join(lab.folder, 'pid')]
  const ran = spawnSync(join(root, 'portolan'), ['daemon', ...flags, '--teardown', '--log-level', 'error'], { encoding: 'utf8', timeout: 60_000 })
  assert.deepEqual([ran.status, ran.stderr], [0, ''])
  const left = inventoryOf(lab, ids)
  assert.deepEqual(left['links'], ['lo'])
  for (const kind of ['shims', 'shim sockets', 'cgroups', 'namespaces', 'FIFO folders', 'states of runc', 'bundles']) {
    assert.deepEqual(left[kind], [], kind)
  }
  assert.deepEqual(left['mounts']?.filter((path) => path.startsWith(lab.folder)), [])
  assert.equal(await lab.must('iptables-save | grep -c ^-A || true'), '0')
  assert.equal(pidOf(lab, 'keeper') ?? pidOf(lab, 'containerd'), undefined)
})

test('while the firewall is being flushed, an internal network stays closed', async (t) => {
  const lab = await Lab.start(t)
  await lab.neighbour()
  await lab.must('ip netns exec neighbour ip route add 172.16.0.0/12 via 198.51.100.1')
  await lab.ok('network', 'create', '--internal', 'closed')
  await lab.ok('network', 'create', 'open')
  await lab.ok('run', '-d', '--name', 'in', '--network', 'closed', 'busybox', 'sh', '-c', serve)
  await lab.ok('run', '-d', '--name', 'out', '--network', 'open', 'busybox', 'sh', '-c', serve)
  await lab.ok('run', '-d', '--name', 'mate', '--network', 'closed', 'busybox', 'sleep', '1d')
  const address = (name: string) => lab.ok('inspect', '-f', '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}', name)
  const [inside, outside] = [await address('in'), await address('out')]
  // No gateway is told to the container: the attacker inside has set one himself.
  const pid = await lab.ok('inspect', '-f', '{{.State.Pid}}', 'in')
  await lab.must(`nsenter -t ${pid} -n -- ip route add default via $(echo ${inside} | sed 's/\\.[0-9]*$/.1/')`)
  await lab.must('ip netns exec neighbour sh -c "while :; do echo out | busybox nc -l -p 81; done" >/dev/null 2>&1 &')
  const stop = join(lab.folder, 'stop')
  const flushing = lab.sh(`while [ ! -e ${stop} ]; do iptables -P FORWARD ACCEPT; for t in raw filter nat; do iptables -t $t -F; done; sleep 0.02; done`)
  const reached: string[] = []
  for (let round = 0; round < 4; round++) {
    const tries = [
      `nsenter -t ${pid} -n -- ping -c 2 -i 0.2 -W 1 198.51.100.2`,
      `nsenter -t ${pid} -n -- curl -s -m 1 198.51.100.2:81`,
      `nsenter -t ${pid} -n -- curl -s -m 1 ${outside}`,
      `ip netns exec neighbour curl -s -m 1 ${inside}`,
      `ip netns exec neighbour ping -c 2 -i 0.2 -W 1 ${inside}`,
      `docker exec out timeout 1 wget -qO- http://${inside}`,
    ]
    await Promise.all(tries.map(async (line) => {
      if ((await lab.sh(line)).code === 0) reached.push(line)
    }))
  }
  assert.equal((await lab.ok('exec', 'mate', 'wget', '-qO-', 'http://in')).length, 12, 'its own network works')
  writeFileSync(stop, '')
  await flushing
  assert.deepEqual(reached, [])
  await lab.must('iptables -P FORWARD DROP')
  await lab.expectNoLeaks()
})
