/**
 * Starts a container: root file system, network, stdio, task; all of it or nothing. A start that
 * fails leaves the container as it was, with the reason in State.Error.
 *
 * Runs inside the container's queue. The wait for the exit is registered before the process runs.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { log } from '../base/log.ts'
import { Refusal, messageOf } from '../base/refusal.ts'
import { mount, isMountPoint } from '../kernel/mount.ts'
import { appArmorProfile } from './apparmor.ts'
import { containerPaths, partsFolder } from './paths.ts'
import { joinAttachers } from './attach.ts'
import { ContainerdAway } from './containerd/away.ts'
import { watchExit } from './exit.ts'
import { startHealth } from './healthcheck.ts'
import { linkEnvironment } from './links.ts'
import { makeBindSources } from './mount-points.ts'
import { kindOf } from './network-mode.ts'
import { donorOf, keptDnsNames, openNetwork, settledMode } from './networking.ts'
import type { OpenedNetwork } from './networking.ts'
import { startFailure } from './process-error.ts'
import { failedStartState, hasProcess, startedState } from './record.ts'
import type { ContainerRecord } from './record.ts'
import { makeFolders, type Root } from './rooted-path.ts'
import { holdRootfs, releaseRootfs } from './rootfs.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'
import { initProgram, ociSpec } from './spec.ts'
import { openSubpaths, type Subpaths } from './subpaths.ts'
import { tellVolumes } from './volume-events.ts'
import { createTask, forgetTask, makeFifos, releaseShm, removeFifos, startProcess, stdioSpec } from './task.ts'

/** Refuses a start that makes no sense now; run inside the queue. */
export function checkStartable(container: Container): void {
  const { state } = container.record
  if (state.status === 'paused') {
    throw new Refusal('conflict', 'cannot start a paused container, try unpause instead')
  }
  if (state.status === 'running') throw new Refusal('notModified', 'container is already running')
  if (state.status === 'removing' || state.status === 'dead' || container.live.removing) {
    throw new Refusal('conflict', 'container is marked for removal and cannot be started')
  }
}

type Undo = () => Promise<void> | void

/** @param keepCounters true for a restart by policy */
export async function startContainer(
  context: Context,
  container: Container,
  keepCounters = false,
): Promise<void> {
  // Those who attached before would be told the end of the first try.
  const isAttached = container.live.attachers.size > 0
  try {
    await startOnce(context, container, keepCounters)
  } catch (error) {
    if (!(error instanceof ContainerdAway) || !error.midway || isAttached) throw error
    log.info('containerd went away during a start: it is done again', { id: container.id })
    await startOnce(context, container, keepCounters)
  }
}

async function startOnce(
  context: Context,
  container: Container,
  keepCounters: boolean,
): Promise<void> {
  const { live } = container
  if (context.ending()) throw new Refusal('unavailable', 'the daemon is shutting down')
  clearTimeout(live.restartTimer)
  live.restartTimer = undefined
  live.stopping = 'no'
  live.oomKilled = false
  live.run++
  const undo: Undo[] = []
  let prefix = ''
  let opened: Subpaths | undefined
  try {
    inheritHostname(context, container)
    makeBindSources(container.record.mounts)
    const rootfs = await holdRootfs(context, container)
    undo.push(() => releaseRootfs(context, container))
    undo.push(() => releaseShm(context, container.id))
    tellVolumes(context, container, 'mount')
    undo.push(() => tellVolumes(context, container, 'unmount'))
    undo.push(() => context.networks.close(container.id))
    const network = await openNetwork(context, container)
    const parts = join(partsFolder(context.config), container.id)
    const subpaths = openSubpaths(parts, container.record.mounts)
    opened = subpaths
    const root = { path: rootfs, mounts: new Map<string, string>() }
    const spec = buildSpec(context, container, root, { ...network, subpaths: subpaths.sources })
    await context.appArmor.ensure(appArmorProfile(container.record.hostConfig))
    const fifos = makeFifos(context, container.record)
    undo.push(() => removeFifos(context, container.id))
    await context.keeper.openStdio(stdioSpec(context, container.record, fifos))
    undo.push(() => context.keeper.closeStdio(container.id))
    await joinAttachers(container)
    prefix = 'failed to create task for container: '
    undo.push(() => forgetTask(context, container.id))
    const pid = await createTask(context, container.record, spec, fifos)
    // Registered before the process runs, so that no exit can be missed.
    watchExit(context, container)
    prefix = 'failed to start task for container: '
    await startProcess(context, { containerId: container.id, execId: '' })
    await context.registry.save(container, {
      state: startedState(container.record.state, pid),
      everStarted: true,
      manuallyStopped: false,
      ...(keepCounters ? {} : { restartCount: 0, failures: 0 }),
      hostConfig: settledMode(context, container.record.hostConfig),
      networks: withNetworkIds(context, container.record),
    })
  } catch (error) {
    await undoAll(undo)
    const failure = startFailure(error, prefix)
    await context.registry.save(container, {
      state: failedStartState(container.record.state, failure.code, failure.refusal.message),
    })
    throw failure.refusal
  } finally {
    opened?.close()
  }
  context.registry.tell(container, 'start')
  startHealth(context, container)
}

