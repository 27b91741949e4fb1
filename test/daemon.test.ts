/** The daemon as a process: signals, locks, adoption, configuration, addresses. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { Lab, root, sleep } from './lab/lab.ts'

const field = (value: unknown, name: string): unknown =>
  typeof value === 'object' && value !== null ? Reflect.get(value, name) : undefined

function daemon(...args: readonly string[]) {
  const ran = spawnSync(join(root, 'portolan'), ['daemon', ...args], {
    encoding: 'utf8',
    timeout: 30_000,
  })
  return { code: ran.status, text: ran.stdout + ran.stderr }
}

const pidIn = (path: string): number => Number(readFileSync(path, 'utf8').trim().split(' ')[0])
/** What nobody has waited for yet counts as gone. */
const lives = (pid: number): boolean =>
  existsSync(`/proc/${pid}/stat`) && !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ')

test('ping, version and info look like an engine', async (t) => {
  const lab = await Lab.start(t, { busybox: false })
  const version = await lab.api('GET', '/v1.41/version')
  assert.equal(field(version.json, 'ApiVersion'), '1.51')
  assert.match(String(field(version.json, 'Version')), /^28\./)
  const info = await lab.api('GET', '/info')
  assert.equal(field(info.json, 'OSType'), 'linux')
  assert.equal(field(field(info.json, 'FirewallBackend'), 'Driver'), 'iptables')
  assert.match(await lab.ok('version'), /Server: Portolan/)
  assert.match(await lab.ok('info'), /Storage Driver: overlay2/)
  assert.equal((await lab.api('GET', '/swarm')).status, 503)
  assert.equal((await lab.api('POST', '/build')).status, 501)
  assert.equal((await lab.api('GET', '/nowhere')).text, '{"message":"page not found"}\n')
})

test('SIGTERM ends everything, SIGKILL nothing but the daemon, live-restore keeps', async (t) => {
  const lab = await Lab.start(t, { busybox: false })
  const [keeper, containerd] = ['keeper.pid', 'containerd.pid'].map((name) =>
    join(lab.folder, 'run', name),
  )
  assert.ok(keeper !== undefined && containerd !== undefined)
  const first = [pidIn(keeper), pidIn(containerd)]
  await lab.endDaemon('SIGKILL')
  assert.deepEqual(first.map(lives), [true, true])
  await lab.startDaemon()
  assert.deepEqual([pidIn(keeper), pidIn(containerd)], first, 'both adopted')
  await lab.endDaemon()
  assert.deepEqual(first.map(lives), [false, false])
  assert.equal(existsSync(join(lab.folder, 'pid')), false)

  await lab.startDaemon(['--live-restore'])
  const second = [pidIn(keeper), pidIn(containerd)]
  await lab.endDaemon()
  assert.deepEqual(second.map(lives), [true, true])
  await lab.startDaemon()
  assert.deepEqual([pidIn(keeper), pidIn(containerd)], second)
})

test('an engine that was started in a login session does not need it', async (t) => {
  const before = process.env['XDG_RUNTIME_DIR']
  process.env['XDG_RUNTIME_DIR'] = '/run/user/gone'
  t.after(() => {
    if (before === undefined) delete process.env['XDG_RUNTIME_DIR']
    else process.env['XDG_RUNTIME_DIR'] = before
  })
  const lab = await Lab.start(t)
  await lab.ok('run', '-d', '--name', 'c1', 'busybox', 'sleep', '1d')
  assert.equal(await lab.ok('exec', 'c1', 'echo', 'hi'), 'hi')
  await lab.ok('rm', '-f', 'c1')
})

test('a second daemon on the same roots is refused and harms nothing', async (t) => {
  const lab = await Lab.start(t, { busybox: false })
  const socket = `unix://${join(lab.folder, 'other.sock')}`
  const [data, run] = [join(lab.folder, 'data'), join(lab.folder, 'run')]
  const other = (folder: string) => join(lab.folder, folder)
  const cases: readonly [string, string, string][] = [
    [data, other('run2'), other('pid2')],
    [other('data2'), run, other('pid2')],
    [other('data2'), other('run2'), other('pid')],
  ]
  for (const [dataRoot, execRoot, pid] of cases) {
    const ran = daemon(
      '--host',
      socket,
      '--data-root',
      dataRoot,
      '--exec-root',
      execRoot,
      '--pidfile',
      pid,
    )
    assert.equal(ran.code, 1, ran.text)
    assert.match(ran.text, new RegExp(`process with PID ${lab.daemonPid} is still running`))
  }
  assert.equal((await lab.api('GET', '/_ping')).status, 200)
})

