/**
 * Compose, as the machine has it or as it was fetched for the tests: docker-compose 1.29 (Python, API
 * 1.22 and up) and version 2. One file with what people write into such files about networks.
 * COMPOSE=PATH tries another one.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { Lab, fetchedPath, root, sleep } from './lab/lab.ts'

const unpacked = join(root, '.cache/debian/usr')
const modules = join(unpacked, 'lib/python3/dist-packages')
const healthTimeoutMs = 20_000

interface Compose {
  readonly program: string
  readonly args: readonly string[]
  /** Between project, service and number in a container's name. */
  readonly joint: '_' | '-'
}

/** The first of these commands that runs and is of this major version. */
function composeOf(major: 1 | 2): Compose | undefined {
  process.env['PYTHONPATH'] = modules
  const plugin = 'libexec/docker/cli-plugins/docker-compose'
  const programs = [
    process.env['COMPOSE'], fetchedPath('compose-2.37.1', join('usr', plugin)),
    '/usr/local/bin/docker-compose', '/usr/bin/docker-compose', join(unpacked, 'bin/docker-compose'),
    ...['/usr/local', '/usr'].map((folder) => join(folder, plugin)),
    ...['/usr/local', '/usr'].map((folder) => join(folder, plugin.replace('libexec', 'lib'))),
  ]
  for (const program of programs) {
    if (program === undefined || !existsSync(program)) continue
    const { stdout } = spawnSync(program, ['version', '--short'], { encoding: 'utf8' })
    if (new RegExp(`^v?${major === 1 ? '1' : '[2-9]'}\\.`).test(stdout)) {
      return { program, args: major === 1 ? [] : ['--progress', 'quiet'], joint: major === 1 ? '_' : '-' }
    }
  }
  return undefined
}

const file = `
version: "2.4"
services:
  web:
    image: busybox
    command: sh -c 'mkdir -p /www; hostname >/www/index.html; exec httpd -f -p 80 -h /www'
    ports: ["8081:80", "127.0.0.1:9000-9002:9000-9002", "5300:53/udp"]
    expose: ["443"]
    networks:
      front: {aliases: [site, shop], ipv4_address: 10.99.0.80}
      back: {aliases: [inner]}
    hostname: served
    volumes: ["data:/data", "./shared:/shared:ro"]
    healthcheck: {test: "wget -qO- localhost", interval: 200ms, timeout: 5s, retries: 50}
    stop_signal: KILL
    restart: unless-stopped
    labels: {tier: front}
    sysctls: {net.core.somaxconn: 512}
  client:
    image: busybox
    command: sleep 1d
    depends_on: {web: {condition: service_healthy}}
    networks: [front]
    links: ["web:linked"]
    extra_hosts: ["pinned:192.0.2.7"]
    dns_search: [corp.example]
    hostname: asker
    stop_signal: KILL
  vault:
    image: busybox
    command: sh -c 'echo locked; exec sleep 1d'
    networks: {back: {}, closed: {priority: 10}}
    stop_signal: KILL
  worker:
    image: busybox
    command: sleep 1d
    networks: [closed]
    stop_signal: KILL
  sidecar:
    image: busybox
    command: sleep 1d
    network_mode: "service:web"
    stop_signal: KILL
  lonely:
    image: busybox
    command: sleep 1d
    network_mode: none
    stop_signal: KILL
networks:
  front:
    driver: bridge
    driver_opts: {com.docker.network.bridge.name: br-front, com.docker.network.driver.mtu: "1400"}
    ipam: {config: [{subnet: 10.99.0.0/24, gateway: 10.99.0.254, ip_range: 10.99.0.128/25}]}
    labels: {made: by-compose}
  back: {enable_ipv6: true, ipam: {config: [{subnet: 10.98.0.0/24}, {subnet: "fd98::/64"}]}}
  closed: {internal: true}
volumes:
  data: {}
`

/** Compose on a file: `run` must succeed and answers what it prints, `may` tells how it ended. */
function callsOf(lab: Lab, compose: Compose, path: string) {
  const may = (...args: readonly string[]) =>
    lab.run(compose.program, [...compose.args, '-p', 'proj', '-f', path, ...args])
  const run = async (...args: readonly string[]) => {
    const ran = await may(...args)
    assert.equal(ran.code, 0, `compose ${args.join(' ')}: ${ran.out}${ran.err}\n${lab.log().slice(-1500)}`)
    return ran.out
  }
  return { may, run }
}

