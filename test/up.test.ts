/**
 * `portolan up` and `down` as a person types them: on an empty machine, twice, and on a machine
 * where a dockerd is at work already. /etc, /var/lib and /var/log are private copies here.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { before } from 'node:test'
import { Lab, dockerdPath, root, sleep, type Ran } from './lab/lab.ts'

const socket = '/run/portolan/docker.sock'

before(() => {
  for (const [index, folder] of ['/etc', '/var/lib', '/var/log'].entries()) {
    const [upper, work] = [`/run/upper${index}`, `/run/work${index}`]
    for (const made of [upper, work]) mkdirSync(made)
    execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', `lowerdir=${folder},upperdir=${upper},workdir=${work}`, folder])
  }
  mkdirSync('/var/lib/portolan', { recursive: true })
  execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', '/var/lib/portolan'])
})

/** Commands on the machine itself, with the environment of a root shell. */
class Machine {
  readonly #lab: Lab
  constructor(lab: Lab) { this.#lab = lab }

  sh(line: string): Promise<Ran> {
    return this.#lab.sh(`export HOME=/run/home DOCKER_CONFIG=/run/home/.docker DOCKER_HOST=unix://${socket} PATH="${root}:$PATH"; unset SUDO_UID SUDO_USER SUDO_GID; ${line}`)
  }

  async must(line: string): Promise<string> {
    const ran = await this.sh(line)
    const log = existsSync('/var/log/portolan.log') ? readFileSync('/var/log/portolan.log', 'utf8').slice(-3000) : ''
    assert.equal(ran.code, 0, `${line}: exit ${ran.code}\n${ran.out}${ran.err}\n${log}`)
    return ran.out.trimEnd()
  }

  /** The kernel is (again) as it was, at the latest when the last process has gone. */
  async expectState(expected: string): Promise<void> {
    const deadline = Date.now() + settleTimeoutMs
    let state = await this.must(kernelState)
    while (state !== expected && Date.now() < deadline) {
      await sleep(100)
      state = await this.must(kernelState)
    }
    assert.equal(state, expected)
  }
}

/** A process that was told to end may take this long to be gone. */
const settleTimeoutMs = 5_000

/** The machine's network as `ip` and `iptables-save` tell it; counters, times, neighbours and the shell that asks left out. */
const kernelState = `ip -br link | sed 's/@.*//;s/ .*//'; ip -br addr; ip route; cat /proc/sys/net/ipv4/ip_forward;
(iptables-save; ip6tables-save) | sed 's/ \\[[0-9:]*\\]//' | grep '^[:-]' | grep -v ' ACCEPT$'; ls /run/netns; ps -eo args | grep -v '^/bin/bash -c' | grep -c '[p]ortolan' || true`

async function loadImage(machine: Machine): Promise<void> {
  await machine.must(`${join(root, 'scripts/node')} -e '
    import("${root}/src/cli/demo/busybox-image.ts").then(async (m) => (await m.busyboxImageTar("/bin/busybox")).pipe(process.stdout))' | portolan load`)
}

const serve = `sh -c 'mkdir -p /www; echo hi >/www/index.html; exec httpd -f -p 80 -h /www'`

test('up starts an engine, twice is harmless, down leaves the machine as it was', async (t) => {
  const lab = Lab.idle(t)
  const machine = new Machine(lab)
  const before = await machine.must(kernelState)
  assert.match(await machine.must('portolan up'), /Portolan .* is running[\s\S]*DOCKER_HOST=unix:\/\/\/run\/portolan\/docker\.sock/)
  assert.match(await machine.must('portolan up'), /running already/)
  assert.match(await machine.must('docker context ls --format "{{.Name}} {{.DockerEndpoint}}"'), /portolan unix:\/\/\/run\/portolan\/docker\.sock/)
  assert.match(await machine.must(`stat -c '%a' ${socket}`), /^660$/)
  await loadImage(machine)
  assert.match(await machine.must('portolan images'), /busybox:latest/)
  await machine.must('portolan network create net')
  await machine.must(`portolan run -d --name web --network net -p 5050:80 busybox ${serve}`)
  assert.equal(await machine.must('curl -s localhost:5050'), 'hi')
  assert.equal(await machine.must('portolan exec web hostname -i | wc -l'), '1')
  assert.match(await machine.must('portolan ps'), /0\.0\.0\.0:5050->80\/tcp.*web/)
  assert.match(await machine.must('portolan port web'), /80\/tcp -> 0\.0\.0\.0:5050/)
  assert.match(await machine.must('portolan status'), /containers +1 running, 1 in all/)
  const how = await machine.must('portolan how web')
  for (const line of [/ip link add .*type bridge/, /ip link add .*type veth/, /ip addr add|ip address add/, /iptables .*DNAT/]) assert.match(how, line)
  assert.match(await machine.must('portolan plan'), /as it should be/)
  await machine.must('ip link set $(ip -br link show type veth | cut -d@ -f1) nomaster')
  const plan = await machine.sh('portolan plan')
  assert.ok(plan.code === 2 || plan.code === 0) // the reconciler may have been faster
  assert.match(await machine.must('portolan down'), /Portolan is down/)
  await machine.expectState(before)
  assert.ok(!existsSync('/etc/portolan/daemon.json'))
  // What was there comes back.
  await machine.must('portolan up')
  assert.match(await machine.must('portolan ps -a'), /web/)
  await machine.must('portolan rm -f web && portolan network rm net && portolan down')
  await machine.expectState(before)
})

const noDockerd = dockerdPath() === undefined ? 'no dockerd here to stand beside' : false

test('beside a dockerd, up takes a bridge and addresses of its own, and both work', { skip: noDockerd }, async (t) => {
  const dockerd = await Lab.start(t, { engine: 'dockerd' })
  const machine = new Machine(dockerd)
  await dockerd.neighbour()
  await machine.must('ip6tables -t nat -N DOCKER 2>/dev/null || true')
  await dockerd.ok('run', '-d', '--name', 'theirs', '-p', '6060:80', 'busybox', ...['sh', '-c', 'mkdir -p /www; echo theirs >/www/index.html; exec httpd -f -p 80 -h /www'])
  const before = await machine.must(kernelState)
  const told = await machine.must('portolan up')
  assert.match(told, /Another container engine is at work here/)
  assert.match(told, /portolan0/)
  await loadImage(machine)
  await machine.must('docker network create net')
  await machine.must(`docker run -d --name ours --network net -p 5050:80 busybox ${serve}`)
  await machine.must(`docker run -d --name ours0 -p 5051:80 busybox ${serve}`)
  for (const [port, text] of [[5050, 'hi'], [5051, 'hi'], [6060, 'theirs']]) {
    assert.equal(await machine.must(`ip netns exec neighbour curl -s -m 3 198.51.100.1:${port}`), text)
    assert.equal(await machine.must(`curl -s -m 3 127.0.0.1:${port}`), text)
  }
  await dockerd.ok('run', '--rm', '-p', '6061:80', 'busybox', 'true')
  await machine.must('docker restart -t 0 ours')
  assert.equal(await machine.must('ip netns exec neighbour curl -s -m 3 198.51.100.1:5050'), 'hi')
  await machine.must('docker rm -f ours ours0 && docker network rm net && portolan down')
  await machine.expectState(before)
  assert.equal(await machine.must('ip netns exec neighbour curl -s -m 3 198.51.100.1:6060'), 'theirs')
})

test('down says what is wrong with a broken configuration, and works after a SIGKILL of everything', async (t) => {
  const lab = Lab.idle(t)
  const machine = new Machine(lab)
  const before = await machine.must(kernelState)
  await machine.must('portolan up')
  await loadImage(machine)
  await machine.must(`docker run -d --name deaf --stop-timeout 1 -p 5050:80 busybox sh -c 'trap "" TERM; while :; do sleep 1; done'`)
  await machine.must('cp /etc/portolan/daemon.json /run/good.json; echo "{\\"nosuch\\": 1}" >/etc/portolan/daemon.json')
  const broken = await machine.sh('portolan down')
  assert.notEqual(broken.code, 0)
  assert.match(broken.err, /file \/etc\/portolan\/daemon\.json: the following directives don't match any configuration option: nosuch/)
  assert.doesNotMatch(broken.err, /\n {4}at /)
  await machine.must('cp /run/good.json /etc/portolan/daemon.json; portolan up')
  await machine.must('kill -9 $(cat /run/portolan/keeper.pid | cut -d" " -f1) $(cat /run/portolan/containerd.pid) $(cat /run/portolan/*.pid | head -1 | cut -d" " -f1) || true')
  await machine.must('portolan down')
  await machine.expectState(before)
  assert.equal(await machine.must('ls /run/portolan /run/containerd/s /run/containerd/runc/portolan 2>/dev/null || true; grep -c /portolan/ /proc/self/mountinfo || true'), '/run/containerd/runc/portolan:\n\n/run/containerd/s:\n0')
})
