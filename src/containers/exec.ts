/** docker exec: create, start (attached or detached), resize, inspect. */
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { newId } from '../base/id.ts'
import { log } from '../base/log.ts'
import { Refusal, messageOf } from '../base/refusal.ts'
import type { Attachment } from '../keeper/client.ts'
import { closeStdin, serve } from './attach.ts'
import { parseDetachKeys } from './detach-keys.ts'
import { checkExecutable, launchExec } from './exec-run.ts'
import { endedExecsMax, type Exec, type ExecSpec } from './exec-record.ts'
import type { Container } from './registry.ts'
import { lookInside } from './rootfs.ts'
import type { Context } from './rooms.ts'
import { taskFailure } from './task-failure.ts'
import { lookUpUser } from './user.ts'

/** Clients that ask for the exit code do so at once; memory is not for ever. */
const endedKeptMs = 300_000

/** How long a resize waits for its process, and how often it looks. */
const startTimeoutMs = 10_000
const startPollMs = 5

/** The program, a blank, and its arguments, if any: so do Docker's events write it. */
function commandText({ command: [program = '', ...args] }: ExecSpec): string {
  return `${program} ${args.join(' ')}`
}

/** The same keys have another name here than with attach, Docker's. */
function checkEscapeKeys(keys: string): void {
  try {
    parseDetachKeys(keys)
  } catch (error) {
    throw new Refusal('invalid', `Invalid escape keys (${keys}) provided`, { cause: error })
  }
}

/** An unknown one is refused here already, as by dockerd; its own user was known at the start. */
function checkUser(context: Context, container: Container, user: string): void {
  if (user === '') return
  try {
    lookInside(context, container, (root) => lookUpUser(root, user, []))
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    throw new Refusal('invalid', error.message, { cause: error })
  }
}

export function createExec(context: Context, container: Container, spec: ExecSpec): string {
  checkExecutable(container)
  checkEscapeKeys(spec.detachKeys)
  checkUser(context, container, spec.user)
  const exec: Exec = {
    id: newId(),
    containerId: container.id,
    spec,
    running: false,
    started: false,
    pid: 0,
    exitCode: null,
    canRemove: false,
    consoleSize: undefined,
  }
  forgetOldest(container)
  container.live.execs.set(exec.id, exec)
  context.registry.tell(container, `exec_create: ${commandText(spec)}`, { execID: exec.id })
  return exec.id
}

function forgetOldest(container: Container): void {
  const { execs } = container.live
  for (const exec of execs.values()) {
    if (execs.size < endedExecsMax) return
    if (!exec.running) execs.delete(exec.id)
  }
}

export interface FoundExec {
  readonly exec: Exec
  readonly container: Container
}

export function findExec(context: Context, id: string): FoundExec {
  for (const container of context.registry.all()) {
    const exec = container.live.execs.get(id)
    if (exec !== undefined) return { exec, container }
  }
  throw new Refusal('notFound', `No such exec instance: ${id}`)
}

/** Refuses what cannot be started; before the connection is taken over. */
export function checkExecStart({ exec, container }: FoundExec): void {
  if (exec.started && !exec.running) {
    throw new Refusal('conflict', `exec command ${exec.id} has already run`)
  }
  if (exec.running) {
    throw new Refusal('conflict', `exec command ${exec.id} is already running`)
  }
  checkExecutable(container)
}

export interface ExecStart {
  /** undefined: detached. */
  readonly client: Duplex | undefined
  readonly consoleSize: readonly number[] | undefined
}

