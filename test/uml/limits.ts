/**
 * Runs inside a user-mode-linux guest: an engine on cgroup v2 and AppArmor, which the host may
 * lack. This kernel has one processor, no cpuset controller and no nftables for IP: containers
 * are without network, processors are not chosen. Starting one takes seconds, so there are few.
 */
import assert from 'node:assert/strict'
import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import { Lab } from '../lab/lab.ts'

const flags = ['--bridge=none', '--iptables=false', '--ip6tables=false']
const profiles = '/sys/kernel/security/apparmor/profiles'
const confined = 'docker-default (enforce)'
const noParser = existsSync('/sbin/apparmor_parser') ? false : 'the Debian package apparmor could not be had'
let lab: Lab

before(async () => { lab = await Lab.start(undefined, { flags }) })
after(() => lab.stop())

const run = (...args: readonly string[]) => lab.docker('run', '--network', 'none', ...args)
/** Runs lines of shell in a container of its own; answers what they printed, errors included. */
async function inside(options: readonly string[], ...lines: readonly string[]): Promise<string> {
  const { code, out, err } = await run('--rm', ...options, 'busybox', 'sh', '-c', `exec 2>&1; ${lines.join('; ')}`)
  assert.equal(code, 0, out + err)
  return out.trimEnd()
}
const exec = (...args: readonly string[]) => lab.ok('exec', ...args)
const hostFile = (path: string): string => readFileSync(path, 'utf8').trim()

