/**
 * The verbs behind /containers and /exec, by id or name; each delegates to its file.
 *
 * One queue per container orders what changes it. `restoreRunning` and `settle` are called once at
 * daemon start, with the restoration of networks between them.
 */
import { setMaxListeners } from 'node:events'
import type { Duplex, Readable, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { log } from '../base/log.ts'
import { Refusal, messageOf, wrap } from '../base/refusal.ts'
import type { EndpointSpec } from '../network/model.ts'
import {
  readArchive,
  statPath,
  writeArchive,
  type PathStat,
  type Target,
  type WriteOptions,
} from './archive.ts'
import { attachContainer, checkAttach, type AttachRequest } from './attach.ts'
import { changesOf, type Change } from './changes.ts'
import { connectNetwork, disconnectNetwork } from './connect.ts'
import type { CreateRequest, EndpointSettings, UpdateRequest } from './config.ts'
import { createContainer, type CreateOptions, type Created } from './create.ts'
import type { ExecSpec } from './exec-record.ts'
import {
  checkExecStart,
  createExec,
  findExec,
  inspectExec,
  resize,
  resizeExec,
  startExec,
  type ExecStart,
} from './exec.ts'
import { exportContainer } from './export.ts'
import { keepHealth } from './healthcheck.ts'
import { inspectContainer, type InspectOptions } from './inspect.ts'
import { listContainers, type ListOptions } from './list.ts'
import { checkLogs, streamLogs, type LogRequest } from './logs.ts'
import { watchOom } from './oom.ts'
import { pruneContainers, type PrunedContainers } from './prune.ts'
import { hasProcess, isRunning } from './record.ts'
import { Registry, type Container, type WaitCondition, type WaitResult } from './registry.ts'
import { removeContainer, removeLink, removeNow, type RemoveOptions } from './remove.ts'
import { renameContainer } from './rename.ts'
import { recheck, Restoration } from './restore.ts'
import type { Context, Rooms } from './rooms.ts'
import { shutdownLimitSeconds } from './shutdown.ts'
import { statsOf, type StatsOptions } from './stats.ts'
import { checkStartable, startContainer } from './start.ts'
import {
  killContainer,
  pauseContainer,
  restartContainer,
  signalFor,
  stopContainer,
  unpauseContainer,
  type StopOptions,
} from './stop.ts'
import { topContainer, type TopView } from './top.ts'
import { notRunning } from './task-failure.ts'
import { updateContainer } from './update.ts'

export type { PathStat } from './archive.ts'

/** Running containers stop together, but not more at once than the machine can end. */
const stopsAtOnceMax = 256

export class Containers {
  readonly context: Context
  readonly #closing = new AbortController()
  readonly #restoration: Restoration
  #ending = false

  constructor(rooms: Rooms) {
    // Every running container and exec listens for the end.
    setMaxListeners(0, this.#closing.signal)
    this.context = {
      ...rooms,
      registry: new Registry(rooms.store, rooms.emit),
      ending: () => this.#ending,
      closing: this.#closing.signal,
      afterExit: {
        restart: (container) => this.#restartByPolicy(container),
        autoRemove: (container) => this.#autoRemove(container),
      },
    }
    this.#restoration = new Restoration(this.context)
    for (const { id, record } of this.context.registry.all()) {
      for (const point of record.mounts) if (point.Type === 'volume') this.#acquire(point.Name, id)
    }
  }

  /** Finds out which containers run and reads their output again; then restore the networks. */
  restoreRunning(): Promise<ReadonlySet<string>> {
    return this.#restoration.adopt()
  }

  /** After the networks: missed exits, half-done operations, restart policies. */
  async settle(): Promise<void> {
    watchOom(this.context).catch((error: unknown) => {
      log.error('out-of-memory events are not seen', { error: messageOf(error) })
    })
    await this.#restoration.settle()
  }

  /** containerd was away and answers again. */
  async recheck(): Promise<void> {
    try {
      await recheck(this.context)
    } catch (error) {
      log.warn('what containerd has could not be compared', { error: messageOf(error) })
    }
  }

  find(idOrName: string): Container {
    return this.context.registry.find(idOrName)
  }

  create(request: CreateRequest, options: CreateOptions): Promise<Created> {
    return createContainer(this.context, request, options)
  }

  async start(idOrName: string): Promise<void> {
    const container = this.find(idOrName)
    await this.context.registry.queue.run(container.id, async () => {
      checkStartable(container)
      try {
        await startContainer(this.context, container)
      } catch (error) {
        if (container.record.hostConfig.AutoRemove) await this.#autoRemove(container)
        throw error
      }
    })
  }

  stop(idOrName: string, options: StopOptions): Promise<void> {
    return stopContainer(this.context, this.find(idOrName), options)
  }

  restart(idOrName: string, options: StopOptions): Promise<void> {
    return restartContainer(this.context, this.find(idOrName), options)
  }

  async kill(idOrName: string, signal: string): Promise<void> {
    const number = signalFor(idOrName, signal)
    let container: Container
    try {
      container = this.find(idOrName)
    } catch (error) {
      throw wrap(`cannot kill container: ${idOrName}: `, error)
    }
    await killContainer(this.context, container, number, idOrName)
  }

  pause(idOrName: string): Promise<void> {
    return pauseContainer(this.context, this.find(idOrName))
  }

  unpause(idOrName: string): Promise<void> {
    return unpauseContainer(this.context, this.find(idOrName))
  }

  async rename(idOrName: string, name: string): Promise<void> {
    if (name === '') throw new Refusal('invalid', 'Neither old nor new names may be empty')
    return renameContainer(this.context, this.find(idOrName), name)
  }

  update(idOrName: string, request: UpdateRequest): Promise<readonly string[]> {
    return updateContainer(this.context, this.find(idOrName), request)
  }

  remove(idOrName: string, options: RemoveOptions): Promise<void> {
    return removeContainer(this.context, this.find(idOrName), options, idOrName)
  }

  removeLink(name: string): Promise<void> {
    return removeLink(this.context, name)
  }

  /** Registered when it returns. */
  wait(
    idOrName: string,
    condition: WaitCondition,
  ): { readonly result: Promise<WaitResult>; readonly cancel: () => void } {
    const container = this.find(idOrName)
    const { state } = container.record
    if (condition === 'not-running' && !isRunning(state.status)) {
      return {
        result: Promise.resolve({ code: state.exitCode, error: state.error }),
        cancel: () => undefined,
      }
    }
    const waiting = this.context.registry.wait(container, condition)
    return { result: waiting.result, cancel: () => waiting.cancel() }
  }

  inspect(idOrName: string, options: InspectOptions): Promise<object> {
    return inspectContainer(this.context, this.find(idOrName), options)
  }

  list(options: ListOptions): Promise<readonly object[]> {
    return listContainers(this.context, options)
  }

  /** Refuses before the connection is taken over. */
  checkAttach(idOrName: string, request: AttachRequest): { readonly tty: boolean } {
    const container = this.find(idOrName)
    checkAttach(container, idOrName, request)
    return { tty: container.record.config.Tty }
  }

  attach(idOrName: string, request: AttachRequest, client: Duplex): Promise<void> {
    return attachContainer(this.context, this.find(idOrName), request, client)
  }

  checkLogs(idOrName: string, request: LogRequest): { readonly tty: boolean } {
    const container = this.find(idOrName)
    checkLogs(container, request)
    return { tty: container.record.config.Tty }
  }

  logs(idOrName: string, request: LogRequest, client: Writable): Promise<void> {
    return streamLogs(this.context, this.find(idOrName), request, client)
  }

  async resize(idOrName: string, height: number, width: number): Promise<void> {
    const container = this.find(idOrName)
    if (!hasProcess(container.record.state.status)) {
      throw notRunning(container)
    }
    await resize(this.context, container, '', height, width)
  }

  top(idOrName: string, psArgs: string): Promise<TopView> {
    return topContainer(this.context, this.find(idOrName), psArgs)
  }

  stats(idOrName: string, options: StatsOptions, signal: AbortSignal): AsyncIterable<object> {
    return statsOf(this.context, this.find(idOrName), options, signal)
  }

  changes(idOrName: string): Promise<readonly Change[] | null> {
    return changesOf(this.context, this.find(idOrName))
  }

  export(idOrName: string, ready: () => Writable): Promise<void> {
    return exportContainer(this.context, this.find(idOrName), ready)
  }

  statPath(idOrName: string, path: string): Promise<PathStat> {
    return statPath(this.context, this.#target(idOrName), path)
  }

  readArchive(idOrName: string, path: string, ready: (stat: PathStat) => Writable): Promise<void> {
    return readArchive(this.context, this.#target(idOrName), path, ready)
  }

  async writeArchive(
    idOrName: string,
    path: string,
    source: Readable,
    options: WriteOptions,
  ): Promise<void> {
    const target = this.#target(idOrName)
    await writeArchive(this.context, target, path, source, options)
    this.context.registry.tell(target.container, 'extract-to-dir')
  }

  prune(filters: ReadonlyMap<string, readonly string[]>): Promise<PrunedContainers> {
    return pruneContainers(this.context, filters)
  }

  createExec(idOrName: string, spec: ExecSpec): string {
    return createExec(this.context, this.find(idOrName), spec)
  }

  checkExecStart(execId: string): { readonly tty: boolean } {
    const found = findExec(this.context, execId)
    checkExecStart(found)
    return { tty: found.exec.spec.tty }
  }

  startExec(execId: string, start: ExecStart): Promise<void> {
    return startExec(this.context, findExec(this.context, execId), start)
  }

  resizeExec(execId: string, height: number, width: number): Promise<void> {
    return resizeExec(this.context, findExec(this.context, execId), height, width)
  }

  inspectExec(execId: string): object {
    return inspectExec(findExec(this.context, execId))
  }

  async connectNetwork(
    idOrName: string,
    spec: EndpointSpec,
    settings: EndpointSettings,
  ): Promise<void> {
    return connectNetwork(this.context, this.find(idOrName), spec, settings)
  }

  async disconnectNetwork(idOrName: string, network: string, force: boolean): Promise<void> {
    let container: Container
    try {
      container = this.find(idOrName)
    } catch (error) {
      if (!force || !(error instanceof Refusal)) throw error
      await this.context.networks.disconnect(idOrName, network, true)
      return
    }
    await disconnectNetwork(this.context, container, network, force)
  }

  /** For /info. */
  counts(): { readonly running: number; readonly paused: number; readonly stopped: number } {
    const all = this.context.registry.all().map(({ record }) => record.state.status)
    const paused = all.filter((status) => status === 'paused').length
    const running = all.filter(isRunning).length - paused
    return { running, paused, stopped: all.length - running - paused }
  }

  /**
   * Stops every container, in its own manner; restart policies hold at the next start. What takes
   * longer than `timeoutSeconds`, and than any container may take, is not waited for; -1: it is.
   */
  async stopAll(timeoutSeconds: number): Promise<void> {
    this.#ending = true
    const { registry } = this.context
    const next = registry.all()[Symbol.iterator]()
    const worker = async () => {
      for (const container of next) {
        // A start that goes on is waited for.
        await registry.queue.run(container.id, () => Promise.resolve())
        if (isRunning(container.record.state.status)) await this.#stopForShutdown(container)
      }
    }
    const own = registry
      .all()
      .filter(({ record }) => isRunning(record.state.status))
      .map(({ record }) => record.config.StopTimeout ?? this.context.config.stopTimeoutSeconds)
    const limitSeconds = shutdownLimitSeconds(timeoutSeconds, own)
    const stopped = Promise.all(Array.from({ length: stopsAtOnceMax }, worker)).then(() => true)
    const timer = new AbortController()
    const late =
      limitSeconds < 0
        ? stopped
        : sleep(limitSeconds * 1000, false, { signal: timer.signal }).catch(() => true)
    if (!(await Promise.race([stopped, late]))) {
      log.warn('containers still run: they are not waited for', { seconds: limitSeconds })
    }
    timer.abort()
  }

  /** Watchers end; containers go on. */
  release(): void {
    this.#closing.abort()
    for (const container of this.context.registry.all()) {
      clearTimeout(container.live.restartTimer)
      keepHealth(this.context, container)
    }
  }

  #target(idOrName: string): Target {
    return { container: this.find(idOrName), shownAs: idOrName }
  }

  async #stopForShutdown(container: Container): Promise<void> {
    try {
      await stopContainer(this.context, container, { signal: '', seconds: undefined })
      // The daemon's end is not the user's wish.
      if (this.context.registry.get(container.id) !== undefined) {
        await this.context.registry.save(container, { manuallyStopped: false })
      }
    } catch (error) {
      log.warn('a container did not stop', { id: container.id, error: messageOf(error) })
    }
  }

  async #restartByPolicy(container: Container): Promise<void> {
    const { registry } = this.context
    await registry.queue.run(container.id, async () => {
      const { state, failures, restartCount } = container.record
      if (state.status !== 'restarting' && state.status !== 'exited' && state.status !== 'created')
        return
      container.record = {
        ...container.record,
        failures: failures + 1,
        restartCount: restartCount + 1,
      }
      await startContainer(this.context, container, true)
    })
  }

  async #autoRemove(container: Container): Promise<void> {
    container.live.removing = true
    try {
      await removeNow(this.context, container, true)
    } catch (error) {
      log.error('a container could not be removed after its end', {
        id: container.id,
        error: messageOf(error),
      })
    } finally {
      container.live.removing = false
    }
  }

  #acquire(name: string, id: string): void {
    try {
      this.context.volumes.acquire(name, id)
    } catch (error) {
      log.warn('a volume of a container is not there', {
        id,
        volume: name,
        error: messageOf(error),
      })
    }
  }
}
