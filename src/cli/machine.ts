/**
 * What `up` and `down` know of the machine: where the engine's files are, how to run a command,
 * whether systemd runs. Nothing here goes through a shell.
 *
 *     /etc/portolan/daemon.json   configuration: written by `up`, the user's own from then on
 *     /var/lib/portolan           images, containers, volumes, desired state
 *     /run/portolan               sockets, pid files, network namespaces
 *     /var/log/portolan.log       the daemon's log where no systemd keeps it
 */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Refusal } from '../base/refusal.ts'

export const paths = {
  config: '/etc/portolan/daemon.json',
  /** The configuration as `up` wrote it: `down` removes the file only if it is still that. */
  configAsWritten: '/var/lib/portolan/daemon.json.as-written',
  data: '/var/lib/portolan',
  run: '/run/portolan',
  socket: '/run/portolan/docker.sock',
  pid: '/run/portolan/portolan.pid',
  log: '/var/log/portolan.log',
  unit: '/etc/systemd/system/portolan.service',
  /** The launcher of this very checkout or package. */
  launcher: resolve(join(import.meta.dirname, '../../portolan')),
} as const

/** A foreign command that hangs is given up; `docker` and `systemctl` answer within seconds. */
const commandTimeoutMs = 60_000

export interface Ran {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly uid?: number
  readonly gid?: number
  readonly home?: string
  readonly timeoutMs?: number
}

/** Runs a program with these very arguments; code 127 when it is not there. */
export function run(program: string, args: readonly string[], options: RunOptions = {}): Ran {
  const { uid, gid, home, timeoutMs = commandTimeoutMs } = options
  const env = { ...process.env, LC_ALL: 'C', ...(home === undefined ? {} : { HOME: home }) }
  const ids = { ...(uid === undefined ? {} : { uid }), ...(gid === undefined ? {} : { gid }) }
  const outcome = spawnSync(program, [...args], { encoding: 'utf8', timeout: timeoutMs, env, ...ids })
  if (outcome.error !== undefined) return { code: 127, stdout: '', stderr: outcome.error.message }
  return { code: outcome.status ?? 1, stdout: outcome.stdout, stderr: outcome.stderr }
}

/** Starts a program that outlives us, its output appended to an open file; the answer tells whether it has ended. */
export function startDetached(program: string, args: readonly string[], logFd: number): () => boolean {
  const child = spawn(program, [...args], { detached: true, stdio: ['ignore', logFd, logFd] })
  child.unref()
  if (child.pid === undefined) throw new Refusal('internal', `could not start ${program}`)
  return () => child.exitCode !== null || child.signalCode !== null
}

export function hasSystemd(): boolean {
  return existsSync('/run/systemd/system')
}

export function requireRoot(what: string): void {
  if (process.getuid?.() !== 0) throw new Refusal('invalid', `${what} needs root. Run: sudo portolan ${what}`)
}

/** Resolves true as soon as `ready` does, false after `timeoutMs`. */
export async function waitUntil(ready: () => Promise<boolean>, timeoutMs: number): Promise<boolean> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    if (await ready()) return true
    if (Date.now() > deadline) return false
    await new Promise((wake) => setTimeout(wake, 100))
  }
}

/** Takes away whatever is mounted below a temporary folder, so that it can be removed. */
export function unmountBelow(folder: string): void {
  const points = readFileSync('/proc/self/mountinfo', 'utf8').split('\n').map((line) => line.split(' ')[4] ?? '')
  for (const point of points.reverse()) {
    if (point.startsWith(`${folder}/`)) run('umount', ['-l', point])
  }
}
