/**
 * What users write to mount something: `-v` specifications, `--mount` objects, `--tmpfs`
 * options. Pure parsing and refusals in Docker's words; nothing is looked up here.
 */
import { isAbsolute, normalize } from 'node:path'
import { Refusal } from '../base/refusal.ts'

export interface BindSpec {
  /** Host path, volume name, or '' for an anonymous volume. */
  readonly source: string
  readonly destination: string
  readonly mode: string
  readonly readOnly: boolean
  readonly propagation: string
  readonly noCopy: boolean
}

export const propagations: ReadonlySet<string> = new Set([
  'private',
  'rprivate',
  'shared',
  'rshared',
  'slave',
  'rslave',
])
const otherModes = new Set(['z', 'Z', 'cached', 'delegated', 'consistent', 'nocopy', 'ro', 'rw'])

/** `source:destination[:mode]`, as in HostConfig.Binds. */
export function parseBind(text: string): BindSpec {
  const wrong = (why = '') =>
    new Refusal('invalid', `invalid volume specification: '${text}'${why === '' ? '' : `: ${why}`}`)
  const parts = text.split(':')
  if (parts.length > 3 || parts.some((part) => part === '')) throw wrong()
  const [first = '', second, mode = ''] = parts
  const source = second === undefined ? '' : first
  const destination = cleanDestination(second ?? first)
  const kind = isAbsolute(source) ? 'bind' : 'volume'
  if (!isAbsolute(destination)) {
    throw wrong(
      `invalid mount config for type "${kind}": invalid mount path: '${destination}' ` +
        'mount path must be absolute',
    )
  }
  if (destination === '/') {
    throw wrong(
      `invalid mount config for type "${kind}": invalid specification: destination can't be '/'`,
    )
  }
  const options = mode === '' ? [] : mode.split(',')
  for (const option of options) {
    if (!propagations.has(option) && !otherModes.has(option))
      throw new Refusal('invalid', `invalid mode: ${mode}`)
  }
  if (options.includes('ro') && options.includes('rw'))
    throw new Refusal('invalid', `invalid mode: ${mode}`)
  return {
    source,
    destination,
    mode,
    readOnly: options.includes('ro'),
    propagation: options.find((option) => propagations.has(option)) ?? '',
    noCopy: options.includes('nocopy'),
  }
}

/** Without trailing slash, dots resolved. */
export function cleanDestination(path: string): string {
  const clean = normalize(path)
  return clean.length > 1 ? clean.replace(/\/+$/, '') : clean
}

const opposites: Readonly<Record<string, string>> = {
  exec: 'noexec',
  noexec: 'exec',
  suid: 'nosuid',
  nosuid: 'suid',
  dev: 'nodev',
  nodev: 'dev',
  ro: 'rw',
  rw: 'ro',
}
const tmpfsValues = /^(size|mode|uid|gid|nr_inodes|nr_blocks|mpol)=/
const tmpfsFlags = new Set([
  ...Object.keys(opposites),
  'sync',
  'async',
  'dirsync',
  'atime',
  'noatime',
  'diratime',
  'nodiratime',
  'relatime',
  'norelatime',
  'strictatime',
  'nostrictatime',
  'remount',
  'mand',
  'nomand',
  'defaults',
  ...propagations,
])

/** Docker's defaults with the user's options over them; refuses unknown ones. */
export function tmpfsOptions(text: string): readonly string[] {
  let options = ['noexec', 'nosuid', 'nodev']
  for (const option of text.split(',').filter((part) => part !== '')) {
    if (!tmpfsFlags.has(option) && !tmpfsValues.test(option)) {
      throw new Refusal('invalid', `invalid tmpfs option ["${option}"]`)
    }
    const key = option.split('=')[0] ?? ''
    options = options.filter((known) => known !== opposites[option] && known.split('=')[0] !== key)
    if (option !== 'defaults') options.push(option)
  }
  return options
}
