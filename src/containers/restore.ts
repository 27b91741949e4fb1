/**
 * At daemon start: what is stored is compared with the tasks that containerd has.
 *
 * Two steps, because networks stand between them. `adopt` finds out which containers run (the
 * network room then restores theirs), and holds their stdio again; `settle` handles the exits that
 * were missed, sweeps what belongs to no container, and starts what its policy says.
 */
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { unmountAll } from '../kernel/mount.ts'
import { isTooLate } from './containerd/client.ts'
import { Status as TaskStatus } from './containerd/gen/task_pb.ts'
import { handleExit, taskOf, timeOf, watchExit } from './exit.ts'
import { restoreHealth } from './healthcheck.ts'
import { removeNow } from './remove.ts'
import { hasProcess, pausedState, unpausedState, calledOffState } from './record.ts'
import { startsWithDaemon } from './restart-policy.ts'
import { containerLabel, holdRootfs, removeSnapshot, snapshotOwners } from './rootfs.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'
import { idsOfShims } from './shims.ts'
import { partsFolder } from './paths.ts'
import { dropSubpaths } from './subpaths.ts'
import { fifosOf, forgetTask, stdioSpec } from './task.ts'
import { now } from './time.ts'

/** Starts that go on at the same time at daemon start. */
const startsAtOnceMax = 4
/** How often a shim is asked that does not answer; containerd gives it two seconds each time. */
const looksMax = 8
const lookAgainMs = 500

interface Found {
  readonly container: Container
  /** undefined: it runs. */
  readonly ended: { readonly code: number; readonly at: string } | undefined
}

export class Restoration {
  readonly #context: Context
  readonly #found: Found[] = []

  constructor(context: Context) {
    this.#context = context
  }

