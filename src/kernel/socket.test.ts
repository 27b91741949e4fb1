import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs'
import { createServer, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import { isKernelError } from './error.ts'
import { closeFd } from './ffi.ts'
import { batchSize, DatagramReceiver, sendDatagrams } from './datagrams.ts'
import { createNetns, homeNetns, openNetns, removeNetns, warmThreads, type Netns } from './netns.ts'
import { watchReadable } from './readiness.ts'
import { connectUdpIn, encodeSocketAddress, listenIn, startTcpIn } from './socket.ts'

let dir = ''
let ns: Netns
before(async () => {
  await warmThreads()
  dir = mkdtempSync(join(tmpdir(), 'socket-'))
  createNetns(join(dir, 'ns'))
  ns = openNetns(join(dir, 'ns'))
})
after(() => {
  ns.close()
  removeNetns(join(dir, 'ns'))
  rmSync(dir, { recursive: true })
})

const sockets = () =>
  readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('socket:')
    } catch {
      return false // the descriptor of readdir itself
    }
  }).length

test('a port is taken in its own namespace only, and conflicts are named', () => {
  const before = sockets()
  const here = listenIn(homeNetns(), { protocol: 'tcp', address: '0.0.0.0', port: 5050 })
  const there = listenIn(ns, { protocol: 'tcp', address: '0.0.0.0', port: 5050 })
  assert.deepEqual([there.address, there.port], ['0.0.0.0', 5050])
  assert.throws(
    () => listenIn(ns, { protocol: 'tcp', address: '127.0.0.1', port: 5050 }),
    (error) =>
      isKernelError(error, 'EADDRINUSE') &&
      error.message ===
        'listen on 127.0.0.1:5050/tcp: address already in use (EADDRINUSE)',
  )
  const v6 = listenIn(ns, { protocol: 'tcp', address: '::', port: 5050 })
  assert.equal(v6.address, '::')
  const udp = listenIn(ns, { protocol: 'udp', address: '::1', port: 0 })
  assert.ok(udp.port > 0)
  const again = () => listenIn(ns, { protocol: 'udp', address: '::1', port: udp.port })
  assert.throws(again, /EADDRINUSE/)
  for (const { fd } of [here, there, v6, udp]) closeFd(fd)
  assert.equal(sockets(), before)
})

test('batches of datagrams go out and come back in one call each', async () => {
  const server = listenIn(ns, { protocol: 'udp', address: '127.0.0.11', port: 0 })
  const client = connectUdpIn(ns, '127.0.0.11', server.port)
  const to = encodeSocketAddress('127.0.0.11', server.port)
  const batch = Array.from({ length: batchSize }, (_, n) => {
    return { data: Buffer.from(`question ${n}`), to }
  })
  assert.equal(sendDatagrams(client.fd, batch), batchSize)
  const receiver = new DatagramReceiver()
  await new Promise<void>((resolve) => {
    const watch = watchReadable(server.fd, () => {
      watch.close()
      resolve()
    })
  })
  const questions = receiver.receive(server.fd)
  assert.deepEqual(
    questions.map(({ data }) => data.toString()),
    batch.map(({ data }) => data.toString()),
  )
  assert.deepEqual(receiver.receive(server.fd), [])
  const answers = questions.map(({ data, from }) => {
    return { data: Buffer.from(`re: ${data}`), to: from }
  })
  assert.equal(sendDatagrams(server.fd, answers), batchSize)
  assert.equal(receiver.receive(client.fd)[63]?.data.toString(), 're: question 63')
  closeFd(server.fd)
  closeFd(client.fd)
})

test('a TCP connection made in a namespace is an ordinary Node socket', async () => {
  const listening = listenIn(ns, { protocol: 'tcp', address: '127.0.0.1', port: 0 })
  const server = createServer((connection) => connection.end('hello'))
  server.listen({ fd: listening.fd })
  await once(server, 'listening')
  const client = new Socket({ fd: startTcpIn(ns, '127.0.0.1', listening.port) })
  client.setEncoding('utf8')
  const [text] = await once(client, 'data')
  assert.equal(text, 'hello')
  client.destroy()
  server.close()
  await once(server, 'close')
  const refused = new Socket({ fd: startTcpIn(ns, '127.0.0.1', listening.port) })
  const [error] = await once(refused, 'error').catch((thrown: unknown) => [thrown])
  assert.match(String(error), /ECONNREFUSED/)
})

test('what is not an address is refused before any socket is made', () => {
  const before = sockets()
  const bad = () => listenIn(ns, { protocol: 'tcp', address: '1.2.3', port: 1 })
  assert.throws(bad, /not an IP address/)
  assert.equal(sockets(), before)
})
