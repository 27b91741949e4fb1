/** What is known of a container's health, and the part of it that outlives the daemon. */
import { int, list, object, string } from './shape.ts'

export interface Probe {
  readonly Start: string
  readonly End: string
  readonly ExitCode: number
  readonly Output: string
}

const statuses = ['starting', 'healthy', 'unhealthy'] as const
export type HealthStatus = (typeof statuses)[number]

export interface Health {
  status: HealthStatus
  failingStreak: number
  log: readonly Probe[]
  timer: NodeJS.Timeout | undefined
  abort: AbortController
  /** When it was stored last, in milliseconds since 1970. */
  storedMs: number
}

export function newHealth(): Health {
  const abort = new AbortController()
  return { status: 'starting', failingStreak: 0, log: [], timer: undefined, abort, storedMs: 0 }
}

const probe = object({ Start: string, End: string, ExitCode: int, Output: string })
const shape = object({ status: string, failingStreak: int, log: list(probe, 'Probe') })

/** What is stored of it. */
export function healthDocument({ status, failingStreak, log }: Health): object {
  return { status, failingStreak, log }
}

/** Reads a stored document; nothing probes yet. */
export function parseHealth(document: unknown): Health {
  const stored = shape.decode(document, 'Health')
  const status = statuses.find((known) => known === stored.status)
  if (status === undefined) throw new Error('not a document about health')
  const { failingStreak, log } = stored
  return { ...newHealth(), status, failingStreak, log: log ?? [], storedMs: Date.now() }
}
