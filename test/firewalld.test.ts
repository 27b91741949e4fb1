/** Beside Debian's firewalld: its zone and policy, and what a reload or restart must not take away. */
import assert from 'node:assert/strict'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { FirewalldLab, until } from './lab/firewalld.ts'
import { Lab } from './lab/lab.ts'
import { Probes } from './lab/probes.ts'

for (const backend of ['nftables', 'iptables'] as const) {
  test(`a reload of firewalld with ${backend} loses nothing`, async (t) => {
    const lab = Lab.idle(t)
    const firewalld = await FirewalldLab.start(t, lab, backend)
    await lab.startDaemon()
    await lab.loadBusybox()
    await lab.neighbour()
    await lab.ok('network', 'create', 'u1')
    const bridge = `br-${(await lab.ok('network', 'inspect', '-f', '{{.Id}}', 'u1')).slice(0, 12)}`
    const interfaces = async () => (await firewalld.cmd('--zone=docker', '--list-interfaces')).out
    assert.match(await interfaces(), new RegExp(`docker0.*${bridge}|${bridge}.*docker0`))
    const policy = await firewalld.cmd('--permanent', '--info-policy=docker-forwarding')
    assert.match(policy.out, /target: ACCEPT[^]*ingress-zones: ANY[^]*egress-zones: docker/)
    assert.match((await firewalld.cmd('--permanent', '--info-zone=docker')).out, /target: ACCEPT/)

    const serve = ['sh', '-c', 'mkdir /w; echo here > /w/index.html; httpd -f -p 80 -h /w']
    await lab.ok('run', '-d', '--stop-signal', 'KILL', '--name', 'web', '--network', 'u1', '-p', '8080:80', 'busybox', ...serve)
    await lab.ok('run', '-d', '--stop-signal', 'KILL', '--name', 'local', '-p', '127.0.0.1:8081:80', 'busybox', ...serve)
    const other = await lab.ok('inspect', '-f', '{{.NetworkSettings.IPAddress}}', 'local')
    await lab.must(`ip -n neighbour route add ${other}/32 via 198.51.100.1`)
    const outside = 'ip netns exec neighbour curl -s -m 0.5'
    const holds = async () => {
      await lab.must('curl -s -m 2 http://127.0.0.1:8081 | grep here')
      assert.equal(await lab.must(`${outside} http://198.51.100.1:8080`), 'here')
      for (const closed of [`http://198.51.100.1:8081`, `http://${other}`]) {
        assert.notEqual((await lab.sh(`${outside} ${closed}`)).code, 0, `${closed} is open`)
      }
      const across = await lab.docker('exec', 'web', 'wget', '-q', '-T', '1', '-O-', `http://${other}`)
      assert.notEqual(across.code, 0, 'networks are isolated')
    }
    const rules = () => lab.must('iptables-save | grep -v "^[#:]" | grep -iE "docker|br-" | sort')
    await holds()
    const before = await rules()

    await t.test('nothing is open while firewalld reloads', async () => {
      const open = 'http://198.51.100.1:8080'
      const during = join(lab.folder, 'reloading')
      writeFileSync(during, '')
      const probe = (url: string) =>
        lab.sh(`while [ -e ${during} ]; do
          ip netns exec neighbour curl -s -o /dev/null -m 0.05 ${url} && echo ${url}; done`)
      const probing = Promise.all([open, 'http://198.51.100.1:8081'].map(probe))
      const spaceOf = async (name: string) => `/proc/${await lab.ok('inspect', '-f', '{{.State.Pid}}', name)}/ns/net`
      const at = await spaceOf('local')
      const neighbour = '/run/netns/neighbour'
      const probes = new Probes()
      t.after(() => probes.stop())
      const running = probes.run([
        { name: 'lan → address of a container', from: neighbour, to: other, port: 9000, at },
        { name: 'one network → another', from: await spaceOf('web'), to: other, port: 9001, at },
        { name: 'host → container', from: '/proc/self/ns/net', to: other, port: 9002, at },
      ])
      for (let times = 0; times < 2; times++) assert.equal((await firewalld.cmd('--reload')).code, 0)
      rmSync(during)
      probes.stop()
      await running
      assert.deepEqual(probes.gone, ['host → container'])
      const reached = (await probing).flatMap(({ out }) => out.trim().split('\n'))
      assert.deepEqual([...new Set(reached.filter((url) => url !== ''))], [open])
    })

    await t.test('rules, zones and isolation are back after --reload', async () => {
      const reload = await firewalld.cmd('--reload')
      assert.equal(reload.code, 0, reload.err)
      await until(async () => (await rules().catch(() => '')) === before)
      await until(async () => (await interfaces()).includes(bridge))
      await holds()
      const raw = await lab.api('GET', '/info')
      assert.match(raw.text, /"Driver":"iptables\+firewalld","Info":\[\["ReloadedAt","20/)
    })

    await t.test('and after a restart of the service', async () => {
      await firewalld.stopService()
      await until(async () => !(await lab.api('GET', '/info')).text.includes('+firewalld'))
      await firewalld.startService()
      await until(async () => (await rules().catch(() => '')) === before)
      await until(async () => (await interfaces()).includes(bridge))
      await holds()
    })

    if (backend === 'iptables') {
      await t.test('teardown takes the bridges out of the zone', async () => {
        await lab.teardown()
        assert.equal((await interfaces()).trim(), '')
      })
      return
    }

    await t.test('a bridge that the user put into another zone stays there', async () => {
      const put = ['--zone=trusted', '--change-interface=docker0', '--permanent']
      assert.equal((await firewalld.cmd(...put)).code, 0)
      assert.equal((await firewalld.cmd('--reload')).code, 0)
      const zone = async () => (await firewalld.cmd('--get-zone-of-interface=docker0')).out.trim()
      await until(async () => (await zone()) === 'trusted')
      await lab.ok('rm', '-f', 'local')
      await lab.endDaemon()
      await lab.startDaemon()
      assert.equal(await zone(), 'trusted')
    })

    await t.test('a bridge that is removed leaves the zone', async () => {
      await lab.ok('rm', '-f', 'web')
      await lab.ok('network', 'rm', 'u1')
      assert.doesNotMatch(await interfaces(), new RegExp(bridge))
    })
  })
}
