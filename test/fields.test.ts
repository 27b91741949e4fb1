/**
 * No field of a create request is taken and then ignored: each has an effect that is read back,
 * is refused with a sentence, or brings a warning. The table must have every field there is.
 */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import { configFields, endpointSettingsShape, hostConfigFields } from '../src/containers/config.ts'
import { Lab, root, dockerCliMajor } from './lab/lab.ts'

const field = (value: unknown, ...names: readonly string[]): unknown =>
  names.reduce((at, name) => (typeof at === 'object' && at !== null ? Reflect.get(at, name) : undefined), value)

/** What shows that a field counts. */
type Proof =
  /** The command in the container prints this. */
  | { readonly inside: object; readonly command: string; readonly prints: RegExp }
  /** The command on the host prints this while the container runs: $ID, $PID. */
  | { readonly running: object; readonly command: string; readonly prints: RegExp }
  | { readonly refused: object; readonly message: RegExp }
  | { readonly warns: object; readonly message: RegExp }
  /** It is for the client or for images made of the container: kept and shown. */
  | { readonly shown: object }
  /** A test elsewhere reads the effect back. */
  | { readonly by: string }

const host = (HostConfig: object) => ({ HostConfig })
const inside = (body: object, command: string, prints: RegExp): Proof => ({ inside: body, command, prints })
const refused = (body: object, message: RegExp): Proof => ({ refused: body, message })
const warns = (body: object, message: RegExp): Proof => ({ warns: body, message })
const run = (name: string): Proof => ({ by: `test/run-options.test.ts: ${name}` })
/** A limit as the container's own cgroup has it; a kernel without it must make the engine warn. */
const limit = (body: object, v1: string, v2: string, prints: RegExp): Proof =>
  inside(host(body), `cat /sys/fs/cgroup/${v1} /sys/fs/cgroup/${v2} 2>/dev/null; true`, prints)

const [, disk = ''] = / ([a-z]+)$/m.exec(readFileSync('/proc/partitions', 'utf8')) ?? []
const throttle = (key: string, file: string): Proof => {
  const body = { [key]: [{ Path: `/dev/${disk}`, Rate: 1048576 }] }
  return existsSync(`/dev/${disk}`) && disk !== ''
    ? limit(body, `blkio/blkio.throttle.${file}_device`, 'io.max', /1048576/)
    : refused(host({ [key]: [{ Path: '/nowhere', Rate: 1 }] }), /nowhere/)
}

const config: Readonly<Record<keyof typeof configFields, Proof>> = {
  Hostname: run('--hostname and --domainname'),
  Domainname: inside({ Domainname: 'corp.test' }, 'cat /proc/sys/kernel/domainname', /^corp\.test$/),
  User: run('-u by name'),
  AttachStdin: { shown: { AttachStdin: true } },
  AttachStdout: { shown: { AttachStdout: true } },
  AttachStderr: { shown: { AttachStderr: true } },
  ExposedPorts: { shown: { ExposedPorts: { '80/tcp': {} } } },
  Tty: inside({ Tty: true }, 'tty', /^\/dev\/pts\/0/),
  OpenStdin: run('standard input, output and error are three streams'),
  StdinOnce: run('standard input, output and error are three streams'),
  Env: run('-e and --env-file order'),
  Cmd: run('exit codes come through'),
  Healthcheck: run('a health check turns healthy, and unhealthy'),
  ArgsEscaped: warns({ ArgsEscaped: true }, /^ArgsEscaped is for images of Windows/),
  Image: refused({ Image: 'nope:1' }, /^No such image: nope:1$/),
  Volumes: inside({ Volumes: { '/anon': {} } }, 'grep -c " /anon " /proc/mounts', /^1$/),
  WorkingDir: run('-w makes the folder'),
  Entrypoint: run('--entrypoint'),
  NetworkDisabled: inside({ NetworkDisabled: true }, 'ls /sys/class/net', /^lo$/),
  MacAddress: run('--mac-address'),
  OnBuild: { shown: { OnBuild: ['RUN true'] } },
  Labels: { shown: { Labels: { tier: 'web' } } },
  StopSignal: refused({ StopSignal: 'SIGNONE' }, /SIGNONE/),
  StopTimeout: { running: { StopTimeout: 0 }, command: 'time -p docker stop $ID 2>&1', prints: /real 0|real 1/ },
  Shell: { shown: { Shell: ['/bin/ash', '-c'] } },
}

