/** What is logged, in dockerd's words for it. */
import { setLogLevel, type LogLevel } from '../base/log.ts'
import type { Config } from './config.ts'

const levels: Readonly<Record<string, LogLevel>> = {
  trace: 'debug',
  debug: 'debug',
  info: 'info',
  warn: 'warn',
  warning: 'warn',
  error: 'error',
  fatal: 'error',
  panic: 'error',
}

export function setLevel(config: Config): void {
  setLogLevel(config.debug ? 'debug' : (levels[config['log-level']] ?? 'info'))
}
