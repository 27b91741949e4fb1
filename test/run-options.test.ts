/**
 * The options of `docker run`, each with what a person sees of it inside or outside.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import { Lab } from './lab/lab.ts'

let lab: Lab

before(async () => {
  lab = await Lab.start(undefined)
  mkdirSync(join(lab.folder, 'shared'))
  writeFileSync(join(lab.folder, 'shared/greeting'), 'hello\n')
})

after(async () => {
  await lab.expectNoLeaks()
  await lab.stop()
})

/** Options, then what runs in `sh -c`, then what it prints. */
const inside: readonly (readonly [string, string, string, RegExp])[] = [
  ['--hostname and --domainname', '--hostname app --domainname corp.test', 'hostname; cat /etc/hosts', /^app\n[\s\S]*\tapp\.corp\.test app/],
  ['-e and --env-file order', '-e A=1 -e B=2', 'echo $A$B', /^12$/],
  ['-w makes the folder', '-w /made/here', 'pwd', /^\/made\/here$/],
  ['-u by name', '-u nobody', 'id -u', /^65534$/],
  ['-u by numbers', '-u 1000:1001', 'id -u; id -g', /^1000\n1001$/],
  ['--group-add', '--group-add 777', 'id -G', /777/],
  ['--cap-drop', '--cap-drop ALL', 'grep CapEff /proc/self/status', /0000000000000000/],
  ['--cap-add', '--cap-drop ALL --cap-add NET_ADMIN', 'grep CapEff /proc/self/status', /0000000000001000/],
  ['the default capabilities are Docker\'s', '', 'grep CapEff /proc/self/status', /00000000a80425fb/],
  ['--privileged', '--privileged', 'ip link add x type bridge && echo made; ls /dev/kmsg', /made\n\/dev\/kmsg/],
  ['seccomp is on', '', 'grep ^Seccomp: /proc/self/status', /\t2$/],
  ['--security-opt seccomp=unconfined', '--security-opt seccomp=unconfined', 'grep ^Seccomp: /proc/self/status', /\t0$/],
  ['--security-opt no-new-privileges', '--security-opt no-new-privileges', 'grep NoNewPrivs /proc/self/status', /\t1$/],
  ['--read-only', '--read-only', 'touch /x 2>&1; true', /Read-only file system/],
  ['--read-only with --tmpfs', '--read-only --tmpfs /scratch:size=1m', 'touch /scratch/x && grep scratch /proc/mounts', /tmpfs.*size=1024k/],
  ['--shm-size', '--shm-size 32m', 'df -k /dev/shm | tail -1', / 32768 /],
  ['--ipc none', '--ipc none', 'ls /dev/shm 2>&1; true', /No such file or directory/],
  ['--ulimit', '--ulimit nofile=123:456', 'ulimit -n; ulimit -Hn', /^123\n456$/],
  ['-m', '-m 64m', 'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; true', /67108864/],
  ['--cpus', '--cpus 0.5', 'cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null; true', /50000/],
  ['--pids-limit', '--pids-limit 33', 'cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null; true', /33/],
  ['--device', '--device /dev/null:/dev/mine', 'ls -l /dev/mine', /^crw.* 1, +3 /],
  ['--sysctl', '--sysctl net.ipv4.ip_default_ttl=77', 'cat /proc/sys/net/ipv4/ip_default_ttl', /^77$/],
  ['low ports for everyone', '-u nobody', 'cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range', /^0\n0\t2147483647$/],
  ['--add-host', '--add-host db:10.1.2.3', 'cat /etc/hosts', /10\.1\.2\.3\tdb/],
  ['--add-host host-gateway', '--add-host host.docker.internal:host-gateway', 'cat /etc/hosts', /172\.17\.0\.1\thost\.docker\.internal/],
  ['--dns and its kin', '--dns 192.0.2.53 --dns-search corp.test --dns-option timeout:1', 'cat /etc/resolv.conf', /nameserver 192\.0\.2\.53\nsearch corp\.test\noptions timeout:1/],
  ['--mac-address', '--mac-address 02:42:11:22:33:44', 'cat /sys/class/net/eth0/address', /^02:42:11:22:33:44$/],
  ['--init', '--init', 'cat /proc/1/comm', /init|tini/],
  ['--pid host', '--pid host', 'test -d /proc/$PPID && ls -d /proc/[0-9]* | wc -l', /^\d{1,}$/],
  ['--entrypoint', '--entrypoint /bin/echo', 'x', /^-c x$/],
  ['--oom-score-adj', '--oom-score-adj 321', 'cat /proc/self/oom_score_adj', /^321$/],
  ['--network none has only lo', '--network none', 'ls /sys/class/net', /^lo$/],
  ['masked paths', '', 'cat /proc/kcore | wc -c; cat /proc/timer_list | wc -c', /^0\n0$/],
  ['/.dockerenv tells programs where they are', '', 'ls -la /.dockerenv', / 0 .*\/\.dockerenv$/],
  ['--cgroupns and mounts', '', 'mount | grep -c cgroup', /^\d+$/],
]