const hostConfig: Readonly<Record<keyof typeof hostConfigFields, Proof>> = {
  Binds: run('-v binds a folder both ways'),
  ContainerIDFile: { shown: host({ ContainerIDFile: '/tmp/cid' }) },
  LogConfig: refused(host({ LogConfig: { Type: 'syslog' } }), /^logger: no log driver named 'syslog' is registered$/),
  NetworkMode: run('--network none has only lo'),
  PortBindings: warns(host({ NetworkMode: 'none', PortBindings: { '80/tcp': [{ HostPort: '80' }] } }), /^Published ports are discarded when using none network mode$/),
  RestartPolicy: refused(host({ RestartPolicy: { Name: 'sometimes' } }), /unknown policy 'sometimes'/),
  AutoRemove: run('anonymous volumes go with --rm'),
  VolumeDriver: refused(host({ VolumeDriver: 'nosuch', Binds: ['some:/v'] }), /plugin "nosuch" not found/),
  VolumesFrom: inside(host({ VolumesFrom: ['donor:ro'] }), 'cat /shared/note; touch /shared/x 2>&1', /^noted\n.*Read-only/),
  ConsoleSize: run('a terminal: size, detach keys, attach again'),
  Annotations: { running: host({ Annotations: { 'my.note': 'kept' } }), command: 'cat $(find $RUN -path "*$ID*" -name config.json)', prints: /"my\.note":"kept"/ },
  CapAdd: run('--cap-add'),
  CapDrop: run('--cap-drop'),
  CgroupnsMode: inside(host({ CgroupnsMode: 'private' }), 'cut -d: -f3 /proc/self/cgroup | sort -u', /^\/$/),
  Dns: run('--dns and its kin'),
  DnsOptions: run('--dns and its kin'),
  DnsSearch: run('--dns and its kin'),
  ExtraHosts: run('--add-host'),
  GroupAdd: run('--group-add'),
  IpcMode: inside(host({ IpcMode: 'container:donor' }), 'ls /dev/shm', /^note$/),
  Cgroup: refused(host({ Cgroup: 'container:donor' }), /^invalid cgroup mode: container:donor$/),
  Links: inside(host({ Links: ['donor:dd'] }), 'cat /etc/hosts', /\tdd /),
  OomScoreAdj: run('--oom-score-adj'),
  PidMode: inside(host({ PidMode: 'container:donor' }), 'ps', /sleep 600/),
  Privileged: run('--privileged'),
  PublishAllPorts: { running: { ExposedPorts: { '80/tcp': {} }, ...host({ PublishAllPorts: true }) }, command: 'docker port $ID', prints: /^80\/tcp -> / },
  ReadonlyRootfs: run('--read-only'),
  SecurityOpt: run('--security-opt no-new-privileges'),
  StorageOpt: refused(host({ StorageOpt: { size: '1g' } }), /pquota/),
  Tmpfs: run('--read-only with --tmpfs'),
  UTSMode: { running: host({ UTSMode: 'host' }), command: '[ $(readlink /proc/$PID/ns/uts) = $(readlink /proc/self/ns/uts) ] && echo same', prints: /^same$/ },
  UsernsMode: refused(host({ UsernsMode: 'private' }), /^invalid user namespace mode: private$/),
  ShmSize: run('--shm-size'),
  Sysctls: run('--sysctl'),
  Runtime: refused(host({ Runtime: 'kata' }), /^unknown or invalid runtime name: kata$/),
  Isolation: refused(host({ Isolation: 'hyperv' }), /^invalid isolation \(hyperv\): linux only supports 'default'$/),
  CpuShares: limit({ CpuShares: 512 }, 'cpu/cpu.shares', 'cpu.weight', /^(512|20|59)$/),
  Memory: run('-m'),
  NanoCpus: run('--cpus'),
  CgroupParent: inside(host({ CgroupParent: '/docker/parented', CgroupnsMode: 'host' }), 'cat /proc/self/cgroup', /\/parented\//),
  BlkioWeight: limit({ BlkioWeight: 300 }, 'blkio/blkio.bfq.weight', 'io.bfq.weight', /300/),
  BlkioWeightDevice: warns(host({ BlkioWeightDevice: [{ Path: '/dev/null', Weight: 30 }] }), /weight_device/),
  BlkioDeviceReadBps: throttle('BlkioDeviceReadBps', 'read_bps'),
  BlkioDeviceWriteBps: throttle('BlkioDeviceWriteBps', 'write_bps'),
  BlkioDeviceReadIOps: throttle('BlkioDeviceReadIOps', 'read_iops'),
  BlkioDeviceWriteIOps: throttle('BlkioDeviceWriteIOps', 'write_iops'),
  CpuPeriod: limit({ CpuPeriod: 50000, CpuQuota: 25000 }, 'cpu/cpu.cfs_period_us', 'cpu.max', /50000/),
  CpuQuota: limit({ CpuPeriod: 50000, CpuQuota: 25000 }, 'cpu/cpu.cfs_quota_us', 'cpu.max', /25000/),
  CpuRealtimePeriod: refused(host({ CpuRealtimePeriod: 1000, CpuRealtimeRuntime: 2000 }), /real-time/),
  CpuRealtimeRuntime: refused(host({ CpuRealtimePeriod: 1000, CpuRealtimeRuntime: 2000 }), /real-time/),
  CpusetCpus: inside(host({ CpusetCpus: '0' }), 'grep Cpus_allowed_list /proc/self/status', /\t0$/),
  CpusetMems: inside(host({ CpusetMems: '0' }), 'grep Mems_allowed_list /proc/self/status', /\t0$/),
  Devices: run('--device'),
  DeviceCgroupRules: limit({ DeviceCgroupRules: ['c 10:200 rw'] }, 'devices/devices.list', 'cgroup.procs', /c 10:200 rw|^\d/),
  DeviceRequests: refused(host({ DeviceRequests: [{ Count: -1, Capabilities: [['gpu']] }] }), /^could not select device driver "" with capabilities: \[\[gpu\]\]$/),
  MemoryReservation: limit({ MemoryReservation: 33554432 }, 'memory/memory.soft_limit_in_bytes', 'memory.low', /33554432/),
  MemorySwap: limit({ Memory: 33554432, MemorySwap: 67108864 }, 'memory/memory.memsw.limit_in_bytes', 'memory.swap.max', /67108864|33554432/),
  MemorySwappiness: limit({ MemorySwappiness: 30 }, 'memory/memory.swappiness', 'none', /^30$/),
  OomKillDisable: limit({ Memory: 33554432, OomKillDisable: true }, 'memory/memory.oom_control', 'none', /oom_kill_disable 1/),
  PidsLimit: run('--pids-limit'),
  Ulimits: run('--ulimit'),
  CpuCount: warns(host({ CpuCount: 1 }), /^linux does not support CPU count\. Count discarded\.$/),
  CpuPercent: warns(host({ CpuPercent: 10 }), /^linux does not support CPU percent\. Percent discarded\.$/),
  IOMaximumIOps: refused(host({ IOMaximumIOps: 1 }), /^invalid option: QoS maximum /),
  IOMaximumBandwidth: refused(host({ IOMaximumBandwidth: 1 }), /^invalid option: QoS maximum /),
  Mounts: run('--mount in its kinds'),
  MaskedPaths: inside(host({ MaskedPaths: ['/etc/passwd'] }), 'wc -c </etc/passwd', /^0$/),
  ReadonlyPaths: inside(host({ ReadonlyPaths: ['/etc'] }), 'touch /etc/x 2>&1; true', /Read-only/),
  Init: run('--init'),
}

let lab: Lab

before(async () => {
  lab = await Lab.start(undefined)
  await lab.ok('run', '-d', '--name', 'donor', '--ipc', 'shareable', '-v', 'shared:/shared', 'busybox', 'sh', '-c',
    'echo noted >/shared/note; touch /dev/shm/note; exec sleep 600')
  await lab.must('for i in $(seq 50); do docker exec donor test -e /dev/shm/note && break; sleep 0.1; done')
})

after(async () => {
  await lab.expectNoLeaks()
  await lab.stop()
})

async function create(body: object, command: readonly string[]) {
  const answer = await lab.api('POST', '/containers/create', { Image: 'busybox', Cmd: command, ...body })
  const id = String(field(answer.json, 'Id') ?? '')
  const warnings = field(answer.json, 'Warnings')
  const list = Array.isArray(warnings) ? warnings.map(String) : []
  return { id, status: answer.status, message: String(field(answer.json, 'message') ?? ''), warnings: list }
}

const drop = (id: string) => lab.api('DELETE', `/containers/${id}?force=1&v=1`)

async function prove(name: string, proof: Proof): Promise<void> {
  if ('by' in proof) {
    const [file = '', title = ''] = proof.by.split(/: (.*)/s)
    assert.ok(readFileSync(join(root, file), 'utf8').includes(title), `${file} has no test ${title}`)
    return
  }
  if ('refused' in proof) {
    const { id, status, message } = await create(proof.refused, ['true'])
    // What only the kernel can refuse is refused by the start.
    const late = status === 201 ? await lab.api('POST', `/containers/${id}/start`) : undefined
    if (id !== '') await drop(id)
    assert.match(late === undefined ? message : String(field(late.json, 'message')), proof.message)
    return
  }
  if ('warns' in proof) {
    const { id, warnings } = await create(proof.warns, ['true'])
    await drop(id)
    assert.ok(warnings.some((warning) => proof.message.test(warning)), `${name}: ${warnings.join('; ')}`)
    return
  }
  if ('shown' in proof) {
    const { id } = await create(proof.shown, ['true'])
    const { json } = await lab.api('GET', `/containers/${id}/json`)
    await drop(id)
    const wanted = field(proof.shown, 'HostConfig', name) ?? field(proof.shown, name)
    assert.deepEqual(field(json, 'HostConfig', name) ?? field(json, 'Config', name), wanted)
    return
  }
  const isInside = 'inside' in proof
  const made = await create(isInside ? proof.inside : proof.running, isInside ? ['sh', '-c', proof.command] : ['sleep', '600'])
  assert.equal(made.status, 201, made.message)
  const start = isInside ? `docker start -a ${made.id}` : `docker start ${made.id} >/dev/null; ID=${made.id}; RUN=${lab.folder}; PID=$(docker inspect -f '{{.State.Pid}}' $ID); ${proof.command}`
  const ran = await lab.sh(start)
  await drop(made.id)
  if (made.warnings.some((warning) => warning.includes('not support'))) return
  assert.match((ran.out + ran.err).trimEnd(), proof.prints)
}

const both: Readonly<Record<string, Proof>> = { ...config, ...hostConfig }
for (const [name, proof] of Object.entries(both)) {
  test(`${name} is not ignored`, () => prove(name, proof))
}

test('the tables have every field', () => {
  assert.deepEqual(Object.keys(config).sort(), Object.keys(configFields).sort())
  assert.deepEqual(Object.keys(hostConfig).sort(), Object.keys(hostConfigFields).sort())
})

test('unknown fields, and options of endpoints that nobody knows, are warned of', async () => {
  const DriverOpts = { 'com.example.none': '1' }
  const made = await create({
    Foo: 1, name: 'ignored by Docker, too',
    HostConfig: { KernelMemory: 5, NetworkMode: 'bridge', LogConfig: { Type: 'none', Config: { a: 'b' } } },
    Healthcheck: { Test: ['FOO', 'x'] },
    NetworkingConfig: { EndpointsConfig: { bridge: { DriverOpts, EndpointID: 'f00', Odd: true } } },
  }, ['true'])
  await drop(made.id)
  assert.deepEqual(made.warnings, [
    'Foo is not a field that this engine knows. It has no effect.',
    'HostConfig.KernelMemory is not a field that this engine knows. It has no effect.',
    'NetworkingConfig.EndpointsConfig.bridge.Odd is not a field that this engine knows. It has no effect.',
    "Unknown health check type 'FOO' (expected 'CMD'): there is no health check.",
    'The log driver none has no options. Log options discarded.',
    'Option com.example.none is not known to endpoints of driver bridge. It is kept and has no effect.',
  ])
  assert.ok('GwPriority' in endpointSettingsShape.decode({}, ''))
})

test('unknown options of a network are kept, with a warning; known ones bring none', async () => {
  const Options = { 'com.example.none': '1', 'com.docker.network.driver.mtu': '1400' }
  const answer = await lab.api('POST', '/networks/create', { Name: 'odd', Options, IPAM: { Options: { x: 'y' } } })
  assert.equal(field(answer.json, 'Warning'),
    'Option com.example.none is not known to driver bridge. It is kept and has no effect.\n' +
    'Option x is not known to the IPAM driver. It is kept and has no effect.')
  assert.equal(await lab.ok('network', 'inspect', '-f', '{{index .Options "com.example.none"}}', 'odd'), '1')
  await lab.ok('network', 'rm', 'odd')
  const { json } = await lab.api('POST', '/networks/create', { Name: 'even', Options: { 'com.docker.network.driver.mtu': '1400' } })
  assert.equal(field(json, 'Warning'), '')
  await lab.ok('network', 'rm', 'even')
})

const olderCli = dockerCliMajor() < 26 && 'the docker command here has no such mount option'

test('a part of a volume is mounted, and nothing outside of it', { skip: olderCli }, async () => {
  await lab.ok('run', '--rm', '-v', 'parts:/v', 'busybox', 'sh', '-c', 'mkdir -p /v/a/b; echo deep >/v/a/b/f; ln -s /etc /v/out')
  const mount = (part: string) => ['run', '--rm', '--mount', `type=volume,source=parts,target=/x,volume-subpath=${part}`, 'busybox', 'ls', '/x']
  assert.equal(await lab.ok(...mount('a/b')), 'f')
  assert.match((await lab.docker(...mount('out'))).err, /subpath out leads out of volume parts/)
  assert.match((await lab.docker(...mount('none'))).err, /cannot access path none of volume parts: no such file or directory/)
  assert.match((await lab.docker(...mount('../x'))).err, /subpath must be a relative path within the volume/)
  await lab.ok('volume', 'rm', 'parts')
})

test('a start that was cut off leaves no part of a volume mounted', { skip: olderCli }, async () => {
  await lab.ok('run', '-d', '--restart', 'always', '--name', 'part', '-v', 'parts:/v', '--mount', 'type=volume,source=parts,target=/x,volume-subpath=.', 'busybox', 'sleep', '600')
  await lab.endDaemon('SIGKILL')
  // As a daemon leaves them that is killed between these mounts and those of the container.
  const left = join(lab.folder, 'run/parts', 'f'.repeat(64))
  await lab.must(`mkdir -p ${left}/0 && touch ${left}/1 && mount --bind /etc ${left}/0 && mount --bind /etc/passwd ${left}/1`)
  await lab.startDaemon()
  assert.doesNotMatch(await lab.must('cat /proc/self/mountinfo'), /run\/parts/)
  assert.equal(await lab.must(`ls ${join(lab.folder, 'run/parts')}; test -s /etc/passwd && echo whole`), 'whole')
  await lab.ok('rm', '-f', 'part')
  await lab.ok('volume', 'rm', 'parts')
})

test('read-only is so for what is mounted below, unless that is not wanted', { skip: olderCli }, async () => {
  const folder = join(lab.folder, 'below')
  await lab.must(`mkdir -p ${folder}/sub; mount -t tmpfs none ${folder}/sub`)
  const touch = (recursive: string) => lab.docker('run', '--rm', '--mount', `type=bind,src=${folder},dst=/r,ro${recursive}`, 'busybox', 'touch', '/r/sub/x')
  assert.match((await touch('')).err, /Read-only file system/)
  assert.match((await touch(',bind-recursive=readonly,bind-propagation=rprivate')).err, /Read-only file system/)
  assert.equal((await touch(',bind-recursive=writable')).code, 0)
  await lab.must(`umount ${folder}/sub`)
})

test('volumes and probes are told as events', async () => {
  const since = await lab.must('date +%s.%N')
  await lab.ok('run', '-d', '--name', 'told', '-v', 'shared:/s:ro', '--health-cmd', 'true', '--health-interval', '100ms', 'busybox', 'sleep', '600')
  await lab.must('for i in $(seq 50); do [ "$(docker inspect -f "{{.State.Health.Status}}" told)" = healthy ] && break; sleep 0.1; done')
  await lab.ok('kill', 'told')
  await lab.must('docker wait told')
  const all = await lab.ok('events', '--since', since, '--until', await lab.must('date +%s.%N'), '--format', '{{.Type}} {{.Action}} {{json .Actor.Attributes}}')
  await lab.ok('rm', 'told')
  const short = all.replace(/ \{.*/gm, '').split('\n')
  assert.ok(short.indexOf('volume mount') < short.indexOf('container start'))
  assert.ok(short.indexOf('volume unmount') < short.indexOf('container die'))
  assert.match(all, /volume mount \{.*"destination":"\/s","driver":"local".*"read\/write":"false"/)
  for (const action of ['exec_create: /bin/sh -c true', 'exec_start: /bin/sh -c true', 'exec_die', 'health_status: healthy']) {
    assert.ok(short.includes(`container ${action}`), action)
  }
})

test('log drivers: none keeps nothing, local rotates by itself, json-file tags lines', async () => {
  await lab.ok('run', '--name', 'quiet', '--log-driver', 'none', 'busybox', 'echo', 'x')
  assert.match((await lab.docker('logs', 'quiet')).err, /configured logging driver does not support reading/)
  await lab.ok('run', '--name', 'local', '--log-driver', 'local', 'busybox', 'echo', 'x')
  assert.equal(await lab.ok('logs', 'local'), 'x')
  assert.equal(await lab.ok('inspect', '-f', '{{.HostConfig.LogConfig.Type}} [{{.LogPath}}]', 'local'), 'local []')
  await lab.ok('run', '--name', 'tagged', '-e', 'COLOR=red', '--log-opt', 'tag={{.Name}}/{{.ImageName}}', '--log-opt', 'env-regex=^COL', 'busybox', 'echo', 'x')
  assert.match(await lab.ok('logs', '--details', 'tagged'), /COLOR=red,tag=tagged%2Fbusybox x/)
  assert.match((await lab.docker('create', '--log-opt', 'max-file=0', 'busybox')).err, /max-file cannot be less than 1/)
  assert.match((await lab.docker('create', '--log-opt', 'max-buffer-size=1m', 'busybox')).err, /only supported with 'mode=non-blocking'/)
  await lab.ok('rm', 'quiet', 'local', 'tagged')
})
