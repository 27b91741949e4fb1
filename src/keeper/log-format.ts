/**
 * Docker's json-file log: one JSON object per line, `{"log","stream","attrs"?,"time"}`.
 *
 * Pure: text in, text out. `log` ends with a newline unless the entry is a part of a line that
 * was longer than 16 KiB, or the last words of a program that ended without one.
 */

export type LogStream = 'stdout' | 'stderr'

export interface LogEntry {
  readonly log: string
  readonly stream: LogStream
  /** RFC 3339, UTC, up to nine decimals. */
  readonly time: string
  readonly attrs?: Readonly<Record<string, string>>
}

/** Go's encoder escapes these too; other readers of the file compare bytes. */
const escapes: Readonly<Record<string, string>> = {
  '<': '\\u003c',
  '>': '\\u003e',
  '&': '\\u0026',
  '\u2028': '\\u2028',
  '\u2029': '\\u2029',
  '\u007f': '\\u007f',
}

const needsEscape = /[<>&\u2028\u2029\u007f]/g

/** `attrsJson`: the attributes as JSON text, '' for none; the same for every line of a stream. */
export function encodeLogLine(
  text: string,
  stream: LogStream,
  time: string,
  attrsJson = '',
): string {
  const log = JSON.stringify(text).replace(needsEscape, (char) => escapes[char] ?? char)
  const attrs = attrsJson === '' ? '' : `,"attrs":${attrsJson}`
  return `{"log":${log},"stream":"${stream}"${attrs},"time":"${time}"}\n`
}

/** Undefined for a line that is no entry: half a line after a crash, a foreign file. */
export function parseLogLine(line: string): LogEntry | undefined {
  let value: unknown
  try {
    value = JSON.parse(line)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const { log, stream, time, attrs } = value as Partial<Record<keyof LogEntry, unknown>>
  if (typeof time !== 'string') return undefined
  const entry: LogEntry = {
    log: typeof log === 'string' ? log : '',
    stream: stream === 'stderr' ? 'stderr' : 'stdout',
    time,
  }
  return isTexts(attrs) ? { ...entry, attrs } : entry
}

/** The attributes as `encodeLogLine` wants them, keys in order. */
export function attributesJson(attributes: Readonly<Record<string, string>>): string {
  const entries = Object.entries(attributes).sort(([a], [b]) => (a < b ? -1 : 1))
  return entries.length === 0 ? '' : JSON.stringify(Object.fromEntries(entries))
}

/** Name of the log after `age` rotations: `…-json.log`, `…-json.log.1`, `…-json.log.2`. */
export function rotatedLogPath(logPath: string, age: number): string {
  return age === 0 ? logPath : `${logPath}.${age}`
}

/** Every file that may hold entries, oldest first; some may not exist. */
export function logPaths(logPath: string, filesMax: number): readonly string[] {
  const ages = Array.from({ length: Math.max(1, filesMax) }, (_, age) => age)
  return ages.reverse().map((age) => rotatedLogPath(logPath, age))
}

/** Nanoseconds since 1970 as Go prints them (RFC3339Nano): trailing zeros left out. */
export function formatLogTime(epochNs: bigint): string {
  const seconds = epochNs / 1_000_000_000n
  const fraction = (epochNs % 1_000_000_000n).toString().padStart(9, '0').replace(/0+$/, '')
  const whole = new Date(Number(seconds) * 1000).toISOString().slice(0, 19)
  return fraction === '' ? `${whole}Z` : `${whole}.${fraction}Z`
}

/** The inverse, for --since, --until and merging; undefined when it is no time. */
export function parseLogTime(time: string): bigint | undefined {
  const parts = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)$/.exec(time)
  if (parts === null) return undefined
  const wholeMs = Date.parse(`${parts[1] ?? ''}${parts[3] ?? 'Z'}`)
  if (Number.isNaN(wholeMs)) return undefined
  return BigInt(wholeMs) * 1_000_000n + BigInt((parts[2] ?? '').padEnd(9, '0'))
}

function isTexts(value: unknown): value is Readonly<Record<string, string>> {
  return (
    typeof value === 'object' &&
    value !== null &&
    Object.values(value).every((text) => typeof text === 'string')
  )
}
