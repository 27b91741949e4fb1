/**
 * A container's task in containerd and its stdio: FIFOs, what the keeper is told of them, the
 * runtime's options, and how all of it is taken down again.
 */
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { create } from '@bufbuild/protobuf'
import { log } from '../base/log.ts'
import { messageOf, Refusal } from '../base/refusal.ts'
import type { StdioSpec } from '../keeper/client.ts'
import { makeFifo } from '../kernel/fifo.ts'
import { unmountAll } from '../kernel/mount.ts'
import { cgroupsPathOf } from './cgroup-path.ts'
import { removeCgroup } from './cgroup-removal.ts'
import { anyMessage, anyOci } from './containerd/any.ts'
import { ContainerdAway, throughRestart } from './containerd/away.ts'
import {
  isNotFound,
  isTooLate,
  shimTimeoutMs,
  snapshotter,
  unlessNotFound,
} from './containerd/client.ts'
import { Status as TaskStatus } from './containerd/gen/task_pb.ts'
import { OptionsSchema } from './containerd/gen/runc_options_pb.ts'
import { logSizes } from './defaults.ts'
import { logTag } from './log-tag.ts'
import { containerPaths } from './paths.ts'
import type { ContainerRecord } from './record.ts'
import type { ContainersConfig, Context } from './rooms.ts'
import { containerLabel } from './rootfs.ts'
import { endStrayShim } from './shims.ts'

/** Taken down when the container stops. */
export function releaseShm(context: Context, id: string): void {
  unmountAll(containerPaths(context.config, id).shm)
}

export interface Fifos {
  readonly stdin: string
  readonly stdout: string
  readonly stderr: string
}

export function makeFifos(context: Context, record: ContainerRecord): Fifos {
  const { io } = containerPaths(context.config, record.id)
  rmSync(io, { recursive: true, force: true })
  mkdirSync(io, { recursive: true, mode: 0o700 })
  return makeFifoSet(io, '', record.config.OpenStdin, record.config.Tty)
}

/** @param prefix '' for the container, the exec id and a dash for an exec */
export function makeFifoSet(io: string, prefix: string, stdin: boolean, tty: boolean): Fifos {
  const make = (wanted: boolean, name: string): string => {
    if (!wanted) return ''
    const path = join(io, `${prefix}${name}`)
    makeFifo(path)
    return path
  }
  return { stdin: make(stdin, 'in'), stdout: make(true, 'out'), stderr: make(!tty, 'err') }
}

export function removeFifos(context: Context, id: string): void {
  rmSync(containerPaths(context.config, id).io, { recursive: true, force: true })
}

/** What the keeper is told of a container's stdio; the same at start and at restore. */
export function stdioSpec(context: Context, record: ContainerRecord, fifos: Fifos): StdioSpec {
  const { Type } = record.hostConfig.LogConfig
  const sizes = logSizes(record.hostConfig.LogConfig)
  return {
    streamId: record.id,
    fifoStdin: fifos.stdin,
    fifoStdout: fifos.stdout,
    fifoStderr: fifos.stderr,
    tty: record.config.Tty,
    logPath: Type === 'none' ? '' : containerPaths(context.config, record.id).log,
    logMaxBytes: sizes.maxBytes,
    logMaxFiles: sizes.maxFiles,
    logAttributes: logAttributes(record),
  }
}

/** The paths of FIFOs that exist already. */
export function fifosOf(context: Context, record: ContainerRecord): Fifos {
  const { io } = containerPaths(context.config, record.id)
  return {
    stdin: record.config.OpenStdin ? join(io, 'in') : '',
    stdout: join(io, 'out'),
    stderr: record.config.Tty ? '' : join(io, 'err'),
  }
}

/** --log-opt labels and env: which of the container's go into each line. */
function logAttributes(record: ContainerRecord): Readonly<Record<string, string>> {
  const options = record.hostConfig.LogConfig.Config ?? {}
  const attributes: Record<string, string> = {}
  const wanted = (text: string | undefined) => (text ?? '').split(',').filter((name) => name !== '')
  for (const name of wanted(options['labels'])) {
    const value = record.config.Labels?.[name]
    if (value !== undefined) attributes[name] = value
  }
  for (const name of wanted(options['env'])) {
    const entry = (record.config.Env ?? []).find((line) => line.startsWith(`${name}=`))
    if (entry !== undefined) attributes[name] = entry.slice(name.length + 1)
  }
  for (const [name, value] of Object.entries(record.config.Labels ?? {})) {
    if (fits(options['labels-regex'], name)) attributes[name] = value
  }
  for (const entry of record.config.Env ?? []) {
    const [name = ''] = entry.split('=')
    if (fits(options['env-regex'], name)) attributes[name] = entry.slice(name.length + 1)
  }
  const tag = logTag(options['tag'] ?? '', record)
  if (tag !== '') attributes['tag'] = tag
  return attributes
}

