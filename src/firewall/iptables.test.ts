import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import test from 'node:test'
import { tableAccess } from './access.ts'
import type { FormerState } from './backend.ts'
import { IptablesBackend } from './iptables.ts'
import type { TableAccess } from './iptables.ts'
import type { BridgeIntent, FirewallSettings, PortIntent } from './intent.ts'
import { FirewallWriter } from './writer.ts'

const settings: FirewallSettings = {
  userlandProxy: true, ipv4: true, ipv6: true, allowDirectRouting: false, sharedChains: false,
}
const br = 'br-0123456789ab'

function bridge(change: Partial<BridgeIntent> = {}): BridgeIntent {
  return {
    networkId: 'n1', bridge: br,
    families: [{ family: 4, subnet: '172.18.0.0/16', gateway: '172.18.0.1', mode: 'nat' }],
    internal: false, icc: true, masquerade: true, trustedInterfaces: [], ...change,
  }
}
const docker0 = bridge({
  networkId: 'n0', bridge: 'docker0',
  families: [{ family: 4, subnet: '172.17.0.0/16', gateway: '172.17.0.1', mode: 'nat' }],
})

function port(change: Partial<PortIntent> = {}): PortIntent {
  return {
    bridge: br, family: 4, mode: 'nat', protocol: 'tcp', hostIp: '0.0.0.0', hostPort: 8080,
    containerIp: '172.18.0.2', containerPort: 80, count: 1, ...change,
  }
}

const shell = (command: string) => execFileSync('sh', ['-c', command], { encoding: 'utf8' })

/** Everything gone, as on a fresh machine. */
const flush = () => shell('nft flush ruleset')

/** `iptables -S` of one table without the chains' own lines. */
const listing = (table: string, family = 4) =>
  shell(`${family === 4 ? 'iptables' : 'ip6tables'} -t ${table} -S`).split('\n')
    .filter((line) => line.startsWith('-A'))

class Former implements FormerState {
  readonly kept = new Map<number, string>()
  get(family: 4 | 6) {
    return this.kept.get(family)
  }
  async set(family: 4 | 6, policy: string | undefined) {
    if (policy === undefined) this.kept.delete(family)
    else this.kept.set(family, policy)
  }
}

/** Counts what is read and written. */
function counting(): TableAccess & { saves: number; restores: string[] } {
  const real = tableAccess()
  const access = {
    saves: 0,
    restores: [] as string[],
    save: (family: 4 | 6) => {
      access.saves++
      return real.save(family)
    },
    restore: (family: 4 | 6, text: string) => {
      access.restores.push(text)
      return real.restore(family, text)
    },
  }
  return access
}

async function open(
  change: Partial<FirewallSettings> = {},
  options: { drop?: boolean; former?: Former } = {},
) {
  const access = counting()
  const backend = new IptablesBackend({
    settings: { ...settings, ...change }, access,
    dropForwarding: () => options.drop ?? false,
    former: options.former ?? new Former(),
  })
  const writer = new FirewallWriter(backend)
  await writer.start()
  await writer.reconcile()
  access.saves = 0
  access.restores.length = 0
  return { writer, access }
}

const est = '-m conntrack --ctstate RELATED,ESTABLISHED'

