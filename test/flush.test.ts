/**
 * While somebody flushes the firewall over and over, in every way there is, and switches forwarding
 * off and on: what is closed stays closed, for packets one way and for connections, IPv4 and IPv6.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import test, { beforeEach } from 'node:test'
import { until } from './lab/firewalld.ts'
import { Lab, sleep } from './lab/lab.ts'
import { Probes, type Path } from './lab/probes.ts'

/** Flushes as admins and their tools do, until there were so many moments without any rule. */
const flushing = `n=0; for round in $(seq 100); do [ $n -lt 15 ] || break
  for t in iptables ip6tables; do
    $t -P FORWARD ACCEPT; for table in raw filter nat; do $t -t $table -F; done
  done
  nft flush ruleset; nft list ruleset | grep -q DOCKER || n=$((n+1))
  for key in ipv4/conf/all ipv4/conf/default ipv6/conf/all; do
    echo 0 >/proc/sys/net/$key/forwarding; echo 1 >/proc/sys/net/$key/forwarding
  done
  echo 1 >/proc/sys/net/ipv4/ip_forward; sleep 0.$((n % 4))$((n % 5))
done; echo $n`

interface Place {
  readonly netns: string
  readonly ipv4: string
  readonly ipv6: string
}

/** As on a fresh machine: a policy that the loop has set belongs to nobody who would restore it. */
beforeEach(() => {
  const lines = 'nft flush ruleset; echo 0 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv6/conf/all/forwarding'
  assert.equal(spawnSync('sh', ['-ec', lines]).status, 0)
})

const lan = { netns: '/run/netns/neighbour', ipv4: '198.51.100.2', ipv6: '2001:db8:5::2' }
const host = { ipv4: '198.51.100.1', ipv6: '2001:db8:5::1' }

/** A host beside this one that sends to containers by way of it, also to its loopback. */
async function makeLan(lab: Lab): Promise<void> {
  await lab.neighbour()
  await lab.must(`ip addr add ${host.ipv6}/64 dev lanneighbou nodad
    n="ip -n neighbour"; $n addr add ${lan.ipv6}/64 dev eth0 nodad
    $n route add 172.16.0.0/12 via ${host.ipv4}; $n -6 route add fd00::/8 via ${host.ipv6}
    $n addr del 127.0.0.1/8 dev lo; $n route add 127.0.0.1 via ${host.ipv4}
    $n -6 addr del ::1/128 dev lo; $n -6 route add ::1 via ${host.ipv6}
    # Two more hosts with nothing but a rule between them: what a flush opens.
    for i in 1 2; do ip netns add canary$i; ip link add canary$i type veth peer name eth0 netns canary$i
      ip addr add 203.0.113.$((i*16+1))/28 dev canary$i; ip link set canary$i up
      ip -n canary$i addr add 203.0.113.$((i*16+2))/28 dev eth0; ip -n canary$i link set eth0 up
      ip -n canary$i route add default via 203.0.113.$((i*16+1)); done
    iptables -I FORWARD -i canary1 -j DROP`)
}

async function place(lab: Lab, name: string, ...options: readonly string[]): Promise<Place> {
  await lab.ok('run', '-d', '--stop-signal', 'KILL', '--name', name, ...options, 'busybox', 'sleep', '1d')
  const format = '{{.State.Pid}} {{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}}{{end}}'
  const [pid = '', ipv4 = '', ipv6 = ''] = (await lab.ok('inspect', '-f', format, name)).split(' ')
  return { netns: `/proc/${pid}/ns/net`, ipv4, ipv6 }
}

/** Both families of a path, each with a port of its own. */
class Paths {
  readonly all: Path[] = []
  #port = 9000

  add(name: string, from: { netns: string }, to: Place): void {
    for (const [family, address] of [['IPv4', to.ipv4], ['IPv6', to.ipv6]] as const) {
      const port = this.#port++
      this.all.push({ name: `${name}, ${family}`, from: from.netns, to: address, port, at: to.netns })
    }
  }

  /** By a published port. */
  published(name: string, from: { netns: string }, to: string, port: number, at: Place, listens: number): void {
    this.all.push({ name, from: from.netns, to, port, at: at.netns, listens })
  }
}

const loopbackPorts = [['127.0.0.1', 7001], ['[::1]', 7002], ['127.0.0.1', 7003], ['[::1]', 7004]]
  .flatMap(([address, port]) => ['-p', `${address}:${port}:${port}`, '-p', `${address}:${port}:${port}/udp`])

