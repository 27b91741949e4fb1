/**
 * Stop, kill, restart, pause, unpause. Signals are sent inside the container's queue, the exit
 * is awaited outside of it: a kill never waits behind a stop's grace period.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { log } from '../base/log.ts'
import { Refusal, messageOf, wrap } from '../base/refusal.ts'
import { ContainerdAway, throughRestart } from './containerd/away.ts'
import { isTooLate, shimTimeoutMs } from './containerd/client.ts'
import { Status as TaskStatus } from './containerd/gen/task_pb.ts'
import { taskOf } from './exit.ts'
import { calledOffState, hasProcess, isRunning, pausedState, unpausedState } from './record.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'
import { endStrayShim } from './shims.ts'
import { SIGKILL, signalNumber, stopSignalOf } from './signals.ts'
import { checkStartable, startContainer } from './start.ts'
import { endedMeanwhile, notRunning, taskFailure } from './task-failure.ts'

/** After SIGKILL the kernel ends a process at once, unless it hangs in a system call. */
const killTimeoutMs = 10_000

export interface StopOptions {
  /** '' = the container's own. */
  readonly signal: string
  /** undefined = the container's own; negative = wait for ever. */
  readonly seconds: number | undefined
}

export async function stopContainer(
  context: Context,
  container: Container,
  options: StopOptions,
): Promise<void> {
  // A start that goes on is waited for.
  if (!isRunning(container.record.state.status)) {
    await context.registry.queue.run(container.id, () => Promise.resolve())
  }
  if (!isRunning(container.record.state.status)) {
    throw new Refusal('notModified', 'container is already stopped')
  }
  await endRun(context, container, options)
}

/** Ends the run that is going on, if any, in the manner of stop. */
async function endRun(context: Context, container: Container, options: StopOptions): Promise<void> {
  const { config } = container.record
  const signal =
    options.signal === '' ? stopSignalOf(config.StopSignal) : signalNumber(options.signal)
  const seconds = options.seconds ?? config.StopTimeout ?? context.config.stopTimeoutSeconds
  const exited = context.registry.wait(container, 'next-exit')
  try {
    const signalled = await context.registry.queue.run(container.id, () =>
      askToEnd(context, container, signal, 'stop'),
    )
    if (!signalled) return
    const graceMs = seconds < 0 ? undefined : seconds * 1000
    if (await settled(exited.result, graceMs)) return
    await sendSignal(context, container, SIGKILL)
    if (await settled(exited.result, killTimeoutMs)) return
    throw new Refusal(
      'internal',
      `cannot stop container: ${container.id}: tried to kill container, but did not receive ` +
        'an exit event',
    )
  } finally {
    exited.cancel()
  }
}

/** Inside the queue. False when there is no process to wait for (any more). */
async function askToEnd(
  context: Context,
  container: Container,
  signal: number,
  manner: 'stop' | 'kill',
): Promise<boolean> {
  const { record, live } = container
  if (record.state.status === 'restarting') {
    clearTimeout(live.restartTimer)
    live.restartTimer = undefined
    await context.registry.save(container, {
      state: calledOffState(record.state),
      manuallyStopped: true,
    })
    if (manner === 'stop') context.registry.tell(container, 'stop')
    context.registry.wake(container, ['not-running'])
    return false
  }
  if (!hasProcess(record.state.status)) return false
  const { stopping } = live
  live.stopping = manner
  await context.registry.save(container, { manuallyStopped: true })
  try {
    await sendSignal(context, container, signal)
    await unfreeze(context, container, signal)
  } catch (error) {
    // Nobody has asked it to end: its policy holds as before.
    live.stopping = stopping
    await context.registry.save(container, { manuallyStopped: record.manuallyStopped })
    throw error
  }
  return true
}

async function settled(result: Promise<unknown>, timeoutMs: number | undefined): Promise<boolean> {
  if (timeoutMs === undefined) return result.then(() => true)
  const timer = new AbortController()
  try {
    return await Promise.race([
      result.then(() => true),
      sleep(timeoutMs, false, { signal: timer.signal, ref: false }).catch(() => false),
    ])
  } finally {
    timer.abort()
  }
}

/** Fine when it has ended by itself meanwhile. It may come twice when containerd dies just then. */
async function sendSignal(context: Context, container: Container, signal: number): Promise<void> {
  const { containerd } = context
  const { id } = container
  const request = { containerId: id, execId: '', signal, all: false }
  try {
    await throughRestart(() => containerd.tasks.kill(request, { timeoutMs: shimTimeoutMs }))
  } catch (error) {
    if (isTooLate(error) && signal === SIGKILL) {
      log.warn('a shim does not answer and is ended, and its container with it', { id })
      await endStrayShim(containerd, id)
    } else if (!endedMeanwhile(container, error)) {
      throw taskFailure(container, error, `cannot send signal ${signal}`)
    }
  }
  context.registry.tell(container, 'kill', { signal: String(signal) })
}