test('SIGHUP reads the file again and says so as an event', async (t) => {
  const lab = await Lab.start(t, { busybox: false })
  const file = join(lab.folder, 'daemon.json')
  writeFileSync(file, '{"labels": ["tier=old"]}')
  await lab.endDaemon()
  await lab.startDaemon(['--config-file', file])
  writeFileSync(file, '{"labels": ["tier=new"], "live-restore": false}')
  process.kill(lab.daemonPid, 'SIGHUP')
  const labels = async () => field((await lab.api('GET', '/info')).json, 'Labels')
  for (let tries = 0; tries < 100 && String(await labels()) !== 'tier=new'; tries++) await sleep(20)
  assert.deepEqual(await labels(), ['tier=new'])
  const events = await lab.api(
    'GET',
    `/events?since=1&until=${Date.now() / 1000}&filters={"type":["daemon"]}`,
  )
  assert.match(events.text, /"Action":"reload"/)
  writeFileSync(file, '{"nosuch": 1}')
  process.kill(lab.daemonPid, 'SIGHUP')
  assert.equal((await lab.api('GET', '/_ping')).status, 200)
})

test('events stream live, filtered, and end at until', async (t) => {
  const lab = await Lab.start(t, { busybox: false })
  const until = Date.now() / 1000 + 1
  const filters = encodeURIComponent('{"type":["network"],"event":["create"]}')
  const stream = lab.api('GET', `/events?filters=${filters}&until=${until}`)
  await sleep(50)
  await lab.ok('network', 'create', 'seen')
  await lab.ok('network', 'rm', 'seen')
  const { text } = await stream
  const lines = text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown)
  assert.equal(lines.length, 1)
  assert.equal(field(lines[0], 'Action'), 'create')
  assert.equal(field(lines[0], 'scope'), 'local')
  assert.equal(field(field(field(lines[0], 'Actor'), 'Attributes'), 'name'), 'seen')
  for (const type of ['application/jsonl', 'application/x-ndjson', 'application/json-seq']) {
    const past = `/events?since=1&until=${Date.now() / 1000}&filters=${filters}`
    const { headers, text } = await lab.api('GET', past, undefined, { Accept: type })
    assert.equal(headers['content-type'], type)
    assert.match(text, type.endsWith('seq') ? /^\x1e\{.*\}\n$/ : /^\{.*\}\n$/)
  }
})

test('what the kernel lost comes back', async (t) => {
  const lab = await Lab.start(t, { busybox: false })
  await lab.ok('network', 'create', '--subnet', '10.77.0.0/24', 'healed')
  await sleep(1600) // later than what counts as an echo of the create
  await lab.must('ip link del $(ip -br link | grep -o "^br-[0-9a-f]*")')
  for (let tries = 0; tries < 100; tries++) {
    if ((await lab.must('ip -br address')).includes('10.77.0.1/24')) return
    await sleep(50)
  }
  assert.fail('the bridge did not come back')
})