for (const flags of [['iptables'], ['nftables', '--userland-proxy=false']]) {
  test(`${flags.join(' ')}: nothing gets through while the firewall is flushed in a loop`, async (t) => {
    const lab = await Lab.start(t, { flags: ['--firewall-backend', ...flags] })
    await makeLan(lab)
    const options = (name: string, ...more: readonly string[]) => ['network', 'create', '--ipv6', ...more, name]
    const mode = 'com.docker.network.bridge.gateway_mode'
    await lab.ok(...options('closed', '--internal'))
    await lab.ok(...options('sealed', '--internal', '-o', `${mode}_ipv4=isolated`, '-o', `${mode}_ipv6=isolated`))
    await lab.ok(...options('apart', '-o', 'com.docker.network.bridge.enable_icc=false'))
    for (const name of ['one', 'two']) await lab.ok(...options(name))
    const closed = await place(lab, 'closed1', '--network', 'closed', '--privileged')
    const mate = await place(lab, 'closed2', '--network', 'closed')
    const sealed = await place(lab, 'sealed1', '--network', 'sealed', '--privileged')
    const sealedMate = await place(lab, 'sealed2', '--network', 'sealed')
    const apart = [await place(lab, 'apart1', '--network', 'apart'), await place(lab, 'apart2', '--network', 'apart')] as const
    const one = await place(lab, 'one1', '--network', 'one', '-p', '7000:7000', '-p', '7000:7000/udp')
    const oneMate = await place(lab, 'one2', '--network', 'one')
    const two = await place(lab, 'two1', '--network', 'two', ...loopbackPorts)
    await breakOut(lab, closed, sealed)

    const forbidden = new Paths()
    const home = { netns: '/proc/self/ns/net' }
    for (const [name, inside] of [['internal', closed], ['isolated', sealed]] as const) {
      forbidden.add(`${name} → lan`, inside, lan)
      forbidden.add(`lan → ${name}`, lan, inside)
      forbidden.add(`${name} → another network`, inside, one)
      forbidden.add(`another network → ${name}`, one, inside)
    }
    const gateway = closed.ipv4.replace(/\.\d+$/, '.1')
    forbidden.published('internal → a port published on its gateway', closed, gateway, 7000, one, 7000)
    forbidden.add('one → two', one, two)
    forbidden.add('two → one', two, one)
    forbidden.add('apart, icc=false', apart[0], apart[1])
    forbidden.add('lan → address of a container', lan, two)
    forbidden.published('lan → published on 127.0.0.1, by the address of the host', lan, host.ipv4, 7001, two, 7001)
    forbidden.published('lan → published on [::1], by the address of the host', lan, host.ipv6, 7002, two, 7002)
    forbidden.published('lan → 127.0.0.1', lan, '127.0.0.1', 7003, two, 7003)
    forbidden.published('lan → [::1]', lan, '::1', 7004, two, 7004)
    const open = new Paths()
    open.add('internal, inside', mate, closed)
    open.add('isolated, inside', sealedMate, sealed)
    open.add('host → internal', home, closed)
    open.add('one, inside', oneMate, one)
    for (const [name, to] of [['one', one], ['two', two], ['apart', apart[1]], ['lan', lan]] as const) {
      open.add(`host → ${name}`, home, to)
    }
    open.all.push({ name: 'canary', from: '/run/netns/canary1', to: '203.0.113.34', port: 9999, at: '/run/netns/canary2' })

    const probes = new Probes()
    t.after(() => probes.stop())
    const running = probes.run([...forbidden.all, ...open.all])
    await sleep(300)
    assert.equal(probes.arrived('canary'), 0, 'the rule between the canaries holds')
    const arrived = (paths: Paths) => paths.all.map(({ name }) => name).filter((name) => probes.arrived(name) > 0)
    // On a busy machine a moment without rules may be too short for those who may send.
    for (let times = 0; times === 0 || (times < 4 && arrived(open).length < open.all.length); times++) {
      assert.equal(await lab.must(flushing), '15', 'there were moments without rules')
    }
    probes.stop()
    await running
    assert.deepEqual(arrived(forbidden), [], 'by these ways packets have come')
    assert.deepEqual(arrived(open), open.all.map(({ name }) => name), 'senders and listeners worked')
  })
}

/** What an attacker with every privilege can do inside: routes by the bridge, whatever its address. */
async function breakOut(lab: Lab, closed: Place, sealed: Place): Promise<void> {
  const enter = (at: Place) => `nsenter --net=${at.netns}`
  await lab.must(`${enter(closed)} ip route add default via ${closed.ipv4.replace(/\.\d+$/, '.1')}
    ${enter(closed)} ip -6 route add default via ${closed.ipv6.replace(/[^:]*$/, '1')}`)
  const id = await lab.ok('network', 'inspect', '-f', '{{.Id}}', 'sealed')
  const bridge = `br-${id.slice(0, 12)}`
  const mac = await lab.must(`cat /sys/class/net/${bridge}/address`)
  await lab.must(`for gw in 172.31.255.1 fd00:ffff::1; do
    ${enter(sealed)} ip neigh add $gw lladdr ${mac} dev eth0; done
    ${enter(sealed)} ip route add default via 172.31.255.1 dev eth0 onlink
    ${enter(sealed)} ip -6 route add default via fd00:ffff::1 dev eth0 onlink`)
}

