/** What is known of a container's health while it runs. */

export interface Probe {
  readonly Start: string
  readonly End: string
  readonly ExitCode: number
  readonly Output: string
}

export interface Health {
  status: 'starting' | 'healthy' | 'unhealthy'
  failingStreak: number
  log: readonly Probe[]
  timer: NodeJS.Timeout | undefined
  readonly abort: AbortController
}
