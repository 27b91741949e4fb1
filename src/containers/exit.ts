/**
 * The end of a container: noticed, cleaned up after, told, and followed by a restart or a
 * removal where that is wanted.
 *
 * Order: output drained → network closed (its disconnect events) → stop → die → waiters →
 * restart or removal. An error of the Wait call is never an exit: it is asked again.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { isNotFound, unlessNotFound } from './containerd/client.ts'
import { stopHealth } from './healthcheck.ts'
import { lookForOom } from './oom.ts'
import { exitedState, hasProcess } from './record.ts'
import type { Exit } from './record.ts'
import { countsAsFailure, restartDelayMs, wantsRestart } from './restart-policy.ts'
import { releaseRootfs } from './rootfs.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'
import { forgetTask, releaseShm, removeFifos } from './task.ts'
import { tellVolumes } from './volume-events.ts'
import { epochMs, formatTime, now } from './time.ts'

/** A grandchild may hold the pipe open for ever; its output after this is not waited for. */
const drainTimeoutMs = 2_000
const retryDelayMsMax = 1_000
/** Exit status of a task that is gone without a trace. */
const lostExitCode = 255

/** Waits for the exit of the current run, and has it handled in the container's queue. */
export function watchExit(context: Context, container: Container): void {
  const { run } = container.live
  const watch = async () => {
    const ended = await untilExit(context, container.id)
    if (ended === undefined || container.live.run !== run) return
    await context.registry.queue.run(container.id, async () => {
      if (container.live.run === run) await handleExit(context, container, ended)
    })
  }
  watch().catch((error: unknown) => {
    log.error('the exit of a container could not be handled', {
      id: container.id,
      error: messageOf(error),
    })
  })
}

type Ended = Omit<Exit, 'oomKilled'>

async function untilExit(context: Context, id: string): Promise<Ended | undefined> {
  let delayMs = 20
  while (!context.closing.aborted) {
    try {
      const request = { containerId: id, execId: '' }
      const { exitStatus, exitedAt } = await context.containerd.tasks.wait(request, {
        signal: context.closing,
      })
      return { code: exitStatus, at: timeOf(exitedAt) }
    } catch (error) {
      if (isNotFound(error)) return { code: lostExitCode, at: now() }
      log.debug('a wait is asked again', { id, error: messageOf(error) })
    }
    await sleep(delayMs, undefined, { ref: false })
    delayMs = Math.min(retryDelayMsMax, delayMs * 2)
  }
  return undefined
}

interface Stamp {
  readonly seconds: bigint
  readonly nanos: number
}

export const timeOf = (stamp: Stamp | undefined): string =>
  stamp === undefined || stamp.seconds <= 0n
    ? now()
    : formatTime(stamp.seconds * 1_000_000_000n + BigInt(stamp.nanos))

/** Runs inside the container's queue. */
export async function handleExit(
  context: Context,
  container: Container,
  ended: Ended,
): Promise<void> {
  const { record, live } = container
  if (!hasProcess(record.state.status)) return
  lookForOom(context, container)
  stopHealth(context, container)
  const { restarting } = await settle(context, container, ended)
  const ranMs = Math.max(0, epochMs(ended.at) - epochMs(record.state.startedAt))
  tellVolumes(context, container, 'unmount')
  if (live.stopping === 'stop') context.registry.tell(container, 'stop')
  context.registry.tell(container, 'die', {
    exitCode: String(ended.code),
    execDuration: String(Math.floor(ranMs / 1000)),
  })
  context.registry.wake(container, ['not-running', 'next-exit'])
  if (restarting) {
    scheduleRestart(context, container, ranMs)
  } else if (
    container.record.hostConfig.AutoRemove &&
    !live.restartAsked &&
    !context.closing.aborted
  ) {
    await context.afterExit.autoRemove(container)
  }
}

/** Takes down what the run had, and stores the outcome. */
async function settle(
  context: Context,
  container: Container,
  ended: Ended,
): Promise<{ readonly restarting: boolean }> {
  const { id, record, live } = container
  await attempt('drain its output', id, () => context.keeper.drainStdio(id, drainTimeoutMs))
  await attempt('end its execs', id, () => closeExecs(context, container))
  await Promise.all([
    attempt('close its network', id, () => context.networks.close(id)),
    attempt('delete its task', id, () => forgetTask(context, id)),
  ])
  await attempt('close its stdio', id, () => context.keeper.closeStdio(id))
  await attempt('unmount its file system', id, async () => {
    releaseShm(context, id)
    releaseRootfs(context, container)
    removeFifos(context, id)
  })
  const restarting = wantsRestart({
    policy: record.hostConfig.RestartPolicy,
    exitCode: ended.code,
    stopped: live.stopping !== 'no' || context.closing.aborted,
    restartCount: record.restartCount,
  })
  // Read last: where systemd has taken the cgroup away, only containerd tells of it, and later.
  const exit: Exit = { ...ended, oomKilled: live.oomKilled }
  await context.registry.save(container, { state: exitedState(record.state, exit, restarting) })
  return { restarting }
}

/** One step of a clean-up: a failure is told, and the next step done all the same. */
async function attempt(what: string, id: string, step: () => Promise<void>): Promise<void> {
  try {
    await step()
  } catch (error) {
    log.warn(`a container ended, but the engine could not ${what}`, { id, error: messageOf(error) })
  }
}

function scheduleRestart(context: Context, container: Container, ranMs: number): void {
  const failures = countsAsFailure(ranMs) ? container.record.failures : 0
  container.record = { ...container.record, failures }
  container.live.restartTimer = setTimeout(() => {
    context.afterExit.restart(container).catch((error: unknown) => {
      log.warn('a restart by policy failed', { id: container.id, error: messageOf(error) })
    })
  }, restartDelayMs(failures))
}

/** The container ended: so have its execs; nothing is waited for. */
async function closeExecs(context: Context, container: Container): Promise<void> {
  for (const exec of container.live.execs.values()) {
    // What was never started cannot be any more.
    if (!exec.started) container.live.execs.delete(exec.id)
    if (!exec.running) continue
    exec.running = false
    exec.exitCode ??= 137
    await context.keeper.closeStdio(exec.id)
  }
}

/** How a task that is there now stands; undefined when there is none. */
export async function taskOf(context: Context, id: string) {
  const answer = await unlessNotFound(context.containerd.tasks.get({ containerId: id, execId: '' }))
  return answer?.process
}
