/**
 * Shims without a task: what is left when the daemon or containerd dies while containerd starts
 * one. Nobody else ever ends them: containerd has forgotten them, and the container waits inside
 * for a start that cannot come.
 */
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { runCommand } from '../kernel/command.ts'
import type { Containerd } from './containerd/client.ts'

/** Where every containerd's shims have their sockets, and its runc its state. */
const stateFolder = '/run/containerd'
const shimProgram = 'containerd-shim-runc-v2'

/** To be called when containerd has no task of this id and nobody is making one. */
export async function endStrayShim(containerd: Containerd, id: string): Promise<void> {
  const { socketPath, namespace } = containerd
  const name = createHash('sha256')
    .update(join(socketPath, namespace, id))
    .digest('hex')
  const socket = join(stateFolder, 's', name)
  if (!existsSync(socket)) return
  for (const shim of shimsOf(socketPath, namespace, id)) {
    log.info('ending a shim without a task', { id, pid: shim })
    for (const pid of [...descendantsOf(shim), shim]) end(pid)
  }
  const root = join(stateFolder, 'runc', namespace)
  if (existsSync(join(root, id))) {
    await runCommand('runc', ['--root', root, 'delete', '--force', id], { tolerate: true })
  }
  // Last: it is what tells the next daemon, should this one be killed, to look again.
  rmSync(socket, { force: true })
}

/** The containers whose shims run, known to containerd or not. */
export function idsOfShims({
  socketPath,
  namespace,
}: Pick<Containerd, 'socketPath' | 'namespace'>): readonly string[] {
  return [...new Set(shims(socketPath, namespace).map(({ id }) => id))]
}

function shimsOf(socketPath: string, namespace: string, id: string): readonly number[] {
  return shims(socketPath, namespace).filter((shim) => shim.id === id).map(({ pid }) => pid)
}

function shims(socketPath: string, namespace: string) {
  return processes().flatMap((pid) => {
    const words = readProc(pid, 'cmdline').split('\0')
    const valueOf = (flag: string) => words[words.indexOf(flag) + 1] ?? ''
    const isOurs =
      words[0]?.endsWith(shimProgram) === true &&
      valueOf('-address') === socketPath &&
      valueOf('-namespace') === namespace
    return isOurs ? [{ pid, id: valueOf('-id') }] : []
  })
}

/** runc, what it runs, and what those run. */
function descendantsOf(ancestor: number): readonly number[] {
  const parents = new Map(processes().map((pid) => [pid, parentOf(pid)]))
  const found = new Set([ancestor])
  for (let before = 0; before !== found.size; ) {
    before = found.size
    for (const [pid, parent] of parents) if (found.has(parent)) found.add(pid)
  }
  found.delete(ancestor)
  return [...found]
}

function parentOf(pid: number): number {
  const stat = readProc(pid, 'stat')
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
}

function processes(): readonly number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
}

function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8')
  } catch (error) {
    log.debug('a process ended while it was looked at', { pid, error: messageOf(error) })
    return ''
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    log.debug('a process had ended already', { pid, error: messageOf(error) })
  }
}
