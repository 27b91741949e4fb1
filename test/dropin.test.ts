/**
 * In dockerd's place: a script that starts it in a network namespace, with roots, pid file and
 * flags of its own, works with `portolan daemon`; three of them live side by side on one machine.
 */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { Lab } from './lab/lab.ts'

const serve = 'mkdir -p /www; hostname >/www/index.html; exec httpd -f -p 80 -h /www'
const patiently = 'curl -s -m 3 --retry 3 --retry-connrefused'

/** A namespace with one link to the outside, and an engine in it. */
async function engineIn(t: TestContext, netns: string, net: string, flags: readonly string[]): Promise<Lab> {
  await Lab.idle(t).must(`ip netns add ${netns} && ip -n ${netns} link set lo up &&
    ip link add up-${netns} type veth peer name eth0 netns ${netns} &&
    ip addr add ${net}.1/24 dev up-${netns} && ip link set up-${netns} up &&
    ip -n ${netns} addr add ${net}.2/24 dev eth0 && ip -n ${netns} link set eth0 up &&
    ip -n ${netns} route add default via ${net}.1`)
  return Lab.start(t, { netns, flags })
}

const inside = (netns: string, line: string) => `nsenter --net=/run/netns/${netns} ${line}`

test('three daemons in three namespaces, each with flags as scripts give them to dockerd', async (t) => {
  const common = ['--bip', '172.17.42.1/16', '--storage-driver', 'overlay2', '--experimental', '--debug']
  const labs = [
    { netns: 'one', net: '10.91.1', flags: [...common, '--userland-proxy=false', '--live-restore'] },
    { netns: 'two', net: '10.91.2', flags: [...common, '--icc=false', '--shutdown-timeout=3'] },
    { netns: 'three', net: '10.91.3', flags: [...common, '--iptables=false', '--ip6tables=false', '--ip-masq=false'] },
  ]
  const machine = Lab.idle(t)
  const outer = await machine.must('iptables-save | grep -c ^-A || true; ls /sys/class/net')
  const engines = await Promise.all(labs.map(({ netns, net, flags }) => engineIn(t, netns, net, flags)))
  const [one, two, three] = engines
  assert.ok(one !== undefined && two !== undefined && three !== undefined)
  for (const [index, lab] of engines.entries()) {
    const netns = labs[index]?.netns ?? ''
    assert.equal(readFileSync(join(lab.folder, 'pid'), 'utf8').trim(), String(lab.daemonPid))
    assert.equal(await lab.ok('info', '-f', '{{.DockerRootDir}} {{.Driver}} {{.ExperimentalBuild}}'), `${join(lab.folder, 'data')} overlay2 true`)
    assert.match(await lab.ok('version', '-f', '{{.Server.Version}} {{.Server.Os}}'), /^28\.\d+\.\d+\S* linux$/)
    const id = await lab.ok('run', '-d', '--name', 'web', '--stop-timeout', '1', '-p', '5050:80', 'busybox', 'sh', '-c', serve)
    assert.match(await lab.must(inside(netns, 'ip -br addr show docker0')), /172\.17\.42\.1\/16/)
    assert.equal(await lab.ok('inspect', '-f', '{{.NetworkSettings.IPAddress}} {{.NetworkSettings.Gateway}}', 'web'), '172.17.0.1 172.17.42.1')
    assert.equal(await lab.must(inside(netns, `${patiently} 127.0.0.1:5050`)), id.slice(0, 12))
  }
  await hairpin(one)
  await separated(two)
  // Without iptables not one rule is made, and a port still works: by the proxy.
  for (const program of ['iptables-save', 'ip6tables-save', 'nft list ruleset']) {
    assert.equal(await three.must(inside('three', `sh -c "${program} | grep -E '^-A|DOCKER|docker' || true"`)), '')
  }
  assert.equal(await machine.must('iptables-save | grep -c ^-A || true; ls /sys/class/net | grep -v ^up-'), outer)

  // SIGTERM: live-restore keeps, the others stop theirs.
  const alive = Number(await one.ok('inspect', '-f', '{{.State.Pid}}', 'web'))
  const ended = Number(await two.ok('inspect', '-f', '{{.State.Pid}}', 'web'))
  await Promise.all([one.endDaemon(), two.endDaemon()])
  assert.deepEqual([alive, ended].map((pid) => existsSync(`/proc/${pid}/root/www`)), [true, false])
  assert.deepEqual([one, two].map(({ folder }) => existsSync(join(folder, 'pid'))), [false, false])
  assert.match(await one.must(inside('one', `${patiently} 127.0.0.1:5050`)), /^[0-9a-f]{12}$/, 'goes on without its daemon')
  await one.startDaemon()
  assert.equal(await one.ok('inspect', '-f', '{{.State.Pid}}', 'web'), String(alive))
})

/** --userland-proxy=false: by every address, from everywhere, without a proxy. */
async function hairpin(lab: Lab): Promise<void> {
  const id = (await lab.ok('inspect', '-f', '{{.Id}}', 'web')).slice(0, 12)
  await lab.ok('run', '-d', '--name', 'mate', '--stop-timeout', '1', 'busybox', 'sleep', '1d')
  for (const from of ['web', 'mate']) {
    for (const address of ['10.91.1.2', '172.17.42.1']) {
      assert.equal(await lab.ok('exec', from, 'timeout', '3', 'wget', '-qO-', `http://${address}:5050`), id, `${from} by ${address}`)
    }
  }
  for (const address of ['10.91.1.2', '172.17.42.1', '127.0.0.1']) {
    assert.equal(await lab.must(inside('one', `${patiently} ${address}:5050`)), id, address)
  }
  assert.equal(await lab.must(`${patiently} 10.91.1.2:5050`), id, 'from outside')
  assert.equal(await lab.must(inside('one', 'cat /proc/sys/net/ipv4/conf/docker0/route_localnet')), '1')
}

/** --icc=false: neighbours do not reach each other, outside does. */
async function separated(lab: Lab): Promise<void> {
  await lab.ok('run', '-d', '--name', 'mate', '--stop-timeout', '1', 'busybox', 'sleep', '1d')
  assert.notEqual((await lab.docker('exec', 'mate', 'timeout', '2', 'wget', '-qO-', 'http://172.17.0.1')).code, 0)
  assert.match(await lab.must(`${patiently} 10.91.2.2:5050`), /^[0-9a-f]{12}$/)
}
