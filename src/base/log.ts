/**
 * Log lines in the form of logfmt (`time=… level=… msg=… key=value`) or JSON, to standard error.
 *
 * A line is one write, so lines of several processes that share a file do not mix. Nothing is
 * kept: what must be found again later is an event (`insight/events.ts`), not a log line.
 */

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'
type Fields = Readonly<Record<string, string | number | boolean | undefined>>

const order: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 }
let threshold: LogLevel = 'info'

export type LogFormat = 'text' | 'json'
let format: LogFormat = 'text'

/** Lines have this form from now on. */
export function setLogFormat(wanted: LogFormat): void {
  format = wanted
}

/** Lines below `level` are dropped from now on. */
export function setLogLevel(level: LogLevel): void {
  threshold = level
}

export const log = {
  debug: (msg: string, fields?: Fields) => write('debug', msg, fields),
  info: (msg: string, fields?: Fields) => write('info', msg, fields),
  warn: (msg: string, fields?: Fields) => write('warn', msg, fields),
  error: (msg: string, fields?: Fields) => write('error', msg, fields),
}

function write(level: LogLevel, msg: string, fields: Fields = {}): void {
  if (order[level] < order[threshold]) return
  const time = new Date().toISOString()
  if (format === 'json') {
    process.stderr.write(`${JSON.stringify({ level, msg, time, ...fields })}\n`)
    return
  }
  let line = `time=${time} level=${level} msg=${quote(msg)}`
  for (const [key, value] of Object.entries(fields)) {
    if (value !== undefined) line += ` ${key}=${quote(String(value))}`
  }
  process.stderr.write(line + '\n')
}

/** Quotes whatever could end the value or the line, so that hostile names cannot forge one. */
function quote(value: string): string {
  return /^[\w./:@+-]+$/.test(value) ? value : JSON.stringify(value)
}
