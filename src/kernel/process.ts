/** What the kernel says of a process. */
import { readFileSync } from 'node:fs'
import { errorCode } from '../base/error-code.ts'

const PF_EXITING = 4

/**
 * Whether a process has ended, or is about to: it has let go of its namespaces, and nothing can be
 * done in them any more. Numbers are used again: only for one that was there a moment ago.
 */
export function hasExited(pid: number): boolean {
  let stat: string
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch (error) {
    const code = errorCode(error)
    if (code === 'ENOENT' || code === 'ESRCH') return true
    throw error
  }
  // The name stands in parentheses and may contain anything, so fields count from the last one.
  const [state = '', , , , , , flags = ''] = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return state === 'Z' || state === 'X' || (Number(flags) & PF_EXITING) !== 0
}
