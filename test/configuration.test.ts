/**
 * Every key of daemon.json: effective, with the effect read back, or refused, or said to have none.
 * The table must have every key there is.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { optionRows } from '../src/daemon/options.ts'
import { reloadable } from '../src/daemon/reload.ts'
import { Lab, root, sleep } from './lab/lab.ts'

const profile = JSON.stringify({
  defaultAction: 'SCMP_ACT_ALLOW',
  syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO' }],
})

/** Read back with this command, under the configuration that all of these give together. */
interface Effect {
  readonly value: unknown
  readonly command: string
  readonly shows: RegExp
}
const effect = (value: unknown, command: string, shows: RegExp): Effect => ({ value, command, shows })
const info = (format: string) => `docker info -f '${format}' 2>/dev/null`
const inside = (options: string, command: string) => `docker run --rm ${options} busybox sh -c '${command}'`

/** `$FOLDER` is the lab's. */
const effects: Readonly<Record<string, Effect>> = {
  'allow-direct-routing': effect(true, 'iptables-save -t raw', /^(?!.*10\.44\.)/s),
  bip: effect('10.44.0.1/16', 'ip -br addr show labbr0', /10\.44\.0\.1\/16/),
  'cgroup-parent': effect('/docker/lab', inside('--cgroupns host', 'cat /proc/self/cgroup'), /\/docker\/lab\//),
  'containerd-namespace': effect('lab-ns', 'curl -s --unix-socket $FOLDER/d.sock http://lab/info | jq -r .Containerd.Namespaces.Containers', /^lab-ns$/),
  debug: effect(true, info('{{.Debug}}'), /^true$/),
  'default-address-pools': effect([{ base: '10.45.0.0/16', size: 24 }], 'docker network create p; docker network inspect -f "{{json .IPAM.Config}}" p; docker network rm p', /10\.45\.0\.0\/24/),
  'default-bridge-name': effect('labbr0', 'ip -br link show labbr0', /labbr0/),
  'default-cgroupns-mode': effect('private', inside('', 'cut -d: -f3 /proc/self/cgroup | sort -u'), /^\/$/),
  'default-gateway': effect('10.44.0.9', inside('', 'ip route'), /default via 10\.44\.0\.9/),
  'default-ipc-mode': effect('shareable', 'docker inspect -f {{.HostConfig.IpcMode}} $(docker create --rm busybox)', /^shareable$/),
  'default-network-opts': effect({ bridge: { 'com.docker.network.driver.mtu': '1333' } }, 'docker network create o; ip link show br-$(docker network inspect -f "{{slice .Id 0 12}}" o); docker network rm o', /mtu 1333/),
  'default-shm-size': effect('32M', inside('', 'df -k /dev/shm | tail -1'), / 32768 /),
  'default-ulimits': effect({ nofile: { Name: 'nofile', Soft: 77, Hard: 78 } }, inside('', 'ulimit -n'), /^77$/),
  dns: effect(['192.0.2.5'], inside('', 'cat /etc/resolv.conf'), /nameserver 192\.0\.2\.5/),
  'dns-opts': effect(['timeout:3'], inside('', 'cat /etc/resolv.conf'), /options timeout:3/),
  'dns-search': effect(['lab.test'], inside('', 'cat /etc/resolv.conf'), /search lab\.test/),
  experimental: effect(true, info('{{.ExperimentalBuild}}'), /^true$/),
  'firewall-backend': effect('iptables', 'curl -s --unix-socket $FOLDER/d.sock http://lab/info | jq -c .FirewallBackend', /"iptables"/),
  'firewall-shared-chains': effect(true, 'iptables-save', /--comment/),
  'fixed-cidr': effect('10.44.5.0/24', inside('', 'ip -o -4 addr show eth0'), /10\.44\.5\./),
  group: effect('daemon', 'stat -c %G $FOLDER/d.sock', /^daemon$/),
  'host-gateway-ips': effect(['192.0.2.9'], inside('--add-host up:host-gateway', 'cat /etc/hosts'), /192\.0\.2\.9\tup/),
  icc: effect(false, 'iptables-save', /-i labbr0 -o labbr0.* -j DROP/),
  init: effect(true, inside('', 'cat /proc/1/comm'), /init|tini/),
  'insecure-registries': effect(['reg.test:5000'], info('{{json .RegistryConfig}}'), /"reg\.test:5000":\{[^}]*"Secure":false/),
  ip: effect('127.0.0.1', 'docker run -d --name pub -p 80 busybox sleep 60 >/dev/null; docker port pub; docker rm -f pub', /-> 127\.0\.0\.1:/),
  'ip-masq': effect(false, 'iptables-save -t nat', /^(?!.*10\.44\.0\.0\/16.*MASQUERADE)/s),
  labels: effect(['a=b'], info('{{json .Labels}}'), /\["a=b"\]/),
  'live-restore': effect(true, info('{{.LiveRestoreEnabled}}'), /^true$/),
  'log-driver': effect('local', info('{{.LoggingDriver}}'), /^local$/),
  'log-format': effect('json', 'head -1 $FOLDER/daemon.log', /^\{"level":/),
  'log-level': effect('warn', 'grep -c "level.:.info" $FOLDER/daemon.log', /^[1-9]/), // debug wins
  'log-opts': effect({ 'max-size': '1m' }, 'docker inspect -f {{.HostConfig.LogConfig.Config}} $(docker create busybox)', /max-size:1m/),
  'min-api-version': effect('1.41', 'curl -s --unix-socket $FOLDER/d.sock http://d/v1.40/info', /Minimum supported API version is 1\.41/),
  mtu: effect(1444, inside('', 'cat /sys/class/net/eth0/mtu'), /^1444$/),
  'no-new-privileges': effect(true, inside('', 'grep NoNewPrivs /proc/self/status'), /1$/),
  proxies: effect({ 'http-proxy': 'http://proxy.test:3128' }, info('{{.HTTPProxy}}'), /proxy\.test/),
  'registry-mirrors': effect(['https://mirror.test'], info('{{.RegistryConfig.Mirrors}}'), /mirror\.test/),
  'seccomp-profile': effect('$FOLDER/profile', inside('', 'mkdir /x 2>&1; true'), /not permitted/),
  'userland-proxy': effect(false, 'docker run -d --name pub2 -p 8181:80 busybox sleep 60 >/dev/null; cat /proc/sys/net/ipv4/conf/labbr0/route_localnet; docker rm -f pub2', /^1$/m),
}

const noEffect = ['allow-nondistributable-artifacts', 'builder', 'containerd-plugins-namespace', 'features',
  'network-control-plane-mtu', 'swarm-default-advertise-addr', 'userland-proxy-path']

/** A value that is refused, and how: also of the keys that are effective otherwise. */
const refusals: readonly (readonly [string, unknown, RegExp])[] = [
  ['authorization-plugins', ['x'], /authorization-plugins: plugins are not offered/],
  ['bip', '10.0.0.1', /invalid CIDR address: 10\.0\.0\.1/],
  ['bridge-accept-fwmark', '1', /bridge-accept-fwmark: /],
  ['default-cgroupns-mode', 'zz', /default cgroup namespace mode \(zz\) is invalid; use "host" or "private"/],
  ['default-gateway', 'zz', /IP address is not correctly formatted: zz/],
  ['default-ipc-mode', 'host', /IPC mode "host" is not supported/],
  ['default-runtime', 'kata', /specified default runtime 'kata' does not exist/],
  ['default-shm-size', 'zz', /invalid size: 'zz'/],
  ['dns', ['zz'], /IP address is not correctly formatted: zz/],
  ['exec-opts', ['native.cgroupdriver=systemd'], /systemd does not run here/],
  ['exec-opts', ['native.cgroupdriver=zz'], /native\.cgroupdriver option zz not supported/],
  ['exec-opts', ['native.umask=normal'], /is not offered/],
  ['firewall-backend', 'pf', /invalid firewall-backend "pf"/],
  ['fixed-cidr-v6', 'zz', /invalid CIDR address: zz/],
  ['hosts', ['foo://x'], /invalid bind address format: foo:\/\/x/],
  ['labels', ['a'], /bad attribute format: a/],
  ['log-driver', 'syslog', /no log driver named 'syslog' is registered/],
  ['log-format', 'xml', /invalid log format: xml/],
  ['log-level', 'loud', /invalid logging level: loud/],
  ['max-concurrent-downloads', 0, /invalid max concurrent downloads: 0/],
  ['max-concurrent-uploads', -1, /invalid max concurrent uploads: -1/],
  ['max-download-attempts', 0, /invalid max download attempts: 0/],
  ['metrics-addr', ':9', /metrics are not offered/],
  ['min-api-version', '1.20', /minimum supported API version is 1\.24: 1\.20/],
  ['mtu', -4, /invalid default MTU: -4/],
  ['network-diagnostic-port', 9, /is not offered/],
  ['oom-score-adjust', 2000, /invalid oom-score-adjust: 2000/],
  ['proxies', { ftp: 'x' }, /don't match any configuration option: ftp/],
  ['registry-mirrors', ['ftp://x'], /invalid mirror: no scheme specified/],
  ['runtimes', { kata: { path: 'kata' } }, /runc is all there is/],
  ['selinux-enabled', true, /SELinux labels are not offered/],
  ['shutdown-timeout', -2, /invalid shutdown-timeout: -2/],
  ['storage-driver', 'zfs', /driver not supported: zfs/],
  ['storage-opts', ['overlay2.size=1g'], /unknown option overlay2\.size=1g/],
  ['userns-remap', 'default', /user namespaces are not offered/],
]

/** Where else the effect of a key is read back. */
const elsewhere: Readonly<Record<string, string>> = {
  bip6: 'src/network/bridge6.test.ts', ipv6: 'src/network/bridge6.test.ts', 'default-gateway-v6': 'src/network/bridge6.test.ts',
  bridge: 'below', containerd: 'the roots of every lab', 'data-root': 'the roots of every lab', 'exec-root': 'the roots of every lab',
  'oom-score-adjust': 'below', pidfile: 'test/daemon.test.ts', 'init-path': 'below', 'ip-forward': 'below', 'ip-forward-no-drop': 'below', ip6tables: 'below',
  iptables: 'below', 'raw-logs': 'there never are colours',
  tls: 'test/daemon.test.ts', tlscacert: 'test/daemon.test.ts', tlscert: 'test/daemon.test.ts', tlskey: 'test/daemon.test.ts', tlsverify: 'test/daemon.test.ts',
}

/** What other engines left behind. */
const flushed = 'iptables -P FORWARD ACCEPT; for n in filter nat raw mangle; do iptables -t $n -F; iptables -t $n -X; ip6tables -t $n -F; ip6tables -t $n -X; done; nft flush ruleset; sysctl -qw net.ipv4.ip_forward=0'

function validate(t: Lab, document: object, ...flags: readonly string[]) {
  const file = join(t.folder, 'checked.json')
  writeFileSync(file, JSON.stringify(document))
  const ran = spawnSync(join(root, 'portolan'), ['daemon', '--validate', '--config-file', file, ...flags], { encoding: 'utf8' })
  return { code: ran.status, text: ran.stdout + ran.stderr }
}

test('the tables have every key', () => {
  const keys = optionRows.filter(([, option]) => option.only !== 'flag').map(([key]) => key)
  const known = new Set([...Object.keys(effects), ...noEffect, ...refusals.map(([key]) => key), ...Object.keys(elsewhere)])
  assert.deepEqual(keys.filter((key) => !known.has(key)), [])
  assert.deepEqual([...known].filter((key) => !keys.some((other) => other === key)), [])
  const marked = optionRows.filter(([, { noEffect: none }]) => none === true).map(([key]) => key)
  assert.deepEqual(marked.sort(), noEffect)
})

test('values that cannot be are refused when the file is checked', async (t) => {
  const lab = Lab.idle(t)
  for (const [key, value, message] of refusals) {
    const { code, text } = validate(lab, { [key]: value })
    assert.equal(code, 1, `${key}: ${text}`)
    assert.match(text, message)
  }
  const flag = validate(lab, { debug: true }, '--debug')
  assert.match(flag.text, /specified both as a flag and in the configuration file: debug: \(from flag: true, from file: true\)/)
  assert.deepEqual(validate(lab, { debug: true }), { code: 0, text: 'configuration OK\n' })
})

test('every effective key has its effect', async (t) => {
  const lab = Lab.idle(t)
  await lab.must(flushed)
  writeFileSync(join(lab.folder, 'profile'), profile)
  const file = join(lab.folder, 'daemon.json')
  const values = Object.entries(effects).map(([key, { value }]) => [key, value])
  const document = { ...Object.fromEntries(values), builder: {}, features: { buildkit: true } }
  writeFileSync(file, JSON.stringify(document).replaceAll('$FOLDER', lab.folder))
  await lab.startDaemon(['--config-file', file])
  await lab.loadBusybox()
  for (const [key, { command, shows }] of Object.entries(effects)) {
    const ran = await lab.sh(`FOLDER=${lab.folder}; DAEMON=${lab.daemonPid}; ${command}`)
    assert.match((ran.out + ran.err).trimEnd(), shows, `${key}: ${ran.out}${ran.err}`)
  }
  assert.match(await lab.must('docker info 2>&1'), /WARNING: The option builder has no effect here/)
  assert.match(lab.log(), /"msg":"an option has no effect here".*"option":"features"/)
  await lab.must('docker rm -f $(docker ps -aq) 2>/dev/null; true')
})

test('a reload takes exactly what dockerd reloads', async (t) => {
  const lab = await Lab.start(t, { busybox: false })
  const file = join(lab.folder, 'daemon.json')
  writeFileSync(file, '{"oom-score-adjust": 7}')
  await lab.endDaemon()
  await lab.startDaemon(['--config-file', file])
  assert.equal(await lab.must(`cat /proc/${lab.daemonPid}/oom_score_adj`), '7')
  const since = await lab.must('date +%s.%N')
  writeFileSync(file, JSON.stringify({
    debug: true, labels: ['x=y'], 'live-restore': true, 'shutdown-timeout': 33, 'max-concurrent-downloads': 7,
    'registry-mirrors': ['https://m.test'], 'insecure-registries': ['i.test'], 'log-driver': 'none', mtu: 1300,
  }))
  process.kill(lab.daemonPid, 'SIGHUP')
  for (let tries = 0; tries < 100 && !lab.log().includes('configuration reloaded'); tries++) await sleep(20)
  const shown = await lab.ok('info', '-f', '{{.Debug}} {{.Labels}} {{.LiveRestoreEnabled}} {{.RegistryConfig.Mirrors}} {{.LoggingDriver}}')
  assert.equal(shown, 'true [x=y] true [https://m.test/] json-file'.replace('/]', ']'))
  const event = await lab.ok('events', '--since', since, '--until', await lab.must('date +%s.%N'), '--filter', 'type=daemon', '--format', '{{json .Actor}}')
  const { ID, Attributes }: { ID: string, Attributes: Record<string, string> } = JSON.parse(event)
  assert.equal(ID, await lab.ok('info', '-f', '{{.ID}}'))
  assert.deepEqual(Object.keys(Attributes).sort(), ['name', ...reloadable].sort())
  assert.equal(Attributes['max-concurrent-downloads'], '7')
  assert.equal(Attributes['shutdown-timeout'], '33')
  writeFileSync(file, '{"max-download-attempts": 0}')
  process.kill(lab.daemonPid, 'SIGHUP')
  for (let tries = 0; tries < 100 && !lab.log().includes('not reloaded'); tries++) await sleep(20)
  assert.match(lab.log(), /configuration not reloaded.*invalid max download attempts: 0/)
  assert.match(await lab.ok('info', '-f', '{{.Labels}}'), /x=y/)
  await lab.endDaemon()
  await lab.startDaemon([])
})

test('iptables=false touches no rule, ip-forward=false no switch', async (t) => {
  const lab = Lab.idle(t)
  await lab.must(flushed)
  const rules = 'iptables-save | grep -v "^#" | sed "s/\\[.*//"; ip6tables-save | grep -v "^#" | sed "s/\\[.*//"; nft list ruleset 2>/dev/null | grep -c chain; cat /proc/sys/net/ipv4/ip_forward'
  const before = await lab.must(`${rules}; true`)
  await lab.startDaemon(['--iptables=false', '--ip6tables=false', '--ip-forward=false'])
  await lab.loadBusybox()
  await lab.ok('network', 'create', 'plain')
  const web = ['run', '-d', '--name', 'web', '--network', 'plain', '-p', '8182:80', 'busybox', 'sleep', '60']
  const ran = await lab.docker(...web)
  assert.deepEqual([ran.code, ran.err], [0, 'WARNING: IPv4 forwarding is disabled. Networking will not work.\n'])
  assert.equal((await lab.docker('run', '--rm', '--network', 'none', 'busybox', 'true')).err, '')
  assert.equal(await lab.must(`${rules}; true`), before)
  await lab.ok('rm', '-f', 'web')
  await lab.ok('network', 'rm', 'plain')
  await lab.endDaemon()
  assert.equal(await lab.must(`${rules}; true`), before)
})

test('-b none makes no bridge; ip-forward-no-drop leaves the policy; a given init is taken', async (t) => {
  const lab = await Lab.start(t, { flags: ['-b', 'none', '--ip-forward-no-drop', '--init-path', '/bin/busybox'] })
  assert.doesNotMatch(await lab.ok('network', 'ls'), /bridge/)
  assert.match(await lab.must('iptables -S FORWARD'), /-P FORWARD ACCEPT/)
  const ran = await lab.docker('run', '--rm', '--init', '--network', 'none', 'busybox', 'true')
  assert.match(ran.err, /docker-init: applet not found/)
})