test('the layout of Docker 28 stands line by line for two bridges and one port', async () => {
  flush()
  const { writer } = await open()
  await writer.setBridge(docker0)
  await writer.setBridge(bridge())
  await writer.setEndpoint('e1', [port()], [])
  assert.deepEqual(listing('raw'), [
    '-A PREROUTING -d 172.17.0.0/16 ! -i docker0 -m addrtype ! --dst-type LOCAL -j DROP',
    `-A PREROUTING -d 172.18.0.0/16 ! -i ${br} -m addrtype ! --dst-type LOCAL -j DROP`,
  ])
  assert.deepEqual(listing('filter').toSorted(), [
    '-A FORWARD -j DOCKER-USER',
    '-A FORWARD -j DOCKER-FORWARD',
    `-A DOCKER -d 172.18.0.2/32 ! -i ${br} -o ${br} -p tcp -m tcp --dport 80 -j ACCEPT`,
    '-A DOCKER ! -i docker0 -o docker0 -j DROP',
    `-A DOCKER ! -i ${br} -o ${br} -j DROP`,
    '-A DOCKER-BRIDGE -o docker0 -j DOCKER',
    `-A DOCKER-BRIDGE -o ${br} -j DOCKER`,
    `-A DOCKER-CT -o docker0 ${est} -j ACCEPT`,
    `-A DOCKER-CT -o ${br} ${est} -j ACCEPT`,
    '-A DOCKER-FORWARD -j DOCKER-CT',
    '-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1',
    '-A DOCKER-FORWARD -j DOCKER-BRIDGE',
    '-A DOCKER-FORWARD -i docker0 -j ACCEPT',
    `-A DOCKER-FORWARD -i ${br} -j ACCEPT`,
    '-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2',
    `-A DOCKER-ISOLATION-STAGE-1 -i ${br} ! -o ${br} -j DOCKER-ISOLATION-STAGE-2`,
    `-A DOCKER-ISOLATION-STAGE-2 -o ${br} -j DROP`,
    '-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP',
  ].toSorted())
  // Order inside the chains in which it means something.
  const chain = (name: string) => listing('filter').filter((line) => line.startsWith(`-A ${name} `))
  assert.deepEqual(chain('FORWARD'), ['-A FORWARD -j DOCKER-USER', '-A FORWARD -j DOCKER-FORWARD'])
  assert.match(chain('DOCKER')[0] ?? '', /--dport 80 -j ACCEPT$/)
  assert.match(chain('DOCKER-FORWARD')[2] ?? '', /-j DOCKER-BRIDGE$/)
  assert.deepEqual(listing('nat'), [
    '-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER',
    '-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER',
    `-A POSTROUTING -s 172.18.0.0/16 ! -o ${br} -j MASQUERADE`,
    '-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE',
    '-A POSTROUTING -s 172.18.0.2/32 -d 172.18.0.2/32 -p tcp -m tcp --dport 80 -j MASQUERADE',
    `-A DOCKER -i ${br} -j RETURN`,
    '-A DOCKER -i docker0 -j RETURN',
    `-A DOCKER ! -i ${br} -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.18.0.2:80`,
  ])
  assert.ok(shell('iptables -S').includes('-N DOCKER-INGRESS'))
  assert.deepEqual(await writer.plan(), [])
})

test('a change reads nothing and is one restore; taking it back leaves nothing', async () => {
  flush()
  const { writer, access } = await open()
  const base = shell('iptables-save | grep -v "^#" | sed "s/\\[.*//"')
  await writer.setBridge(bridge())
  await writer.setEndpoint('e1', [port(), port({ hostIp: '127.0.0.1', hostPort: 81 })], [])
  assert.equal(access.saves, 0)
  assert.equal(access.restores.length, 2)
  await writer.setEndpoint('e1', [], [])
  await writer.removeBridge('n1')
  assert.equal(access.saves, 0)
  assert.equal(access.restores.length, 4)
  const left = shell('iptables-save | grep -v "^#" | sed "s/\\[.*//"')
  // The raw table itself stays once it was used.
  assert.equal(left.replace(/^\*raw[^*]*COMMIT\n/, ''), base)
})

test('a network made after somebody has flushed the tables works', async () => {
  for (const accident of ['nft flush ruleset', 'iptables -F', 'iptables -t nat -F']) {
    flush()
    const { writer } = await open()
    await writer.setBridge(docker0)
    shell(accident)
    await writer.setBridge(bridge())
    await writer.setEndpoint('e1', [port()], [])
    assert.deepEqual(await writer.plan(), [], accident)
  }
})

