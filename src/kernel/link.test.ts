import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { addAddress, deleteAddress, listAddresses } from './address.ts'
import { attachVeth, type VethAttachment } from './batch.ts'
import { isKernelError } from './error.ts'
import {
  changeLink,
  changePort,
  createBridge,
  createChildLink,
  createVeth,
  createVlan,
  createVxlan,
  deleteLink,
  findLink,
  listLinks,
  supportsLinkKind,
} from './link.ts'
import { deleteLinks } from './linkremover.ts'
import { createNetns, homeNetns, openNetns, removeNetns, warmThreads, type Netns } from './netns.ts'
import { addRoute, deleteRoute, listRoutes } from './route.ts'
import { readSysctl } from './sysctl.ts'

let dir = ''
let inside: Netns
const home = homeNetns()
let linksBefore: readonly string[] = []
let fdsBefore = 0
const openFds = () => readdirSync('/proc/self/fd').length
const names = (ns: Netns) => listLinks(ns).map(({ name }) => name)

before(async () => {
  await warmThreads()
  linksBefore = names(home)
  readSysctl(home, 'net/ipv4/ip_forward') // opens what stays open
  fdsBefore = openFds()
  dir = mkdtempSync(join(tmpdir(), 'link-'))
  createNetns(join(dir, 'ns'))
  inside = openNetns(join(dir, 'ns'))
})
after(async () => {
  inside.close()
  removeNetns(join(dir, 'ns'))
  rmSync(dir, { recursive: true })
  assert.deepEqual(names(home), linksBefore)
  // Packet sockets are closed on a pool thread, a grace period later.
  for (let turn = 0; turn < 100 && openFds() > fdsBefore; turn++) await setTimeout(5)
  assert.equal(openFds(), fdsBefore)
})

test('a bridge is made with what was asked, read back and deleted', () => {
  createBridge(home, { name: 'br-t0', mac: '02:42:aa:00:00:01', mtu: 1400, alias: 'portolan:x' })
  const link = findLink(home, 'br-t0')
  assert.equal(link?.kind, 'bridge')
  assert.equal(link?.mac, '02:42:aa:00:00:01')
  assert.equal(link?.mtu, 1400)
  assert.equal(link?.alias, 'portolan:x')
  assert.ok(link?.up)
  createVeth(home, { name: 'vt0', masterIndex: link?.index ?? 0, peer: { name: 'vt1' } })
  assert.ok(deleteLink(home, 'vt0'))
  assert.equal(findLink(home, 'br-t0')?.mtu, 1400, 'a port that comes and goes leaves the MTU')
  changeLink(home, 'br-t0', { alias: '', mtu: 1300, up: false, newName: 'br-t1' })
  const changed = findLink(home, 'br-t1')
  assert.deepEqual([changed?.alias, changed?.mtu, changed?.up], ['', 1300, false])
  assert.equal(findLink(home, 'br-t0'), undefined)
  assert.ok(deleteLink(home, 'br-t1'))
  assert.ok(!deleteLink(home, 'br-t1'))
})

test('a name that exists is refused and the link that has it is not touched', () => {
  createBridge(home, { name: 'br-t0', alias: 'theirs' })
  assert.throws(
    () => createBridge(home, { name: 'br-t0', alias: 'ours' }),
    (error) => isKernelError(error, 'EEXIST') && error.message.startsWith('create bridge br-t0: '),
  )
  assert.equal(findLink(home, 'br-t0')?.alias, 'theirs')
  deleteLink(home, 'br-t0')
})

test('addresses of both families are added once, listed and deleted', () => {
  createBridge(home, { name: 'br-t0' })
  assert.ok(addAddress(home, 'br-t0', '172.30.0.1/16'))
  assert.ok(!addAddress(home, 'br-t0', '172.30.0.1/16'))
  assert.ok(addAddress(home, 'br-t0', 'fd00:1::1/64'))
  const found = listAddresses(home, 'br-t0').filter(({ scope }) => scope === 0)
  assert.deepEqual(
    found.map(({ address, family, broadcast }) => [address, family, broadcast]),
    [
      ['172.30.0.1/16', 4, '172.30.255.255'],
      ['fd00:1::1/64', 6, ''],
    ],
  )
  assert.ok(deleteAddress(home, 'br-t0', '172.30.0.1/16'))
  assert.ok(!deleteAddress(home, 'br-t0', '172.30.0.1/16'))
  assert.ok(!deleteAddress(home, 'nowhere', '172.30.0.1/16'))
  const lost = () => addAddress(home, 'nowhere', '10.0.0.1/8')
  assert.throws(lost, /add address 10.0.0.1\/8 to nowhere: .*ENODEV/)
  deleteLink(home, 'br-t0')
})

