/**
 * Whether a process is the one that was started, and where it lives.
 *
 * A number in a pid file proves nothing: numbers are used again. A start time does, and a process
 * in other namespaces, or of another executable, is not one to adopt.
 */
import { readFileSync, readlinkSync, realpathSync } from 'node:fs'

/** What a keeper claims in its network namespace while it holds anything. */
export const keeperClaim = 'portolan-keeper'

export interface ProcessMark {
  readonly pid: number
  /** Clock ticks since boot: field 22 of /proc/PID/stat. */
  readonly startTicks: string
}

/** Undefined when there is no such process, or only its remains. */
export function markOf(pid: number): ProcessMark | undefined {
  const stat = attempt(() => readFileSync(`/proc/${pid}/stat`, 'utf8'))
  if (stat === undefined) return undefined
  // The name stands in parentheses and may contain anything, so fields count from the last one.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  const startTicks = fields[19]
  return fields[0] === 'Z' || startTicks === undefined ? undefined : { pid, startTicks }
}

export function parseMark(text: string): ProcessMark | undefined {
  const [pid = '', startTicks = ''] = text.trim().split(' ')
  if (!/^\d+$/.test(pid) || !/^\d+$/.test(startTicks)) return undefined
  return { pid: Number(pid), startTicks }
}

export function formatMark(mark: ProcessMark): string {
  return `${mark.pid} ${mark.startTicks}\n`
}

export function isAlive(mark: ProcessMark): boolean {
  return markOf(mark.pid)?.startTicks === mark.startTicks
}

/** Whether it runs our executable in our mount and network namespaces. */
export function isAdoptable(mark: ProcessMark): boolean {
  if (!isAlive(mark)) return false
  const same = (link: string) => {
    const theirs = attempt(() => readlinkSync(`/proc/${mark.pid}/${link}`))
    return theirs !== undefined && theirs === attempt(() => readlinkSync(`/proc/self/${link}`))
  }
  const executable = attempt(() => readlinkSync(`/proc/${mark.pid}/exe`))
  return same('ns/mnt') && same('ns/net') && executable === realpathSync(process.execPath)
}

/** Gone processes make /proc reads fail; that is an answer here, not an error. */
function attempt(read: () => string): string | undefined {
  try {
    return read()
  } catch {
    return undefined
  }
}
