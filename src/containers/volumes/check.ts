/** What requests about volumes may say, and the sentences for what they may not. */
import { Refusal } from '../../base/refusal.ts'
import { checkVolumeOptions } from './options.ts'

const validName = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/
const nameBytesMax = 255 // it becomes the name of a folder

export interface CheckedRequest {
  readonly driver: string
  readonly options: Readonly<Record<string, string>> | null
}

/** True for what can be the name of a volume. */
export function isVolumeName(name: string): boolean {
  return validName.test(name) && Buffer.byteLength(name) <= nameBytesMax
}

/** Refuses drivers, names and options that cannot be. */
export function checkVolumeRequest(name: string, { driver, options }: CheckedRequest): void {
  if (driver !== '' && driver !== 'local') {
    const why = `error looking up volume plugin ${driver}: plugin "${driver}" not found`
    throw new Refusal('notFound', `create ${name}: ${why}`)
  }
  if (name.length === 1) {
    throw new Refusal(
      'invalid',
      `create ${name}: volume name is too short, names should be at ` +
        'least two alphanumeric characters',
    )
  }
  if (!validName.test(name)) {
    throw new Refusal(
      'invalid',
      `create ${name}: ${JSON.stringify(name)} includes invalid ` +
        'characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you ' +
        'intended to pass a host directory, use absolute path',
    )
  }
  if (Buffer.byteLength(name) > nameBytesMax) {
    throw new Refusal(
      'invalid',
      `create ${name}: a volume's name has at most ${nameBytesMax} bytes`,
    )
  }
  checkVolumeOptions(name, options ?? {})
}

/** The filter `name`: part of the name, or a regular expression. */
export function matchesName(name: string, patterns: readonly string[] | undefined): boolean {
  if (patterns === undefined || patterns.length === 0) return true
  return patterns.some((pattern) => name.includes(pattern) || matchesExpression(name, pattern))
}

/** Longer patterns are names, not expressions; a bound on what the expression engine may do. */
const expressionMax = 128

function matchesExpression(name: string, pattern: string): boolean {
  if (pattern.length > expressionMax) return false
  try {
    return new RegExp(pattern).test(name)
  } catch {
    return false // not an expression, and not part of the name
  }
}
