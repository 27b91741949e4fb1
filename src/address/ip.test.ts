import assert from 'node:assert/strict'
import { isIP } from 'node:net'
import test from 'node:test'
import fc from 'fast-check'
import { formatAddress, parseAddress } from './ip.ts'
import { macOfIpv4, parseMac, randomMac } from './mac.ts'
import { parseContainerPort, parsePortRange } from './ports.ts'
import { contains, formatPrefix, lastOf, overlaps, parsePrefix, usable } from './prefix.ts'

test('every IPv4 and IPv6 address survives printing and parsing', () => {
  const family = fc.constantFrom<4 | 6>(4, 6)
  fc.assert(
    fc.property(family, fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }), (which, bits) => {
      const address = { family: which, value: which === 4 ? bits >> 96n : bits }
      assert.deepEqual(parseAddress(formatAddress(address)), address)
    }),
  )
})

test('what parses is what the system takes for an address', () => {
  fc.assert(
    fc.property(fc.oneof(fc.ipV4(), fc.ipV6(), fc.string()), (text) => {
      const parsed = parseAddress(text)
      assert.equal(parsed !== undefined, isIP(text) !== 0 && !text.includes('%'), text)
    }),
  )
})

test('addresses print in the short canonical form', () => {
  for (const [long, short] of [
    ['fd00:0:0:0:0:0:0:1', 'fd00::1'],
    ['0:0:0:0:0:0:0:0', '::'],
    ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
    ['::FFFF:1.2.3.4', '::ffff:1.2.3.4'],
  ] as const) {
    const parsed = parseAddress(long)
    assert.ok(parsed)
    assert.equal(formatAddress(parsed), short)
  }
})

test('prefixes are parsed strictly and keep the address as written', () => {
  const bad = ['10.3.0.0', '10.3.0.0/33', '10.3.0/24', '10.3.0.0/08', 'fd00::/129', '/', '']
  for (const text of bad) {
    assert.equal(parsePrefix(text), undefined, text)
  }
  const parsed = parsePrefix('10.3.0.1/24')
  assert.ok(parsed)
  assert.equal(formatPrefix(parsed.prefix), '10.3.0.0/24')
  assert.equal(formatAddress(parsed.address), '10.3.0.1')
})

test('overlap is containment of one base in the other block', () => {
  const address = fc.bigInt({ min: 0n, max: 2n ** 32n - 1n })
  const block = fc.tuple(address, fc.integer({ min: 0, max: 32 }))
  fc.assert(
    fc.property(block, block, ([a, lengthA], [b, lengthB]) => {
      const first = parsePrefix(`${formatAddress({ family: 4, value: a })}/${lengthA}`)?.prefix
      const second = parsePrefix(`${formatAddress({ family: 4, value: b })}/${lengthB}`)?.prefix
      assert.ok(first && second)
      const nested =
        contains(first, { family: 4, value: second.base }) ||
        contains(second, { family: 4, value: first.base })
      assert.equal(overlaps(first, second), nested)
    }),
  )
})

test('/31 and /32 have no network and broadcast address', () => {
  const ends = (text: string) => {
    const parsed = parsePrefix(text)
    assert.ok(parsed)
    const { first, last } = usable(parsed.prefix)
    return [first - parsed.prefix.base, lastOf(parsed.prefix) - last]
  }
  assert.deepEqual(ends('10.0.0.0/30'), [1n, 1n])
  assert.deepEqual(ends('10.0.0.0/31'), [0n, 0n])
  assert.deepEqual(ends('10.0.0.0/32'), [0n, 0n])
  assert.deepEqual(ends('fd00::/64'), [1n, 0n])
})

test('a MAC is 02:42 and the four bytes of the address', () => {
  const address = parseAddress('172.18.0.2')
  assert.ok(address)
  assert.equal(macOfIpv4(address), '02:42:ac:12:00:02')
  assert.match(randomMac(), /^[0-9a-f][26ae](:[0-9a-f]{2}){5}$/)
  assert.equal(parseMac('02-42-AC-11-00-02'), '02:42:ac:11:00:02')
  assert.equal(parseMac('0242.ac11.0002'), '02:42:ac:11:00:02')
  assert.equal(parseMac('zz'), undefined)
})

test('port ranges are ascending and below 65536', () => {
  assert.deepEqual(parsePortRange(''), { first: 0, last: 0 })
  assert.deepEqual(parsePortRange('8080-8082'), { first: 8080, last: 8082 })
  for (const text of ['65536', '90000-80000', '2-1', 'zz', '-1']) {
    assert.equal(parsePortRange(text), undefined, text)
  }
  assert.deepEqual(parseContainerPort('80-82/UDP'), {
    protocol: 'udp',
    range: { first: 80, last: 82 },
  })
  assert.equal(parseContainerPort('80/zz'), undefined)
})
