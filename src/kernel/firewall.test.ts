import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import { forgetAll, forgetConnections, listConnections } from './conntrack.ts'
import { sendDatagrams } from './datagrams.ts'
import { isKernelError, KernelError } from './error.ts'
import { closeFd } from './ffi.ts'
import { createNetns, homeNetns, openNetns, removeNetns, type Netns } from './netns.ts'
import { holdTables, isNftablesAvailable, nft, nftJson } from './nftables.ts'
import { connectUdpIn, encodeSocketAddress, listenIn } from './socket.ts'

let dir = ''
let ns: Netns
before(() => {
  dir = mkdtempSync(join(tmpdir(), 'firewall-'))
  createNetns(join(dir, 'ns'))
  ns = openNetns(join(dir, 'ns'))
})
after(() => {
  ns.close()
  removeNetns(join(dir, 'ns'))
  rmSync(dir, { recursive: true })
})

test('a table is made in its namespace only, listed and deleted', () => {
  assert.ok(isNftablesAvailable())
  const table = 'table ip portolan_t {\n chain c {\n  tcp dport 80 counter accept\n }\n}\n'
  nft(ns, table)
  assert.match(nft(ns, 'list ruleset'), /tcp dport 80 counter packets 0 bytes 0 accept/)
  assert.match(nft(ns, 'list ruleset', { stateless: true }), /tcp dport 80 counter accept/)
  assert.match(nft(ns, 'list ruleset', { handles: true }), /# handle 2/)
  assert.equal(nft(homeNetns(), 'list tables'), '')
  assert.ok(JSON.stringify(nftJson(ns, 'list table ip portolan_t')).includes('"name":"c"'))
  nft(homeNetns(), table)
  nft(homeNetns(), 'delete table ip portolan_t')
  nft(ns, 'delete table ip portolan_t')
})

test('a transaction that fails changes nothing and says what nft said', () => {
  assert.throws(
    () => nft(ns, 'add table ip a\nadd rule ip a nowhere accept\n'),
    (error) => isKernelError(error) && /nft add table ip a: .*No such file/s.test(error.message),
  )
  assert.equal(nft(ns, 'list tables'), '')
  assert.throws(() => nft(homeNetns(), 'gibberish'), /syntax error/)
  assert.equal(nft(homeNetns(), 'list tables'), '')
})

test('five hundred calls in another namespace leave no descriptor open', () => {
  const before = readdirSync('/proc/self/fd').length
  for (let n = 0; n < 500; n++) nft(ns, 'list tables')
  assert.equal(readdirSync('/proc/self/fd').length, before)
})

test('connections are forgotten by port, by address, and the others stay', () => {
  const chain = 'type filter hook output priority 0;\n ct state new accept'
  nft(ns, `table ip t {\n chain c {\n ${chain}\n }\n}\n`)
  const servers = [7001, 7002, 7003].map((port) =>
    listenIn(ns, { protocol: 'udp', address: '0.0.0.0', port }),
  )
  const clients = servers.map(({ port }, n) => connectUdpIn(ns, `127.0.0.${n + 1}`, port))
  for (const [n, { fd }] of clients.entries()) {
    const to = encodeSocketAddress(`127.0.0.${n + 1}`, 7001 + n)
    assert.equal(sendDatagrams(fd, [{ data: Buffer.from('x'), to }]), 1)
  }
  const ports = () => listConnections(ns).map(({ original }) => original.destinationPort).sort()
  assert.deepEqual(ports(), [7001, 7002, 7003])
  assert.equal(forgetConnections(ns, { protocol: 'tcp', originalPorts: [1, 65535] }), 0)
  assert.equal(forgetConnections(ns, { protocol: 'udp', originalPorts: [7001, 7001] }), 1)
  assert.deepEqual(ports(), [7002, 7003])
  assert.equal(forgetConnections(ns, { address: '127.0.0.3' }), 1)
  assert.equal(forgetAll(ns, [{ originalDestination: '10.0.0.1' }, { address: '127.0.0.2' }]), 1)
  assert.deepEqual(ports(), [])
  assert.equal(forgetAll(ns, []), 0)
  for (const { fd } of [...servers, ...clients]) closeFd(fd)
  nft(ns, 'delete table ip t')
})

test('held tables outlive a flush, are nobody else\'s, and end with their release', async () => {
  const held = holdTables(ns, 'table ip portolan_h {\n flags owner;\n chain c {\n }\n}\n')
  nft(ns, 'flush ruleset')
  assert.match(nft(ns, 'list ruleset'), /table ip portolan_h \{.*flags owner.*chain c/s)
  assert.throws(() => nft(ns, 'delete table ip portolan_h'), /Operation not permitted/)
  assert.throws(() => nft(ns, 'add rule ip portolan_h c accept'), /Operation not permitted/)
  const inherited = spawnSync('readlink', ['-f', ...Array.from({ length: 64 }, (_, n) => `/proc/self/fd/${n}`)])
  assert.doesNotMatch(inherited.stdout.toString().split('\n').slice(3).join(), /socket:/)
  await held.release()
  assert.equal(nft(ns, 'list ruleset'), '')
  assert.throws(() => holdTables(ns, 'table ip a {\n flags nobody;\n}\n'), KernelError)
})
