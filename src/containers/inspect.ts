/** The document of GET /containers/{id}/json, every field in Docker's order. */
import { appArmorProfile } from './apparmor.ts'
import { configShape, hostConfigShape } from './config.ts'
import { snapshotter } from './containerd/client.ts'
import { healthView } from './healthcheck.ts'
import { shownLinks } from './links.ts'
import { modeName } from './network-mode.ts'
import { networkSettings } from './network-settings.ts'
import { networkName } from './networking.ts'
import { donorPaths } from './donor.ts'
import { containerPaths } from './paths.ts'
import { hasProcess, isRunning } from './record.ts'
import type { ContainerRecord, MountPoint } from './record.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'

export const storageDriver = 'overlay2'

export interface InspectOptions {
  readonly size: boolean
  readonly apiVersion: number
}

export async function inspectContainer(
  context: Context,
  container: Container,
  options: InspectOptions,
): Promise<object> {
  const { record } = container
  const { config, hostConfig } = record
  const paths = containerPaths(context.config, container.id)
  const files = donorPaths(context, container)
  const alive = [...container.live.execs.values()].filter((exec) => exec.running || !exec.started)
  // Without networking nobody writes these two.
  const named = record.everStarted && !config.NetworkDisabled
  // The file of `local` is nobody else's to read.
  const logged = hostConfig.LogConfig.Type === 'json-file'
  const sizes = options.size ? await sizesOf(context, container) : {}
  return {
    Id: record.id,
    Created: record.created,
    Path: record.path,
    Args: record.args,
    State: stateView(container),
    Image: record.imageId,
    ResolvConfPath: named ? files.resolvConf : '',
    HostnamePath: record.everStarted ? files.hostname : '',
    HostsPath: named ? files.hosts : '',
    LogPath: logged && record.everStarted ? paths.log : '',
    Name: `/${record.name}`,
    RestartCount: record.restartCount,
    Driver: storageDriver,
    Platform: 'linux',
    MountLabel: '',
    ProcessLabel: '',
    AppArmorProfile: appArmorProfile(hostConfig),
    ExecIDs: alive.length === 0 ? null : alive.map((exec) => exec.id),
    HostConfig: hostConfigShape.show({ ...hostConfig, Links: shownLinks(context, record) }),
    GraphDriver: { Data: { MergedDir: paths.rootfs }, Name: storageDriver },
    ...sizes,
    Mounts: record.mounts.map(mountView),
    Config: configShape.show({ ...config, MacAddress: macOfMain(context, record) }),
    NetworkSettings: networkSettings(context, container, options.apiVersion),
  }
}

/** What was asked of the main network's endpoint: its place once was the configuration. */
function macOfMain(context: Context, { config, hostConfig, networks }: ContainerRecord): string {
  const main = networkName(context, modeName(hostConfig.NetworkMode))
  return networks[main]?.MacAddress ?? config.MacAddress
}

function stateView(container: Container): object {
  const { state } = container.record
  const health = healthView(container)
  return {
    Status: state.status,
    Running: isRunning(state.status),
    Paused: state.status === 'paused',
    Restarting: state.status === 'restarting',
    OOMKilled: state.oomKilled,
    Dead: state.status === 'dead',
    Pid: hasProcess(state.status) ? state.pid : 0,
    ExitCode: state.exitCode,
    Error: state.error,
    StartedAt: state.startedAt,
    FinishedAt: state.finishedAt,
    ...(health === undefined ? {} : { Health: health }),
  }
}

export function mountView(point: MountPoint): object {
  const { Type, Name, Source, Destination, Driver, Mode, RW, Propagation } = point
  return {
    Type,
    ...(Name === '' ? {} : { Name }),
    Source,
    Destination,
    ...(Driver === '' ? {} : { Driver }),
    Mode,
    RW,
    Propagation,
  }
}

/** Bytes that the container wrote, and with its image's. */
export async function sizesOf(
  context: Context,
  container: Container,
): Promise<{ readonly SizeRw: number; readonly SizeRootFs: number }> {
  const usage = await context.containerd.snapshots.usage({ snapshotter, key: container.id })
  const own = Number(usage.size)
  const image = context.images.catalogue.get(container.record.imageId)
  return { SizeRw: own, SizeRootFs: own + (image?.size ?? 0) }
}