for (const backend of ['iptables', 'nftables']) {
  test(`${backend}: what users let through in DOCKER-USER, and links, pass the guard`, async (t) => {
    const lab = await Lab.start(t, { flags: ['--firewall-backend', backend, '--icc=false'] })
    const serve = ['sh', '-c', 'mkdir -p /www; echo here >/www/index.html; exec httpd -f -p 80 -h /www']
    await lab.ok('run', '-d', '--stop-signal', 'KILL', '--name', 'web', '--expose', '80', 'busybox', ...serve)
    const address = await lab.ok('inspect', '-f', '{{.NetworkSettings.IPAddress}}', 'web')
    await lab.must(`curl -s -m 3 --retry 20 --retry-connrefused ${address}`)
    const container = async (...options: readonly string[]) => {
      const id = await lab.ok('run', '-d', '--stop-signal', 'KILL', ...options, 'busybox', 'sleep', '1d')
      return lab.ok('inspect', '-f', '{{.State.Pid}}', id)
    }
    const ask = async (pid: string, seconds = 2) => (await lab.sh(`nsenter -t ${pid} -n curl -s -m ${seconds} ${address}`)).out
    // At the first attempt, for there is no other: the guard follows before the container starts.
    assert.equal(await ask(await container('--link', 'web'), 10), 'here\n')
    const other = await container()
    assert.equal(await ask(other), '', 'without a link it is closed')
    const rule = backend === 'iptables'
      ? ['iptables -I DOCKER-USER -i docker0 -o docker0 -j ACCEPT', 'iptables -D DOCKER-USER 1']
      : ['nft add rule ip docker-bridges DOCKER-USER iifname docker0 oifname docker0 accept', 'nft flush chain ip docker-bridges DOCKER-USER']
    await lab.must(rule[0] ?? '')
    await until(async () => (await ask(other)) === 'here\n')
    await lab.must(rule[1] ?? '')
    await until(async () => (await lab.must('nft list ruleset')).includes('iifname "docker0" drop'))
    assert.equal(await ask(other), '', 'closed again')
  })
}

test('the policy rules of an internal network are told, repaired, and go with the network', async (t) => {
  const lab = await Lab.start(t, { busybox: false })
  // Of one priority the newest is last.
  const rules = () => lab.must('ip rule | sort; ip -6 rule | sort')
  const before = await rules()
  await lab.ok('network', 'create', '--internal', '--ipv6', '--subnet', '10.70.0.0/24', '--subnet', 'fd70::/64', 'closed')
  const bridge = `br-${(await lab.ok('network', 'inspect', '-f', '{{.Id}}', 'closed')).slice(0, 12)}`
  const made = await rules()
  assert.deepEqual(made.split('\n').filter((line) => line.includes('proto 80')), [
    '40:\tfrom all to 10.70.0.0/24 iif lo lookup main proto 80',
    `41:\tfrom all iif ${bridge} blackhole proto 80`,
    '41:\tfrom all to 10.70.0.0/24 blackhole proto 80',
    '40:\tfrom all to fd70::/64 iif lo lookup main proto 80',
    `41:\tfrom all iif ${bridge} blackhole proto 80`,
    '41:\tfrom all to fd70::/64 blackhole proto 80',
  ])
  const how = await lab.api('GET', '/portolan/how/closed')
  assert.match(how.text, /"ip rule add pref 41 protocol 80 to 10\.70\.0\.0\/24 blackhole"/)
  await t.test('the plan names what is missing and what is too much, as lines to type', async () => {
    const [gone, more] = ['to fd70::/64 blackhole', 'iif nowhere blackhole']
    const line = (verb: string, ip: string, rule: string) => `${ip} rule ${verb} pref 41 protocol 80 ${rule}`
    // The repair is quick: somebody takes it away again until the plan was asked in between.
    await until(async () => {
      await lab.must(`${line('del', 'ip -6', gone)}; ${line('add', 'ip', more)}`)
      const { text } = await lab.api('GET', '/portolan/plan')
      await until(async () => (await rules()) === made)
      return text.includes(line('add', 'ip -6', gone)) && text.includes(line('del', 'ip', more))
    })
  })
  await t.test('a flush of all rules is repaired', async () => {
    await lab.must('ip rule flush; ip rule add pref 32766 lookup main; ip rule add pref 32767 lookup default')
    await until(async () => (await rules()) === made)
  })
  await t.test('a daemon that was killed takes them over', async () => {
    await lab.endDaemon('SIGKILL')
    assert.equal(await rules(), made)
    await lab.must(`ip rule del pref 40; ip rule add pref 41 protocol 80 iif br-gone blackhole`)
    await lab.startDaemon()
    assert.equal(await rules(), made)
  })
  await t.test('without the network there are none', async () => {
    await lab.ok('network', 'rm', 'closed')
    assert.equal(await rules(), before)
  })
  await t.test('nor after the teardown', async () => {
    await lab.ok('network', 'create', '--internal', 'closed')
    assert.notEqual(await rules(), before)
    await lab.endDaemon()
    await lab.stop()
    assert.equal(await rules(), before)
  })
})
