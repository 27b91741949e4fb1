/**
 * A container as it is stored, and the states it goes through.
 *
 *     created → running ⇄ paused
 *     running → exited → running      running → restarting → running
 *     anything but running → removing → gone, or dead when the removal failed
 *
 * The functions here are the only ones that make a new state; they are pure. A state that the
 * table does not allow is a fault of ours and throws.
 */
import { configShape, endpointSettingsShape, hostConfigShape } from './config.ts'
import type { Config, EndpointSettings, HostConfig } from './config.ts'
import { bool, int, list, map, object, string, strings } from './shape.ts'
import type { Of } from './shape.ts'
import { now, zeroTime } from './time.ts'

export const statuses = [
  'created',
  'running',
  'paused',
  'restarting',
  'removing',
  'exited',
  'dead',
] as const
export type Status = (typeof statuses)[number]

const transitions: Readonly<Record<Status, readonly Status[]>> = {
  created: ['running', 'created', 'removing', 'exited'],
  running: ['running', 'paused', 'restarting', 'exited'],
  paused: ['running', 'restarting', 'exited'],
  restarting: ['running', 'exited', 'restarting', 'removing'],
  exited: ['running', 'exited', 'removing', 'restarting'],
  removing: ['dead'],
  dead: ['removing'],
}

export interface ContainerState {
  readonly status: Status
  readonly pid: number
  readonly exitCode: number
  readonly error: string
  readonly oomKilled: boolean
  readonly startedAt: string
  readonly finishedAt: string
}

export const createdState: ContainerState = {
  status: 'created',
  pid: 0,
  exitCode: 0,
  error: '',
  oomKilled: false,
  startedAt: zeroTime,
  finishedAt: zeroTime,
}

function move(
  state: ContainerState,
  status: Status,
  change: Partial<ContainerState>,
): ContainerState {
  if (!transitions[state.status].includes(status)) {
    throw new Error(`a container that is ${state.status} cannot become ${status}`)
  }
  return { ...state, ...change, status }
}

export const startedState = (state: ContainerState, pid: number): ContainerState =>
  move(state, 'running', { pid, exitCode: 0, error: '', oomKilled: false, startedAt: now() })

/** The start did not succeed: Docker leaves the container created, or exited if it ever ran. */
export const failedStartState = (
  state: ContainerState,
  code: number,
  error: string,
): ContainerState =>
  move(state, state.startedAt === zeroTime ? 'created' : 'exited', {
    pid: 0,
    exitCode: code,
    error,
    ...(state.startedAt === zeroTime ? {} : { finishedAt: now() }),
  })

export const pausedState = (state: ContainerState): ContainerState => move(state, 'paused', {})
export const unpausedState = (state: ContainerState): ContainerState => move(state, 'running', {})

export interface Exit {
  readonly code: number
  readonly at: string
  readonly oomKilled: boolean
}

export const exitedState = (
  state: ContainerState,
  exit: Exit,
  restarting: boolean,
): ContainerState =>
  move(state, restarting ? 'restarting' : 'exited', {
    pid: 0,
    exitCode: exit.code,
    finishedAt: exit.at,
    oomKilled: exit.oomKilled,
    error: '',
  })

/** A restart that was waiting was called off. */
export const calledOffState = (state: ContainerState): ContainerState => move(state, 'exited', {})
export const removingState = (state: ContainerState): ContainerState =>
  state.status === 'removing' ? state : move(state, 'removing', {})
export const deadState = (state: ContainerState, error: string): ContainerState =>
  move(state, 'dead', { error })

/** Whether the engine counts it as running: paused and restarting ones too, as Docker does. */
export const isRunning = (status: Status): boolean =>
  status === 'running' || status === 'paused' || status === 'restarting'

/** Whether a process of it exists. */
export const hasProcess = (status: Status): boolean => status === 'running' || status === 'paused'

/** One mount of a container, as inspect shows it, and what a start needs to make it. */
const mountPoint = object({
  Type: string,
  Name: string,
  Source: string,
  Destination: string,
  Driver: string,
  Mode: string,
  RW: bool,
  Propagation: string,
  /** Volume that has no name of the user's and goes with `rm -v` and `--rm`. */
  anonymous: bool,
  copyUp: bool,
  subpath: string,
  /** tmpfs options, or bind options that OCI takes as they are. */
  options: strings,
  createSource: bool,
})
export type MountPoint = Of<typeof mountPoint>

export interface ContainerRecord {
  readonly id: string
  /** Without the leading slash. */
  readonly name: string
  readonly created: string
  readonly path: string
  readonly args: readonly string[]
  readonly imageId: string
  readonly config: Config
  readonly hostConfig: HostConfig
  /** Keyed by network name, in the order of the request. */
  readonly networks: Readonly<Record<string, EndpointSettings>>
  readonly mounts: readonly MountPoint[]
  readonly state: ContainerState
  readonly restartCount: number
  /** Restarts by policy since it last ran long enough: the length of the backoff. */
  readonly failures: number
  readonly manuallyStopped: boolean
  readonly everStarted: boolean
}

const recordShape = object({
  id: string,
  name: string,
  created: string,
  path: string,
  args: strings,
  imageId: string,
  config: configShape,
  hostConfig: hostConfigShape,
  networks: map(endpointSettingsShape, 'EndpointSettings'),
  mounts: list(mountPoint, 'MountPoint'),
  state: object({
    status: string,
    pid: int,
    exitCode: int,
    error: string,
    oomKilled: bool,
    startedAt: string,
    finishedAt: string,
  }),
  restartCount: int,
  failures: int,
  manuallyStopped: bool,
  everStarted: bool,
})

/** Reads a stored document; throws when it is none of ours. */
export function parseRecord(document: unknown): ContainerRecord {
  const record = recordShape.decode(document, 'Container')
  const status = statuses.find((known) => known === record.state.status)
  if (record.id === '' || status === undefined) throw new Error('not a container document')
  return {
    ...record,
    args: record.args ?? [],
    networks: record.networks ?? {},
    mounts: record.mounts ?? [],
    state: { ...record.state, status },
  }
}
