/**
 * What the kernel refused, as an error with its number, its name and a sentence.
 *
 * `code` is the errno's name (`ENOENT`), also for numbers that libuv does not know. `call` is the
 * system call or the netlink message; the message says what was attempted, on what, and why not.
 */
import { constants } from 'node:os'

const names = new Map<number, string>()
for (const [name, value] of Object.entries(constants.errno)) {
  if (!names.has(value)) names.set(value, name)
}
/** Numbers that network calls answer and that Node's table lacks or calls otherwise. */
for (const [value, name] of [
  [49, 'EUNATCH'],
  [61, 'ENODATA'],
  [93, 'EPROTONOSUPPORT'],
  [95, 'EOPNOTSUPP'],
  [94, 'ESOCKTNOSUPPORT'],
  [96, 'EPFNOSUPPORT'],
  [108, 'ESHUTDOWN'],
  [524, 'ENOTSUPP'],
] as const) {
  names.set(value, name)
}

/** The name of an errno: 2 → ENOENT; numbers without one become `E524`. */
export function errnoName(errno: number): string {
  return names.get(errno) ?? `E${errno}`
}

export class KernelError extends Error {
  override readonly name = 'KernelError'
  readonly errno: number
  readonly code: string
  readonly call: string
  /** The reason alone, without what was attempted. */
  readonly reason: string

  /**
   * @param call the system call or message type, for example `mount` or `RTM_NEWLINK`
   * @param errno positive; 0 where the refusal has no number (libnftables, a child process)
   * @param attempted what was tried, on what: `create bridge br-0123`
   * @param reason the kernel's own words where it gave some
   */
  constructor(call: string, errno: number, attempted: string, reason: string) {
    const code = errno === 0 ? '' : errnoName(errno)
    super(code === '' ? `${attempted}: ${reason}` : `${attempted}: ${reason} (${code})`)
    this.call = call
    this.errno = errno
    this.code = code
    this.reason = reason
  }
}

/** Whether `error` is the kernel's refusal with one of these names. */
export function isKernelError(error: unknown, ...codes: readonly string[]): error is KernelError {
  return error instanceof KernelError && (codes.length === 0 || codes.includes(error.code))
}