test('TCP asks for client certificates', async (t) => {
  const lab = await Lab.start(t, { busybox: false })
  const key = (name: string) => join(lab.folder, name)
  const make = (name: string, extra: string) =>
    lab.must(
      `openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ${key(name)}.key -subj /CN=${name} ` +
        `-out ${key(name)}.csr 2>/dev/null && openssl x509 -req -in ${key(name)}.csr ${extra} -out ${key(name)}.pem -days 2 2>/dev/null`,
    )
  await make('ca', `-signkey ${key('ca')}.key`)
  writeFileSync(key('san'), 'subjectAltName=IP:127.0.0.1')
  const signed = `-CA ${key('ca')}.pem -CAkey ${key('ca')}.key -CAcreateserial -extfile ${key('san')}`
  await make('server', signed)
  await make('client', signed)
  await lab.endDaemon()
  await lab.startDaemon([
    '-H',
    'tcp://127.0.0.1:2376',
    '--tlsverify',
    '--tlscacert',
    `${key('ca')}.pem`,
    '--tlscert',
    `${key('server')}.pem`,
    '--tlskey',
    `${key('server')}.key`,
  ])
  const tls = ['-H', 'tcp://127.0.0.1:2376', '--tlsverify', '--tlscacert', `${key('ca')}.pem`]
  const certificate = ['--tlscert', `${key('client')}.pem`, '--tlskey', `${key('client')}.key`]
  const ask = ['version', '--format', '{{.Server.APIVersion}}']
  assert.equal((await lab.run('docker', [...tls, ...certificate, ...ask])).out.trim(), '1.51')
  const stranger = await lab.run('docker', [...tls, ...ask])
  assert.notEqual(stranger.code, 0)
  const plain = await lab.run('docker', ['-H', 'tcp://127.0.0.1:2376', ...ask])
  assert.notEqual(plain.code, 0)
})

test('bad configuration ends with a sentence, before anything is touched', () => {
  assert.deepEqual(daemon('--nosuch'), {
    code: 1,
    text: "unknown flag: --nosuch\nSee 'portolan daemon --help'.\n",
  })
  assert.match(
    daemon('--icc=false', '--iptables=false').text,
    /^You specified --iptables=false with --icc=false/,
  )
  assert.deepEqual(daemon('--validate'), { code: 0, text: 'configuration OK\n' })
  assert.match(daemon('--help').text, /Usage: {2}portolan daemon \[OPTIONS\][^]*--userland-proxy/)
})

test('teardown leaves nothing in the kernel, and the state for the next start', async (t) => {
  // Earlier tests of this file left rules and forwarding behind, as a daemon's end does.
  spawnSync('sh', [
    '-c',
    'iptables -P FORWARD ACCEPT; for t in filter nat raw; do iptables -t $t -F; iptables -t $t -X; done',
  ])
  writeFileSync('/proc/sys/net/ipv4/ip_forward', '0')
  const lab = await Lab.start(t, { busybox: false })
  await lab.ok('network', 'create', '--subnet', '10.78.0.0/24', 'kept')
  await lab.endDaemon()
  const roots = [
    '--data-root',
    join(lab.folder, 'data'),
    '--exec-root',
    join(lab.folder, 'run'),
    '--pidfile',
    join(lab.folder, 'pid'),
  ]
  const log = await lab.must(`cat ${lab.folder}/run/containerd.log`)
  assert.deepEqual(daemon(...roots, '--teardown', '--log-level', 'error'), { code: 0, text: '' })
  assert.equal(await lab.must(`cat ${lab.folder}/run/containerd.log`), log, 'containerd is not started for it')
  assert.equal(await lab.must('ip -br link | grep -vE "^(lo|lan)" || true'), '')
  const rules = (await lab.must('iptables-save')).split('\n').filter((line) => line.startsWith('-'))
  assert.deepEqual(rules, [])
  assert.match(await lab.must('iptables -S FORWARD'), /-P FORWARD ACCEPT/)
  assert.equal(await lab.must('cat /proc/sys/net/ipv4/ip_forward'), '0')
  await lab.startDaemon()
  assert.match(await lab.ok('network', 'inspect', 'kept'), /10\.78\.0\.0\/24/)
})

test('another firewall backend takes over, nothing of the former is left', async (t) => {
  const lab = await Lab.start(t, { busybox: false })
  await lab.endDaemon()
  await lab.startDaemon(['--firewall-backend', 'nftables'])
  assert.doesNotMatch(await lab.must('iptables-save'), /DOCKER/)
  assert.match(await lab.must('nft list ruleset'), /table ip docker-bridges/)
  await lab.endDaemon()
  await lab.startDaemon()
  assert.match(await lab.must('iptables-save'), /-A FORWARD -j DOCKER-USER/)
  assert.doesNotMatch(await lab.must('nft list tables'), /docker-bridges/)
})