for (const [what, options, command, expected] of inside) {
  test(what, async () => {
    const words = options.split(' ').filter((word) => word !== '')
    const run = what === '--entrypoint' ? ['-c', command] : ['sh', '-c', command]
    assert.match(await lab.ok('run', '--rm', ...words, 'busybox', ...run), expected)
  })
}

test('an exec has what the process of the container has', async () => {
  const look = 'id; ulimit -n; ulimit -Hn; pwd; env | grep -v SHLVL | sort; cat /proc/self/oom_score_adj; ' +
    'grep -E "^(Cap|NoNewPrivs|Seccomp:)" /proc/self/status'
  const options = '--ulimit nofile=456 -u 1000:1001 --group-add 777 --cap-drop ALL --cap-add NET_ADMIN ' +
    '--security-opt no-new-privileges --oom-score-adj 321 -w /tmp --tmpfs /tmp -e A=1'
  const command = `(${look}) >own; mv own looked; exec sleep 1d`
  await lab.ok('run', '-d', '--name', 'same', ...options.split(' '), 'busybox', 'sh', '-c', command)
  const own = await lab.ok('exec', 'same', 'sh', '-c', 'until [ -e looked ]; do sleep 0.05; done; cat looked')
  assert.match(own, /^456\n456\n\/tmp\nA=1$/m)
  assert.equal(await lab.ok('exec', 'same', 'sh', '-c', `(${look})`), own)
  await lab.ok('rm', '-f', 'same')
})

test('-v binds a folder both ways, and read-only', async () => {
  const shared = join(lab.folder, 'shared')
  assert.equal(await lab.ok('run', '--rm', '-v', `${shared}:/data`, 'busybox', 'sh', '-c', 'cat /data/greeting; echo back >/data/answer'), 'hello')
  assert.equal(readFileSync(join(shared, 'answer'), 'utf8'), 'back\n')
  const ran = await lab.docker('run', '--rm', '-v', `${shared}:/data:ro`, 'busybox', 'touch', '/data/x')
  assert.match(ran.err, /Read-only file system/)
  assert.ok(!existsSync(join(shared, 'x')))
})

test('-v of what holds the engine’s data lets go of the file systems of other containers', async () => {
  await lab.must('mount --make-rshared /') // as systemd has it
  try {
    const other = await lab.ok('run', '-d', 'busybox', 'sleep', '100')
    await lab.ok('run', '-d', '--name', 'agent', '-v', '/:/host', 'busybox', 'sleep', '100')
    assert.equal(await lab.ok('inspect', '-f', '{{(index .Mounts 0).Propagation}}', 'agent'), 'rslave')
    const mounted = () => lab.ok('exec', 'agent', 'sh', '-c', `grep -c ${other} /proc/self/mountinfo || true`)
    assert.notEqual(await mounted(), '0')
    await lab.ok('rm', '-f', other)
    assert.equal(await mounted(), '0')
    await lab.ok('rm', '-f', 'agent')
  } finally {
    await lab.must('mount --make-rprivate /')
  }
  const { code, err } = await lab.docker('run', '--rm', '-v', `${lab.folder}:/data:rprivate`, 'busybox', 'true')
  assert.equal(code, 125)
  assert.match(err, /invalid mount config: must use either propagation mode "rslave" or "rshared" when mount source is within the daemon root/)
})