/** The whole walk: up, look, scale, restart, run, change, down. */
async function walk(lab: Lab, compose: Compose): Promise<void> {
  const path = join(lab.folder, 'docker-compose.yml')
  writeFileSync(path, file)
  await lab.must(`mkdir -p ${lab.folder}/shared && echo given >${lab.folder}/shared/file`)
  const { run } = callsOf(lab, compose, path)
  const name = (service: string, number = 1) => ['proj', service, number].join(compose.joint)
  // By the docker command, which starts faster.
  const inside = async (service: string, line: string) =>
    `${await lab.ok('exec', name(service), 'sh', '-c', line)}\n`
  const format = (service: string, template: string) =>
    lab.ok('inspect', '-f', template, name(service))

  await run('up', '-d', '--scale', 'worker=2')
  await assertNames(inside)
  await assertNetworks(lab, format, inside)

  // Published: one port, a range on loopback, UDP.
  assert.match(await lab.must('curl -s http://127.0.0.1:8081'), /served/)
  assert.match(await run('port', 'web', '80'), /0\.0\.0\.0:8081/)
  assert.match(await run('port', 'web', '9002'), /127\.0\.0\.1:9002/)
  assert.match(await run('port', '--protocol=udp', 'web', '53'), /0\.0\.0\.0:5300/)
  assert.match(await run('ps'), new RegExp(`${name('web')}.*\\(healthy\\)`))
  assert.match(await run('logs', 'vault'), /locked/)
  assert.match(await inside('web', 'cat /shared/file; sysctl -n net.core.somaxconn'), /given\n512/)

  // More of one service, and fewer.
  await run('up', '-d', '--scale', 'worker=3', '--no-recreate')
  const found = await inside('vault', 'nslookup worker')
  assert.equal(found.match(/^Address: (?!127)/gm)?.length, 3, found)
  await run('up', '-d', '--scale', 'worker=1', '--no-recreate')
  assert.match(await inside('worker', `ping -c1 -W2 vault`), /1 packets received/)

  // The static address outlives a restart; links and neighbours find it again.
  await run('restart', '-t', '0', 'web')
  await healthy(lab, name('web'))
  assert.equal(await run('exec', '-T', 'client', 'wget', '-qO-', 'http://linked'), 'served\n')
  await run('pause', 'client')
  await run('unpause', 'client')
  assert.match(await run('run', '--rm', '--no-deps', '-T', 'client', 'wget', '-qO-', 'http://site'), /served/)

  // Nothing changed: nothing is made again; what changed is.
  const before = await format('web', '{{.Id}}')
  await run('up', '-d')
  assert.equal(await format('web', '{{.Id}}'), before)
  writeFileSync(path, file.replace('somaxconn: 512', 'somaxconn: 256'))
  await run('up', '-d', '-t', '0')
  assert.notEqual(await format('web', '{{.Id}}'), before)
  assert.equal(await inside('web', 'sysctl -n net.core.somaxconn'), '256\n')

  await run('stop', '-t', '0')
  await run('start')
  assert.match(await run('config', '--services'), /web/)
  await run('down', '-v', '-t', '0')
  assert.equal(await lab.ok('volume', 'ls', '-q'), '')
  assert.equal(await lab.ok('network', 'ls', '-q', '--filter', 'type=custom'), '')
  await lab.expectNoLeaks()
}

type Inside = (service: string, line: string) => Promise<string>

