import assert from 'node:assert/strict'
import test from 'node:test'
import {
  calledOffState,
  createdState,
  exitedState,
  failedStartState,
  isRunning,
  pausedState,
  removingState,
  startedState,
  unpausedState,
} from './record.ts'
import { restartDelayMs, startsWithDaemon, wantsRestart } from './restart-policy.ts'
import { zeroTime } from './time.ts'

const exit = { code: 3, at: '2026-01-01T00:00:00Z', oomKilled: false }

test('a container goes its way from created to removing', () => {
  const running = startedState(createdState, 42)
  assert.equal(running.pid, 42)
  assert.equal(unpausedState(pausedState(running)).status, 'running')
  const exited = exitedState(running, exit, false)
  assert.deepEqual([exited.status, exited.exitCode, exited.pid], ['exited', 3, 0])
  assert.equal(startedState(exited, 43).exitCode, 0)
  assert.equal(removingState(exited).status, 'removing')
})

test('one that waits to be started again counts as running, and can be called off', () => {
  const waiting = exitedState(startedState(createdState, 42), exit, true)
  assert.equal(waiting.status, 'restarting')
  assert.ok(isRunning(waiting.status))
  assert.equal(calledOffState(waiting).status, 'exited')
})

test('a start that failed leaves it created, or exited if it ever ran', () => {
  const never = failedStartState(createdState, 127, 'why')
  assert.deepEqual([never.status, never.exitCode, never.startedAt], ['created', 127, zeroTime])
  const before = exitedState(startedState(createdState, 42), exit, false)
  assert.equal(failedStartState(before, 128, 'why').status, 'exited')
})

test('what cannot follow is refused', () => {
  assert.throws(() => pausedState(createdState))
  assert.throws(() => removingState(startedState(createdState, 42)))
})

const ending = (Name: string, exitCode: number, restartCount = 0, MaximumRetryCount = 0) =>
  wantsRestart({ policy: { Name, MaximumRetryCount }, exitCode, stopped: false, restartCount })

test('restart policies decide by exit code and count', () => {
  assert.equal(ending('no', 1), false)
  assert.equal(ending('always', 0), true)
  assert.equal(ending('unless-stopped', 0), true)
  assert.equal(ending('on-failure', 0), false)
  assert.equal(ending('on-failure', 1, 100), true)
  assert.equal(ending('on-failure', 1, 2, 3), true)
  assert.equal(ending('on-failure', 1, 3, 3), false)
  const policy = { Name: 'always', MaximumRetryCount: 0 }
  assert.equal(wantsRestart({ policy, exitCode: 1, stopped: true, restartCount: 0 }), false)
})

test('the backoff doubles from 100 ms up to a minute', () => {
  assert.deepEqual(
    [0, 1, 2, 9, 10, 500].map(restartDelayMs),
    [100, 200, 400, 51_200, 60_000, 60_000],
  )
})

test('a daemon starts what its policy says, not what a person stopped', () => {
  const policy = (Name: string) => ({ Name, MaximumRetryCount: 0 })
  assert.equal(startsWithDaemon(policy('always'), true, 0), true)
  assert.equal(startsWithDaemon(policy('unless-stopped'), true, 0), false)
  assert.equal(startsWithDaemon(policy('unless-stopped'), false, 0), true)
  assert.equal(startsWithDaemon(policy('on-failure'), false, 1), true)
  assert.equal(startsWithDaemon(policy('on-failure'), false, 0), false)
  assert.equal(startsWithDaemon(policy('no'), false, 1), false)
})