test('routes of both families are added once, replaced, listed and deleted', () => {
  createBridge(home, { name: 'br-t0' })
  addAddress(home, 'br-t0', '172.30.0.1/16')
  addAddress(home, 'br-t0', 'fd00:1::1/64')
  const route = { destination: '10.9.0.0/16', gateway: '172.30.0.9', link: 'br-t0' }
  const route6 = { destination: 'default6', gateway: 'fd00:1::9', link: 'br-t0' }
  assert.ok(addRoute(home, route))
  assert.ok(!addRoute(home, route))
  assert.ok(addRoute(home, { ...route, gateway: '172.30.0.10' }, true))
  assert.ok(addRoute(home, route6))
  assert.ok(addRoute(home, { destination: '10.8.0.0/16', link: 'br-t0' }))
  const seen = listRoutes(home)
    .filter(({ protocol }) => protocol === 3)
    .map(({ destination, gateway, link }) => [destination, gateway, link])
  assert.deepEqual(seen, [
    ['10.8.0.0/16', '', 'br-t0'],
    ['10.9.0.0/16', '172.30.0.10', 'br-t0'],
    ['default6', 'fd00:1::9', 'br-t0'],
  ])
  assert.ok(deleteRoute(home, { destination: '10.8.0.0/16', link: 'br-t0' }))
  assert.ok(deleteRoute(home, { ...route, gateway: '172.30.0.10' }))
  assert.ok(!deleteRoute(home, route))
  assert.ok(deleteRoute(home, route6))
  assert.throws(
    () => addRoute(home, { destination: 'default', gateway: '9.9.9.9', link: 'br-t0' }),
    /add route default via 9.9.9.9 dev br-t0: Nexthop has invalid gateway/,
  )
  deleteLink(home, 'br-t0')
})

const attachment = (n: number): VethAttachment => ({
  name: `veth-t${n}`,
  master: 'br-t0',
  alias: `portolan:endpoint${n}`,
  mtu: 1400,
  hairpin: true,
  peer: {
    name: `eth${n}`,
    mac: '02:42:ac:1e:00:02',
    addresses: ['172.30.0.2/16', 'fd00:1::2/64'],
    routes: [
      { destination: 'default', gateway: '172.30.0.1' },
      { destination: 'default6', gateway: 'fd00:1::1' },
    ],
    sysctls: [{ key: `net/ipv6/conf/eth${n}/accept_ra`, value: '0' }],
  },
})

test('what is done meanwhile is done once; when it fails, no link is left', async () => {
  createBridge(home, { name: 'br-t0' })
  let times = 0
  attachVeth(home, inside, attachment(0), () => { times++ })
  assert.equal(times, 1)
  assert.ok(names(inside).includes('eth0'))
  await deleteLinks(home, ['veth-t0'])
  const fail = () => { throw new Error('meanwhile') }
  assert.throws(() => attachVeth(home, inside, attachment(0), fail), /meanwhile/)
  assert.throws(() => attachVeth(home, inside, { ...attachment(0), master: 'nowhere' }, () => { times++ }), /ENODEV/)
  assert.deepEqual([names(inside), names(home).includes('veth-t0'), times], [['lo'], false, 1])
  await deleteLinks(home, ['br-t0'])
})

test('one attach makes both ends as asked, and their indexes point at each other', async () => {
  createBridge(home, { name: 'br-t0' })
  attachVeth(home, inside, attachment(0))
  const host = listLinks(home).find(({ name }) => name === 'veth-t0')
  const peer = listLinks(inside).find(({ name }) => name === 'eth0')
  assert.equal(host?.master, 'br-t0')
  assert.equal(host?.port?.hairpin, true)
  assert.equal(host?.port?.isolated, false)
  assert.equal(host?.alias, 'portolan:endpoint0')
  assert.deepEqual([host?.mtu, peer?.mtu, host?.up, peer?.up], [1400, 1400, true, true])
  assert.deepEqual([host?.linkIndex, peer?.linkIndex], [peer?.index, host?.index])
  assert.ok(host?.linkIsElsewhere)
  assert.equal(peer?.mac, '02:42:ac:1e:00:02')
  assert.deepEqual(
    listAddresses(inside, 'eth0').filter(({ scope }) => scope === 0).map(({ address }) => address),
    ['172.30.0.2/16', 'fd00:1::2/64'],
  )
  const gateways = listRoutes(inside).map(({ destination, gateway }) => [destination, gateway])
  assert.deepEqual(
    gateways.filter(([, gateway]) => gateway !== ''),
    [
      ['default', '172.30.0.1'],
      ['default6', 'fd00:1::1'],
    ],
  )
  assert.equal(readSysctl(inside, 'net/ipv6/conf/eth0/accept_ra'), '0')
  assert.deepEqual(listAddresses(home, 'veth-t0'), [])
  changePort(home, 'veth-t0', { hairpin: false, isolated: true })
  const port = findLink(home, 'veth-t0')?.port
  assert.deepEqual([port?.hairpin, port?.isolated, port?.learning], [false, true, true])
  await deleteLinks(home, ['veth-t0', 'br-t0', 'long-gone'])
  assert.deepEqual(names(inside), ['lo'])
})

