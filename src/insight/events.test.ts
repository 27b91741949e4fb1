import assert from 'node:assert/strict'
import test from 'node:test'
import type { EngineEvent } from '../base/event.ts'
import { EventLog, passes } from './events.ts'

const event = (part: Partial<EngineEvent> = {}): EngineEvent => ({
  type: 'container',
  action: 'start',
  id: 'abcdef123456',
  attributes: { name: 'web', image: 'registry:5000/busybox:1.36', tier: 'front' },
  ...part,
})

test('the last 256 events are kept, each with a later time', () => {
  const events = new EventLog()
  for (let n = 0; n < 300; n++) events.emit(event({ action: String(n) }))
  const kept = events.past(0n, undefined)
  assert.equal(kept.length, 256)
  assert.equal(kept[0]?.action, '44')
  assert.ok(kept.every((each, n) => n === 0 || each.timeNs > (kept[n - 1]?.timeNs ?? 0n)))
  const [, second, third] = kept
  assert.equal(events.past(second?.timeNs ?? 0n, third?.timeNs).length, 2)
})

test('a listener that fails disturbs neither the emitter nor the others', () => {
  const events = new EventLog()
  const seen: string[] = []
  events.subscribe(() => {
    throw new Error('no')
  })
  const stop = events.subscribe(({ action }) => seen.push(action))
  events.emit(event({ action: 'one' }))
  stop()
  events.emit(event({ action: 'two' }))
  assert.deepEqual(seen, ['one'])
  assert.equal(events.clientCount, 1)
})

const cases: readonly [
  Readonly<Record<string, readonly string[]>>,
  Partial<EngineEvent>,
  boolean,
][] = [
  [{}, {}, true],
  [{ type: ['network'] }, {}, false],
  [{ type: ['network', 'container'] }, {}, true],
  [{ event: ['die', 'start'] }, {}, true],
  [{ event: ['exec_start'] }, { action: 'exec_start: sh -c' }, true],
  [{ event: ['exec'] }, { action: 'exec_start: sh -c' }, false],
  [{ container: ['we'] }, {}, true],
  [{ container: ['abc'] }, {}, true],
  // As in Docker, whatever type of thing has such a name or id.
  [{ container: ['abc'] }, { type: 'network' }, true],
  [{ container: ['bc'] }, { type: 'network' }, false],
  [{ image: ['registry:5000/busybox'] }, {}, true],
  [{ image: ['busybox'] }, {}, false],
  [{ label: ['tier', 'tier=front'] }, {}, true],
  [{ label: ['tier=back'] }, {}, false],
  [{ scope: ['swarm'] }, {}, false],
]

test('filters choose as Docker does', () => {
  for (const [filters, part, expected] of cases) {
    assert.equal(
      passes(event(part), new Map(Object.entries(filters))),
      expected,
      JSON.stringify(filters),
    )
  }
})