/** Starts it, and serves the client until it has ended. */
export async function startExec(
  context: Context,
  { exec, container }: FoundExec,
  { client, consoleSize }: ExecStart,
): Promise<void> {
  exec.consoleSize = consoleSize ?? exec.consoleSize
  const { spec } = exec
  let attachment: Attachment | undefined
  const joined = async () => {
    if (client === undefined) return
    attachment = await context.keeper.attach(exec.id, {
      stdin: spec.attachStdin,
      stdout: spec.attachStdout,
      stderr: spec.attachStderr,
    })
  }
  const command = commandText(spec)
  context.registry.tell(container, `exec_start: ${command}`, { execID: exec.id })
  let running
  try {
    running = await launchExec(context, container, exec, joined)
  } catch (error) {
    attachment?.detach()
    throw error
  }
  const ended = running.ended.then(() => {
    context.registry.tell(container, 'exec_die', {
      execID: exec.id,
      exitCode: String(exec.exitCode ?? 0),
    })
    setTimeout(() => container.live.execs.delete(exec.id), endedKeptMs).unref()
  })
  if (attachment === undefined || client === undefined) {
    ended.catch((error: unknown) => {
      log.warn('the end of an exec was not noticed', { exec: exec.id, error: messageOf(error) })
    })
    return
  }
  await serveExec(context, { exec, container }, attachment, client, ended)
}

async function serveExec(
  context: Context,
  { exec, container }: FoundExec,
  attachment: Attachment,
  client: Duplex,
  ended: Promise<void>,
): Promise<void> {
  const { spec } = exec
  // The connection closes after the exit code is known: clients ask for it right then.
  const outcome = await serve({
    attachment,
    client,
    framed: !spec.tty,
    stdin: spec.attachStdin,
    detachKeys: spec.tty || spec.detachKeys !== '' ? spec.detachKeys : undefined,
    endsStdin: !spec.tty,
    closeStdin: () => closeStdin(context, container.id, exec.id),
    beforeEnd: () => ended,
  })
  if (outcome === 'detached') context.registry.tell(container, 'exec_detach', { execID: exec.id })
}

export async function resizeExec(
  context: Context,
  { exec, container }: FoundExec,
  height: number,
  width: number,
): Promise<void> {
  if (!exec.started) {
    // The size is what it starts with.
    exec.consoleSize = [height, width]
    return
  }
  // Clients resize as soon as their stream is open, when there may be no process yet.
  const deadline = Date.now() + startTimeoutMs
  while (exec.running && exec.pid === 0) {
    if (Date.now() > deadline) {
      throw new Refusal('internal', 'timeout waiting for exec session ready')
    }
    await sleep(startPollMs)
  }
  await resize(context, container, exec.id, height, width)
}

/** Fine when the process has gone meanwhile, an exec's too. */
export async function resize(
  context: Context,
  container: Container,
  execId: string,
  height: number,
  width: number,
): Promise<void> {
  try {
    await context.containerd.tasks.resizePty({ containerId: container.id, execId, height, width })
  } catch (error) {
    const failure = taskFailure(container, error, `cannot resize container ${container.id}`)
    if (failure.kind !== 'conflict') throw failure
    log.debug('a terminal could not be resized', { id: container.id, error: messageOf(error) })
    return
  }
  if (execId === '') {
    context.registry.tell(container, 'resize', { height: String(height), width: String(width) })
  }
}

/** GET /exec/{id}/json */
export function inspectExec({ exec, container }: FoundExec): object {
  const { spec } = exec
  const [entrypoint = '', ...args] = spec.command
  const user = spec.user === '' ? container.record.config.User : spec.user
  return {
    ID: exec.id,
    Running: exec.running,
    ExitCode: exec.exitCode,
    ProcessConfig: {
      tty: spec.tty,
      entrypoint,
      arguments: args,
      privileged: spec.privileged,
      ...(user === '' ? {} : { user }),
    },
    OpenStdin: spec.attachStdin,
    OpenStderr: spec.attachStderr,
    OpenStdout: spec.attachStdout,
    CanRemove: exec.canRemove,
    ContainerID: container.id,
    DetachKeys:
      spec.detachKeys === ''
        ? ''
        : Buffer.from(parseDetachKeys(spec.detachKeys)).toString('base64'),
    Pid: exec.pid,
  }
}
