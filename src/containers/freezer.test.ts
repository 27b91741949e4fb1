import assert from 'node:assert/strict'
import test from 'node:test'
import { Freezer } from './freezer.ts'

/** A promise to be settled from outside. */
const open = () => Promise.withResolvers<void>()

test('a freeze waits for the starts before it, and later starts wait for it', async () => {
  const freezer = new Freezer()
  const told: string[] = []
  const [first, frozen] = [open(), open()]
  const starting = freezer.start(async () => {
    await first.promise
    told.push('started')
  })
  const freezing = freezer.freeze(async () => {
    told.push('freezing')
    await frozen.promise
    told.push('frozen')
  })
  const later = freezer.start(async () => { told.push('started later') })
  await new Promise(setImmediate)
  assert.deepEqual(told, [])
  first.resolve()
  await starting
  await new Promise(setImmediate)
  assert.deepEqual(told, ['started', 'freezing'])
  frozen.resolve()
  await Promise.all([freezing, later])
  assert.deepEqual(told, ['started', 'freezing', 'frozen', 'started later'])
})

test('starts go on side by side, and what fails holds nobody up', async () => {
  const freezer = new Freezer()
  const held = open()
  const failing = freezer.start(async () => { throw new Error('no such program') })
  const waiting = freezer.start(() => held.promise)
  await assert.rejects(failing, /no such program/)
  held.resolve()
  await waiting
  await assert.rejects(freezer.freeze(async () => { throw new Error('not running') }), /not running/)
  assert.equal(await freezer.start(async () => 'started'), 'started')
})