test('rules of a user stay in place with their counters, whatever comes and goes', async () => {
  flush()
  const { writer } = await open()
  shell(`iptables -A DOCKER-USER -i docker0 ! -s 192.168.0.0/16 -j DROP
    iptables -I DOCKER -s 203.0.113.9/32 -j DROP
    iptables -A DOCKER -d 203.0.113.9/32 -j LOG
    iptables -I FORWARD -s 203.0.113.7/32 -j DROP
    iptables -t nat -A POSTROUTING -s 10.9.0.0/16 ! -o eth0 -j MASQUERADE
    iptables -t nat -I DOCKER -s 203.0.113.8/32 -j RETURN
    iptables -t raw -A PREROUTING -d 10.9.0.0/16 -i eth0 -j ACCEPT
    iptables -A FORWARD -i eth0 -j ACCEPT`)
  shell(`iptables-save -c | sed 's/^\\[0:0\\] -A DOCKER-USER/[7:420] -A DOCKER-USER/' |
    iptables-restore -c`)
  const users = () => [...listing('raw'), ...listing('filter'), ...listing('nat')]
    .filter((line) => /203\.0\.113|10\.9\.|eth0|192\.168/.test(line))
  const before = users()
  assert.equal(before.length, 8)
  await writer.setBridge(bridge())
  await writer.setEndpoint('e1', [port()], [])
  shell('iptables -D DOCKER-FORWARD -j DOCKER-CT')
  await writer.reconcile()
  assert.deepEqual(users(), before)
  assert.match(shell('iptables-save -c'), /\[7:420\] -A DOCKER-USER/)
  assert.deepEqual(listing('filter').slice(0, 2), [
    '-A FORWARD -j DOCKER-USER', '-A FORWARD -j DOCKER-FORWARD',
  ])
  await writer.removeAll()
  assert.deepEqual(users(), before)
  assert.ok(!shell('iptables-save').includes('DOCKER-FORWARD'))
})

test('what an earlier life has left is kept until it is known who uses it', async () => {
  flush()
  const first = await open()
  await first.writer.setBridge(bridge())
  await first.writer.setEndpoint('e1', [port()], [])
  await first.writer.setEndpoint('e2', [port({ hostPort: 81, containerIp: '172.18.0.3' })], [])
  shell('iptables -t nat -Z && iptables -Z')
  const access = counting()
  const backend = new IptablesBackend({
    settings, access, dropForwarding: () => false, former: new Former(),
  })
  const second = new FirewallWriter(backend)
  await second.start()
  await Promise.all([second.setBridge(bridge()), second.setEndpoint('e1', [port()], [])])
  assert.deepEqual(access.restores, [])
  await second.reconcile()
  assert.equal(access.restores.length, 1)
  assert.ok(!access.restores.join().includes('172.18.0.2'))
  assert.ok(!listing('nat').join().includes('172.18.0.3'))
  assert.ok(listing('nat').join().includes('172.18.0.2:80'))
})

test('beside an older engine ours stand before its closing RETURN, and only ours go', async () => {
  flush()
  shell(`iptables -N DOCKER-ISOLATION-STAGE-1 && iptables -N DOCKER-ISOLATION-STAGE-2
    iptables -N DOCKER && iptables -t nat -N DOCKER
    iptables -A FORWARD -j DOCKER-ISOLATION-STAGE-1
    iptables -A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
    iptables -A DOCKER-ISOLATION-STAGE-1 -j RETURN
    iptables -A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
    iptables -A DOCKER-ISOLATION-STAGE-2 -j RETURN
    iptables -t nat -A DOCKER -i docker0 -j RETURN
    iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE`)
  const theirs = [...listing('filter'), ...listing('nat')]
  const { writer } = await open({ sharedChains: true })
  await writer.setBridge(bridge())
  await writer.setEndpoint('e1', [port()], [])
  const stage1 = listing('filter').filter((line) => line.startsWith('-A DOCKER-ISOLATION-STAGE-1 '))
  assert.equal(stage1.length, 3)
  assert.equal(stage1.at(-1), '-A DOCKER-ISOLATION-STAGE-1 -j RETURN')
  assert.deepEqual(await writer.plan(), [])
  await writer.removeAll()
  assert.deepEqual([...listing('filter'), ...listing('nat')], theirs)
})

