/**
 * Runs a process inside a container: FIFOs, keeper, containerd's Exec. Everything made for it
 * is gone when it has ended; the exit is asked for until it is known.
 */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { newId } from '../base/id.ts'
import { log } from '../base/log.ts'
import { Refusal, messageOf } from '../base/refusal.ts'
import { appArmorProfile } from './apparmor.ts'
import { anyOci } from './containerd/any.ts'
import { containerdMessage, isNotFound, unlessNotFound } from './containerd/client.ts'
import { capabilitiesOf } from './capabilities.ts'
import type { Exec } from './exec-record.ts'
import { linkEnvironment } from './links.ts'
import type { OciProcess } from './oci.ts'
import { containerPaths } from './paths.ts'
import { startFailure } from './process-error.ts'
import { hasProcess } from './record.ts'
import type { Container } from './registry.ts'
import { rootOf } from './rootfs.ts'
import type { Context } from './rooms.ts'
import { securityOf } from './security.ts'
import { SIGKILL } from './signals.ts'
import { environmentOf, processCapabilities, replaceEnv, resourceLimits } from './spec.ts'
import { makeFifoSet } from './task.ts'
import { lookUpUser } from './user.ts'

const drainTimeoutMs = 2_000
const retryDelayMsMax = 1_000

/** Refuses an exec into what does not run. */
export function checkExecutable({ id, record }: Container): void {
  const { status } = record.state
  if (status === 'paused') {
    throw new Refusal('conflict', `Container ${id} is paused, unpause the container before exec`)
  }
  if (status === 'restarting') {
    throw new Refusal(
      'conflict',
      `Container ${id} is restarting, wait until the container is running`,
    )
  }
  if (!hasProcess(status)) throw new Refusal('conflict', `container ${id} is not running`)
}

/** The process of an exec: the container's own rights and variables, with the exec's over them. */
function processOf(context: Context, container: Container, exec: Exec): OciProcess {
  const { record } = container
  const { hostConfig, config } = record
  const { spec } = exec
  const root = rootOf(container, containerPaths(context.config, container.id).rootfs)
  const user = lookUpUser(
    root,
    spec.user === '' ? config.User : spec.user,
    spec.user === '' ? (hostConfig.GroupAdd ?? []) : [],
  )
  const privileged = spec.privileged || hostConfig.Privileged
  const capabilities = capabilitiesOf({
    add: hostConfig.CapAdd,
    drop: hostConfig.CapDrop,
    privileged,
  })
  const cwd = spec.workingDir === '' ? config.WorkingDir : spec.workingDir
  const [height = 0, width = 0] = exec.consoleSize ?? []
  const linkEnv = linkEnvironment(context, record)
  // --privileged of an exec gives capabilities, not another profile than the container's.
  const apparmor = appArmorProfile(hostConfig)
  return {
    terminal: spec.tty,
    ...(spec.tty && height > 0 && width > 0 ? { consoleSize: { height, width } } : {}),
    user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
    args: spec.command,
    env: replaceEnv(environmentOf(record, linkEnv, spec.tty), spec.env),
    cwd: cwd === '' ? '/' : cwd,
    capabilities: processCapabilities(capabilities, user.uid),
    noNewPrivileges: securityOf(hostConfig, context.config.security).noNewPrivileges,
    ...(apparmor === '' ? {} : { apparmorProfile: apparmor }),
    oomScoreAdj: hostConfig.OomScoreAdj,
    ...resourceLimits(context.config.defaultUlimits, hostConfig.Ulimits),
  }
}

/** The container ended between our look and the start: said as if it had before. */
function checkStillThere({ id, record }: Container, error: unknown): void {
  const gone = isNotFound(error) || /ttrpc: closed|in a (stopped|deleted) state/.test(containerdMessage(error))
  if (!gone && hasProcess(record.state.status)) return
  throw new Refusal('conflict', `container ${id} is not running`, { cause: error })
}

/** What is going on with an exec that was started. */
export interface RunningExec {
  /** Resolves when the output was read and the exit code is stored in the exec. */
  readonly ended: Promise<void>
}

/**
 * Starts it. `joined` runs when the streams are open and the process does not exist yet.
 * @param stdin whether to make a FIFO for input
 */
