/**
 * Kinds of options: how a value is read from a flag and from the configuration file, and how help
 * and error sentences name it. `options.ts` is the table.
 */
import { isIP } from 'node:net'
import { Refusal } from '../base/refusal.ts'

export interface Option<T> {
  readonly default: T
  /** Word behind the flag in the help; '' for switches, which need no value. */
  readonly placeholder: string
  readonly help: string
  /** Names where they differ from the key: `--host` is `hosts` in the file. */
  readonly flag?: string
  readonly short?: string
  /** Where it may be given; default both. */
  readonly only?: 'flag' | 'file'
  /** True: taken, and without effect here. The help says so. */
  readonly noEffect?: boolean
  /** One flag's text added to what earlier ones gave; throws an Error that says what is wrong. */
  fromText(text: string, before: T | undefined): T
  fromJson(value: unknown): T
}

type Extra = Partial<Pick<Option<unknown>, 'flag' | 'short' | 'only' | 'noEffect'>>
type Check<T> = (value: T) => void

const nothing = (): void => undefined

function wrongType(value: unknown, goType: string): Refusal {
  const kind = Array.isArray(value) ? 'array' : typeof value === 'boolean' ? 'bool' : typeof value
  return new Refusal('invalid', `json: cannot unmarshal ${kind} into Go value of type ${goType}`)
}

const goBooleans = new Map([
  ...['1', 't', 'T', 'TRUE', 'true', 'True'].map((word) => [word, true] as const),
  ...['0', 'f', 'F', 'FALSE', 'false', 'False'].map((word) => [word, false] as const),
])

export function bool(initial: boolean, help: string, extra: Extra = {}): Option<boolean> {
  return {
    ...extra,
    default: initial,
    placeholder: '',
    help,
    fromText(text) {
      const value = goBooleans.get(text)
      if (value === undefined) {
        throw new Refusal(
          'invalid',
          `strconv.ParseBool: parsing ${JSON.stringify(text)}: invalid syntax`,
        )
      }
      return value
    },
    fromJson(value) {
      if (typeof value !== 'boolean') throw wrongType(value, 'bool')
      return value
    },
  }
}

export function string(
  initial: string,
  help: string,
  extra: Extra = {},
  check: Check<string> = nothing,
): Option<string> {
  return {
    ...extra,
    default: initial,
    placeholder: 'string',
    help,
    fromText(text) {
      check(text)
      return text
    },
    fromJson(value) {
      if (typeof value !== 'string') throw wrongType(value, 'string')
      check(value)
      return value
    },
  }
}

export function int(
  initial: number,
  help: string,
  extra: Extra = {},
  check: Check<number> = nothing,
): Option<number> {
  return {
    ...extra,
    default: initial,
    placeholder: 'int',
    help,
    fromText(text) {
      if (!/^[+-]?\d{1,15}$/.test(text)) {
        throw new Refusal(
          'invalid',
          `strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`,
        )
      }
      check(Number(text))
      return Number(text)
    },
    fromJson(value) {
      if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw wrongType(value, 'int')
      check(value)
      return value
    },
  }
}

/** A flag that may be given several times; a list in the file. */
export function list(
  help: string,
  extra: Extra = {},
  check: Check<string> = nothing,
): Option<readonly string[]> {
  return {
    ...extra,
    default: [],
    placeholder: 'list',
    help,
    fromText(text, before = []) {
      check(text)
      return [...before, text]
    },
    fromJson(value) {
      if (!Array.isArray(value)) throw wrongType(value, '[]string')
      return value.map((item: unknown) => {
        if (typeof item !== 'string') throw wrongType(item, 'string')
        check(item)
        return item
      })
    },
  }
}

/** `key=value` flags; an object of strings in the file. */
export function map(help: string, extra: Extra = {}): Option<Readonly<Record<string, string>>> {
  return {
    ...extra,
    default: {},
    placeholder: 'map',
    help,
    fromText(text, before = {}) {
      const [key, value] = split(text, '=')
      return { ...before, [key]: value }
    },
    fromJson: (value) => stringMap(value),
  }
}

/** A kind of its own. */
export function custom<T>(
  initial: T,
  placeholder: string,
  help: string,
  extra: Extra,
  read: Pick<Option<T>, 'fromText' | 'fromJson'>,
): Option<T> {
  return { ...extra, default: initial, placeholder, help, ...read }
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function stringMap(value: unknown): Readonly<Record<string, string>> {
  if (!isRecord(value)) throw wrongType(value, 'map[string]string')
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => {
      if (typeof item !== 'string') throw wrongType(item, 'string')
      return [key, item]
    }),
  )
}

/** Both sides of the first separator; the second is '' without one. */
export function split(text: string, separator: string): readonly [string, string] {
  const at = text.indexOf(separator)
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + separator.length)]
}

export function checkIp(text: string): void {
  if (isIP(text.trim()) === 0) {
    throw new Refusal('invalid', `IP address is not correctly formatted: ${text}`)
  }
}

export function checkLabel(text: string): void {
  if (!text.includes('=')) throw new Refusal('invalid', `bad attribute format: ${text}`)
}
