import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { Bitmap } from './bitmap.ts'
import { formatAddress, parseAddress, type Address } from './ip.ts'
import { PoolAllocator, parsePoolSources } from './pools.ts'
import { contains, formatPrefix, overlaps, parsePrefix, type Prefix } from './prefix.ts'
import { SubnetAllocator } from './subnet.ts'

const prefix = (text: string): Prefix => {
  const parsed = parsePrefix(text)
  assert.ok(parsed, text)
  return parsed.prefix
}
const address = (text: string): Address => {
  const parsed = parseAddress(text)
  assert.ok(parsed, text)
  return parsed
}
const next = (subnet: SubnetAllocator, range?: Prefix): string | undefined => {
  const found = subnet.takeLowest(range)
  return found && formatAddress(found)
}

test('a bitmap answers like a sorted set, whatever is taken and released', () => {
  const number = fc.integer({ min: 0, max: 2100 })
  const step = fc.tuple(fc.constantFrom('take', 'release', 'lowest'), number)
  fc.assert(
    fc.property(number, fc.array(step, { maxLength: 300 }), (size, steps) => {
      const bitmap = new Bitmap(size)
      const model = new Set<number>()
      for (const [verb, index] of steps) {
        if (verb === 'take') {
          const expected = index < size && !model.has(index)
          assert.equal(bitmap.take(index), expected)
          if (expected) model.add(index)
        } else if (verb === 'release') {
          assert.equal(bitmap.release(index), model.delete(index))
        } else {
          let lowest: number | undefined = index
          while (lowest < size && model.has(lowest)) lowest++
          if (lowest >= size) lowest = undefined
          assert.equal(bitmap.lowestFree(index), lowest)
        }
        assert.equal(bitmap.count, model.size)
      }
    }),
  )
})

test('the lowest free address costs the same when 60,000 are taken', () => {
  const subnet = new SubnetAllocator(prefix('10.0.0.0/16'))
  for (let index = 0; index < 60_000; index++) subnet.takeLowest()
  const started = process.hrtime.bigint()
  for (let index = 0; index < 1000; index++) {
    const found = subnet.takeLowest()
    assert.ok(found)
    subnet.release(found)
  }
  assert.ok(process.hrtime.bigint() - started < 200_000_000n)
})

test('addresses are handed out from the lowest, a released one first', () => {
  const subnet = new SubnetAllocator(prefix('172.18.0.0/16'))
  assert.ok(subnet.take(address('172.18.0.1')))
  assert.equal(next(subnet), '172.18.0.2')
  assert.equal(next(subnet), '172.18.0.3')
  assert.ok(subnet.release(address('172.18.0.2')))
  assert.equal(next(subnet), '172.18.0.2')
  assert.ok(!subnet.take(address('172.18.255.255')), 'the broadcast address is taken')
  assert.ok(!subnet.take(address('172.19.0.2')), 'an address of another subnet')
})

test('an ip-range limits what is chosen, not what is asked for', () => {
  const subnet = new SubnetAllocator(prefix('192.0.2.0/24'))
  const range = prefix('192.0.2.128/30')
  assert.ok(subnet.take(address('192.0.2.50')))
  assert.ok(!subnet.take(address('192.0.2.50')))
  const all = Array.from({ length: 5 }, () => next(subnet, range))
  assert.deepEqual(all, [...[128, 129, 130, 131].map((n) => `192.0.2.${n}`), undefined])
  assert.equal(subnet.available(range), 0n)
  assert.equal(subnet.available(prefix('192.0.2.0/25')), 126n)
  assert.equal(subnet.inUse, 7n)
})