const variants: [string, Partial<FirewallSettings>, Partial<BridgeIntent>, readonly string[]][] = [
  ['proxy off', { userlandProxy: false }, {}, [
    '-A OUTPUT -m addrtype --dst-type LOCAL -j DOCKER',
    '-A DOCKER -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.18.0.2:80',
    `-A POSTROUTING -o ${br} -m addrtype --src-type LOCAL -j MASQUERADE`,
    `-A PREROUTING -d 127.0.0.0/8 -i ${br} -j DROP`,
  ]],
  ['icc=false', {}, { icc: false }, [
    `-A DOCKER-FORWARD -i ${br} -o ${br} -j DROP`,
    `-A DOCKER-FORWARD -i ${br} ! -o ${br} -j ACCEPT`,
  ]],
  ['internal', {}, { internal: true }, [
    `-A DOCKER-ISOLATION-STAGE-1 ! -s 172.18.0.0/16 -o ${br} -j DROP`,
    `-A DOCKER-ISOLATION-STAGE-1 ! -d 172.18.0.0/16 -i ${br} -j DROP`,
    `-A DOCKER-FORWARD -i ${br} -o ${br} -j ACCEPT`,
  ]],
  ['trusted interface', {}, { trustedInterfaces: ['eth1'] }, [
    '-A PREROUTING -d 172.18.0.0/16 -i eth1 -m comment --comment portolan -j ACCEPT',
  ]],
  ['masquerade off', {}, { masquerade: false }, [
    `-A DOCKER-BRIDGE ! -i ${br} -o ${br} -m conntrack ! --ctstate DNAT -j DROP`,
  ]],
  ['bridge with a name of the user', {}, { bridge: 'mybr' }, [
    '-A POSTROUTING -s 172.18.0.0/16 ! -o mybr -m comment --comment portolan -j MASQUERADE',
  ]],
  ['shared chains', { sharedChains: true }, {}, [
    `-A DOCKER-BRIDGE -o ${br} -m comment --comment portolan -j DOCKER`,
  ]],
  ['IPv6', {}, {
    families: [{ family: 6, subnet: 'fd00::/64', gateway: 'fd00::1', mode: 'nat' }],
  }, []],
]
for (const mode of ['routed', 'nat-unprotected', 'isolated'] as const) {
  const net = { family: 4, subnet: '172.18.0.0/16', gateway: '172.18.0.1', mode } as const
  variants.push([mode, {}, { families: [net] }, []])
}
const hostAddress = { ...bridge().families[0], hostAddress: '192.0.2.9' } as never
variants.push(['host_ipv4', {}, { families: [hostAddress] }, [
  `-A POSTROUTING -s 172.18.0.0/16 ! -o ${br} -j SNAT --to-source 192.0.2.9`,
]])

for (const [name, set, intent, expected] of variants) {
  test(`${name}: what is compiled is what the kernel says back, and all of it goes`, async () => {
    flush()
    const { writer } = await open(set)
    const net = bridge(intent)
    const mode = net.families[0]?.mode ?? 'nat'
    const v6 = net.families[0]?.family === 6
    const six = { family: 6, containerIp: 'fd00::2', hostIp: '::' } as const
    const common = { mode, ...(v6 ? six : {}) }
    await writer.setBridge(net)
    if (!net.internal && mode !== 'isolated') {
      await writer.setEndpoint('e1', [
        port(common), port({ ...common, hostPort: 5000, containerPort: 6000, count: 100 }),
        port({ ...common, protocol: 'udp' }), port({ ...common, protocol: 'sctp' }),
        port({ ...common, hostIp: v6 ? '0:0::1' : '127.0.0.1', hostPort: 99 }),
      ], [{ bridge: br, parentIp: '172.18.0.3', childIp: '172.18.0.2', protocol: 'tcp', port: 80 }])
    }
    assert.deepEqual(await writer.plan(), [])
    const all = [...listing('raw'), ...listing('filter'), ...listing('nat')]
    for (const line of expected) assert.ok(all.includes(line), `${line}\n${all.join('\n')}`)
    // Every rule of ours is known as ours: without its units all of it is surplus.
    await writer.removeAll()
    for (const family of [4, 6]) {
      for (const table of ['raw', 'filter', 'nat']) assert.deepEqual(listing(table, family), [])
    }
  })
}

