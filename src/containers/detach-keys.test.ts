import assert from 'node:assert/strict'
import test from 'node:test'
import { DetachFilter, parseDetachKeys } from './detach-keys.ts'

const typed = (keys: string, ...chunks: readonly string[]) => {
  const filter = new DetachFilter(parseDetachKeys(keys))
  let passed = ''
  for (const chunk of chunks) {
    const { data, detached } = filter.take(Buffer.from(chunk, 'latin1'))
    passed += data.toString('latin1')
    if (detached) return { passed, detached }
  }
  return { passed, detached: false }
}

test('ctrl-p ctrl-q detaches, in one chunk or two, and never reaches the container', () => {
  assert.deepEqual(typed('', 'ab\x10\x11cd'), { passed: 'ab', detached: true })
  assert.deepEqual(typed('', 'ab\x10', '\x11'), { passed: 'ab', detached: true })
})

test('a beginning that turns out to be none is passed on whole', () => {
  assert.deepEqual(typed('', '\x10x'), { passed: '\x10x', detached: false })
  assert.deepEqual(typed('', '\x10', '\x10\x11'), { passed: '\x10', detached: true })
  assert.deepEqual(typed('a,b,c', 'abab', 'c'), { passed: 'ab', detached: true })
})

test('keys of one letter and of control combinations are known, others refused', () => {
  assert.deepEqual(parseDetachKeys('a,ctrl-b,ctrl-@'), [97, 2, 0])
  assert.throws(() => parseDetachKeys('ctrl-'), /Invalid detach keys/)
  assert.throws(() => parseDetachKeys('alt-x'), /Invalid detach keys/)
})
