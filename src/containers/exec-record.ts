/** Processes started beside a container's own: what is known of each. */

export interface ExecSpec {
  readonly command: readonly string[]
  readonly tty: boolean
  readonly attachStdin: boolean
  readonly attachStdout: boolean
  readonly attachStderr: boolean
  readonly detachKeys: string
  readonly env: readonly string[]
  readonly workingDir: string
  readonly user: string
  readonly privileged: boolean
}

export interface Exec {
  readonly id: string
  readonly containerId: string
  readonly spec: ExecSpec
  running: boolean
  started: boolean
  pid: number
  /** null until it has ended. */
  exitCode: number | null
  canRemove: boolean
  consoleSize: readonly number[] | undefined
}

/** Execs kept after their end, so that a client can ask for the exit code. */
export const endedExecsMax = 256
