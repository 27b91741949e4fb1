/**
 * Finds a running keeper or starts one.
 *
 * The keeper is detached: it goes on when the daemon ends, however that happens. It is adopted
 * again only if it is the very process in the pid file, in our namespaces and of our executable.
 */
import { spawn } from 'node:child_process'
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  rmSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { errorCode } from '../base/error-code.ts'
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { Channel } from './channel.ts'
import { isAdoptable, isAlive, parseMark, type ProcessMark } from './process-identity.ts'

export interface KeeperPaths {
  /** Below 103 bytes: a second socket `<path>.io` stands beside it. */
  readonly socketPath: string
  /** What the keeper writes to standard error. */
  readonly logPath: string
  readonly pidPath: string
}

/** An overloaded machine needs half a minute to start a process; more means that it never will. */
const startTimeoutMs = 60_000
const retryIntervalMs = 15
/** Asked to end, a keeper closes its sockets and is gone. */
const endTimeoutMs = 2_000
const logBytesMax = 4 * 1024 * 1024
/** What the keeper makes is short-lived: a small nursery saves 70 MB under a burst of output. */
const nodeOptions = [
  '--disable-warning=ExperimentalWarning',
  '--max-semi-space-size=1',
  '--expose-gc',
]

/** A channel to the keeper that runs, or to a new one. */
export async function findOrStartKeeper(paths: KeeperPaths): Promise<Channel> {
  const mark = readMark(paths.pidPath)
  if (mark !== undefined && isAlive(mark)) {
    if (isAdoptable(mark)) {
      try {
        return await Channel.open(paths.socketPath)
      } catch (error) {
        log.warn('the running keeper is replaced', { pid: mark.pid, error: messageOf(error) })
      }
    }
    await endKeeper(mark)
  }
  return startKeeperProcess(paths)
}

/** Ends the process, by force if it does not listen; resolves when it is gone. */
export async function endKeeper(mark: ProcessMark): Promise<void> {
  for (const signal of ['SIGTERM', 'SIGKILL'] as const) {
    if (!isAlive(mark)) return
    kill(mark.pid, signal)
    const deadlineMs = performance.now() + endTimeoutMs
    while (isAlive(mark) && performance.now() < deadlineMs) await sleep(retryIntervalMs)
  }
  if (isAlive(mark)) throw new Error(`the keeper, process ${mark.pid}, cannot be ended`)
}

/** Whether a keeper of these files runs, adoptable or not. */
export function keeperRuns({ pidPath }: KeeperPaths): boolean {
  const mark = readMark(pidPath)
  return mark !== undefined && isAlive(mark)
}

export function readMark(pidPath: string): ProcessMark | undefined {
  try {
    return parseMark(readFileSync(pidPath, 'utf8'))
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined
    throw error
  }
}

async function startKeeperProcess(paths: KeeperPaths): Promise<Channel> {
  for (const path of Object.values(paths)) mkdirSync(dirname(path), { recursive: true })
  // A socket left by a dead keeper would answer «connection refused», one of a new one is awaited.
  rmSync(paths.socketPath, { force: true })
  const { exited, end } = spawnDetached(paths)
  const deadlineMs = performance.now() + startTimeoutMs
  for (;;) {
    try {
      return await Channel.open(paths.socketPath)
    } catch (error) {
      const code = exited()
      const advice = `see ${paths.logPath}`
      if (code !== undefined) throw new Error(`the keeper ended with ${code}: ${advice}`)
      if (performance.now() > deadlineMs) {
        // Not known by a pid file yet: the next start would not find it, and make another.
        end()
        throw new Error(`the keeper did not start within ${startTimeoutMs} ms: ${advice}`, {
          cause: error,
        })
      }
      await sleep(retryIntervalMs)
    }
  }
}

interface Spawned {
  /** How the child ended, or undefined while it runs. */
  exited(): string | undefined
  end(): void
}

function spawnDetached(paths: KeeperPaths): Spawned {
  const extension = import.meta.url.endsWith('.ts') ? '.ts' : '.js'
  const script = fileURLToPath(new URL(`./process${extension}`, import.meta.url))
  const output = openLog(paths.logPath)
  let ended: string | undefined
  let end = (): void => undefined
  try {
    const { socketPath, pidPath } = paths
    const args = [...nodeOptions, script, '--socket', socketPath, '--pidfile', pidPath]
    const child = spawn(process.execPath, args, {
      detached: true,
      cwd: '/',
      stdio: ['ignore', output, output],
    })
    child.on('error', (error) => (ended = error.message))
    child.on('exit', (code, signal) => (ended = signal ?? `status ${code}`))
    child.unref()
    end = () => void child.kill('SIGKILL')
  } finally {
    closeSync(output)
  }
  return { exited: () => ended, end }
}

/** Begun anew when it has grown large: a keeper logs little, so that was long ago. */
function openLog(logPath: string): number {
  const log = openSync(logPath, 'a', 0o640)
  if (fstatSync(log).size > logBytesMax) ftruncateSync(log)
  return log
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if (errorCode(error) !== 'ESRCH') throw error
  }
}
