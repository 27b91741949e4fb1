/**
 * Takes a container's cgroup away in every tree. The runtime does this; what is found here was left
 * by one that was killed in the middle. Processes that are still inside are ended: no container
 * runs when this is called.
 */
import { existsSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { cgroupLayout } from './cgroups.ts'

/** The kernel lets go of a killed process at once, unless it hangs in a system call. */
const emptyTimeoutMs = 2_000
const pollMs = 10

/** @param path below the mount point of each tree; fine when there is nothing */
export async function removeCgroup(path: string): Promise<void> {
  const folders = cgroupLayout().trees.map((tree) => join(tree, path))
  for (const folder of folders) if (existsSync(folder)) thaw(folder)
  const deadlineMs = performance.now() + emptyTimeoutMs
  for (const folder of folders) {
    while (existsSync(folder) && !removed(folder)) {
      if (performance.now() > deadlineMs) {
        log.warn('a cgroup stays behind', { folder })
        break
      }
      await sleep(pollMs)
    }
  }
}

/** A frozen process does not even end when it is killed. */
function thaw(folder: string): void {
  for (const [file, value] of [['freezer.state', 'THAWED'], ['cgroup.freeze', '0']] as const) {
    const path = join(folder, file)
    if (existsSync(path)) writeFileSync(path, value)
  }
}

/** False while processes are inside. */
function removed(folder: string): boolean {
  try {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      if (entry.isDirectory() && !removed(join(folder, entry.name))) return false
    }
    for (const pid of readFileSync(join(folder, 'cgroup.procs'), 'utf8').split('\n')) {
      if (Number(pid) > 0) process.kill(Number(pid), 'SIGKILL')
    }
    rmdirSync(folder)
    return true
  } catch (error) {
    log.debug('a cgroup is not empty yet', { folder, error: messageOf(error) })
    return false
  }
}
