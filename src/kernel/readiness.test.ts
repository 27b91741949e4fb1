import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { sendDatagrams } from './datagrams.ts'
import { acceptConnection, ReadinessSet } from './epoll.ts'
import { closeFd } from './ffi.ts'
import { homeNetns } from './netns.ts'
import { notify } from './notify.ts'
import { AddressedDatagrams, tellLocalAddress } from './pktinfo.ts'
import { watchReadable } from './readiness.ts'
import { connectUdpIn, decodeSocketAddress, encodeSocketAddress, listenIn } from './socket.ts'

const home = homeNetns()
const openFds = () => readdirSync('/proc/self/fd').length

test('a set tells of the sockets that have something, and of no removed one', async () => {
  const before = openFds()
  const set = new ReadinessSet()
  const anyPort = { protocol: 'udp', address: '127.0.0.1', port: 0 } as const
  const servers = [1, 2, 3].map(() => listenIn(home, anyPort))
  const heard: number[] = []
  const { promise, resolve } = Promise.withResolvers<void>()
  for (const [n, { fd }] of servers.entries()) {
    set.add(fd, () => {
      heard.push(n)
      set.remove(fd)
      resolve()
    })
  }
  assert.equal(set.size, 3)
  const { fd, port } = servers[1] ?? { fd: -1, port: 0 }
  const to = encodeSocketAddress('127.0.0.1', port)
  assert.equal(sendDatagrams(fd, [{ data: Buffer.from('x'), to }]), 1)
  await promise
  assert.deepEqual(heard, [1])
  assert.equal(set.size, 2)
  set.close()
  for (const server of servers) closeFd(server.fd)
  assert.equal(openFds(), before)
})

test('connections are accepted one by one with their sender, until none waits', async () => {
  const { fd, port } = listenIn(home, { protocol: 'tcp', address: '127.0.0.1', port: 0 })
  assert.equal(acceptConnection(fd), undefined)
  const { promise, resolve } = Promise.withResolvers<void>()
  const watch = watchReadable(fd, () => resolve())
  const client = connect(port, '127.0.0.1')
  await promise
  watch.close()
  const accepted = acceptConnection(fd)
  assert.equal(accepted?.from.address, '127.0.0.1')
  assert.equal(acceptConnection(fd), undefined)
  client.destroy()
  closeFd(accepted?.fd ?? -1)
  closeFd(fd)
})

test('an answer leaves from the very address that was asked', () => {
  const { fd, port } = listenIn(home, { protocol: 'udp', address: '0.0.0.0', port: 0 })
  tellLocalAddress(fd, 4)
  const client = connectUdpIn(home, '127.0.0.9', port)
  const to = encodeSocketAddress('127.0.0.9', port)
  sendDatagrams(client.fd, [{ data: Buffer.from('question'), to }])
  const datagrams = new AddressedDatagrams()
  const question = datagrams.receive(fd)
  assert.ok(question)
  assert.equal(question.data.toString(), 'question')
  assert.equal(decodeSocketAddress(question.from).port, client.port)
  assert.ok(datagrams.send(fd, Buffer.from('answer'), question.from, question.local))
  // The client is connected to 127.0.0.9: from any other address it would get nothing.
  assert.equal(datagrams.receive(client.fd)?.data.toString(), 'answer')
  assert.equal(datagrams.receive(fd), undefined)
  closeFd(fd)
  closeFd(client.fd)
})

test('the service manager gets its datagram on the socket that it named', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'notify-'))
  const path = join(dir, 's')
  const receive = ['-u', `UNIX-RECVFROM:${path}`, '-']
  const heard = new Promise<string>((resolve, reject) => {
    execFile('socat', receive, (error, out) => (error ? reject(error) : resolve(out)))
  })
  const send = () => notify(path, 'READY=1')
  await assert.doesNotReject(retry(send))
  assert.equal(await heard, 'READY=1')
  assert.throws(() => notify(join(dir, 'nobody'), 'x'), /notify .*nobody: .*ENOENT/)
  rmSync(dir, { recursive: true })
})

/** socat needs a moment until its socket is there. */
async function retry(action: () => void): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      action()
      return
    } catch (error) {
      if (attempt === 200) throw error
      await new Promise((wake) => setTimeout(wake, 10))
    }
  }
}