  /** Ids of the containers that run; their output is being read again. */
  async adopt(): Promise<ReadonlySet<string>> {
    dropSubpaths(partsFolder(this.#context.config))
    const running = new Set<string>()
    const alive = this.#context.registry
      .all()
      .filter(({ record }) => hasProcess(record.state.status))
    const tasks = await Promise.all(alive.map(({ id }) => this.#knownTask(id)))
    for (const [index, container] of alive.entries()) {
      const task = tasks[index]
      const lives =
        task !== undefined &&
        (task.status === TaskStatus.RUNNING ||
          task.status === TaskStatus.PAUSED ||
          task.status === TaskStatus.PAUSING)
      if (lives && task.pid > 0) {
        await this.#adoptOne(container, task.pid, task.status !== TaskStatus.RUNNING)
        running.add(container.id)
        this.#found.push({ container, ended: undefined })
        continue
      }
      await this.#readTail(container)
      const ended =
        task === undefined || task.status !== TaskStatus.STOPPED
          ? { code: 255, at: now() }
          : { code: task.exitStatus, at: timeOf(task.exitedAt) }
      this.#found.push({ container, ended })
    }
    return running
  }

  /** A busy machine answers late: a container is lost only when its shim never does. */
  async #knownTask(id: string) {
    for (let looks = 0; looks < looksMax; looks++) {
      try {
        const task = await taskOf(this.#context, id)
        if (task?.status !== TaskStatus.UNKNOWN) return task
      } catch (error) {
        if (!isTooLate(error)) throw error
      }
      log.debug('a shim does not answer yet', { id })
      await sleep(lookAgainMs)
    }
    return undefined
  }

  async #adoptOne(container: Container, pid: number, paused: boolean): Promise<void> {
    const { registry, keeper } = this.#context
    const { state } = container.record
    const moved =
      paused === (state.status === 'paused')
        ? state
        : paused
          ? pausedState(state)
          : unpausedState(state)
    await registry.save(container, { state: { ...moved, pid } })
    await holdRootfs(this.#context, container)
    await keeper.openStdio(
      stdioSpec(this.#context, container.record, fifosOf(this.#context, container.record)),
    )
  }

  /** What an ended container wrote last may still be in its FIFOs, if the keeper held them. */
  async #readTail(container: Container): Promise<void> {
    try {
      const { record } = container
      await this.#context.keeper.openStdio(
        stdioSpec(this.#context, record, fifosOf(this.#context, record)),
      )
    } catch (error) {
      log.debug('no output left to read', { id: container.id, error: messageOf(error) })
    }
    container.live.rootfsHolders = 1
  }

  /** After the networks were restored. */
  async settle(): Promise<void> {
    const context = this.#context
    for (const { container, ended } of this.#found) {
      const { id } = container
      if (ended === undefined) {
        watchExit(context, container)
        restoreHealth(context, container)
        continue
      }
      await guarded(id, () =>
        context.registry.queue.run(id, () => handleExit(context, container, ended)),
      )
    }
    await this.#cleanUp()
    await this.#startByPolicy()
  }

  /** Half-done operations: removals to finish, created ones that never became whole. */
  async #cleanUp(): Promise<void> {
    const context = this.#context
    for (const container of context.registry.all()) {
      const { state, hostConfig, everStarted } = container.record
      const { id } = container
      if (hasProcess(state.status)) continue
      if (
        state.status === 'removing' ||
        (hostConfig.AutoRemove && everStarted && state.status === 'exited')
      ) {
        await guarded(id, () =>
          context.registry.queue.run(id, () => removeNow(context, container, true)),
        )
        continue
      }
      // A start that was cut off: nothing of it may be left. In turn: a policy may start it anew.
      await guarded(id, () =>
        context.registry.queue.run(id, async () => {
          if (hasProcess(container.record.state.status)) return
          await forgetTask(context, id)
          unmountAll(join(context.config.dataRoot, 'containers', id, 'rootfs'))
        }),
      )
    }
    await guarded('', () => sweep(context))
  }

  async #startByPolicy(): Promise<void> {
    const context = this.#context
    const wanted = context.registry.all().filter(({ record }) => {
      const { state, hostConfig, manuallyStopped, everStarted } = record
      if (state.status === 'restarting') return true
      const idle = state.status === 'exited' || (state.status === 'created' && everStarted)
      return idle && startsWithDaemon(hostConfig.RestartPolicy, manuallyStopped, state.exitCode)
    })
    const next = wanted[Symbol.iterator]()
    const worker = async () => {
      for (const container of next) {
        // One whose exit has just been found does not wait for its turn: it has waited long enough.
        clearTimeout(container.live.restartTimer)
        container.live.restartTimer = undefined
        if (container.record.state.status === 'restarting') {
          await context.registry.save(container, { state: calledOffState(container.record.state) })
        }
        await guarded(container.id, () => context.afterExit.restart(container))
      }
    }
    await Promise.all(Array.from({ length: startsAtOnceMax }, worker))
  }
}

async function guarded(id: string, step: () => Promise<void>): Promise<void> {
  try {
    await step()
  } catch (error) {
    log.warn('a container could not be restored', { id, error: messageOf(error) })
  }
}

/**
 * containerd was away and answers again: what operations left behind that failed meanwhile is
 * removed. Exits are asked for by their watchers.
 */
export async function recheck(context: Context): Promise<void> {
  const { containers } = await context.containerd.containers.list({ filters: [] })
  for (const { id } of containers) {
    const container = context.registry.get(id)
    if (container === undefined) continue
    await guarded(id, () =>
      context.registry.queue.run(id, async () => {
        if (!hasProcess(container.record.state.status)) await forgetTask(context, id)
      }),
    )
  }
}

/**
 * Containers, snapshots and folders of ours in containerd and on disk that nobody stored; and
 * containers that run for nobody, since all that was written of them has been deleted.
 */
async function sweep(context: Context): Promise<void> {
  const { containerd, config, registry } = context
  const { containers } = await containerd.containers.list({ filters: [] })
  for (const { id, labels } of containers) {
    if (labels[containerLabel] === undefined || registry.get(id) !== undefined) continue
    await guarded(id, () => forgetTask(context, id))
  }
  const known = new Set(containers.map(({ id }) => id))
  for (const id of idsOfShims(containerd)) {
    if (known.has(id) || registry.get(id) !== undefined) continue
    await guarded(id, () => forgetTask(context, id))
  }
  for (const id of await snapshotOwners(context)) {
    if (registry.get(id) === undefined) await guarded(id, () => removeSnapshot(context, id))
  }
  const folder = join(config.dataRoot, 'containers')
  for (const id of foldersIn(folder)) {
    if (!/^[0-9a-f]{64}$/.test(id) || registry.get(id) !== undefined) continue
    unmountAll(join(folder, id, 'rootfs'))
    unmountAll(join(folder, id, 'shm'))
    rmSync(join(folder, id), { recursive: true, force: true })
    await guarded(id, () => context.networks.close(id))
  }
}

function foldersIn(path: string): readonly string[] {
  try {
    return readdirSync(path)
  } catch (error) {
    log.debug('no containers yet', { path, error: messageOf(error) })
    return []
  }
}