function fits(pattern: string | undefined, name: string): boolean {
  if (pattern === undefined || pattern === '') return false
  try {
    return new RegExp(pattern).test(name)
  } catch (error) {
    throw new Refusal('invalid', `failed to initialize logging driver: ${messageOf(error)}`, {
      cause: error,
    })
  }
}

/** Makes the task; the process does not run yet. Answers its pid. */
export async function createTask(
  context: Context,
  record: ContainerRecord,
  spec: object,
  fifos: Fifos,
): Promise<number> {
  const { containerd, config } = context
  const { id } = record
  await forgetTask(context, id)
  await containerd.containers.create({
    container: {
      id,
      labels: { [containerLabel]: id },
      image: record.config.Image,
      runtime: { name: 'io.containerd.runc.v2', options: runcOptions(config) },
      spec: anyOci('Spec', spec),
      snapshotter,
      snapshotKey: id,
    },
  })
  const { pid } = await containerd.tasks.create({
    containerId: id,
    rootfs: [],
    stdin: fifos.stdin,
    stdout: fifos.stdout,
    stderr: fifos.stderr,
    terminal: record.config.Tty,
    options: runcOptions(config),
  })
  return pid
}

/**
 * Lets a process run that was made; answers its pid.
 * @param renew makes it anew where a start was cut off: an exec whose start has failed in its shim
 *   must not be started again, at its exit the shim would crash and take the container along
 */
export async function startProcess(
  context: Context,
  request: { readonly containerId: string; readonly execId: string },
  renew: () => Promise<void> = () => Promise.resolve(),
): Promise<number> {
  const { tasks } = context.containerd
  try {
    return (await tasks.start(request)).pid
  } catch (error) {
    if (!(error instanceof ContainerdAway)) throw error
    // It went away during the call: whether the process runs is known when it is back.
    const found = (await unlessNotFound(tasks.get(request)))?.process
    if (found === undefined) throw error
    if (found.status !== TaskStatus.CREATED) return found.pid
    await renew()
    return (await tasks.start(request)).pid
  }
}

/** Removes task, shim and containerd container, whatever is there of them. */
export async function forgetTask(context: Context, id: string): Promise<void> {
  await throughRestart(() => forgetKnown(context, id))
  await endStrayShim(context.containerd, id)
  const record = context.registry.get(id)?.record
  // Whoever was killed while it made or removed a cgroup left it behind.
  if (record !== undefined) await removeCgroup(cgroupsPathOf(record, context.config))
}

/** Between looks whether containerd has noticed that a shim ended. */
const noticeMs = 50

async function forgetKnown(context: Context, id: string): Promise<void> {
  const { containerd } = context
  const found = await unlessNotFound(containerd.containers.get({ id }))
  if (found === undefined) return
  if (!(await endTask(context, id))) {
    log.warn('a shim does not answer and is ended', { id })
    await endStrayShim(containerd, id)
    await untilForgotten(context, id)
  }
  await unlessNotFound(containerd.containers.delete({ id }))
}

/** False when the shim does not answer: cut off while it made the container, it never will. */
async function endTask(context: Context, id: string): Promise<boolean> {
  const { tasks } = context.containerd
  const request = { containerId: id, execId: '' }
  const options = { timeoutMs: shimTimeoutMs }
  try {
    const status = (await unlessNotFound(tasks.get(request, options)))?.process?.status
    if (status === TaskStatus.UNKNOWN) return false
    if (status !== undefined && status !== TaskStatus.STOPPED) {
      await unlessNotFound(tasks.kill({ ...request, signal: 9, all: true }, options)).catch(ended)
      await unlessNotFound(tasks.wait(request, options)).catch(ended)
    }
    // Also where no task is told of: a creation that was cut off may have left its shim.
    await unlessNotFound(tasks.delete({ containerId: id }, options))
    return true
  } catch (error) {
    if (isTooLate(error)) return false
    throw error
  }
}

/** containerd cleans up after a shim by itself, when it sees that it has gone. */
async function untilForgotten({ containerd }: Context, id: string): Promise<void> {
  const deadline = Date.now() + shimTimeoutMs
  for (;;) {
    try {
      await containerd.tasks.delete({ containerId: id }, { timeoutMs: shimTimeoutMs })
    } catch (error) {
      if (isNotFound(error)) return
      if (error instanceof ContainerdAway || Date.now() > deadline) throw error
      log.debug('a task is not deleted yet', { id, error: messageOf(error) })
    }
    await sleep(noticeMs)
  }
}

/** A task that has ended already answers with an error to a kill: as it should be. */
function ended(error: unknown): void {
  if (isTooLate(error)) throw error
  log.debug('a task ended before it was told to', { error: messageOf(error) })
}

const runcOptions = (config: ContainersConfig) =>
  anyMessage(
    OptionsSchema,
    create(OptionsSchema, {
      binaryName: config.runtimeName,
      systemdCgroup: config.systemdCgroup,
    }),
  )
