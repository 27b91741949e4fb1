import assert from 'node:assert/strict'
import test from 'node:test'
import { decode, encode, type DecodedPacket, type Question } from 'dns-packet'
import fc from 'fast-check'
import { Resolver, type ResolverView } from './resolver.ts'
import { readQuery, reverseAddress, truncateAnswer } from './wire.ts'
import { Zones, type NameRecord } from './zones.ts'

const web: NameRecord = {
  endpointId: 'e1',
  names: ['web', 'www', '0123456789ab'],
  ipv4: '172.18.0.2',
  ipv6: 'fd00:0::2',
}
const db: NameRecord = { endpointId: 'e2', names: ['db', 'www'], ipv4: '172.18.0.3', ipv6: '' }
const other: NameRecord = { endpointId: 'e3', names: ['db', 'a.b'], ipv4: '172.19.0.3', ipv6: '' }

const view: ResolverView = {
  networks: [
    { networkId: 'n1', name: 'front' },
    { networkId: 'n2', name: 'back.end' },
  ],
  linkAliases: [{ networkId: 'n2', alias: 'store', name: 'db' }],
  keepSingleLabels: false,
}

function zones(): Zones {
  const all = new Zones()
  all.set('n1', [web, db])
  all.set('n2', [other])
  all.set('n3', [{ ...web, names: ['hidden'], ipv4: '172.20.0.9' }])
  return all
}

function ask(resolver: Resolver, name: string, type: Question['type'] = 'A', flags = 256) {
  const query = encode({ type: 'query', id: 7, flags, questions: [{ type, name, class: 'IN' }] })
  const outcome = resolver.resolve(query, 'udp')
  return outcome.kind === 'answer' ? decode(outcome.message) : outcome.kind
}

function data(packet: DecodedPacket | string): unknown {
  if (typeof packet === 'string') return packet
  return packet.answers?.map((answer) => ('data' in answer ? answer.data : answer)) ?? []
}

test('a name is looked up whole, then as name.network, links first, in any letter case', () => {
  const resolver = new Resolver(zones(), view)
  assert.deepEqual(data(ask(resolver, 'web')), ['172.18.0.2'])
  assert.deepEqual(data(ask(resolver, 'WeB')), ['172.18.0.2'])
  assert.deepEqual(data(ask(resolver, '0123456789ab.front')), ['172.18.0.2'])
  assert.deepEqual(data(ask(resolver, 'db')), ['172.18.0.3'])
  assert.deepEqual(data(ask(resolver, 'db.back.end')), ['172.19.0.3'])
  assert.deepEqual(data(ask(resolver, 'a.b.back.end')), ['172.19.0.3'])
  assert.deepEqual(data(ask(resolver, 'a.b')), ['172.19.0.3'])
  assert.deepEqual(data(ask(resolver, 'store')), ['172.19.0.3'])
  assert.deepEqual(data(ask(resolver, 'store.front')), 'forward')
  assert.deepEqual(data(ask(resolver, 'hidden')), 'forward')
  assert.deepEqual(data(ask(resolver, 'web.front.com')), 'forward')
})

test('a known name without the asked address is empty and not forwarded', () => {
  const resolver = new Resolver(zones(), view)
  const answer = ask(resolver, 'db', 'AAAA')
  assert.deepEqual(data(answer), [])
  assert.ok(typeof answer !== 'string' && (answer.flags ?? 0) % 16 === 0 && answer.flag_ra)
  assert.deepEqual(data(ask(resolver, 'web', 'MX')), [])
  assert.deepEqual(data(ask(resolver, 'nope', 'MX')), 'forward')
  assert.deepEqual(data(ask(resolver, 'web', 'TXT')), 'forward')
  assert.deepEqual(data(ask(resolver, 'web', 'AAAA')), ['fd00::2'])
})

test('all holders of an alias are answered, in changing order', () => {
  const resolver = new Resolver(zones(), view)
  const orders = new Set<string>()
  for (let round = 0; round < 60; round++) orders.add(String(data(ask(resolver, 'www'))))
  assert.deepEqual([...orders].sort(), ['172.18.0.2,172.18.0.3', '172.18.0.3,172.18.0.2'])
})