/**
 * A frozen process gets no signal before it thaws. But runc thaws what it sends a SIGKILL by itself,
 * and refuses to do so again while the process is on its way out: whether it ends is what counts.
 */
async function unfreeze(context: Context, container: Container, signal: number): Promise<void> {
  if (container.record.state.status !== 'paused') return
  try {
    await setFrozen(context, container, false)
  } catch (error) {
    if (!endedMeanwhile(container, error)) {
      if (signal !== SIGKILL) throw error
      log.warn('a container that was sent a SIGKILL is not thawed', { id: container.id, error: messageOf(error) })
      return
    }
  }
  await context.registry.save(container, { state: unpausedState(container.record.state) })
  context.registry.tell(container, 'unpause')
}

/** Inside the queue. */
async function setFrozen(context: Context, container: Container, frozen: boolean): Promise<void> {
  const { tasks } = context.containerd
  const request = { containerId: container.id }
  try {
    await throughRestart(() => (frozen ? tasks.pause(request) : tasks.resume(request)))
  } catch (error) {
    if (error instanceof ContainerdAway && !error.midway) throw error
    // What broke off in the middle may have been done.
    const task = await taskOf(context, container.id)
    if (task?.status === (frozen ? TaskStatus.PAUSED : TaskStatus.RUNNING)) return
    const attempt = frozen ? 'cannot pause container' : 'Cannot unpause container'
    throw taskFailure(container, error, `${attempt} ${container.id}`)
  }
}

/** '' = KILL. Refuses what is no signal, whether the container is there or not. */
export function signalFor(name: string, signal: string): number {
  try {
    return signal === '' ? SIGKILL : signalNumber(signal)
  } catch (error) {
    throw wrap(`cannot kill container: ${name}: `, error)
  }
}

export async function killContainer(
  context: Context,
  container: Container,
  number: number,
  name: string,
): Promise<void> {
  const ends = number === SIGKILL || number === stopSignalOf(container.record.config.StopSignal)
  const exited = context.registry.wait(container, 'next-exit')
  try {
    await context.registry.queue.run(container.id, async () => {
      const { state } = container.record
      if (!isRunning(state.status)) {
        throw notRunning(container)
      }
      if (ends || state.status === 'restarting') {
        await askToEnd(context, container, number, 'kill')
      } else {
        await sendSignal(context, container, number)
      }
    })
    // As the engine does: a kill is answered when the container has ended.
    if (number === SIGKILL && hasProcess(container.record.state.status)) {
      await settled(exited.result, killTimeoutMs)
    }
  } catch (error) {
    throw wrap(`cannot kill container: ${name}: `, error)
  } finally {
    exited.cancel()
  }
}

export async function restartContainer(
  context: Context,
  container: Container,
  options: StopOptions,
): Promise<void> {
  const { live } = container
  if (live.removing) {
    throw new Refusal('conflict', 'container is marked for removal and cannot be started')
  }
  // The end is part of the restart: --rm must not remove it meanwhile.
  live.restartAsked = true
  try {
    if (isRunning(container.record.state.status)) await endRun(context, container, options)
    await context.registry.queue.run(container.id, async () => {
      checkStartable(container)
      await startContainer(context, container)
    })
  } finally {
    live.restartAsked = false
  }
  context.registry.tell(container, 'restart')
}

export function pauseContainer(context: Context, container: Container): Promise<void> {
  return context.registry.queue.run(container.id, async () => {
    const { status } = container.record.state
    if (status === 'paused')
      throw new Refusal('conflict', `Container ${container.id} is already paused`)
    if (status === 'restarting') {
      throw new Refusal(
        'conflict',
        `Container ${container.id} is restarting, wait until the container is running`,
      )
    }
    if (status !== 'running') throw notRunning(container)
    await container.live.freezer.freeze(async () => {
      await setFrozen(context, container, true)
      await context.registry.save(container, { state: pausedState(container.record.state) })
    })
    context.registry.tell(container, 'pause')
  })
}

export function unpauseContainer(context: Context, container: Container): Promise<void> {
  return context.registry.queue.run(container.id, async () => {
    const { status } = container.record.state
    if (status !== 'paused')
      throw new Refusal('internal', `Container ${container.id} is not paused`)
    await setFrozen(context, container, false)
    await context.registry.save(container, { state: unpausedState(container.record.state) })
    context.registry.tell(container, 'unpause')
  })
}