export async function launchExec(
  context: Context,
  container: Container,
  exec: Exec,
  joined: () => Promise<void>,
): Promise<RunningExec> {
  const { tasks } = context.containerd
  const { io } = containerPaths(context.config, container.id)
  const request = { containerId: container.id, execId: exec.id }
  const fifos = makeFifoSet(io, `${exec.id.slice(0, 16)}-`, exec.spec.attachStdin, exec.spec.tty)
  const close = async () => {
    await context.keeper.closeStdio(exec.id)
    for (const path of Object.values(fifos)) if (path !== '') rmSync(join(path), { force: true })
  }
  exec.started = true
  exec.running = true
  let made = false
  try {
    await context.keeper.openStdio({
      streamId: exec.id,
      fifoStdin: fifos.stdin,
      fifoStdout: fifos.stdout,
      fifoStderr: fifos.stderr,
      tty: exec.spec.tty,
      logPath: '',
      logMaxBytes: 0,
      logMaxFiles: 1,
      logAttributes: {},
    })
    await joined()
    await context.appArmor.ensure(appArmorProfile(container.record.hostConfig))
    await tasks.exec({
      ...request,
      stdin: fifos.stdin,
      stdout: fifos.stdout,
      stderr: fifos.stderr,
      terminal: exec.spec.tty,
      spec: anyOci('Process', processOf(context, container, exec)),
    })
    made = true
    const { pid } = await tasks.start(request)
    exec.pid = pid
  } catch (error) {
    if (made) await unlessNotFound(tasks.deleteProcess(request)).catch(told)
    await close()
    const { code, refusal } = startFailure(error, '')
    exec.running = false
    exec.exitCode = code === 128 ? 126 : code
    checkStillThere(container, error)
    throw refusal
  }
  return { ended: follow(context, container, exec, close) }
}

async function follow(
  context: Context,
  container: Container,
  exec: Exec,
  close: () => Promise<void>,
): Promise<void> {
  const request = { containerId: container.id, execId: exec.id }
  const code = await untilExit(context, container, exec)
  await context.keeper.drainStdio(exec.id, drainTimeoutMs).catch(told)
  exec.exitCode ??= code
  exec.running = false
  await close().catch(told)
  await unlessNotFound(context.containerd.tasks.deleteProcess(request)).catch(told)
}

function told(error: unknown): void {
  log.debug('an exec was not cleaned up as usual', { error: messageOf(error) })
}

async function untilExit(context: Context, container: Container, exec: Exec): Promise<number> {
  let delayMs = 20
  for (;;) {
    try {
      const answer = await context.containerd.tasks.wait(
        { containerId: container.id, execId: exec.id },
        { signal: context.closing },
      )
      return answer.exitStatus
    } catch (error) {
      const over = isNotFound(error) || !hasProcess(container.record.state.status)
      if (over || context.closing.aborted) return exec.exitCode ?? 137
    }
    await sleep(delayMs, undefined, { ref: false })
    delayMs = Math.min(retryDelayMsMax, delayMs * 2)
  }
}

interface ProbeLimits {
  readonly timeoutMs: number
  readonly outputBytesMax: number
}

/** One run of a health check's command, with its first output. */
export async function runProbe(
  context: Context,
  container: Container,
  command: readonly string[],
  limits: ProbeLimits,
): Promise<{ readonly exitCode: number; readonly output: string }> {
  const exec = newExec(container.id, command)
  const execID = exec.id
  const tell = (action: string, extra = {}) =>
    context.registry.tell(container, action, { execID, ...extra })
  tell(`exec_create: ${command.join(' ')}`)
  const chunks: Buffer[] = []
  let reading: Promise<void> = Promise.resolve()
  const collect = async () => {
    const attachment = await context.keeper.attach(exec.id, {
      stdin: false,
      stdout: true,
      stderr: true,
    })
    reading = (async () => {
      let bytes = 0
      for await (const { data } of attachment.output) {
        if (bytes < limits.outputBytesMax) chunks.push(data)
        bytes += data.length
      }
    })()
  }
  try {
    tell(`exec_start: ${command.join(' ')}`)
    const running = await launchExec(context, container, exec, collect)
    running.ended
      .then(() => tell('exec_die', { exitCode: String(exec.exitCode ?? 0) }))
      .catch(told)
    const timer = new AbortController()
    const late = sleep(limits.timeoutMs, true, { signal: timer.signal, ref: false }).catch(
      () => false,
    )
    const timedOut = await Promise.race([running.ended.then(() => false), late])
    timer.abort()
    if (timedOut) {
      const seconds = limits.timeoutMs / 1000
      await context.containerd.tasks
        .kill({ containerId: container.id, execId: exec.id, signal: SIGKILL, all: false })
        .catch(told)
      return { exitCode: -1, output: `Health check exceeded timeout (${seconds}s)` }
    }
    await reading.catch(told)
    const output = Buffer.concat(chunks).subarray(0, limits.outputBytesMax).toString()
    return { exitCode: exec.exitCode ?? -1, output }
  } catch (error) {
    return { exitCode: -1, output: messageOf(error) }
  }
}

export function newExec(containerId: string, command: readonly string[]): Exec {
  return {
    id: newId(),
    containerId,
    spec: {
      command,
      tty: false,
      attachStdin: false,
      attachStdout: true,
      attachStderr: true,
      detachKeys: '',
      env: [],
      workingDir: '',
      user: '',
      privileged: false,
    },
    running: false,
    started: false,
    pid: 0,
    exitCode: null,
    canRemove: false,
    consoleSize: undefined,
  }
}