test('small subnets and IPv6 give exactly their usable addresses', () => {
  const all = (text: string) => {
    const subnet = new SubnetAllocator(prefix(text))
    return Array.from({ length: 5 }, () => next(subnet)).filter((one) => one !== undefined)
  }
  assert.deepEqual(all('10.0.0.0/30'), ['10.0.0.1', '10.0.0.2'])
  assert.deepEqual(all('10.0.0.0/31'), ['10.0.0.0', '10.0.0.1'])
  assert.deepEqual(all('10.0.0.0/32'), ['10.0.0.0'])
  assert.deepEqual(all('fd00::/64').slice(0, 2), ['fd00::1', 'fd00::2'])
  assert.deepEqual(all('fd00::/127'), ['fd00::1'])
  assert.deepEqual(all('fd00::/128'), [])
  const wide = new SubnetAllocator(prefix('fd00::/64'))
  const far = prefix('fd00::f000:0:0:0/112')
  assert.equal(next(wide, far), 'fd00::f000:0:0:0')
  assert.equal(next(wide, far), 'fd00::f000:0:0:1')
  assert.equal(wide.available(far), 65_534n)
  assert.equal(wide.available(), 2n ** 64n - 3n)
  assert.ok(wide.take(address('fd00::ffff:ffff:ffff:ffff')))
  assert.ok(!wide.take(address('fd00::ffff:ffff:ffff:ffff')))
})

test('subnets come in Docker’s order and go on in 10.192.0.0/10', () => {
  const pools = new PoolAllocator()
  const all = Array.from({ length: 33 }, () => pools.reserveLowest(4, []))
  const texts = all.map((one) => one && formatPrefix(one))
  assert.deepEqual(texts.slice(0, 2), ['172.17.0.0/16', '172.18.0.0/16'])
  assert.deepEqual(texts.slice(2, 4), ['172.19.0.0/16', '172.20.0.0/16'])
  assert.deepEqual(texts.slice(14, 17), ['172.31.0.0/16', '192.168.0.0/20', '192.168.16.0/20'])
  assert.deepEqual(texts.slice(30), ['192.168.240.0/20', '10.192.0.0/24', '10.192.1.0/24'])
  pools.release(prefix('172.18.0.0/16'))
  assert.equal(formatPrefix(pools.reserveLowest(4, []) ?? prefix('0.0.0.0/0')), '172.18.0.0/16')
})

test('what the host uses is skipped, and used when the host no longer does', () => {
  const pools = new PoolAllocator()
  const first = pools.reserveLowest(4, [prefix('172.17.42.0/24'), prefix('172.18.0.0/15')])
  assert.equal(first && formatPrefix(first), '172.20.0.0/16')
  const second = pools.reserveLowest(4, [])
  assert.equal(second && formatPrefix(second), '172.17.0.0/16')
})

test('no two reserved subnets ever overlap', () => {
  const pool = fc.constantFrom('10.0.0.0/8', '10.0.0.0/30', '10.0.0.8/29', '10.0.1.0/24')
  fc.assert(
    fc.property(fc.array(fc.tuple(pool, fc.boolean()), { maxLength: 40 }), (steps) => {
      const sources = parsePoolSources([{ base: '10.0.0.0/27', size: 29 }])
      const pools = new PoolAllocator(sources)
      const held: Prefix[] = []
      for (const [text, give] of steps) {
        const collides = held.some((one) => overlaps(one, prefix(text)))
        assert.equal(pools.collision(prefix(text)) !== undefined, collides)
        if (!collides && give) {
          pools.reserve(prefix(text))
          held.push(prefix(text))
        } else if (give) {
          const gone = held.shift()
          if (gone) pools.release(gone)
        } else {
          const found = pools.reserveLowest(4, [])
          if (found === undefined) continue
          assert.ok(!held.some((one) => overlaps(one, found)))
          assert.ok(contains(prefix('10.0.0.0/27'), { family: 4, value: found.base }))
          held.push(found)
        }
      }
    }),
  )
})

