import assert from 'node:assert/strict'
import test from 'node:test'
import { decode, encode } from 'dns-packet'
import { homeNetns, warmThreads } from '../kernel/netns.ts'
import { closeFd } from '../kernel/ffi.ts'
import { listenIn } from '../kernel/socket.ts'
import { Forwarder } from './forwarder.ts'
import { answerCode, rcode, readQuery, type Query } from './wire.ts'

await warmThreads()

const message = encode({ type: 'query', id: 5, questions: [{ type: 'A', name: 'a.test' }] })

function theQuery(): Query {
  const query = readQuery(message)
  assert.ok(typeof query === 'object')
  return query
}

test('a server that never answers costs bounded sockets and a bounded queue', async (t) => {
  const silent = listenIn(homeNetns(), { protocol: 'udp', address: '127.0.0.6', port: 53 })
  t.after(() => closeFd(silent.fd))
  const upstreams = [{ address: '127.0.0.6', fromHost: true }]
  const forwarder = new Forwarder('', { upstreams, hostUpstreamsAllowed: true })
  const query = theQuery()
  const codes: number[] = []
  const all = Array.from({ length: 1024 + 4096 + 3 }, async () => {
    codes.push(answerCode(await forwarder.forward(message, query, 'udp')))
  })
  await new Promise((resolve) => setImmediate(resolve))
  assert.deepEqual(codes.splice(0), [rcode.refused, rcode.refused, rcode.refused])
  forwarder.close()
  await Promise.all(all)
  assert.equal(codes.filter((code) => code === rcode.serverFailure).length, 1024)
})

test('a server that refuses the connection is passed over at once', async () => {
  const upstreams = ['127.0.0.5', 'not an address', '127.0.0.11'].map((address) => ({
    address,
    fromHost: address !== '127.0.0.11',
  }))
  const forwarder = new Forwarder('', { upstreams, hostUpstreamsAllowed: true })
  for (const transport of ['udp', 'tcp'] as const) {
    const startMs = performance.now()
    const answer = await forwarder.forward(message, theQuery(), transport)
    assert.ok(performance.now() - startMs < 1000)
    assert.equal(answerCode(answer), rcode.serverFailure)
    assert.equal(decode(answer).questions?.[0]?.name, 'a.test')
  }
})