test('a named volume keeps its content and takes over what the image had there', async () => {
  await lab.ok('run', '--rm', '-v', 'vol:/etc', 'busybox', 'sh', '-c', 'echo kept >/etc/mine')
  assert.match(await lab.ok('run', '--rm', '-v', 'vol:/v', 'busybox', 'cat', '/v/mine', '/v/group'), /kept\nroot:x:0:/)
  assert.match(await lab.ok('volume', 'ls'), /local +vol/)
  const used = await lab.docker('run', '-d', '--name', 'user', '-v', 'vol:/v', 'busybox', 'sleep', '100')
  assert.equal(used.code, 0)
  const refused = await lab.docker('volume', 'rm', 'vol')
  assert.match(refused.err, /volume is in use - \[[0-9a-f]{64}\]/)
  await lab.ok('rm', '-f', 'user')
  await lab.ok('volume', 'rm', 'vol')
})

test('--mount in its kinds', async () => {
  const out = await lab.ok('run', '--rm', '--mount', `type=bind,source=${lab.folder}/shared,target=/b,readonly`,
    '--mount', 'type=tmpfs,target=/t,tmpfs-size=2m', '--mount', 'type=volume,source=v2,target=/v',
    'busybox', 'sh', '-c', 'cat /b/greeting; grep -c " /[tv] " /proc/mounts')
  assert.equal(out, 'hello\n2')
  await lab.ok('volume', 'rm', 'v2')
})

test('anonymous volumes go with --rm', async () => {
  await lab.ok('run', '--rm', '-v', '/anon', 'busybox', 'touch', '/anon/x')
  assert.equal(await lab.ok('volume', 'ls', '-q'), '')
})

test('exit codes come through', async () => {
  assert.equal((await lab.docker('run', '--rm', 'busybox', 'sh', '-c', 'exit 42')).code, 42)
  assert.equal((await lab.docker('run', '--rm', 'busybox', 'sh', '-c', 'sleep 100 & kill -9 $!; wait $!')).code, 137)
})

test('standard input, output and error are three streams', async () => {
  const ran = await lab.run('docker', ['run', '--rm', '-i', 'busybox', 'sh', '-c', 'cat; echo oops >&2'], 'typed\n')
  assert.equal(ran.out, 'typed\n')
  assert.equal(ran.err, 'oops\n')
})

test('50 MB go in and come out whole', async () => {
  const out = await lab.must('head -c 50000000 /dev/zero | docker run --rm -i busybox sh -c "cat" | wc -c')
  assert.equal(out, '50000000')
})

test('logs: tail, since, timestamps, follow, both streams', async () => {
  await lab.ok('run', '-d', '--name', 'talker', 'busybox', 'sh', '-c', 'for i in 1 2 3; do echo out $i; echo err $i >&2; done; sleep 1; echo later')
  await lab.must('for i in $(seq 50); do docker logs talker 2>/dev/null | grep -q "out 3" && break; sleep 0.1; done')
  const ran = await lab.docker('logs', 'talker')
  assert.equal(ran.out, 'out 1\nout 2\nout 3\n')
  assert.equal(ran.err, 'err 1\nerr 2\nerr 3\n')
  const tail = await lab.docker('logs', '--tail', '2', 'talker')
  assert.equal((tail.out + tail.err).split('\n').length, 3)
  assert.match(await lab.ok('logs', '-t', '--tail', '1', 'talker').then((out) => out || '20'), /^20/)
  assert.match(await lab.ok('logs', '-f', 'talker'), /later$/)
  assert.equal(await lab.ok('logs', '--since', '2099-01-01T00:00:00Z', 'talker'), '')
  await lab.ok('rm', '-f', 'talker')
})

test('exec: output, exit code, user, environment, refusal when stopped', async () => {
  await lab.ok('run', '-d', '--name', 'box', 'busybox', 'sleep', '100')
  assert.equal(await lab.ok('exec', '-e', 'A=b', '-w', '/tmp', '-u', 'nobody', 'box', 'sh', '-c', 'echo $A; pwd; id -u'), 'b\n/tmp\n65534')
  assert.equal((await lab.docker('exec', 'box', 'sh', '-c', 'exit 9')).code, 9)
  assert.equal((await lab.docker('exec', 'box', 'nosuch')).code, 127)
  assert.equal((await lab.run('docker', ['exec', '-i', 'box', 'cat'], 'through\n')).out, 'through\n')
  await lab.ok('pause', 'box')
  assert.match((await lab.docker('exec', 'box', 'true')).err, /is paused/)
  await lab.ok('unpause', 'box')
  await lab.ok('stop', '-t', '0', 'box')
  assert.match((await lab.docker('exec', 'box', 'true')).err, /is not running/)
  await lab.ok('rm', 'box')
})