test('limits are in the files of cgroup v2, and update changes them while the container runs', async () => {
  const info = await lab.ok('info', '-f', '{{.CgroupDriver}} {{.CgroupVersion}} {{json .SecurityOptions}}')
  assert.match(info, /^cgroupfs 2 .*name=cgroupns/)
  const limits = '-m 64m --cpus 0.5 --cpu-shares 512 --pids-limit 50 --memory-reservation 32m'
  const { out } = await run('-d', '--name', 'c1', ...limits.split(' '), 'busybox', 'sleep', '1d')
  const folder = join('/sys/fs/cgroup/docker', out.trim())
  const shown = () => ['memory.max', 'memory.low', 'cpu.max', 'cpu.weight', 'pids.max']
    .map((file) => hostFile(join(folder, file))).join(' ')
  assert.equal(shown(), '67108864 33554432 50000 100000 20 50')
  await lab.ok('update', '-m', '100m', '--memory-swap', '200m', '--cpus', '0.8', '--pids-limit', '80', 'c1')
  assert.equal(shown(), '104857600 33554432 80000 100000 20 80')
  const { text } = await lab.api('GET', '/containers/c1/stats?stream=false&one-shot=true')
  assert.match(text, /"pids_stats":\{"current":1,"limit":80\}/)
  assert.match(text, /"memory_stats":\{"usage":[1-9]\d*,.*"limit":104857600/)
  await lab.ok('pause', 'c1')
  assert.equal(hostFile(join(folder, 'cgroup.freeze')), '1')
  await lab.ok('unpause', 'c1')
  assert.equal(hostFile(join(folder, 'cgroup.freeze')), '0')
})

test('inside, the cgroup is the root, read-only, and devices are allowed by a program in the kernel', async () => {
  const lines = 'cat /proc/self/cgroup; mkdir /sys/fs/cgroup/x; mknod /kmsg c 1 11; : </kmsg'
  const said = await lab.docker('exec', 'c1', 'sh', '-c', lines)
  assert.equal(said.out.trim(), '0::/')
  assert.match(said.err, /x': Read-only file system[^]*kmsg: Operation not permitted/)
})

test('containers and what is executed in them run under docker-default', { skip: noParser }, async () => {
  assert.match(hostFile(profiles), /^docker-default \(enforce\)$/m)
  assert.equal(await lab.ok('inspect', '-f', '{{.AppArmorProfile}}', 'c1'), 'docker-default')
  assert.match(await lab.ok('info', '-f', '{{json .SecurityOptions}}'), /name=apparmor/)
  const labels = ['cat', '/proc/1/attr/current', '/proc/self/attr/current']
  assert.equal(await exec('c1', ...labels), `${confined}\n${confined}`)
  assert.equal(await exec('--privileged', 'c1', ...labels), `${confined}\n${confined}`)
})

test('the cgroup goes with the container', async () => {
  await lab.ok('rm', '-f', 'c1')
  assert.deepEqual(readdirSync('/sys/fs/cgroup/docker').filter((name) => /^[0-9a-f]{64}$/.test(name)), [])
})

test('who takes more memory than the limit is killed, and inspect says so', async () => {
  const greedy = 'x=a; while :; do x=$x$x; done'
  const ran = await run('--name', 'greedy', '-m', '16m', 'busybox', 'sh', '-c', greedy)
  assert.equal(ran.code, 137, ran.err)
  assert.equal(await lab.ok('inspect', '-f', '{{.State.OOMKilled}} {{.State.ExitCode}}', 'greedy'), 'true 137')
  await lab.ok('rm', 'greedy')
})

test('privileged containers have a cgroup namespace of their own, may write there and are unconfined', async () => {
  const lines = ['cat /proc/self/cgroup', 'mkdir /sys/fs/cgroup/x && echo made', 'cat /proc/self/attr/current']
  assert.match(await inside(['--privileged'], ...lines), /^0::\/\nmade\nunconfined/)
})

test('the host’s cgroup namespace, another parent, more devices and no profile on demand', async () => {
  const options = [
    '--cgroupns', 'host', '--cgroup-parent', '/a/b', '--device-cgroup-rule', 'c 1:11 rwm',
    '--security-opt', 'apparmor=unconfined', '--cap-add', 'SYS_ADMIN',
  ]
  const said = await inside(
    options, 'cat /proc/self/cgroup', 'mknod /kmsg c 1 11', ': </kmsg && echo opened',
    'mkdir /m', 'mount -t tmpfs x /m && echo mounted', 'cat /proc/self/attr/current',
  )
  assert.match(said, /^0::\/a\/b\/[0-9a-f]{64}\nopened\nmounted\nunconfined/)
})

test('the profile holds where nothing is mounted over what it closes', { skip: noParser }, async () => {
  const options = ['--security-opt', 'systempaths=unconfined', '--cap-add', 'SYS_ADMIN', '--cap-add', 'SYS_RAWIO']
  const closed = [
    'mkdir /m; mount -t tmpfs x /m', 'echo h >/proc/sysrq-trigger', 'head -c1 /proc/kcore',
    'echo 60 >/proc/sys/kernel/panic', 'echo 50 >/proc/sys/vm/swappiness',
    'echo 1 >/proc/sys/net/core/somaxconn', 'echo 1 >/proc/scsi/scsi',
  ]
  const open = [
    'cat /proc/sys/kernel/shmmax >/proc/sys/kernel/shmmax', 'echo 5 >/proc/self/oom_score_adj',
    'sleep 9 & kill $!', 'umount /proc',
  ]
  const told = [...closed, ...open].map((line, at) => `if (${line}) >/dev/null 2>/tmp/e; then echo ${at} done; else echo ${at} refused; fi`)
  const said = await inside([...options, '--tmpfs', '/tmp'], ...told)
  const expected = [...closed.map((_, at) => `${at} refused`), ...open.map((_, at) => `${closed.length + at} done`)]
  assert.equal(said, expected.join('\n'))
})

test('a profile that is not loaded is no profile', { skip: noParser }, async () => {
  const { err } = await run('--rm', '--security-opt', 'apparmor=no-such', 'busybox', 'true')
  assert.match(err, /apparmor failed to apply profile/)
})

test('teardown takes the cgroups away, and the profile that was loaded here', async () => {
  await lab.teardown()
  for (const parent of ['docker', 'a/b']) {
    const left = readdirSync(join('/sys/fs/cgroup', parent), { withFileTypes: true })
    assert.deepEqual(left.filter((entry) => entry.isDirectory()), [], parent)
  }
  assert.doesNotMatch(existsSync(profiles) ? hostFile(profiles) : '', /docker-default/)
})