test('addresses answer with the first name and the network', () => {
  const resolver = new Resolver(zones(), view)
  assert.deepEqual(data(ask(resolver, '2.0.18.172.in-addr.arpa', 'PTR')), ['web.front'])
  const six = '2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa'
  assert.deepEqual(data(ask(resolver, six, 'PTR')), ['web.front'])
  assert.deepEqual(data(ask(resolver, '9.0.20.172.in-addr.arpa', 'PTR')), 'forward')
})

test('what changes is answered at once, also after it was answered before', () => {
  const all = zones()
  const resolver = new Resolver(all, view)
  assert.deepEqual(data(ask(resolver, 'web')), ['172.18.0.2'])
  all.change('n1', [{ ...web, ipv4: '172.18.0.77' }], ['e2'])
  assert.deepEqual(data(ask(resolver, 'web')), ['172.18.0.77'])
  assert.deepEqual(data(ask(resolver, 'www')), ['172.18.0.77'])
  resolver.view = { ...view, networks: [] }
  assert.deepEqual(data(ask(resolver, 'web')), 'forward')
})

test('single labels stay here when ndots was set', () => {
  const resolver = new Resolver(zones(), { ...view, keepSingleLabels: true })
  assert.deepEqual(data(ask(resolver, 'unknown')), [])
  assert.deepEqual(data(ask(resolver, 'unknown.com')), 'forward')
  assert.deepEqual(data(ask(resolver, 'unknown', 'TXT')), 'forward')
})

test('answers that do not fit are cut and say so, unless the client takes more', () => {
  const all = new Zones()
  const record = (index: number): NameRecord => ({
    endpointId: `e${index}`,
    names: ['many'],
    ipv4: `10.0.${index >> 8}.${index & 255}`,
    ipv6: '',
  })
  all.set('n1', Array.from({ length: 100 }, (_, index) => record(index)))
  const resolver = new Resolver(all, view)
  const questions: Question[] = [{ type: 'A', name: 'many' }]
  const plain = encode({ type: 'query', id: 1, questions })
  const udp = resolver.resolve(plain, 'udp')
  assert.ok(udp.kind === 'answer' && udp.message.length <= 512)
  assert.equal(decode(udp.message).flag_tc, true)
  const tcp = resolver.resolve(plain, 'tcp')
  assert.ok(tcp.kind === 'answer' && decode(tcp.message).answers?.length === 100)
  // Root name, type OPT, payload 4096, no flags, no data.
  const opt = Buffer.from('0000291000000000000000', 'hex')
  const extended = Buffer.concat([plain, opt])
  extended.writeUInt16BE(1, 10)
  const large = resolver.resolve(extended, 'udp')
  assert.ok(large.kind === 'answer' && decode(large.message).answers?.length === 100)
})

test('hostile bytes are refused or dropped, never thrown at', () => {
  const resolver = new Resolver(zones(), view)
  const valid = encode({ type: 'query', id: 9, questions: [{ type: 'A', name: 'web.front' }] })
  const mutated = fc
    .array(fc.tuple(fc.nat(valid.length - 1), fc.nat(255)), { maxLength: 6 })
    .map((changes) => {
      const bytes = Buffer.from(valid)
      for (const [at, value] of changes) bytes[at] = value
      return bytes
    })
  const cut = fc.nat(valid.length).map((length) => valid.subarray(0, length))
  const noise = fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes))
  fc.assert(
    fc.property(fc.oneof(mutated, cut, noise), (bytes) => {
      const outcome = resolver.resolve(bytes, 'udp')
      if (outcome.kind === 'answer') {
        assert.ok(outcome.message.length <= 65_535)
        assert.deepEqual(outcome.message.subarray(0, 2), bytes.subarray(0, 2))
        assert.equal((outcome.message[2] ?? 0) & 0x80, 0x80)
      }
      truncateAnswer(Buffer.concat([bytes, Buffer.alloc(12)]))
    }),
    { numRuns: 3000 },
  )
})

test('every name survives the way over the wire, and only reverse names are reversed', () => {
  const label = fc.stringMatching(/^[a-zA-Z0-9_-]{1,63}$/)
  const name = fc.array(label, { minLength: 1, maxLength: 3 }).map((labels) => labels.join('.'))
  fc.assert(
    fc.property(name, (text) => {
      const query = readQuery(encode({ type: 'query', questions: [{ type: 'A', name: text }] }))
      assert.ok(typeof query === 'object' && query.name === text)
      assert.equal(reverseAddress(text), undefined)
    }),
  )
})