test('a terminal: size, detach keys, attach again', async () => {
  const session = `script -qec 'stty rows 33 cols 99; docker run -it --name term busybox sh -c "sleep 0.5; stty size"' /dev/null </dev/null`
  assert.match((await lab.sh(session)).out, /33 99/)
  await lab.ok('rm', '-f', 'term')
})

test('top, stats, diff, cp, export, rename, update, port', async () => {
  await lab.ok('run', '-d', '--name', 'tool', '-p', '127.0.0.1:7070:80', 'busybox', 'sh', '-c', 'touch /made; exec sleep 100')
  assert.match(await lab.ok('top', 'tool'), /PID[\s\S]*sleep 100/)
  assert.match(await lab.ok('stats', '--no-stream', '--format', '{{.Name}} {{.PIDs}} {{.NetIO}}', 'tool'), /^tool 1 /)
  assert.match(await lab.ok('diff', 'tool'), /A \/made/)
  await lab.must('echo up > /tmp/labfile; docker cp /tmp/labfile tool:/root/there; rm /tmp/labfile')
  assert.equal(await lab.ok('exec', 'tool', 'cat', '/root/there'), 'up')
  assert.match(await lab.must('docker cp tool:/etc - | tar t | head -40'), /etc\/passwd/)
  assert.match(await lab.must('docker export tool | tar t'), /root\/there/)
  await lab.ok('update', '-m', '80m', '--memory-swap', '160m', 'tool')
  await lab.ok('rename', 'tool', 'utensil')
  assert.equal(await lab.ok('port', 'utensil'), '80/tcp -> 127.0.0.1:7070')
  assert.equal(await lab.ok('ps', '--filter', 'name=utensil', '--format', '{{.Ports}}'), '127.0.0.1:7070->80/tcp')
  await lab.ok('rm', '-f', 'utensil')
})

test('commit, tag, history, save, rmi, load, import', async () => {
  await lab.ok('run', '--name', 'src', 'busybox', 'sh', '-c', 'echo baked >/cake')
  await lab.ok('commit', '--change', 'CMD ["cat","/cake"]', 'src', 'bakery:1')
  assert.equal(await lab.ok('run', '--rm', 'bakery:1'), 'baked')
  await lab.ok('tag', 'bakery:1', 'bakery:2')
  assert.match(await lab.ok('history', 'bakery:2'), /IMAGE/)
  await lab.must('docker save bakery:2 > /tmp/lab-bakery.tar; docker rmi bakery:1 bakery:2; docker load < /tmp/lab-bakery.tar; rm /tmp/lab-bakery.tar')
  assert.equal(await lab.ok('run', '--rm', 'bakery:2'), 'baked')
  await lab.must('docker export src | docker import - plain:1')
  assert.equal(await lab.ok('run', '--rm', 'plain:1', 'cat', '/cake'), 'baked')
  await lab.ok('rm', 'src')
  await lab.ok('rmi', 'plain:1', 'bakery:2')
})

test('a health check turns healthy, and unhealthy', async () => {
  await lab.ok('run', '-d', '--name', 'sick', '--health-cmd', 'test -e /ok', '--health-interval', '300ms', '--health-retries', '1', 'busybox', 'sleep', '100')
  const becomes = (status: string) =>
    lab.must(`for i in $(seq 60); do [ "$(docker inspect -f '{{.State.Health.Status}}' sick)" = ${status} ] && exit 0; sleep 0.1; done; exit 1`)
  await becomes('unhealthy')
  await lab.ok('exec', 'sick', 'touch', '/ok')
  await becomes('healthy')
  assert.match(await lab.ok('ps', '--filter', 'health=healthy', '--format', '{{.Status}}'), /\(healthy\)/)
  await lab.ok('rm', '-f', 'sick')
})

test('events tell the order of things', async () => {
  const since = await lab.must('date +%s.%N')
  await lab.ok('run', '-d', '--name', 'ev', 'busybox', 'sleep', '100')
  await lab.ok('kill', 'ev')
  await lab.must('docker wait ev')
  await lab.ok('rm', 'ev')
  const until = await lab.must('date +%s.%N')
  const told = await lab.ok('events', '--since', since, '--until', until, '--format', '{{.Type}} {{.Action}}')
  assert.deepEqual(told.split('\n'), [
    'container create', 'network connect', 'container start', 'container kill', 'network disconnect', 'container die', 'container destroy',
  ])
})