test('an automatic subnet is the lowest that overlaps nothing reserved or of the host', () => {
  const sources = parsePoolSources([
    { base: '10.0.0.0/26', size: 29 },
    { base: 'fd00::/60', size: 64 },
  ])
  const all: Record<4 | 6, Prefix[]> = {
    4: Array.from({ length: 8 }, (_, index) => prefix(`10.0.0.${index * 8}/29`)),
    6: Array.from({ length: 16 }, (_, index) => prefix(`fd00:0:0:${index.toString(16)}::/64`)),
  }
  const host = fc.constantFrom(
    '10.0.0.0/30', '10.0.0.16/28', '10.0.0.20/32', '10.0.0.0/8', '192.168.0.0/16',
    'fd00::/63', 'fd00:0:0:5::1/128', 'fd00::/8',
  )
  const hosts = fc.array(host, { maxLength: 3 })
  const family = fc.constantFrom(4 as const, 6 as const)
  const step = fc.record({ family, hosts, give: fc.nat(20) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const pools = new PoolAllocator(sources)
      const held: Prefix[] = []
      for (const { family, hosts, give } of steps) {
        const [gone] = give < held.length ? held.splice(give, 1) : []
        if (gone !== undefined) pools.release(gone)
        const busy = hosts.map(prefix)
        const taken = [...held, ...busy]
        const expected = all[family].find((one) => !taken.some((two) => overlaps(one, two)))
        const found = pools.reserveLowest(family, busy)
        assert.deepEqual(found && formatPrefix(found), expected && formatPrefix(expected))
        if (found !== undefined) held.push(found)
      }
    }),
  )
})

test('the next of 4,000 subnets costs what the first did, with 1,000 routes in between', () => {
  const pools = new PoolAllocator()
  const busy = Array.from({ length: 1000 }, (_, number) =>
    prefix(`10.${192 + (number >> 7)}.${(number * 2) & 255}.0/24`),
  )
  const firstMs = timeOf(() => pools.reserveLowest(4, busy))
  const held = Array.from({ length: 4000 }, () => pools.reserveLowest(4, busy))
  assert.equal(new Set(held.map((one) => one && formatPrefix(one))).size, 4000)
  assert.ok(held.every((one) => one !== undefined && !busy.some((b) => overlaps(b, one))))
  const again = Array.from({ length: 9 }, () => timeOf(() => pools.reserveLowest(4, busy)))
  const lastMs = Math.min(...again)
  assert.ok(lastMs < Math.max(firstMs, 1) * 5, `${firstMs} ms, then ${lastMs} ms`)
})

function timeOf(task: () => unknown): number {
  const start = performance.now()
  task()
  return performance.now() - start
}

test('a static address is never handed out while it is held', () => {
  const action = fc.tuple(fc.constantFrom('take', 'lowest', 'release'), fc.nat(40))
  fc.assert(
    fc.property(fc.array(action, { maxLength: 120 }), (actions) => {
      const subnet = new SubnetAllocator(prefix('10.0.0.0/27'))
      const range = prefix('10.0.0.8/29')
      const held = new Map<string, Address>()
      for (const [verb, index] of actions) {
        const wanted = { family: 4 as const, value: prefix('10.0.0.0/27').base + BigInt(index) }
        const text = formatAddress(wanted)
        if (verb === 'lowest') {
          const found = subnet.takeLowest(range)
          if (found === undefined) continue
          assert.ok(!held.has(formatAddress(found)))
          assert.ok(contains(range, found))
          held.set(formatAddress(found), found)
        } else if (verb === 'take') {
          const free = index > 0 && index < 31 && !held.has(text)
          assert.equal(subnet.take(wanted), free, text)
          if (free) held.set(text, wanted)
        } else if (held.delete(text)) {
          assert.equal(subnet.release(wanted), true)
        }
      }
    }),
  )
})

test('configured pools are sorted, contained ones merged, impossible ones refused', () => {
  const sources = parsePoolSources([
    { base: '10.20.0.0/16', size: 24 },
    { base: '10.10.0.0/16', size: 24 },
    { base: '10.20.3.0/24', size: 24 },
  ])
  assert.deepEqual(sources.map(({ base }) => formatPrefix(base)), ['10.10.0.0/16', '10.20.0.0/16'])
  assert.throws(() => parsePoolSources([{ base: '10.0.0.0/16', size: 8 }]), /invalid pools size 8/)
  assert.throws(() => parsePoolSources([{ base: 'zz', size: 8 }]), /invalid CIDR block notation/)
})
