import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import {
  attribute,
  AttributeTable,
  listAttributes,
  nest,
  nested,
  parseAttributes,
  text,
  textOf,
  u16be,
  u32,
  u32Of,
  u8,
  u8Of,
} from './attributes.ts'
import { bytesToIp, bytesToMac, ipToBytes, macToBytes, prefixToBytes } from './ipbytes.ts'
import { decodeMessages } from './netlink.ts'

const type = fc.integer({ min: 1, max: 0x3fff })
const payload = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes))

test('attributes come back as they were written, in order, padding or not', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(type, payload)), (wanted) => {
      const bytes = Buffer.concat(wanted.map(([number, data]) => attribute(number, data)))
      assert.equal(bytes.length % 4, 0)
      assert.deepEqual(listAttributes(bytes), wanted)
    }),
  )
})

test('a table finds what a list has, nested or not, whatever it was used for before', () => {
  const few = fc.integer({ min: 1, max: 60 })
  const [table, inner] = [new AttributeTable(), new AttributeTable()]
  const check = (of: AttributeTable, wanted: ReadonlyMap<number, Buffer>) => {
    for (let number = 1; number <= 61; number++) {
      const value = wanted.get(number)
      assert.equal(of.has(number), value !== undefined)
      assert.deepEqual(of.bytes(number), value)
      assert.equal(of.text(number), textOf(value))
      assert.equal(of.u32(number), u32Of(value))
      if (value?.length !== 0) assert.equal(of.u8(number), u8Of(value))
    }
  }
  fc.assert(
    fc.property(fc.array(fc.tuple(few, payload)), fc.array(fc.tuple(few, payload)), (a, b) => {
      const nestedOnes = nest(61, ...b.map(([number, data]) => attribute(number, data)))
      const ones = a.map(([number, data]) => attribute(number, data))
      const bytes = Buffer.concat([Buffer.alloc(16), ...ones, nestedOnes, Buffer.alloc(8)])
      table.read(bytes, 16, bytes.length - 8)
      check(table, parseAttributes(bytes.subarray(16, bytes.length - 8)))
      check(inner.readNested(table, 61), new Map(b))
      check(inner.readNested(table, 62), new Map())
    }),
  )
})

test('nests, numbers and texts come back as they were written', () => {
  const name = fc.string({ unit: 'grapheme' }).filter((value) => !value.includes('\0'))
  const byte = fc.integer({ min: 0, max: 255 })
  fc.assert(
    fc.property(type, fc.nat(0xffffffff), byte, name, (outer, number, small, word) => {
      const bytes = nest(outer, u32(1, number), u8(2, small), text(3, word))
      const inner = nested(parseAttributes(bytes).get(outer))
      assert.equal(u32Of(inner.get(1)), number)
      assert.equal(u8Of(inner.get(2)), small)
      assert.equal(textOf(inner.get(3)), word)
    }),
  )
  assert.deepEqual([...u16be(1, 53)], [6, 0, 1, 0, 0, 53, 0, 0])
})

test('whatever bytes arrive, parsing ends and stays inside them', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (raw) => {
      const bytes = Buffer.from(raw)
      for (const [, data] of listAttributes(bytes)) assert.ok(data.length <= bytes.length)
      for (const { body } of decodeMessages(bytes)) assert.ok(body.length <= bytes.length)
    }),
  )
  assert.throws(() => attribute(1, Buffer.alloc(0x10000)), RangeError)
})

test('addresses survive text and bytes; what is none is refused', () => {
  fc.assert(
    fc.property(fc.ipV4(), (address) => assert.equal(bytesToIp(ipToBytes(address)), address)),
  )
  fc.assert(
    fc.property(fc.ipV6(), (address) => {
      const bytes = ipToBytes(address)
      assert.deepEqual(ipToBytes(bytesToIp(bytes)), bytes)
    }),
  )
  const mac = fc.uint8Array({ minLength: 6, maxLength: 6 }).map((bytes) => Buffer.from(bytes))
  fc.assert(fc.property(mac, (bytes) => assert.deepEqual(macToBytes(bytesToMac(bytes)), bytes)))
  assert.deepEqual(prefixToBytes('10.0.0.0/8'), { bytes: Buffer.of(10, 0, 0, 0), length: 8 })
  assert.equal(prefixToBytes('::1').length, 128)
  for (const bad of ['10.0.0.0/33', '::/129', '10.0.0.0/', '10.0.0/8', 'x/8', '1.2.3.4/-1', '']) {
    assert.throws(() => prefixToBytes(bad), /not an IP/)
  }
})