test('a neighbour learns an attached address at once', async () => {
  createBridge(home, { name: 'br-t0' })
  addAddress(home, 'br-t0', '172.30.0.1/16')
  addAddress(home, 'br-t0', 'fd00:1::1/64')
  const port = () => readFileSync('/sys/class/net/br-t0/statistics/rx_packets', 'latin1')
  assert.equal(Number(port()), 0)
  attachVeth(home, inside, attachment(0))
  // No neighbour ever asked; what a port drops that is not up yet comes again.
  for (let turn = 0; turn < 400 && Number(port()) < 2; turn++) await setTimeout(2)
  assert.ok(Number(port()) >= 2)
  deleteLink(home, 'veth-t0')
  deleteLink(home, 'br-t0')
})

test('an attach that fails inside leaves neither end behind', () => {
  createBridge(home, { name: 'br-t0' })
  const bad = attachment(1)
  const routes = [{ destination: 'default', gateway: '9.9.9.9' }]
  assert.throws(
    () => attachVeth(home, inside, { ...bad, peer: { ...bad.peer, routes } }),
    /add route default via 9.9.9.9 dev eth1/,
  )
  assert.throws(() => attachVeth(home, inside, { ...bad, master: 'nowhere' }), /ENODEV/)
  assert.deepEqual(names(inside), ['lo'])
  assert.equal(findLink(home, bad.name), undefined)
  deleteLink(home, 'br-t0')
})

test('forty links asked for one by one go in one burst, and the event loop goes on', async () => {
  for (let n = 0; n < 40; n++) createVeth(home, { name: `vt${n}`, peer: { name: `vp${n}` } })
  let longestGapMs = 0
  let last = performance.now()
  const beat = setInterval(() => {
    longestGapMs = Math.max(longestGapMs, performance.now() - last)
    last = performance.now()
  }, 1)
  const started = performance.now()
  await Promise.all(Array.from({ length: 40 }, (_, n) => deleteLinks(home, [`vt${n}`])))
  const tookMs = performance.now() - started
  clearInterval(beat)
  assert.deepEqual(names(home), linksBefore)
  // One by one it is 25 ms each: a second.
  assert.ok(tookMs < 500, `${tookMs} ms`)
})

test('what is not there is refused with the link and the reason', () => {
  assert.throws(() => changeLink(home, 'nowhere', { up: true }), /change link nowhere: .*ENODEV/)
  assert.throws(() => createBridge(home, { name: 'a-name-that-is-much-too-long' }), /ERANGE|EINVAL/)
  assert.throws(() => createBridge(home, { name: 'br-t0', mac: 'zz' }), /not a MAC address/)
})

test('macvlan and vxlan links are made right in their namespace', () => {
  createBridge(home, { name: 'br-t0' })
  const parentIndex = findLink(home, 'br-t0')?.index ?? 0
  const kind = { type: 'macvlan', mode: 'bridge' } as const
  createChildLink(home, { name: 'eth7', parentIndex, netnsFd: inside.fd }, kind)
  const vxlan = { id: 4097, port: 4789, learning: false, local: '127.0.0.1', netnsFd: inside.fd }
  createVxlan(home, { name: 'vx0', ...vxlan })
  assert.equal(findLink(inside, 'eth7')?.detail.macvlanMode, 'bridge')
  assert.deepEqual(findLink(inside, 'vx0')?.detail, {
    vxlanId: 4097,
    vxlanPort: 4789,
    vxlanLocal: '127.0.0.1',
  })
  deleteLink(inside, 'vx0')
  deleteLink(home, 'br-t0')
  assert.deepEqual(names(inside), ['lo'])
})

test('a kind that this kernel lacks is known beforehand and refused by name', () => {
  const spec = { name: 'br-t0.10', id: 10, alias: 'portolan:vlan' }
  createBridge(home, { name: 'br-t0' })
  const parentIndex = findLink(home, 'br-t0')?.index ?? 0
  if (supportsLinkKind(home, 'vlan')) {
    createVlan(home, { ...spec, parentIndex })
    const link = findLink(home, 'br-t0.10')
    assert.deepEqual([link?.detail.vlanId, link?.alias], [10, 'portolan:vlan'])
  } else {
    const make = () => createVlan(home, { ...spec, parentIndex })
    assert.throws(make, /failed to create br-t0.10 vlan link: .*EOPNOTSUPP/)
  }
  deleteLink(home, 'br-t0')
  assert.ok(supportsLinkKind(home, 'veth'))
  assert.ok(!supportsLinkKind(home, 'nosuchkind'))
})
