/**
 * `--change` of import and commit: lines of a Dockerfile that alter an image's configuration.
 * As in the engine: no build steps, no variables.
 */
import { Refusal } from '../../base/refusal.ts'
import { isObject } from '../shape.ts'
import { parseDurationMs } from '../time.ts'

type Config = Record<string, unknown>
/** @param done the instructions before it, in capitals */
type Instruction = (config: Config, rest: string, done: ReadonlySet<string>) => void

const nanosecondsPerMs = 1_000_000

const instructions: Readonly<Record<string, Instruction>> = {
  CMD: (config, rest) => {
    config['Cmd'] = command(rest)
  },
  ENTRYPOINT: (config, rest, done) => {
    config['Entrypoint'] = command(rest)
    // An entrypoint of its own makes the old image's command meaningless.
    if (!done.has('CMD')) delete config['Cmd']
  },
  ENV: (config, rest) => {
    const pairs = keyValues(rest)
    const kept = stringsIn(config['Env']).filter((entry) => !pairs.has(entry.split('=')[0] ?? ''))
    config['Env'] = [...kept, ...[...pairs].map(([key, value]) => `${key}=${value}`)]
  },
  LABEL: (config, rest) => {
    config['Labels'] = { ...record(config['Labels']), ...Object.fromEntries(keyValues(rest)) }
  },
  EXPOSE: (config, rest) => {
    const ports = rest.split(/\s+/).map((port) => {
      const match = /^(\d{1,5})(?:-\d{1,5})?(?:\/(tcp|udp|sctp))?$/.exec(port.toLowerCase())
      if (match === null) throw new Refusal('invalid', `invalid containerPort: ${port}`)
      return match[2] === undefined ? `${port}/tcp` : port.toLowerCase()
    })
    config['ExposedPorts'] = addKeys(config['ExposedPorts'], ports)
  },
  VOLUME: (config, rest) => {
    const paths = rest.startsWith('[') ? (jsonStrings(rest) ?? []) : rest.split(/\s+/)
    config['Volumes'] = addKeys(config['Volumes'], paths)
  },
  USER: (config, rest) => {
    config['User'] = rest
  },
  WORKDIR: (config, rest) => {
    const before = String(config['WorkingDir'] ?? '')
    config['WorkingDir'] = rest.startsWith('/') ? rest : `${before}/${rest}`
  },
  STOPSIGNAL: (config, rest) => {
    config['StopSignal'] = rest
  },
  ONBUILD: (config, rest) => {
    config['OnBuild'] = [...stringsIn(config['OnBuild']), rest]
  },
  HEALTHCHECK: (config, rest) => {
    config['Healthcheck'] = healthcheck(rest)
  },
}

/** The configuration with the changes made, one by one. */
export function applyChanges(
  config: Readonly<Record<string, unknown>>,
  changes: readonly string[],
): Readonly<Record<string, unknown>> {
  const changed: Config = { ...config }
  const done = new Set<string>()
  for (const line of changes.flatMap((change) => change.split('\n'))) {
    if (line.trim() === '') continue
    const [, word = '', rest = ''] = /^\s*(\S+)\s*([\s\S]*?)\s*$/.exec(line) ?? []
    const instruction = Object.hasOwn(instructions, word.toUpperCase())
      ? instructions[word.toUpperCase()]
      : undefined
    if (instruction === undefined) {
      throw new Refusal('invalid', `${word.toUpperCase()} is not a valid change command`)
    }
    if (rest === '')
      throw new Refusal('invalid', `${word.toUpperCase()} requires at least one argument`)
    instruction(changed, rest, done)
    done.add(word.toUpperCase())
  }
  return changed
}

/** The JSON form as it is, anything else for the shell. */
function command(rest: string): readonly string[] {
  return jsonStrings(rest) ?? ['/bin/sh', '-c', rest]
}

function jsonStrings(text: string): readonly string[] | undefined {
  if (!text.startsWith('[')) return undefined
  try {
    const value: unknown = JSON.parse(text)
    return Array.isArray(value) && value.every((entry) => typeof entry === 'string')
      ? value
      : undefined
  } catch {
    return undefined // then it is a line for the shell, as in a Dockerfile
  }
}

/** `a=1 b="2 3"`, or the old form `a 1`. */
function keyValues(text: string): ReadonlyMap<string, string> {
  const first = text.split(/\s/)[0] ?? ''
  if (!first.includes('=')) {
    const [, key = '', value = ''] = /^(\S+)\s+([\s\S]+)$/.exec(text) ?? []
    if (key === '')
      throw new Refusal(
        'invalid',
        `Syntax error - can't find = in "${text}". Must be of the form: name=value`,
      )
    return new Map([[key, value]])
  }
  const found = new Map<string, string>()
  for (const [word] of text.matchAll(/(?:"(?:\\.|[^"])*"|'[^']*'|\\.|\S)+/g)) {
    const equals = word.indexOf('=')
    if (equals < 0) {
      throw new Refusal(
        'invalid',
        `Syntax error - can't find = in "${word}". Must be of the form: name=value`,
      )
    }
    found.set(unquoted(word.slice(0, equals)), unquoted(word.slice(equals + 1)))
  }
  return found
}

function unquoted(word: string): string {
  return word.replace(/"((?:\\.|[^"])*)"|'([^']*)'|\\(.)/g, (_all, double, single, escaped) =>
    String(
      double !== undefined
        ? String(double).replace(/\\(["\\$])/g, '$1')
        : (single ?? escaped ?? ''),
    ),
  )
}

function healthcheck(rest: string): Readonly<Record<string, unknown>> {
  const check: Record<string, unknown> = {}
  const options: Readonly<Record<string, string>> = {
    interval: 'Interval',
    timeout: 'Timeout',
    'start-period': 'StartPeriod',
    'start-interval': 'StartInterval',
    retries: 'Retries',
  }
  let text = rest
  for (;;) {
    const match = /^--([a-z-]+)=(\S+)\s*/.exec(text)
    if (match === null) break
    const [whole, name = '', value = ''] = match
    const field = options[name]
    const amount =
      name === 'retries' ? Number(value) : (parseDurationMs(value) ?? NaN) * nanosecondsPerMs
    if (field === undefined || !Number.isFinite(amount))
      throw new Refusal('invalid', `Unknown flag: ${name}`)
    check[field] = amount
    text = text.slice(whole.length)
  }
  if (text.toUpperCase() === 'NONE') return { Test: ['NONE'] }
  const [, kind = '', line = ''] = /^(\S+)\s+([\s\S]+)$/.exec(text) ?? []
  if (kind.toUpperCase() !== 'CMD')
    throw new Refusal('invalid', `Unknown type ${JSON.stringify(kind)} in HEALTHCHECK (try CMD)`)
  const words = jsonStrings(line)
  return { Test: words === undefined ? ['CMD-SHELL', line] : ['CMD', ...words], ...check }
}

function stringsIn(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.map(String) : []
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return isObject(value) ? value : {}
}

function addKeys(value: unknown, keys: readonly string[]): Readonly<Record<string, unknown>> {
  return { ...record(value), ...Object.fromEntries(keys.map((key) => [key, {}])) }
}