/** Names: service, container, alias, link, extra host, and none of another network. */
async function assertNames(inside: Inside): Promise<void> {
  const served = await inside('client', 'for n in web site shop linked; do wget -qO- http://$n; done')
  assert.equal(served.match(/served/g)?.length, 4, served)
  assert.match(await inside('client', 'cat /etc/hosts; cat /etc/resolv.conf'), /192\.0\.2\.7\s+pinned[^]*search corp\.example/)
  assert.equal(await inside('client', 'hostname'), 'asker\n')
  assert.match(await inside('client', 'ping -c1 shop'), /PING shop \(10\.99\.0\.80/)
  assert.equal(await inside('vault', 'wget -qO- http://inner'), 'served\n')
  assert.match(await inside('vault', 'nslookup inner'), /10\.98\.0\.[^]*fd98::/)
  assert.match(await inside('client', 'nslookup vault 2>&1; true'), /NXDOMAIN|can't resolve|can't find/)
}

/** Networks: options, addresses, who is cut off, whose namespace is shared. */
async function assertNetworks(
  lab: Lab,
  format: (service: string, template: string) => Promise<string>,
  inside: Inside,
): Promise<void> {
  const networks = await format('web', '{{range $n, $e := .NetworkSettings.Networks}}{{$n}} {{$e.IPAddress}} {{end}}')
  assert.match(networks, /proj_back 10\.98\.0\.\d+ proj_front 10\.99\.0\.80/)
  const client = await format('client', '{{(index .NetworkSettings.Networks "proj_front").IPAddress}}')
  assert.ok(Number(client.split('.')[3]) >= 128, `${client} is of the ip_range`)
  assert.match(await lab.must('ip link show br-front'), /mtu 1400/)
  assert.match(await inside('client', 'ip route; ip link show eth0'), /default via 10\.99\.0\.254[^]*mtu 1400/)
  assert.equal(await inside('worker', 'ip route | grep -c default; true'), '0\n')
  assert.equal(await inside('sidecar', 'wget -qO- http://localhost'), await inside('web', 'cat /www/index.html'))
  assert.equal(await inside('lonely', 'ls /sys/class/net'), 'lo\n')
  assert.equal(await lab.ok('network', 'inspect', '-f', '{{.Internal}} {{len .Containers}}', 'proj_closed'), 'true 3')
}

/** What only Compose 2 reads: conditions, configs, secrets, attachments in detail, hooks, profiles. */
const modern = `
services:
  init:
    image: busybox
    command: sh -c 'echo prepared >/state/done'
    network_mode: none
    volumes: [{type: volume, source: state, target: /state}]
  web:
    image: busybox
    command: sh -c 'cat /state/done >/www/index.html; exec httpd -f -p 80 -h /www'
    init: true
    stop_signal: KILL
    depends_on: {init: {condition: service_completed_successfully}}
    volumes:
      - {type: volume, source: state, target: /state, read_only: true}
      - {type: tmpfs, target: /www, tmpfs: {size: 1m}}
    networks:
      dual:
        ipv4_address: 10.97.0.9
        ipv6_address: "fd97::9"
        mac_address: "02:42:00:00:00:09"
        gw_priority: 2
        interface_name: first0
        driver_opts: {com.docker.network.endpoint.sysctls: "net.ipv4.conf.IFNAME.log_martians=1"}
      plain: {aliases: [other]}
      six:
      outer:
    ports:
      - {target: 80, published: "8088", host_ip: 127.0.0.1, name: http}
      - "8090-8091:90-91"
    configs: [{source: inline, target: /etc/inline, mode: 0440}]
    secrets: [key]
    healthcheck: {test: "wget -qO- http://127.0.0.1", interval: 200ms, start_period: 20s, start_interval: 200ms}
    deploy: {resources: {limits: {cpus: "0.5", memory: 64M, pids: 50}}, restart_policy: {condition: on-failure}}
    post_start: [{command: [sh, -c, "echo hooked >/tmp-hook"], user: root}]
    ulimits: {nofile: 1000}
    extra_hosts: {host.docker.internal: host-gateway}
  worker:
    image: busybox
    command: sleep 1d
    stop_signal: KILL
    depends_on: {web: {condition: service_healthy, restart: true}}
    networks: [plain]
    scale: 2
    environment: {SHIFT: one}
    logging: {driver: json-file, options: {max-size: 1m, max-file: "2"}}
  tool: {image: busybox, profiles: [tools], command: wget -qO- http://localhost, network_mode: "service:web"}
  job: {image: busybox, profiles: [jobs], command: sh -c 'echo worked; exit 7', networks: [plain]}
networks:
  dual: {enable_ipv6: true, ipam: {config: [{subnet: 10.97.0.0/24}, {subnet: "fd97::/64"}]}}
  six: {enable_ipv4: false, enable_ipv6: true}
  plain: {}
  outer: {external: true, name: shared}
configs: {inline: {content: "written here\\n"}}
secrets: {key: {file: ./key.txt}}
volumes: {state: {}}
`

/** The other project: what Compose 2 asks of an engine that Compose 1 does not. */
async function modernWalk(lab: Lab, compose: Compose): Promise<void> {
  const path = join(lab.folder, 'compose.yaml')
  writeFileSync(path, modern)
  writeFileSync(join(lab.folder, 'key.txt'), 's3cret\n')
  await lab.ok('network', 'create', 'shared')
  const { may, run } = callsOf(lab, compose, path)
  const web = (line: string) => lab.ok('exec', 'proj-web-1', 'sh', '-c', line)
  const states = async () => (await run('ps', '--format', '{{.Name}} {{.State}}')).trim().split('\n').sort()

  await run('up', '-d', '--wait')
  assert.equal(await lab.must('curl -s http://127.0.0.1:8088'), 'prepared')
  const inside = await web('cat /etc/inline /run/secrets/key /tmp-hook; ulimit -n; ip addr show first0; ip route; ip -6 route')
  assert.match(inside, /^written here\ns3cret\nhooked\n1000\n/)
  assert.match(inside, /02:42:00:00:00:09[^]*10\.97\.0\.9\/24[^]*fd97::9\/64[^]*default via 10\.97\.0\.1 dev first0/)
  assert.match(inside, /default via fd97::1 dev first0/)
  assert.equal(await web('cat /proc/sys/net/ipv4/conf/first0/log_martians'), '1')
  assert.match(await run('exec', '-T', '--index', '2', 'worker', 'wget', '-qO-', 'http://other'), /prepared/)
  assert.equal(await run('port', 'web', '91'), '0.0.0.0:8091\n')
  assert.match(await run('ps', '-a', '--format', 'json'), /"Health":"healthy"/)
  assert.match(await run('top', 'web'), /httpd -f/)
  assert.match(await run('stats', '--no-stream', '--format', '{{.Name}} {{.MemUsage}}', 'web'), /proj-web-1 .*64MiB/)
  await run('cp', 'web:/etc/inline', join(lab.folder, 'copied'))
  assert.equal(await lab.must(`cat ${lab.folder}/copied`), 'written here')

  // One-off work, beside what runs: in its namespace, and to an end that is told.
  assert.match(await run('run', '--rm', '-T', 'tool'), /prepared/)
  const job = await may('--progress', 'plain', 'up', '--no-deps', '--exit-code-from', 'job', 'job')
  assert.equal(job.code, 7, job.out + job.err)
  assert.match(job.out, /worked/)
  await run('--profile', 'jobs', 'rm', '-fs', 'job')

  await run('scale', 'worker=3')
  await run('scale', 'worker=1')
  const [, worker = ''] = await states()
  assert.deepEqual(await states(), ['proj-web-1 running', worker])
  await run('pause')
  assert.deepEqual((await states()).map((line) => line.split(' ')[1]), ['paused', 'paused'])
  await run('unpause')
  const startedAt = () => lab.ok('inspect', '-f', '{{.State.StartedAt}}', worker.split(' ')[0] ?? '')
  const before = await startedAt()
  await run('restart', '-t', '0', 'web')
  assert.notEqual(await startedAt(), before, 'what depends on web is restarted with it')

  // A changed network is made again, with everything on it.
  writeFileSync(path, modern.replaceAll('fd97::', 'fd96::').replace('SHIFT: one', 'SHIFT: two'))
  await run('up', '-d', '-t', '0', '--wait')
  assert.match(await web('ip -6 addr show first0'), /fd96::9\/64/)
  assert.equal(await run('exec', '-T', 'worker', 'sh', '-c', 'echo $SHIFT'), 'two\n')
  await run('up', '-d', '-t', '0', '--force-recreate', '--wait')
  await run('commit', 'web', 'kept:1')
  assert.match(await run('images', '--format', 'json'), /busybox/)
  await run('kill', 'worker')
  await run('rm', '-f', 'worker')
  await run('create', 'worker')
  await run('start', 'worker')
  await run('down', '-v', '-t', '0', '--remove-orphans')
  assert.equal(await lab.ok('volume', 'ls', '-q'), '')
  await lab.ok('network', 'rm', 'shared')
  await lab.expectNoLeaks()
}

async function healthy(lab: Lab, container: string): Promise<void> {
  const deadline = Date.now() + healthTimeoutMs
  while ((await lab.ok('inspect', '-f', '{{.State.Health.Status}}', container)) !== 'healthy') {
    assert.ok(Date.now() < deadline, `${container} is healthy in time`)
    await sleep(100)
  }
}

const first = composeOf(1)
const second = composeOf(2)
const noFirst = first === undefined ? 'Debian has no docker-compose 1.29 here' : false
const noSecond = second === undefined
  ? 'docker compose 2 is neither on this machine nor could scripts/engines fetch it'
  : false

test('docker-compose 1.29: a project of networks, from up to down', { skip: noFirst }, async (t) => {
  const lab = await Lab.start(t)
  if (first !== undefined) await walk(lab, first)
})

test('docker compose 2: the same project', { skip: noSecond }, async (t) => {
  const lab = await Lab.start(t)
  if (second !== undefined) await walk(lab, second)
})

test('docker compose 2: a project with what only it knows', { skip: noSecond }, async (t) => {
  const lab = await Lab.start(t)
  if (second !== undefined) await modernWalk(lab, second)
})
