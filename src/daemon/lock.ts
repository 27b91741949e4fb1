/**
 * Files that say which process holds something: the pid file that scripts read, and the locks of
 * data root and exec root. A file whose process is gone, or is another one by now, counts for
 * nothing, so a killed daemon leaves no lock behind.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { errorCode } from '../base/error-code.ts'
import { Refusal } from '../base/refusal.ts'

export interface Lock {
  release(): void
}

/** Refuses, in dockerd's words, while another live process holds it. */
export function lockFile(path: string, purpose: string): Lock {
  const holder = holderOf(path)
  if (holder !== undefined && holder !== process.pid) {
    throw new Refusal(
      'conflict',
      `process with PID ${holder} is still running: ${purpose} (${path})`,
    )
  }
  mkdirSync(dirname(path), { recursive: true })
  const mark = `${path}.mark`
  writeFileSync(mark, `${process.pid} ${startTimeOf(process.pid) ?? ''}\n`)
  const temporary = `${path}.${process.pid}`
  writeFileSync(temporary, String(process.pid), { mode: 0o644 })
  renameSync(temporary, path)
  return {
    release() {
      for (const file of [path, mark]) rmSync(file, { force: true })
    },
  }
}

function holderOf(path: string): number | undefined {
  const pid = Number(readIfThere(path).trim())
  if (!Number.isSafeInteger(pid) || pid <= 0) return undefined
  const now = startTimeOf(pid)
  if (now === undefined) return undefined
  const [markedPid, markedStart] = readIfThere(`${path}.mark`).trim().split(' ')
  // Without a mark of ours the file was written by somebody else: believe it.
  return markedPid === String(pid) && markedStart !== now ? undefined : pid
}

/** When the process started, in clock ticks since boot; undefined when there is none. */
function startTimeOf(pid: number): string | undefined {
  const text = readIfThere(`/proc/${pid}/stat`)
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return fields[0] === 'Z' || text === '' ? undefined : fields[19]
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const code = errorCode(error)
    if (code === 'ENOENT' || code === 'ESRCH') return ''
    throw error
  }
}
