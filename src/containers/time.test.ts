import assert from 'node:assert/strict'
import test from 'node:test'
import { epochMs, humanDuration, parseDurationMs, parseMoment, zeroTime } from './time.ts'

test('spans read as docker ps writes them', () => {
  const seconds = [0, 1, 59, 60, 119, 120, 3599, 3600, 7200, 86_400 * 3, 86_400 * 20, 86_400 * 90]
  assert.deepEqual(
    seconds.map((s) => humanDuration(s * 1000)),
    [
      'Less than a second',
      '1 second',
      '59 seconds',
      'About a minute',
      'About a minute',
      '2 minutes',
      '59 minutes',
      'About an hour',
      '2 hours',
      '3 days',
      '2 weeks',
      '3 months',
    ],
  )
})

test('moments are seconds, times, or durations before now', () => {
  assert.equal(parseMoment('1700000000.5'), 1_700_000_000_500_000_000n)
  assert.equal(parseMoment('2023-11-14T22:13:20Z'), 1_700_000_000_000_000_000n)
  const minuteAgo = Number(parseMoment('1m') / 1_000_000n)
  assert.ok(Math.abs(Date.now() - 60_000 - minuteAgo) < 1000)
  assert.equal(parseDurationMs('1h30m'), 5_400_000)
  assert.throws(() => parseMoment('soon'), /failed to parse value as time or duration/)
  assert.equal(epochMs(zeroTime), 0)
})
