/** What the runtime says when it cannot start a process, in dockerd's words and exit codes. */
import { Refusal, messageOf } from '../base/refusal.ts'

export interface StartFailure {
  readonly code: number
  readonly refusal: Refusal
}

const notFound = new RegExp(
  'executable file not found|no such file or directory|' +
    'system cannot find the file specified|failed to run runc create/exec call',
)

/** @param prefix `failed to create task for container: `, or '' */
export function startFailure(error: unknown, prefix: string): StartFailure {
  if (error instanceof Refusal) return { code: 128, refusal: error }
  const text = prefix + messageOf(error)
  const refuse = (code: number, message = text) => ({
    code,
    refusal: new Refusal('invalid', message, { cause: error }),
  })
  if (
    notFound.test(
      text,
    )
  ) {
    return refuse(127)
  }
  if (/permission denied|is a directory/.test(text)) return refuse(126)
  if (/not a directory/.test(text)) {
    return refuse(
      127,
      `${text}: Are you trying to mount a directory onto a file (or vice-versa)? ` +
        'Check if the specified host path exists and is the expected type',
    )
  }
  return { code: 128, refusal: new Refusal('internal', text, { cause: error }) }
}
