import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { endpointSpec, networkSpec } from '../../test/lab/network-specs.ts'
import { openLab, run } from '../../test/lab/network-lab.ts'
import { children, fetched, realRooms, serve } from '../../test/lab/real-rooms.ts'

const real = realRooms()

test('a published port answers by loopback, host address and from another network', async () => {
  run('sysctl -qw net.ipv4.ip_forward=0')
  const lab = await openLab({}, real)
  const { engine } = lab
  assert.match(run('iptables -S FORWARD'), /-P FORWARD DROP/)
  await engine.create(networkSpec({ name: 'localnet' }))
  await engine.create(networkSpec({ name: 'other' }))
  const publication = { protocol: 'tcp', containerPort: 80, hostIp: '' } as const
  const web = await engine.open(
    lab.spec({
      containerName: 'web',
      endpoints: [endpointSpec('localnet')],
      publications: [{ ...publication, hostPortFirst: 5050, hostPortLast: 5050 }],
      exposed: ['80/tcp'],
    }),
  )
  const same = await engine.open(lab.spec({ endpoints: [endpointSpec('localnet')] }))
  const apart = await engine.open(lab.spec({ endpoints: [endpointSpec('other')] }))
  await serve(web, 'hi')
  assert.equal(fetched('http://127.0.0.1:5050'), 'hi')
  assert.equal(fetched('http://[::1]:5050'), 'hi')
  assert.equal(fetched('http://172.18.0.1:5050'), 'hi')
  assert.equal(fetched('http://172.18.0.1:5050', same.netnsPath), 'hi')
  assert.equal(fetched('http://172.19.0.1:5050', apart.netnsPath), 'hi')
  assert.throws(() => fetched('http://172.18.0.2', apart.netnsPath))
  assert.match(run('dig +short web @127.0.0.11', same.netnsPath), /^172\.18\.0\.2$/m)
  assert.match(run('dig +short -x 172.18.0.2 @127.0.0.11', same.netnsPath), /^web\.localnet\.$/m)
  const taken = lab.spec({
    endpoints: [endpointSpec('other')],
    publications: [{ ...publication, hostPortFirst: 5050, hostPortLast: 5050 }],
  })
  await assert.rejects(engine.open(taken), {
    message: /Bind for 0\.0\.0\.0:5050 failed: port is already allocated$/,
  })
  await engine.disconnect(web.spec.containerId, 'localnet', false)
  await engine.connect(web.spec.containerId, endpointSpec('other'))
  assert.equal(fetched('http://127.0.0.1:5050'), 'hi')
  assert.equal(fetched('http://172.18.0.1:5050', same.netnsPath), 'hi')
  assert.deepEqual(await engine.plan(), [])
  for (const { spec } of [web, same, apart]) await engine.close(spec.containerId)
  assert.throws(() => fetched('http://127.0.0.1:5050'))
  assert.doesNotMatch(run('iptables -t nat -S DOCKER'), /5050/)
  for (const name of ['localnet', 'other']) await engine.remove(name)
  assert.doesNotMatch(run('iptables-save'), /br-/)
  await lab.end()
})

test('a port of another program is refused, an ephemeral one is chosen again', async () => {
  const lab = await openLab({}, real)
  const { engine } = lab
  const [first = 0] = run('sysctl -n net.ipv4.ip_local_port_range').split(/\s+/).map(Number)
  const listen = `TCP-LISTEN:${first},fork,reuseaddr`
  children.push(spawn('socat', [listen, 'SYSTEM:true'], { stdio: 'ignore' }))
  for (let tries = 0; tries < 100; tries++) {
    if (run('ss -Hltn').includes(`:${first}`)) break
    await sleep(20)
  }
  const publication = { protocol: 'tcp', containerPort: 80, hostIp: '' } as const
  const endpoints = [endpointSpec('bridge')]
  const fixed = { ...publication, hostPortFirst: first, hostPortLast: first }
  await assert.rejects(engine.open(lab.spec({ endpoints, publications: [fixed] })), {
    message: new RegExp(`failed to bind host port for 0\\.0\\.0\\.0:${first}:172\\.17\\.0\\.2:80/tcp`),
  })
  const free = { ...publication, hostPortFirst: 0, hostPortLast: 0 }
  const c1 = await engine.open(lab.spec({ endpoints, publications: [free] }))
  assert.deepEqual(
    c1.ports['80/tcp']?.map(({ hostIp, hostPort }) => [hostIp, hostPort]),
    [['0.0.0.0', first + 1], ['::', first + 1]],
  )
  await engine.close(c1.spec.containerId)
  await lab.end()
})

