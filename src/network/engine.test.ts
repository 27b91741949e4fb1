import assert from 'node:assert/strict'
import { existsSync, readFileSync, appendFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { endpointSpec, networkSpec } from '../../test/lab/network-specs.ts'
import { openLab, run } from '../../test/lab/network-lab.ts'

const linkNames = () =>
  run('ip -o link').split('\n').flatMap((line) => /^\d+: ([^:@]+)/.exec(line)?.[1] ?? [])

test('two containers of one network reach each other and have Docker’s addresses', async () => {
  const lab = await openLab()
  const { engine } = lab
  const network = await engine.create(networkSpec({ name: 'localnet' }))
  assert.equal(network.pools[0]?.subnet, '172.18.0.0/16')
  const bridge = `br-${network.id.slice(0, 12)}`
  assert.match(run(`ip -4 addr show ${bridge}`), /inet 172\.18\.0\.1\/16/)
  const endpoints = [endpointSpec('localnet')]
  const c1 = await engine.open(lab.spec({ endpoints }))
  const c2 = await engine.open(lab.spec({ endpoints }))
  assert.equal(c1.endpoints[0]?.macAddress, '02:42:ac:12:00:02')
  assert.match(run('ip addr show eth0', c1.netnsPath), /02:42:ac:12:00:02.*\n.*172\.18\.0\.2\/16/)
  assert.match(run('ip route', c1.netnsPath), /^default via 172\.18\.0\.1 dev eth0/)
  run('ping -c 1 -W 2 172.18.0.3', c1.netnsPath)
  run('ping -c 1 -W 2 172.18.0.2')
  const lo = run('ip addr show lo', c1.netnsPath)
  assert.match(lo, /inet6 ::1\/128/)
  assert.doesNotMatch(run('ip addr show eth0', c1.netnsPath), /inet6/)
  const master = run(`ip -o link show ${c1.endpoints[0]?.hostInterface}`)
  assert.match(master, new RegExp(`master ${bridge} .*alias portolan:${c1.endpoints[0]?.id}`, 's'))
  await assert.rejects(engine.remove('localnet'), {
    kind: 'forbidden',
    message: /^error while removing network: network localnet has active endpoints \(name:"/,
  })
  await engine.close(c1.spec.containerId)
  await engine.close(c2.spec.containerId)
  await engine.close(c2.spec.containerId)
  await engine.remove('localnet')
  await engine.settled()
  assert.deepEqual(linkNames().filter((name) => /^(br-|veth)/.test(name)), [])
  assert.ok(!existsSync(c1.netnsPath))
  const order = lab.told.events.map(({ action }) => action)
  const connects = ['connect', 'connect', 'disconnect', 'disconnect']
  assert.deepEqual(order, ['create', ...connects, 'destroy'])
  await lab.end()
})

test('connect and disconnect move default route, ports, names and hosts lines', async () => {
  const lab = await openLab()
  const { engine } = lab
  const internal = await engine.create(networkSpec({ name: 'inner', internal: true }))
  await engine.create(networkSpec({ name: 'uu' }))
  const aa = await engine.create(networkSpec({ name: 'aa' }))
  const publication = { protocol: 'tcp', containerPort: 80, hostIp: '' } as const
  const spec = lab.spec({
    endpoints: [endpointSpec('inner')],
    publications: [{ ...publication, hostPortFirst: 8080, hostPortLast: 8080 }],
    exposed: ['80/tcp'],
  })
  const { id, netnsPath, ports } = await engine.open(spec)
  assert.deepEqual(ports, {})
  assert.doesNotMatch(run('ip route', netnsPath), /default/)
  await engine.connect(spec.containerId, endpointSpec('uu'))
  assert.match(run('ip route', netnsPath), /default via 172\.19\.0\.1 dev eth1/)
  assert.equal(engine.sandbox(spec.containerId)?.ports['80/tcp']?.length, 2)
  assert.equal(lab.told.ports.get(id)?.[0]?.containerIp, '172.19.0.2')
  await engine.connect(spec.containerId, endpointSpec('aa', { aliases: ['web'] }))
  assert.match(run('ip route', netnsPath), /default via 172\.20\.0\.1 dev eth2/)
  assert.equal(lab.told.ports.get(id)?.[0]?.containerIp, '172.20.0.2')
  const hosts = () => readFileSync(join(spec.filesDir, 'hosts'), 'utf8')
  assert.match(hosts(), /^172\.20\.0\.2\t/m)
  const names = lab.told.zones.get(aa.id)?.[0]?.names
  assert.deepEqual(names, [spec.containerName, 'web', spec.containerId.slice(0, 12)])
  await assert.rejects(engine.connect(spec.containerId, endpointSpec('aa')), {
    kind: 'forbidden',
    message: `endpoint with name ${spec.containerName} already exists in network aa`,
  })
  await engine.disconnect(spec.containerId, 'aa', false)
  assert.match(run('ip route', netnsPath), /default via 172\.19\.0\.1 dev eth1/)
  assert.doesNotMatch(hosts(), /^172\.20\.0\.2\t/m)
  assert.deepEqual(lab.told.zones.get(aa.id), [])
  await engine.disconnect(spec.containerId, internal.id, false)
  await engine.connect(spec.containerId, endpointSpec('inner'))
  assert.match(run('ip -4 addr show eth0', netnsPath), /172\.18\.0\.2/)
  await assert.rejects(engine.disconnect(spec.containerId, 'aa', false), {
    message: `container ${spec.containerId} is not connected to network aa`,
  })
  await engine.close(spec.containerId)
  assert.equal(lab.told.ports.size, 0)
  for (const name of ['aa', 'uu', 'inner']) await engine.remove(name)
  await lab.end()
})

test('a failing open leaves nothing behind and says why', async () => {
  const lab = await openLab()
  const { engine } = lab
  await engine.create(networkSpec({ name: 'u1' }))
  const before = linkNames()
  const publications = [
    { protocol: 'tcp', containerPort: 80, hostIp: '', hostPortFirst: 8080, hostPortLast: 8080 },
  ] as const
  const spec = lab.spec({ endpoints: [endpointSpec('u1')], publications })
  const wrapped = new RegExp(
    '^driver failed programming external connectivity' +
      ` on endpoint ${spec.containerName} \\([0-9a-f]{64}\\): `,
  )
  lab.told.firewallFails = true
  await assert.rejects(engine.open(spec), { kind: 'internal', message: wrapped })
  lab.told.firewallFails = false
  lab.told.busy.add('tcp/8080')
  await assert.rejects(engine.open(spec), { message: /0\.0\.0\.0:8080:.*address already in use$/ })
  lab.told.busy.clear()
  await assert.rejects(engine.open(lab.spec({ endpoints: [endpointSpec('nope')] })), {
    kind: 'notFound',
    message: 'network nope not found',
  })
  await engine.settled()
  assert.deepEqual(linkNames(), before)
  assert.equal(engine.sandbox(spec.containerId), undefined)
  const opened = await engine.open(spec)
  assert.equal(opened.endpoints[0]?.ipv4, '172.18.0.2/16')
  await assert.rejects(engine.open(lab.spec({ endpoints: [endpointSpec('u1')], publications })), {
    message: /Bind for 0\.0\.0\.0:8080 failed: port is already allocated$/,
  })
  await engine.close(spec.containerId)
  await engine.remove('u1')
  await lab.end()
})

test('sandboxes of a dead daemon are adopted, repaired and swept, what is right is left alone', async () => {
  const lab = await openLab()
  await lab.engine.create(networkSpec({ name: 'u1' }))
  const endpoints = [endpointSpec('u1')]
  const kept = await lab.engine.open(lab.spec({ endpoints }))
  const lost = await lab.engine.open(lab.spec({ endpoints }))
  const hosts = join(kept.spec.filesDir, 'hosts')
  appendFileSync(hosts, '1.2.3.4 mine\n')
  const veth = kept.endpoints[0]?.hostInterface ?? ''
  const index = /^(\d+):/.exec(run(`ip -o link show ${veth}`))?.[1]
  run('ip link add orphan type bridge')
  run('ip link set orphan alias portolan:nobody')
  run('ip route del default', kept.netnsPath)
  const next = await lab.restart([kept.spec.containerId])
  assert.equal(/^(\d+):/.exec(run(`ip -o link show ${veth}`))?.[1], index)
  assert.match(run('ip route', kept.netnsPath), /default via 172\.18\.0\.1/)
  assert.ok(!linkNames().includes('orphan'))
  assert.ok(!linkNames().includes(lost.endpoints[0]?.hostInterface ?? ''))
  assert.ok(!existsSync(lost.netnsPath))
  assert.match(readFileSync(hosts, 'utf8'), /1\.2\.3\.4 mine/)
  assert.deepEqual(await next.engine.plan(), [])
  run('ip link del docker0')
  const plan = await next.engine.plan()
  assert.ok(plan.includes('ip addr add 172.17.0.1/16 brd + dev docker0'), plan.join('\n'))
  await next.engine.reconcile()
  assert.deepEqual(await next.engine.plan(), [])
  const again = await next.engine.open(next.spec({ endpoints }))
  assert.equal(again.endpoints[0]?.ipv4, '172.18.0.3/16')
  await next.engine.close(again.spec.containerId)
  await next.engine.close(kept.spec.containerId)
  await next.engine.remove('u1')
  await next.end()
})

test('host, none and disabled modes have the endpoints and files that Docker gives them', async () => {
  const lab = await openLab()
  const host = await lab.engine.open(lab.spec({ mode: { kind: 'host' } }))
  assert.equal(host.netnsPath, join(lab.folder, 'netns/default'))
  assert.equal(host.endpoints[0]?.networkName, 'host')
  const file = readFileSync(join(host.spec.filesDir, 'hosts'), 'utf8')
  assert.equal(file, readFileSync('/etc/hosts', 'utf8'))
  const none = await lab.engine.open(lab.spec({ mode: { kind: 'none' } }))
  assert.equal(none.endpoints[0]?.ipv4, '')
  assert.equal(run('ip -o link', none.netnsPath).trim().split('\n').length, 1)
  await assert.rejects(lab.engine.connect(none.spec.containerId, endpointSpec('bridge')), {
    message: /multiple networks with one of the networks in private \(none\) mode$/,
  })
  const disabled = await lab.engine.open(lab.spec({ mode: { kind: 'disabled' } }))
  assert.deepEqual(disabled.endpoints, [])
  assert.equal(readFileSync(join(disabled.spec.filesDir, 'hosts'), 'utf8'), '')
  for (const { spec } of [host, none, disabled]) await lab.engine.close(spec.containerId)
  await lab.end()
})

test('the default bridge follows bip and the daemon’s other options', async () => {
  const lab = await openLab({ bip: '172.17.42.1/16', fixedCidr: '172.17.128.0/17', mtu: 1400 })
  const bridge = lab.engine.find('bridge')
  assert.match(run('ip addr show docker0'), /mtu 1400 .*172\.17\.42\.1\/16/s)
  assert.equal(Object.keys(bridge.spec.options).length, 6)
  assert.deepEqual(bridge.pools[0]?.shown, {
    subnet: '172.17.0.0/16', gateway: '172.17.42.1', ipRange: '172.17.128.0/17',
  })
  const c1 = await lab.engine.open(lab.spec({ endpoints: [endpointSpec('bridge')] }))
  assert.equal(c1.endpoints[0]?.ipv4, '172.17.128.0/16')
  assert.deepEqual(c1.endpoints[0]?.dnsNames, [])
  await lab.engine.close(c1.spec.containerId)
  const next = await lab.restart([], { bip: '172.17.43.1/16', fixedCidr: '', mtu: 1500 })
  assert.match(run('ip addr show docker0'), /mtu 1500 .*172\.17\.43\.1\/16/s)
  assert.doesNotMatch(run('ip addr show docker0'), /172\.17\.42\.1/)
  await next.end()
})

test('a bridge of the user’s own is adopted and never deleted', async () => {
  run('ip link add mine type bridge')
  const lab = await openLab()
  const options = { 'com.docker.network.bridge.name': 'mine' }
  await lab.engine.create(networkSpec({ name: 'u1', options }))
  assert.match(run('ip addr show mine'), /inet 172\.18\.0\.1\/16/)
  await assert.rejects(lab.engine.create(networkSpec({ name: 'u2', options })), {
    kind: 'forbidden',
    message: /^cannot create network [0-9a-f]{64} \(mine\): conflicts .* same bridge name$/,
  })
  await lab.engine.remove('u1')
  assert.doesNotMatch(run('ip addr show mine'), /inet /)
  run('ip link del mine')
  await lab.end()
})

test('a bridge, a pair and a route that somebody deleted come back, containers go on', async () => {
  const lab = await openLab()
  const { engine } = lab
  const { id } = await engine.create(networkSpec({ name: 'u1' }))
  const endpoints = [endpointSpec('u1')]
  const c1 = await engine.open(lab.spec({ endpoints }))
  const c2 = await engine.open(lab.spec({ endpoints }))
  run(`ip link del br-${id.slice(0, 12)}`)
  run(`ip link del ${c2.endpoints[0]?.hostInterface}`)
  assert.throws(() => run('ping -c 1 -W 1 172.18.0.3', c1.netnsPath))
  await engine.reconcile()
  run('ping -c 1 -W 2 172.18.0.3', c1.netnsPath)
  run('ping -c 1 -W 2 172.18.0.1', c2.netnsPath)
  assert.match(run('ip route', c2.netnsPath), /^default via 172\.18\.0\.1 dev eth0/)
  assert.deepEqual(await engine.plan(), [])
  for (const { spec } of [c1, c2]) await engine.close(spec.containerId)
  await engine.remove('u1')
  await lab.end()
})

test('by turns a lost link is found at once, what happens inside of a container in its turn', async () => {
  const lab = await openLab()
  const { engine } = lab
  await engine.create(networkSpec({ name: 'u1' }))
  const specs = Array.from({ length: 20 }, () => lab.spec({ endpoints: [endpointSpec('u1')] }))
  const all = []
  for (const spec of specs) all.push(await engine.open(spec))
  assert.equal(await engine.reconcileTurn(), 16 / 20)
  const [first, last] = [all[0], all.at(-1)]
  run(`ip link del ${last?.endpoints[0]?.hostInterface}`)
  run('ip route del default', first?.netnsPath)
  await engine.reconcileTurn()
  run('ping -c 2 -W 2 172.18.0.1', last?.netnsPath)
  for (let turns = 0; turns < 2; turns++) await engine.reconcileTurn()
  assert.match(run('ip route', first?.netnsPath), /^default via 172\.18\.0\.1 dev eth0/)
  assert.deepEqual(await engine.plan(), [])
  await Promise.all(specs.map(({ containerId }) => engine.close(containerId)))
  assert.equal(await engine.reconcileTurn(), 1)
  await engine.remove('u1')
  await lab.end()
})

test('many connects, disconnects and closes at once leave exactly what they should', async () => {
  const lab = await openLab()
  const { engine } = lab
  await Promise.all(['a', 'b'].map((name) => engine.create(networkSpec({ name }))))
  await assert.rejects(engine.create(networkSpec({ name: 'a' })), {
    kind: 'conflict',
    message: 'network with name a already exists',
  })
  const specs = Array.from({ length: 12 }, () => lab.spec({ endpoints: [endpointSpec('a')] }))
  await Promise.all(specs.map((spec) => engine.open(spec)))
  const ids = specs.map(({ containerId }) => containerId)
  await Promise.all([
    ...ids.map((id) => engine.connect(id, endpointSpec('b'))),
    ...ids.map((id) => engine.disconnect(id, 'a', false)),
    ...ids.map((id) => engine.connect(id, endpointSpec('a'))),
    engine.reconcile(),
  ])
  const addresses = engine.endpointsOf(engine.find('a').id).map(({ ipv4 }) => ipv4)
  assert.equal(new Set(addresses).size, 12)
  for (const id of ids) {
    const sandbox = engine.sandbox(id)
    assert.match(run('ip -o -4 addr', sandbox?.netnsPath), / eth1 .* eth0 /s)
  }
  assert.deepEqual(await engine.plan(), [])
  await Promise.all(ids.map((id) => engine.close(id)))
  const [pruned] = await Promise.all([
    engine.prune(({ spec }) => spec.name === 'a'),
    assert.rejects(engine.prune(() => true), {
      kind: 'conflict',
      message: 'a prune operation is already running',
    }),
  ])
  assert.deepEqual(pruned, ['a'])
  await engine.remove('b')
  await engine.settled()
  assert.deepEqual(linkNames().filter((name) => /^(br-|veth)/.test(name)), [])
  await lab.end()
})
