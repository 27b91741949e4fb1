/**
 * One containerd process: started detached, recognised again by a later daemon, ended.
 *
 * A process is ours only if its start time, boot, executable and namespaces are as recorded when it
 * was started; a process number alone may long be somebody else's.
 */
import { spawn, spawnSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { Refusal } from '../../base/refusal.ts'
import { containerdConfig, majorVersion, type ContainerdPaths } from './config-file.ts'

export interface ContainerdFiles extends ContainerdPaths {
  readonly logPath: string
  /** Holds the number only; what recognises the process is beside it in `<pidPath>.json`. */
  readonly pidPath: string
  readonly configPath: string
  /** Default: `containerd` on the PATH. */
  readonly binary?: string
}

/** What tells one process from every other. */
export interface ProcessIdentity {
  readonly pid: number
  /** In clock ticks since boot. */
  readonly startTime: string
  readonly bootId: string
  readonly executable: string
  readonly mountNamespace: string
  readonly networkNamespace: string
}

const killAfterMs = 10_000
const pollMs = 10

/** `undefined` when there is no such process, or only its zombie. */
export function identify(pid: number): ProcessIdentity | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The second field is a name in brackets that may itself hold brackets and spaces.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined
    return {
      pid,
      startTime: fields[19] ?? '',
      bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim(),
      executable: readlinkSync(`/proc/${pid}/exe`),
      mountNamespace: readlinkSync(`/proc/${pid}/ns/mnt`),
      networkNamespace: readlinkSync(`/proc/${pid}/ns/net`),
    }
  } catch {
    return undefined // gone between two reads
  }
}

/** True while the very process of `identity` runs. */
export function isAlive(identity: ProcessIdentity): boolean {
  const now = identify(identity.pid)
  return now?.startTime === identity.startTime && now.bootId === identity.bootId
}

/** Starts containerd; it is not ready yet. */
export function launch(files: ContainerdFiles): ProcessIdentity {
  const binary = files.binary ?? 'containerd'
  const version = spawnSync(binary, ['--version'], { encoding: 'utf8' })
  if (version.error !== undefined) {
    const why = `cannot run ${binary}: ${version.error.message}`
    throw new Refusal('unavailable', `${why}; install the package containerd, or set --containerd`)
  }
  for (const path of [files.logPath, files.pidPath, files.configPath, files.socket]) {
    mkdirSync(dirname(path), { recursive: true })
  }
  mkdirSync(files.root, { recursive: true, mode: 0o711 })
  mkdirSync(files.state, { recursive: true, mode: 0o711 })
  removeDoomedBundles(files.state)
  replaceFile(files.configPath, containerdConfig(files, majorVersion(version.stdout)))
  const log = openSync(files.logPath, 'a', 0o640)
  try {
    const child = spawn(binary, ['--config', files.configPath], {
      detached: true,
      stdio: ['ignore', log, log],
      cwd: '/',
      env: childEnvironment(),
    })
    child.on('error', () => undefined) // seen below: there is no pid then
    child.unref()
    const identity = child.pid === undefined ? undefined : identify(child.pid)
    if (identity === undefined) throw new Refusal('unavailable', `${binary} did not start`)
    return identity
  } finally {
    closeSync(log)
  }
}

/** Bundles are hidden before they are deleted; what a killed containerd hid, no other one sees. */
function removeDoomedBundles(state: string): void {
  const folder = join(state, 'io.containerd.runtime.v2.task')
  if (!existsSync(folder)) return
  for (const namespace of readdirSync(folder)) {
    for (const name of readdirSync(join(folder, namespace))) {
      if (!name.startsWith('.')) continue
      rmSync(join(folder, namespace, name), { recursive: true, force: true })
    }
  }
}

/** Records the process, once it has become containerd (fork and exec are two moments). */
export function record(files: ContainerdFiles, identity: ProcessIdentity): void {
  replaceFile(`${files.pidPath}.json`, JSON.stringify(identity))
  replaceFile(files.pidPath, `${identity.pid}\n`)
}

