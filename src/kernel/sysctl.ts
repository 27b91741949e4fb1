/**
 * Kernel settings below /proc/sys, of one namespace.
 *
 * Keys are paths (`net/ipv4/conf/br-0123/route_localnet`): the dotted form cannot tell a dot in an
 * interface's name from a separator. Synchronous, as everything inside a namespace section.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { describeErrno } from './ffi.ts'
import { KernelError } from './error.ts'
import { inNetns, type Netns } from './netns.ts'
import { procFor } from './procfs.ts'

/** The value without its final newline; undefined when this kernel has no such key. */
export function readSysctl(ns: Netns, key: string): string | undefined {
  const path = pathOf(ns, key)
  try {
    return inNetns(ns, () => readFileSync(path, 'utf8')).trimEnd()
  } catch (error) {
    if (errnoOf(error) === ENOENT) return undefined
    throw sysctlError(error, `read sysctl ${key}`)
  }
}

/** Sets a key; a key that this kernel lacks is an error. */
export function writeSysctl(ns: Netns, key: string, value: string): void {
  const path = pathOf(ns, key)
  try {
    inNetns(ns, () => writeFileSync(path, value, { flag: 'r+' }))
  } catch (error) {
    throw sysctlError(error, `set sysctl ${key} to ${JSON.stringify(value)}`)
  }
}

/** `net.ipv4.ip_forward` and `net/ipv4/ip_forward` alike become the form with slashes. */
export function sysctlKey(name: string): string {
  // The first separator decides, as in sysctl(8): `net.ipv4.conf.eth0/1.x` has a dot in a name.
  const first = /[./]/.exec(name)?.[0]
  if (first !== '.') return name
  return name.replace(/[./]/g, (separator) => (separator === '.' ? '/' : '.'))
}

const ENOENT = 2

function pathOf(ns: Netns, key: string): string {
  const isSafe = /^[^/\0]+(\/[^/\0]+)*$/.test(key) && !key.split('/').includes('..')
  if (!isSafe) throw new KernelError('open', 22, `sysctl ${JSON.stringify(key)}`, 'not a key')
  return `${procFor(ns)}/sys/${key}`
}

function errnoOf(error: unknown): number {
  if (!(error instanceof Error) || !('errno' in error)) return 0
  return typeof error.errno === 'number' ? -error.errno : 0
}

function sysctlError(error: unknown, attempted: string): unknown {
  const errno = errnoOf(error)
  if (errno === 0) return error
  return new KernelError('write', errno, attempted, describeErrno(errno))
}
