/**
 * One engine per network namespace, as many as one likes side by side in namespaces of their own;
 * and what is found of an engine whose files somebody has deleted.
 */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { unmountBelow } from '../src/cli/machine.ts'
import { pidOf, readProc } from './lab/chaos.ts'
import { until } from './lab/firewalld.ts'
import { inventoryOf } from './lab/inventory.ts'
import { Lab, root } from './lab/lab.ts'

const serve = ['sh', '-c', 'mkdir -p /www; hostname >/www/index.html; exec httpd -f -p 80 -h /www']
const patiently = 'curl -s -m 3 --retry 5 --retry-connrefused'

/** A daemon on roots of its own in the namespace of `lab`; what it says before it ends. */
function another(lab: Lab): { readonly code: number | null; readonly text: string } {
  const file = (name: string) => join(lab.folder, `other-${name}`)
  const ran = spawnSync(join(root, 'portolan'), [
    'daemon', '--host', `unix://${file('d.sock')}`, '--data-root', file('data'), '--exec-root', file('run'), '--pidfile', file('pid'),
  ], { encoding: 'utf8', timeout: 30_000 })
  return { code: ran.status, text: ran.stdout + ran.stderr }
}

test('a second engine in a network namespace is refused, names the first, and touches nothing', async (t) => {
  const lab = await Lab.start(t, { flags: ['--live-restore'] })
  await lab.ok('network', 'create', '--internal', 'closed')
  await lab.ok('network', 'create', 'net')
  await lab.ok('run', '-d', '--stop-signal', 'KILL', '--name', 'web', '--network', 'net', '-p', '5050:80', 'busybox', ...serve)
  const ids = new Set((await lab.ok('ps', '-q', '--no-trunc')).split('\n'))
  const served = await lab.must(`${patiently} 127.0.0.1:5050`)
  const before = inventoryOf(lab, ids)

  await t.test('while the first one works', () => {
    const { code, text } = another(lab)
    assert.equal(code, 1)
    assert.match(text, new RegExp(`another Portolan works in this network namespace \\(process ${lab.daemonPid}, ` +
      `--data-root ${lab.folder}/data, --exec-root ${lab.folder}/run\\): end it, or start this one in a network namespace of its own`))
    assert.deepEqual(inventoryOf(lab, ids), before)
  })
  await t.test('and while it is away, as long as its containers are there', async () => {
    await lab.endDaemon('SIGKILL')
    const { code, text } = another(lab)
    assert.equal(code, 1)
    const keeper = pidOf(lab, 'keeper')
    assert.match(text, new RegExp(`containers of another Portolan are in this network namespace \\(process ${keeper}, --socket ${lab.folder}/run/k.sock\\)`))
    assert.deepEqual(inventoryOf(lab, ids), before)
    assert.equal(await lab.must('curl -s -m 3 127.0.0.1:5050'), served)
    await lab.startDaemon()
    assert.equal(await lab.must('curl -s -m 3 127.0.0.1:5050'), served)
  })
  await t.test('a name that somebody else has taken keeps nobody from starting', async () => {
    await lab.endDaemon('SIGKILL')
    const script = "require('node:net').createServer().listen('\\0portolan-engine', () => console.log('has it'))"
    const squatter = spawn(process.execPath, ['-e', script], { uid: 65534, gid: 65534, cwd: '/', stdio: ['ignore', 'pipe', 'inherit'] })
    t.after(() => squatter.kill('SIGKILL'))
    await new Promise((resolve) => squatter.stdout.once('data', resolve))
    await lab.startDaemon()
    assert.match(lab.log(), new RegExp(`no Portolan has taken its name.*pid=${squatter.pid} uid=65534`))
    assert.equal(await lab.must('curl -s -m 3 127.0.0.1:5050'), served)
  })
  await lab.expectNoLeaks()
})

test('several run side by side, each in a network namespace of its own', async (t) => {
  const labs: Lab[] = []
  for (const netns of ['first', 'second']) {
    spawnSync('sh', ['-c', `ip netns add ${netns}; ip -n ${netns} link set lo up`])
    labs.push(await Lab.start(t, { netns }))
  }
  for (const [index, lab] of labs.entries()) {
    await lab.ok('network', 'create', '--internal', '--subnet', '10.60.0.0/24', 'net')
    await lab.ok('run', '-d', '--stop-signal', 'KILL', '--name', `web${index}`, '--hostname', `web${index}`, '-p', '5050:80', 'busybox', ...serve)
  }
  for (const [index, netns] of ['first', 'second'].entries()) {
    assert.equal(await labs[index]?.must(`ip netns exec ${netns} ${patiently} 127.0.0.1:5050`), `web${index}`)
  }
  await labs[0]?.endDaemon()
  assert.equal(await labs[1]?.must(`ip netns exec second ${patiently} 127.0.0.1:5050`), 'web1')
})

for (const lost of ['data root', 'data root and the exec root']) {
  test(`an engine whose ${lost} somebody has deleted while containers ran is cleaned up by the next start`, async (t) => {
    const lab = await Lab.start(t, { flags: ['--live-restore'] })
    await lab.ok('network', 'create', '--internal', '--subnet', '10.61.0.0/24', 'closed')
    await lab.ok('network', 'create', 'net')
    await lab.ok('run', '-d', '--stop-signal', 'KILL', '--name', 'web', '--network', 'net', '-p', '5050:80', 'busybox', ...serve)
    await lab.ok('network', 'connect', 'closed', 'web')
    const pid = Number(await lab.ok('inspect', '-f', '{{.State.Pid}}', 'web'))
    await lab.endDaemon('SIGKILL')
    const keeper = pidOf(lab, 'keeper')
    for (const folder of lost.includes('exec') ? ['data', 'run'] : ['data']) {
      unmountBelow(join(lab.folder, folder))
      rmSync(join(lab.folder, folder), { recursive: true, force: true })
    }
    await lab.startDaemon()
    await lab.loadBusybox()
    assert.equal(await lab.ok('ps', '-aq'), '')
    const links = () => readdirSync('/sys/class/net').filter((name) => /^(veth|br-)/.test(name))
    await until(() => links().length === 0)
    await until(() => /^$|\) Z /.test(readProc(`/proc/${pid}/stat`)))
    assert.doesNotMatch(await lab.must('iptables-save; ip rule; ip -6 rule'), /DNAT|br-|proto 80/)
    await lab.ok('run', '-d', '--stop-signal', 'KILL', '--name', 'web', '-p', '5050:80', 'busybox', ...serve)
    assert.match(await lab.must(`${patiently} 127.0.0.1:5050`), /^[0-9a-f]{12}$/)
    if (lost.includes('exec')) assert.notEqual(pidOf(lab, 'keeper'), keeper)
    await lab.expectNoLeaks()
  })
}