/** The recorded process if it lives, or one that was started but not recorded any more. */
export function findRunning(files: ContainerdFiles): ProcessIdentity | undefined {
  const recorded = readRecord(`${files.pidPath}.json`)
  if (recorded !== undefined && isAlive(recorded)) return recorded
  const ours = identify(process.pid)
  for (const entry of readdirSync('/proc')) {
    if (!/^\d+$/.test(entry)) continue
    const words = commandLine(entry)
    if (!words.includes(files.configPath) || !basename(words[0] ?? '').includes('containerd'))
      continue
    const found = identify(Number(entry))
    if (found !== undefined && found.mountNamespace === ours?.mountNamespace) return found
  }
  return undefined
}

/** True if the process is exactly as recorded and sees the mounts and links that we see. */
export function isUsable(identity: ProcessIdentity): boolean {
  const now = identify(identity.pid)
  const ours = identify(process.pid)
  return (
    now !== undefined &&
    ours !== undefined &&
    isAlive(identity) &&
    now.executable === identity.executable &&
    !now.executable.endsWith(' (deleted)') &&
    now.mountNamespace === ours.mountNamespace &&
    now.networkNamespace === ours.networkNamespace
  )
}

/** False when somebody has deleted what the process works on: nobody reaches it any more. */
export function hasItsFiles(files: ContainerdFiles): boolean {
  const database = join(files.root, 'io.containerd.metadata.v1.bolt', 'meta.db')
  return existsSync(files.socket) && existsSync(database)
}

/** Ends the process and waits until it is gone. Shims and containers live on. */
export async function end(identity: ProcessIdentity): Promise<void> {
  const deadline = Date.now() + killAfterMs
  let signal: NodeJS.Signals | undefined = 'SIGTERM'
  while (isAlive(identity)) {
    if (signal !== undefined) process.kill(identity.pid, signal)
    signal = undefined
    await new Promise((wake) => setTimeout(wake, pollMs))
    if (Date.now() > deadline) signal = 'SIGKILL'
  }
}

/** Takes the record away, so that nobody looks for the process again. */
export function forget(files: ContainerdFiles): void {
  for (const path of [
    files.pidPath,
    `${files.pidPath}.json`,
    files.socket,
    `${files.socket}.ttrpc`,
  ]) {
    rmSync(path, { force: true })
  }
}

/** The end of the log, for the error that says why it did not start. */
export function logTail(files: ContainerdFiles): string {
  return existsSync(files.logPath) ? readFileSync(files.logPath, 'utf8').slice(-1500).trim() : ''
}

function commandLine(pid: string): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch {
    return [] // it has ended meanwhile
  }
}

function readRecord(path: string): ProcessIdentity | undefined {
  if (!existsSync(path)) return undefined
  let value: unknown
  try {
    value = JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return undefined // cut short by a crash: the search by command line finds the process
  }
  if (typeof value !== 'object' || value === null) return undefined
  const fields = new Map<string, unknown>(Object.entries(value))
  const text = (name: string): string => String(fields.get(name) ?? '')
  const pid = Number(fields.get('pid'))
  if (!Number.isInteger(pid) || pid <= 1) return undefined
  return {
    pid,
    startTime: text('startTime'),
    bootId: text('bootId'),
    executable: text('executable'),
    mountNamespace: text('mountNamespace'),
    networkNamespace: text('networkNamespace'),
  }
}

function replaceFile(path: string, text: string): void {
  writeFileSync(`${path}.new`, text, { mode: 0o644 })
  renameSync(`${path}.new`, path)
}

/**
 * systemd must hear from us only. And in the folder of a login session runc would put its files:
 * it goes when who started us logs out, and is not there at all in another mount namespace.
 */
function childEnvironment(): NodeJS.ProcessEnv {
  const { NOTIFY_SOCKET: _ours, XDG_RUNTIME_DIR: _session, ...env } = process.env
  return { ...env, PATH: `${env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin` }
}
