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
import { throughRestart, ContainerdAway } from './containerd/away.ts'
import { isAlreadyExists, isNotFound, unlessNotFound } from './containerd/client.ts'
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
import { makeFifoSet, startProcess, type Fifos } from './task.ts'
import { endedMeanwhile, notRunning, taskFailure } from './task-failure.ts'
import { lookUpUser } from './user.ts'

const drainTimeoutMs = 2_000
const retryDelayMsMax = 1_000
/** The exit code of an exec that the runtime would not make. */
const notExecutable = 126

/** Refuses an exec into what does not run. */
export function checkExecutable(container: Container): void {
  const { id, record } = container
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
  if (!hasProcess(status)) throw notRunning(container)
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
  // Said at once: nobody else may start it while this waits for a freeze.
  exec.started = true
  exec.running = true
  try {
    return await container.live.freezer.start(async () => {
      try {
        checkExecutable(container)
      } catch (error) {
        exec.started = false
        exec.running = false
        throw error
      }
      return launch(context, container, exec, joined)
    })
  } catch (error) {
    // It may have ended just now: known when what its queue does is done. Not while a freeze waits.
    if (exec.exitCode === notExecutable) {
      await context.registry.queue.run(container.id, () => Promise.resolve())
      checkExecutable(container)
    }
    throw error
  }
}

async function launch(
  context: Context,
  container: Container,
  exec: Exec,
  joined: () => Promise<void>,
): Promise<RunningExec> {
  const { tasks } = context.containerd
  const request = { containerId: container.id, execId: exec.id }
  const fifos = makeExecFifos(context, container, exec)
  const close = async () => {
    await context.keeper.closeStdio(exec.id)
    for (const path of Object.values(fifos)) if (path !== '') rmSync(join(path), { force: true })
  }
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
    const process = {
      ...request,
      ...fifos,
      terminal: exec.spec.tty,
      spec: anyOci('Process', processOf(context, container, exec)),
    }
    await makeProcess(context, process)
    made = true
    exec.pid = await startProcess(context, request, async () => {
      await tasks.deleteProcess(request)
      await makeProcess(context, process)
    })
  } catch (error) {
    if (made) await unlessNotFound(tasks.deleteProcess(request)).catch(told)
    await close()
    const { code, refusal } = startFailure(error, '')
    exec.running = false
    if (error instanceof ContainerdAway) {
      exec.started = false // it can be started when containerd is back
      throw refusal
    }
    exec.exitCode = code === 128 ? notExecutable : code
    if (endedMeanwhile(container, error)) throw notRunning(container, error)
    throw refusal
  }
  return { ended: follow(context, container, exec, close) }
}

/** The folder goes with the container. */
function makeExecFifos(context: Context, container: Container, { id, spec }: Exec): Fifos {
  const { io } = containerPaths(context.config, container.id)
  try {
    return makeFifoSet(io, `${id.slice(0, 16)}-`, spec.attachStdin, spec.tty)
  } catch (error) {
    throw taskFailure(container, error, `cannot make streams for an exec in ${container.id}`)
  }
}

type ProcessRequest = Parameters<Context['containerd']['tasks']['exec']>[0]

async function makeProcess(context: Context, request: ProcessRequest): Promise<void> {
  try {
    await throughRestart(() => context.containerd.tasks.exec(request))
  } catch (error) {
    // Made by the first call, which broke off.
    if (!isAlreadyExists(error)) throw error
  }
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

/** One run of a health check's command, with its first output; undefined when it could not run. */
export async function runProbe(
  context: Context,
  container: Container,
  command: readonly string[],
  limits: ProbeLimits,
): Promise<{ readonly exitCode: number; readonly output: string } | undefined> {
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
    // Away, paused or ended meanwhile: that says nothing of its health.
    if (!exec.started) return undefined
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
