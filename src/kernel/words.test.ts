import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import fc from 'fast-check'
import { addAddress, listAddresses } from './address.ts'
import { attachVeth } from './batch.ts'
import { createBridge, deleteLink, listLinks } from './link.ts'
import { createNetns, homeNetns, openNetns, removeNetns } from './netns.ts'
import type { KernelObject, RuleObject } from './object.ts'
import { addPolicyRule, deletePolicyRule, listPolicyRules } from './policy-rule.ts'
import { listRoutes } from './route.ts'
import { readSysctl } from './sysctl.ts'
import { quoteWord, sayChange, sayCreate, sayDelete } from './words.ts'

test('any text is one shell word that means itself', () => {
  const text = fc.array(fc.string({ unit: 'grapheme' }).map((part) => part.replaceAll('\0', '')))
  fc.assert(
    fc.property(text, (words) => {
      const script = `printf '%s\\0' ${words.map(quoteWord).join(' ')} end`
      const printed = execFileSync('sh', ['-c', script], { encoding: 'utf8' })
      assert.deepEqual(printed.split('\0'), [...words, 'end', ''])
    }),
    { numRuns: 60 },
  )
})

test('plain words stay bare, and each kind of object has its lines', () => {
  const say = (object: KernelObject) => [
    ...sayCreate(object),
    '--',
    ...sayChange(object),
    '--',
    ...sayDelete(object),
  ]
  const bridge = { type: 'bridge', name: 'br-1', mtu: 1400, alias: "it's", adopted: false } as const
  assert.deepEqual(say(bridge), [
    'ip link add br-1 type bridge',
    "ip link set br-1 mtu 1400 alias 'it'\\''s' up",
    '--',
    "ip link set br-1 mtu 1400 alias 'it'\\''s' up",
    '--',
    'ip link del br-1',
  ])
  const route = { destination: 'default6', gateway: 'fd00::1', link: 'eth0' }
  assert.deepEqual(say({ type: 'route', netns: '/run/n', ...route }), [
    'nsenter --net=/run/n ip -6 route add default via fd00::1 dev eth0',
    '--',
    'nsenter --net=/run/n ip -6 route replace default via fd00::1 dev eth0',
    '--',
    'nsenter --net=/run/n ip -6 route del default via fd00::1 dev eth0',
  ])
  const child = { netns: '/run/n', name: 'eth0', parent: 'lan0' }
  assert.deepEqual(say({ type: 'ipvlan', ...child, mode: 'l3', flag: 'private' }), [
    'ip link add link lan0 name portolan-new netns /run/n type ipvlan mode l3 private',
    'nsenter --net=/run/n ip link set portolan-new name eth0 up',
    '--',
    'nsenter --net=/run/n ip link set eth0 up type ipvlan mode l3 private',
    '--',
    'nsenter --net=/run/n ip link del eth0',
  ])
  assert.deepEqual(say({ type: 'vlan', name: 'lan0.5', parent: 'lan0', id: 5, alias: 'p:a' }), [
    'ip link add link lan0 name lan0.5 type vlan id 5',
    'ip link set lan0.5 alias p:a up',
    '--',
    'ip link set lan0.5 alias p:a up',
    '--',
    'ip link del lan0.5',
  ])
  const key = 'net/ipv4/ping_group_range'
  assert.deepEqual(say({ type: 'sysctl', netns: '', key, value: '0 9' }), [
    "sysctl -w 'net.ipv4.ping_group_range=0 9'",
    '--',
    "sysctl -w 'net.ipv4.ping_group_range=0 9'",
    '--',
  ])
})

const home = homeNetns()

/** Everything that was asked for, as the kernel has it; MACs of host ends are random. */
const look = (netns: string) => {
  const ns = openNetns(netns)
  const at = (place: typeof home, name: string) => {
    const found = listLinks(place).find((link) => link.name === name)
    assert.ok(found)
    const { mtu, up, alias, master, port, kind, mac } = found
    const own = name === 'veth-w' ? '' : mac
    const addresses = listAddresses(place, name).filter(({ scope }) => scope === 0)
    const shown = addresses.map((one) => [one.address, one.broadcast, one.permanent])
    return { mtu, up, alias, master, hairpin: port?.hairpin, kind, mac: own, shown }
  }
  const routes = listRoutes(ns).filter(({ link, gateway }) => link === 'eth0' && gateway !== '')
  const setting = readSysctl(ns, 'net/ipv6/conf/eth0/accept_ra')
  const links = [at(home, 'br-w'), at(home, 'veth-w'), at(ns, 'eth0')]
  const seen = { links, routes, setting }
  ns.close()
  return seen
}

