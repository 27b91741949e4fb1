import assert from 'node:assert/strict'
import test from 'node:test'
import fc from 'fast-check'
import { decodeMessage, encodeMessage, messageLength, type Message } from './wire.ts'

const call: Message = {
  type: 'call', serial: 7, replySerial: 0, path: '/org/x', interface: 'org.x', member: 'Do',
  errorName: '', destination: 'org.x', signature: '', body: [],
}

test('a message is read as it was written', () => {
  const signature = 'sa{sv}asuba(ss)'
  fc.assert(fc.property(
    fc.string(), fc.array(fc.tuple(fc.string(), fc.string())), fc.array(fc.string()),
    fc.nat(), fc.boolean(), fc.array(fc.tuple(fc.string(), fc.string())),
    (text, settings, list, number, flag, pairs) => {
      const entries = settings.map(([key, value]) => [key, { signature: 's', value }])
      const message: Message = {
        ...call, signature, body: [text, entries, list, number, flag, pairs],
      }
      const bytes = encodeMessage(message)
      assert.equal(messageLength(bytes), bytes.length)
      assert.deepEqual(decodeMessage(bytes), message)
    },
  ))
})

test('a message is as long as its head says, and not known before', () => {
  const bytes = encodeMessage({ ...call, signature: 's', body: ['hello'] })
  assert.equal(messageLength(bytes.subarray(0, 15)), undefined)
  assert.equal(messageLength(bytes.subarray(0, 16)), bytes.length)
  assert.throws(() => decodeMessage(bytes.subarray(0, bytes.length - 3)), RangeError)
})
