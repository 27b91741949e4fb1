/**
 * The command line of the daemon, read as dockerd reads its own: `--flag=value`, `--flag value`,
 * switches alone or with `=false`, one-letter forms, lists by repetition.
 */
import { Refusal, messageOf } from '../base/refusal.ts'
import type { Option } from './option.ts'
import { optionRows, type OptionKey } from './options.ts'

/** What was given; values are of their option's type. */
export type Given = ReadonlyMap<OptionKey, unknown>

export type CommandLine =
  | { readonly kind: 'run'; readonly given: Given }
  | { readonly kind: 'help' }
  | { readonly kind: 'version' }

interface Row {
  readonly key: OptionKey
  readonly option: Option<unknown>
}

const rows = new Map<string, Row>()
const shortRows = new Map<string, Row>()
for (const [key, option] of optionRows) {
  if (option.only === 'file') continue
  rows.set(option.flag ?? key, { key, option })
  if (option.short !== undefined) shortRows.set(option.short, { key, option })
}

const seeHelp = "\nSee 'portolan daemon --help'."

/** Reads the arguments; refuses unknown flags, bad values and words that are no flags. */
export function parseFlags(args: readonly string[]): CommandLine {
  const given = new Map<OptionKey, unknown>()
  const rest = [...args]
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    if (word === '--help' || word === '-h') return { kind: 'help' }
    if (word === '--version' || word === '-v') return { kind: 'version' }
    if (word.startsWith('--') && word.length > 2) readLong(word, rest, given)
    else if (word.startsWith('-') && word.length > 1 && word !== '--') readShort(word, rest, given)
    else throw new Refusal('invalid', `"portolan daemon" accepts no arguments.${seeHelp}`)
  }
  return { kind: 'run', given }
}

function readLong(word: string, rest: string[], given: Map<OptionKey, unknown>): void {
  const at = word.indexOf('=')
  const name = at < 0 ? word.slice(2) : word.slice(2, at)
  const row = rows.get(name)
  if (row === undefined) throw new Refusal('invalid', `unknown flag: --${name}${seeHelp}`)
  let text = at < 0 ? undefined : word.slice(at + 1)
  if (text === undefined) text = row.option.placeholder === '' ? 'true' : rest.shift()
  if (text === undefined)
    throw new Refusal('invalid', `flag needs an argument: --${name}${seeHelp}`)
  take(row, text, given, `--${name}`)
}

/** `-D`, `-H x`, `-Hx`, `-H=x`, and switches written together. */
function readShort(word: string, rest: string[], given: Map<OptionKey, unknown>): void {
  for (let at = 1; at < word.length; at++) {
    const letter = word[at] ?? ''
    const row = shortRows.get(letter)
    if (row === undefined) {
      throw new Refusal('invalid', `unknown shorthand flag: '${letter}' in ${word}${seeHelp}`)
    }
    const behind = word.slice(at + 1)
    const name = `-${letter}, --${row.option.flag ?? row.key}`
    if (row.option.placeholder === '' && !behind.startsWith('=')) {
      take(row, 'true', given, name)
      continue
    }
    const text = behind === '' ? rest.shift() : behind.replace(/^=/, '')
    if (text === undefined)
      throw new Refusal('invalid', `flag needs an argument: '${letter}' in ${word}${seeHelp}`)
    take(row, text, given, name)
    return
  }
}

function take(row: Row, text: string, given: Map<OptionKey, unknown>, name: string): void {
  try {
    given.set(row.key, row.option.fromText(text, given.get(row.key)))
  } catch (error) {
    const shown = JSON.stringify(text)
    const problem = `invalid argument ${shown} for "${name}" flag: ${messageOf(error)}`
    throw new Refusal('invalid', problem + seeHelp, { cause: error })
  }
}

/** The help, made from the table, so that it is true. */
export function helpText(): string {
  const lines = [...rows]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([name, { option }]) => {
      const short = option.short === undefined ? '    ' : `-${option.short}, `
      const value = option.placeholder === '' ? '' : ` ${option.placeholder}`
      return [`  ${short}--${name}${value}`, describe(option)] as const
    })
  lines.push(
    ['  -h, --help', 'Print usage'],
    ['  -v, --version', 'Print version information and quit'],
  )
  const width = Math.max(...lines.map(([left]) => left.length))
  const text = lines.map(([left, right]) => `${left.padEnd(width)}   ${right}`)
  return [
    '',
    'Usage:  portolan daemon [OPTIONS]',
    '',
    'Container networks for Linux: the engine.',
    '',
    'Options:',
    ...text,
    '',
  ].join('\n')
}

function describe(option: Option<unknown>): string {
  const initial = option.default
  const shown =
    typeof initial === 'string' && initial !== ''
      ? ` (default "${initial}")`
      : initial === true || (typeof initial === 'number' && initial !== 0)
        ? ` (default ${initial})`
        : ''
  return option.help + shown + (option.noEffect === true ? ' (accepted, has no effect)' : '')
}