test('the lines, typed into a shell, make what the system calls make', () => {
  const dir = mkdtempSync(join(tmpdir(), 'words it\'s '))
  const netns = join(dir, 'ns')
  const [mtu, alias, mac] = [1400, 'portolan:$(x) y', '02:42:ac:1e:00:02']
  const [v4, v6, key] = ['172.30.0.2/16', 'fd00:1::2/64', 'net/ipv6/conf/eth0/accept_ra']
  const bridge = { name: 'br-w', mac: '02:42:00:00:00:01', mtu, alias }

  createNetns(netns)
  createBridge(home, bridge)
  addAddress(home, 'br-w', '172.30.0.1/16')
  const ns = openNetns(netns)
  const routes = [
    { destination: 'default', gateway: '172.30.0.1' },
    { destination: 'default6', gateway: 'fd00:1::1' },
  ]
  const side = { mac, addresses: [v4, v6], routes, sysctls: [{ key, value: '0' }] }
  const pair = { name: 'veth-w', master: 'br-w', alias, mtu, hairpin: true }
  attachVeth(home, ns, { ...pair, peer: { name: 'eth0', ...side } })
  ns.close()
  const made = look(netns)
  deleteLink(home, 'veth-w')
  deleteLink(home, 'br-w')
  removeNetns(netns)

  const objects: readonly KernelObject[] = [
    { type: 'netns', path: netns },
    { type: 'bridge', ...bridge, adopted: false },
    { type: 'address', netns: '', link: 'br-w', address: '172.30.0.1/16' },
    { type: 'veth', ...pair, peer: { netns, name: 'eth0', mac } },
    { type: 'sysctl', netns, key, value: '0' },
    { type: 'address', netns, link: 'eth0', address: v4 },
    { type: 'address', netns, link: 'eth0', address: v6 },
    ...routes.map((route) => ({ type: 'route', netns, link: 'eth0', ...route }) as const),
  ]
  const typed = (lines: readonly string[]) =>
    execFileSync('sh', ['-e', '-c', lines.join('\n')], { stdio: ['ignore', 'ignore', 'inherit'] })
  typed(objects.flatMap(sayCreate))
  assert.deepEqual(look(netns), made)
  typed(objects.flatMap(sayChange).filter((line) => !/ addr add |^touch|^unshare/.test(line)))
  assert.deepEqual(look(netns), made)
  typed(objects.toReversed().flatMap(sayDelete))
  assert.deepEqual(listLinks(home).map(({ name }) => name), ['lo'])
  rmSync(dir, { recursive: true })
})

test('the lines for a macvlan link make what the system calls make, and change it', () => {
  const dir = mkdtempSync(join(tmpdir(), 'words-'))
  const netns = join(dir, 'ns')
  const mac = '02:42:ac:1e:00:02'
  createNetns(netns)
  const dummy: KernelObject = { type: 'dummy', name: 'dm-w', kind: 'ifb', alias: 'portolan:x' }
  const child = { type: 'macvlan', netns, name: 'eth0', parent: 'dm-w', mtu: 1400, mac } as const
  const typed = (lines: readonly string[]) => execFileSync('sh', ['-e', '-c', lines.join('\n')])
  const seen = () => {
    const ns = openNetns(netns)
    const link = listLinks(ns).find(({ name }) => name === 'eth0')
    ns.close()
    return [link?.kind, link?.up, link?.mac, link?.mtu, link?.detail.macvlanMode]
  }
  typed([...sayCreate(dummy), ...sayCreate({ ...child, mode: 'private' })])
  assert.deepEqual(seen(), ['macvlan', true, mac, 1400, 'private'])
  typed([...sayChange(dummy), ...sayChange({ ...child, mode: 'bridge' })])
  assert.deepEqual(seen(), ['macvlan', true, mac, 1400, 'bridge'])
  typed([...sayDelete({ ...child, mode: 'bridge' }), ...sayDelete(dummy)])
  assert.deepEqual(seen(), [undefined, undefined, undefined, undefined, undefined])
  removeNetns(netns)
  rmSync(dir, { recursive: true })
})

test('policy rules are told from those of others, and the lines make what the calls make', () => {
  const rules: readonly RuleObject[] = [
    { type: 'rule', family: 4, priority: 40, to: '172.30.0.0/16', iif: 'lo', action: 'main' },
    { type: 'rule', family: 4, priority: 41, to: '', iif: 'br-w.5', action: 'blackhole' },
    { type: 'rule', family: 6, priority: 41, to: 'fd00:1::/64', iif: '', action: 'blackhole' },
  ]
  const typed = (lines: readonly string[]) => execFileSync('sh', ['-e', '-c', lines.join('\n')])
  typed(['ip rule add pref 41 iif br-w.5 blackhole'])
  for (const rule of rules) assert.equal(addPolicyRule(home, rule), true)
  for (const rule of rules) assert.equal(addPolicyRule(home, rule), false, 'once is enough')
  assert.deepEqual(listPolicyRules(home), rules)
  for (const rule of rules) assert.equal(deletePolicyRule(home, rule), true)
  for (const rule of rules) assert.equal(deletePolicyRule(home, rule), false)
  assert.deepEqual(listPolicyRules(home), [])
  typed(rules.flatMap(sayCreate))
  assert.deepEqual(listPolicyRules(home), rules)
  typed(rules.flatMap(sayDelete))
  assert.deepEqual(listPolicyRules(home), [])
  assert.match(execFileSync('ip', ['rule'], { encoding: 'utf8' }), /41:\tfrom all iif br-w\.5/)
  typed(['ip rule del pref 41'])
})