test('the forwarding policy is changed only when asked for, and restored', async () => {
  flush()
  const former = new Former()
  const { writer } = await open({}, { drop: true, former })
  assert.match(shell('iptables -S FORWARD'), /-P FORWARD DROP/)
  assert.equal(former.kept.get(4), 'ACCEPT')
  shell('iptables -P FORWARD ACCEPT')
  assert.deepEqual(await writer.plan(), ['iptables -P FORWARD DROP'])
  await writer.reconcile()
  await writer.removeAll()
  assert.match(shell('iptables -S FORWARD'), /-P FORWARD ACCEPT/)
})

test('one bad request fails alone and leaves nothing behind', async () => {
  flush()
  const { writer } = await open()
  await writer.setBridge(bridge())
  const ports = [port({ containerIp: '1.2.3.4.5' }), port({ hostPort: 1 })]
  const bad = writer.setEndpoint('bad', ports, [])
  const good = writer.setEndpoint('good', [port({ hostPort: 82 })], [])
  await assert.rejects(bad)
  await good
  assert.ok(listing('nat').join().includes('--dport 82 '))
  assert.ok(!listing('nat').join().includes('--dport 1 '))
  assert.deepEqual(await writer.plan(), [])
})

test('what waits is merged: fifty endpoints at once are few transactions', async () => {
  flush()
  const { writer, access } = await open()
  await writer.setBridge(bridge())
  const before = access.restores.length
  await Promise.all(Array.from({ length: 50 }, (_, i) =>
    writer.setEndpoint(`e${i}`, [port({ hostPort: 1000 + i, containerIp: `172.18.1.${i}` })], [])))
  assert.ok(access.restores.length - before <= 3)
  assert.equal(listing('nat').filter((line) => line.includes('DNAT')).length, 50)
})

test('explain names the lines of one address and of one bridge', async () => {
  flush()
  const { writer } = await open()
  await writer.setBridge(bridge())
  await writer.setEndpoint('e1', [port()], [])
  await writer.setEndpoint('e2', [port({ hostPort: 1, containerIp: '172.18.0.20' })], [])
  assert.deepEqual(await writer.explain({ address: '172.18.0.2' }), [
    `iptables -A DOCKER -d 172.18.0.2/32 ! -i ${br} -o ${br} -p tcp -m tcp --dport 80 -j ACCEPT`,
    'iptables -t nat -A POSTROUTING -s 172.18.0.2/32 -d 172.18.0.2/32 -p tcp -m tcp --dport 80 ' +
      '-j MASQUERADE',
    `iptables -t nat -A DOCKER ! -i ${br} -p tcp -m tcp --dport 8080 ` +
      '-j DNAT --to-destination 172.18.0.2:80',
  ])
  const lines = await writer.explain({ bridge: br })
  assert.ok(lines.includes(`iptables -A DOCKER-FORWARD -i ${br} -j ACCEPT`))
})

test('what rules of the user may let through before ours is known, also behind jumps', async () => {
  flush()
  const backend = new IptablesBackend({
    settings, access: tableAccess(), dropForwarding: () => false, former: new Former(),
  })
  await backend.start()
  const opens = async (rules: string) => {
    shell(rules)
    await backend.reconcile()
    return backend.userOpens
  }
  const closed = { raw: false, forward: false }
  assert.deepEqual(await opens('true'), closed)
  const drops = 'iptables -t raw -N own; iptables -t raw -A own -s 10.9.0.0/16 -j DROP'
  const asked = 'iptables -t raw -I PREROUTING -j own; iptables -I DOCKER-USER -i lan0 -j DROP'
  assert.deepEqual(await opens(`${drops}; ${asked}; iptables -A DOCKER-USER -j RETURN`), closed)
  assert.deepEqual(await opens('iptables -t raw -A own -j ACCEPT'), { raw: true, forward: false })
  assert.deepEqual(await opens('iptables -t raw -D own -j ACCEPT'), closed)
  const state = 'iptables -I DOCKER-USER -m conntrack --ctstate ESTABLISHED -j ACCEPT'
  assert.deepEqual(await opens(state), { raw: false, forward: true })
  assert.deepEqual(await opens('iptables -F DOCKER-USER'), closed)
  flush()
})