test('icc=false separates containers, and a legacy link opens what the child exposes', async () => {
  const lab = await openLab({ icc: false }, real)
  const { engine } = lab
  const endpoints = [endpointSpec('bridge')]
  const child = await engine.open(lab.spec({ endpoints, exposed: ['80/tcp'] }))
  await serve(child, 'child')
  const { containerId, containerName } = child.spec
  const links = [{ containerId, containerName, alias: 'db', exposed: ['80/tcp'] }]
  const parent = await engine.open(lab.spec({ endpoints, links }))
  const other = await engine.open(lab.spec({ endpoints }))
  const url = `http://${child.endpoints[0]?.ipv4.split('/')[0]}`
  assert.equal(fetched(url, parent.netnsPath), 'child')
  assert.throws(() => fetched(url, other.netnsPath))
  const hosts = readFileSync(join(parent.spec.filesDir, 'hosts'), 'utf8')
  const line = `172.17.0.2\tdb ${containerId.slice(0, 12)} ${containerName}\n`
  assert.ok(hosts.includes(line), hosts)
  for (const { spec } of [child, parent, other]) await engine.close(spec.containerId)
  await lab.end()
})

test('without the userland proxy loopback and hairpin work by rules alone', async () => {
  const lab = await openLab({ userlandProxy: false }, realRooms(false))
  const { engine } = lab
  const range = { hostPortFirst: 8080, hostPortLast: 8080 }
  const publication = { protocol: 'tcp', containerPort: 80, hostIp: '', ...range } as const
  await engine.create(networkSpec({ name: 'u1' }))
  const web = await engine.open(
    lab.spec({ endpoints: [endpointSpec('u1')], publications: [publication] }),
  )
  assert.equal(web.ports['80/tcp']?.length, 1)
  await serve(web, 'hi')
  assert.equal(fetched('http://127.0.0.1:8080'), 'hi')
  assert.equal(fetched('http://172.18.0.1:8080', web.netnsPath), 'hi')
  await engine.close(web.spec.containerId)
  await engine.remove('u1')
  await lab.end()
})

test('a dual-stack network gives both addresses, gateways and names', async () => {
  const lab = await openLab({}, real)
  const { engine } = lab
  const pools = [{ subnet: 'fd00:7::/64' }]
  const ipam = { driver: 'default', options: null, pools }
  await engine.create(networkSpec({ name: 'six', enableIpv6: true, ipam }))
  const spec = lab.spec({ containerName: 'v6', endpoints: [endpointSpec('six')] })
  const one = await engine.open(spec)
  const two = await engine.open(lab.spec({ endpoints: [endpointSpec('six')] }))
  assert.equal(one.endpoints[0]?.ipv6, 'fd00:7::2/64')
  run('ping -6 -c 1 -W 2 fd00:7::2', two.netnsPath)
  assert.match(run('ip -6 route', one.netnsPath), /default via fd00:7::1 dev eth0/)
  assert.match(run('dig +short AAAA v6 @127.0.0.11', two.netnsPath), /^fd00:7::2$/m)
  for (const sandbox of [one, two]) await engine.close(sandbox.spec.containerId)
  await engine.remove('six')
  await lab.end()
})