async function undoAll(undo: readonly Undo[]): Promise<void> {
  for (const step of [...undo].reverse()) {
    try {
      await step()
    } catch (error) {
      log.warn('a step of a failed start could not be undone', { error: messageOf(error) })
    }
  }
}

/** A container in another one's namespace has that one's name. */
function inheritHostname(context: Context, container: Container): void {
  const { record } = container
  if (kindOf(record) !== 'container') return
  const donor = donorOf(context, container)
  const { Hostname, Domainname } = donor.record.config
  const Domain = record.config.Domainname === '' ? Domainname : record.config.Domainname
  container.record = { ...record, config: { ...record.config, Hostname, Domainname: Domain } }
}

function buildSpec(
  context: Context,
  container: Container,
  root: Root,
  network: OpenedNetwork & { readonly subpaths: ReadonlyMap<string, string> },
): object {
  const { config } = context
  const { record } = container
  if (record.config.WorkingDir !== '') makeFolders(root, record.config.WorkingDir)
  const ipc = joinedShm(context, container)
  const wantsInit = record.hostConfig.Init ?? config.init
  return ociSpec({
    record,
    root,
    netnsPath: network.netnsPath,
    networkFilesDir: network.filesDir,
    subpaths: network.subpaths,
    shmPath: ipc.path,
    initPath:
      wantsInit && record.hostConfig.PidMode !== 'host' ? initProgram(config.initPaths) : '',
    linkEnv: linkEnvironment(context, record),
    ipcPid: ipc.pid,
    pidPid: joinedPid(context, record),
    cgroups: config,
    security: config.security,
    defaultUlimits: config.defaultUlimits,
  })
}

function joinedPid(context: Context, { hostConfig }: ContainerRecord): number {
  if (!hostConfig.PidMode.startsWith('container:')) return 0
  const wanted = hostConfig.PidMode.slice('container:'.length)
  const donor = context.registry.find(wanted)
  if (!hasProcess(donor.record.state.status)) {
    throw new Refusal(
      'conflict',
      'cannot join PID namespace of a non running container: ' +
        `container ${donor.record.name} is not running`,
    )
  }
  return donor.record.state.pid
}

/** Whose shared memory this is: its own tmpfs, the host's, a donor's, or one to be joined. */
function joinedShm(
  context: Context,
  { id, record }: Container,
): { readonly path: string; readonly pid: number } {
  const { IpcMode, ShmSize } = record.hostConfig
  if (IpcMode === 'host') return { path: '/dev/shm', pid: 0 }
  if (IpcMode === 'shareable') {
    const { shm } = containerPaths(context.config, id)
    mkdirSync(shm, { recursive: true })
    if (!isMountPoint(shm)) {
      const options = ['nosuid', 'noexec', 'nodev', 'mode=1777', `size=${ShmSize}`]
      mount({ type: 'tmpfs', source: 'shm', target: shm, options })
    }
    return { path: shm, pid: 0 }
  }
  if (!IpcMode.startsWith('container:')) return { path: '', pid: 0 }
  const donor = context.registry.find(IpcMode.slice('container:'.length))
  if (!hasProcess(donor.record.state.status)) {
    throw new Refusal(
      'conflict',
      `cannot join IPC of a non running container: container ${donor.record.name} is not running`,
    )
  }
  const mode = donor.record.hostConfig.IpcMode
  if (mode !== 'shareable' && mode !== 'host') {
    throw new Refusal(
      'invalid',
      `cannot join IPC of container ${donor.record.name}: non-shareable IPC ` +
        '(hint: use IpcMode:shareable for the donor container)',
    )
  }
  const path = mode === 'host' ? '/dev/shm' : containerPaths(context.config, donor.id).shm
  return { path, pid: donor.record.state.pid }
}

function withNetworkIds(context: Context, record: ContainerRecord): ContainerRecord['networks'] {
  const sandbox = context.networks.sandbox(record.id)
  if (sandbox === undefined) return record.networks
  return Object.fromEntries(
    Object.entries(record.networks).map(([name, settings]) => {
      const endpoint = sandbox.endpoints.find((candidate) => candidate.networkName === name)
      if (endpoint === undefined) return [name, settings]
      const DNSNames = keptDnsNames(record, name, settings)
      return [name, { ...settings, NetworkID: endpoint.networkId, DNSNames }]
    }),
  )
}
