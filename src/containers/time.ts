/**
 * Times as the engine API writes them: RFC 3339 in UTC with nanoseconds, and Go's zero time.
 * Inputs (`--since`, `--until`, filters) are seconds, RFC 3339, or Go durations before now.
 */
import { Refusal } from '../base/refusal.ts'
import { formatLogTime, parseLogTime } from '../keeper/log-format.ts'

/** What Go prints for a time that never was. */
export const zeroTime = '0001-01-01T00:00:00Z'

export function nowNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n + (process.hrtime.bigint() % 1_000_000n)
}

export const now = (): string => formatLogTime(nowNs())

export const formatTime = formatLogTime

/** Milliseconds since 1970; 0 for Go's zero time. */
export function epochMs(time: string): number {
  const ns = parseLogTime(time)
  return ns === undefined || ns < 0n ? 0 : Number(ns / 1_000_000n)
}

const unitsMs: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
}

/** A Go duration such as 1h30m, in milliseconds; undefined when it is none. */
export function parseDurationMs(text: string): number | undefined {
  if (!/^[+-]?(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+$/.test(text)) return undefined
  let total = 0
  for (const [, amount, unit] of text.matchAll(/(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)/g)) {
    total += Number(amount) * (unitsMs[unit ?? ''] ?? 0)
  }
  return text.startsWith('-') ? -total : total
}

/** Seconds since 1970, as streams take them, in nanoseconds; refused in Go's words. */
export function parseTimestamp(text: string): bigint {
  const [seconds = '', fraction] = text.split('.')
  const whole = (digits: string): bigint => {
    if (/^[+-]?\d+$/.test(digits)) return BigInt(digits)
    const why = `strconv.ParseInt: parsing ${JSON.stringify(digits)}: invalid syntax`
    throw new Refusal('invalid', why)
  }
  const nanoseconds = fraction === undefined ? 0n : whole(fraction.slice(0, 9))
  const scale = 10n ** BigInt(9 - Math.min(9, (fraction ?? '').length))
  return whole(seconds) * 1_000_000_000n + nanoseconds * scale
}

/** The moment that a filter names, in nanoseconds since 1970. */
export function parseMoment(text: string): bigint {
  const seconds = /^(\d+)(?:\.(\d{1,9})\d*)?$/.exec(text)
  if (seconds !== null) {
    return BigInt(seconds[1] ?? '0') * 1_000_000_000n + BigInt((seconds[2] ?? '').padEnd(9, '0'))
  }
  const durationMs = parseDurationMs(text)
  if (durationMs !== undefined) return nowNs() - BigInt(Math.round(durationMs * 1e6))
  const exact = parseLogTime(text) ?? parseLogTime(`${text}Z`) ?? parseLogTime(`${text}T00:00:00Z`)
  if (exact === undefined) {
    throw new Refusal(
      'invalid',
      `failed to parse value as time or duration: ${JSON.stringify(text)}`,
    )
  }
  return exact
}

/** `Up 3 seconds`: a span in the words of `docker ps`. */
export function humanDuration(ms: number): string {
  const seconds = Math.floor(ms / 1000)
  if (seconds < 1) return 'Less than a second'
  if (seconds === 1) return '1 second'
  if (seconds < 60) return `${seconds} seconds`
  const minutes = Math.floor(seconds / 60)
  if (minutes === 1) return 'About a minute'
  if (minutes < 60) return `${minutes} minutes`
  const hours = Math.floor(seconds / 3600 + 0.5)
  if (hours === 1) return 'About an hour'
  if (hours < 48) return `${hours} hours`
  if (hours < 24 * 7 * 2) return `${Math.floor(hours / 24)} days`
  if (hours < 24 * 30 * 2) return `${Math.floor(hours / 24 / 7)} weeks`
  if (hours < 24 * 365 * 2) return `${Math.floor(hours / 24 / 30)} months`
  return `${Math.floor(hours / 24 / 365)} years`
}
