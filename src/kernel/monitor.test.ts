import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { addAddress } from './address.ts'
import { createBridge, createVxlan, deleteLink } from './link.ts'
import { changeLinkMessage } from './linkmessages.ts'
import { watchFirewall, watchLinks, watchNetwork, type Monitor } from './monitor.ts'
import {
  deleteForwarding,
  deleteNeighbour,
  listForwarding,
  listNeighbours,
  setForwarding,
  setNeighbour,
} from './neighbour.ts'
import { withRoute } from './netlink.ts'
import { createNetns, openNetns, removeNetns, warmThreads, type Netns } from './netns.ts'
import { nft } from './nftables.ts'

const within = async (name: string, use: (ns: Netns) => void | Promise<void>) => {
  await warmThreads()
  const dir = mkdtempSync(join(tmpdir(), 'monitor-'))
  createNetns(join(dir, name))
  const ns = openNetns(join(dir, name))
  try {
    await use(ns)
  } finally {
    ns.close()
    removeNetns(join(dir, name))
    rmSync(dir, { recursive: true })
  }
}

const nextChange = (watch: (changed: (overrun: boolean) => void) => Monitor) => {
  let calls = 0
  const { promise, resolve } = Promise.withResolvers<boolean>()
  const monitor = watch((overrun) => {
    calls++
    resolve(overrun)
  })
  // The monitor alone does not keep a process alive; a test that waits for it must.
  const alive = setInterval(() => undefined, 1000)
  const close = () => {
    clearInterval(alive)
    monitor.close()
  }
  return { promise, close, calls: () => calls }
}

test('a burst of link changes is told once', () =>
  within('links', async (ns) => {
    const fds = readdirSync('/proc/self/fd').length
    const change = nextChange((changed) => watchLinks(ns, changed))
    for (let n = 0; n < 5; n++) createBridge(ns, { name: `br${n}` })
    assert.equal(await change.promise, false)
    assert.equal(change.calls(), 1)
    change.close()
    assert.equal(readdirSync('/proc/self/fd').length, fds)
  }))

test('changes of addresses and of rules are told', () =>
  within('rules', async (ns) => {
    createBridge(ns, { name: 'br0' })
    const network = nextChange((changed) => watchNetwork(ns, changed))
    const firewall = nextChange((changed) => watchFirewall(ns, changed))
    addAddress(ns, 'br0', '10.9.0.1/24')
    nft(ns, 'add table ip t')
    assert.deepEqual(await Promise.all([network.promise, firewall.promise]), [false, false])
    network.close()
    firewall.close()
  }))

test('after an overrun the caller is told to look again, and later events still arrive', () =>
  within('overrun', async (ns) => {
    createBridge(ns, { name: 'br0' })
    const outcomes: boolean[] = []
    const waiters: (() => void)[] = []
    const monitor = watchNetwork(ns, (overrun) => {
      outcomes.push(overrun)
      for (const wake of waiters.splice(0)) wake()
    })
    const told = () => new Promise<void>((resolve) => waiters.push(resolve))
    const alive = setInterval(() => undefined, 1000)
    const first = told()
    // Without a turn of the event loop: more events than eight megabytes hold.
    const burst = Array.from({ length: 400 }, (_, n) => changeLinkMessage('br0', { alias: `${n}` }))
    withRoute(ns, (socket) => {
      for (let n = 0; n < 60; n++) socket.request(...burst)
    })
    await first
    assert.ok(outcomes.includes(true))
    const second = told()
    createBridge(ns, { name: 'br1' })
    await second
    clearInterval(alive)
    monitor.close()
  }))

test('permanent neighbours and forwarding entries are set, listed and deleted', () =>
  within('neighbours', (ns) => {
    createBridge(ns, { name: 'br0' })
    addAddress(ns, 'br0', '10.9.0.1/24')
    setNeighbour(ns, 'br0', '10.9.0.7', '02:42:0a:09:00:07')
    setNeighbour(ns, 'br0', 'fd00::7', '02:42:0a:09:00:07')
    const found = listNeighbours(ns, 'br0').filter(({ permanent }) => permanent)
    assert.deepEqual(found.map(({ address, mac }) => `${address} ${mac}`).sort(), [
      '10.9.0.7 02:42:0a:09:00:07',
      'fd00::7 02:42:0a:09:00:07',
    ])
    assert.ok(deleteNeighbour(ns, 'br0', '10.9.0.7'))
    assert.ok(!deleteNeighbour(ns, 'br0', '10.9.0.7'))
    createVxlan(ns, { name: 'vx0', id: 7, port: 4789, learning: false })
    setForwarding(ns, 'vx0', '02:42:0a:09:00:07', '192.0.2.1')
    assert.deepEqual(listForwarding(ns, 'vx0'), [
      { link: 'vx0', mac: '02:42:0a:09:00:07', destination: '192.0.2.1' },
    ])
    assert.ok(deleteForwarding(ns, 'vx0', '02:42:0a:09:00:07', '192.0.2.1'))
    assert.ok(!deleteForwarding(ns, 'vx0', '02:42:0a:09:00:07', '192.0.2.1'))
    deleteLink(ns, 'vx0')
  }))
