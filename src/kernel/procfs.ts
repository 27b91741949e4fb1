/**
 * Instances of procfs of our own, for /proc/sys of many namespaces.
 *
 * Below /proc/sys/net the kernel keeps an entry for each namespace that was looked at, all under
 * one name, and compares them one by one at each look (proc_sys_compare in fs/proc/proc_sysctl.c):
 * through the machine's own /proc, a look costs about a microsecond for each running container. An
 * instance that is made anew after a few namespaces, which takes 15 µs, has few such entries. It is
 * in no mount namespace: only its descriptor leads there (fsmount(2), Linux 5.2). Where it cannot
 * be had, the answer is the machine's.
 */
import { closeSync } from 'node:fs'
import { mountProc } from './ffi.ts'
import type { Netns } from './netns.ts'

/** Looks at so many namespaces cost about as much as at one. */
const namespacesMax = 16
const machines = '/proc'

let instance: { readonly fd: number; readonly seen: Set<number> } | undefined
let isMissing = false

/** A path like /proc; good until the next call. */
export function procFor({ inode }: Netns): string {
  if (isMissing) return machines
  if (instance === undefined || (!instance.seen.has(inode) && instance.seen.size === namespacesMax)) {
    if (instance !== undefined) closeSync(instance.fd)
    instance = undefined
    const fd = mountProc()
    if (fd === undefined) {
      isMissing = true
      return machines
    }
    instance = { fd, seen: new Set() }
  }
  instance.seen.add(inode)
  return `/proc/self/fd/${instance.fd}`
}
