/**
 * POST /containers/create: checks everything first, then takes the name, makes volumes and the
 * snapshot, and stores the container. What was made is taken back when a later step fails
 * (named volumes stay, as the engine's do).
 */
import { chmodSync, mkdirSync, rmSync } from 'node:fs'
import { newId } from '../base/id.ts'
import { log } from '../base/log.ts'
import { Refusal, messageOf } from '../base/refusal.ts'
import type { CreateRequest, EndpointSettings, HostConfig } from './config.ts'
import { endpointSettingsOf, hostConfigShape } from './config.ts'
import { commandOf, logMaxBytes, mergeImageConfig, withDefaults, withHostname } from './defaults.ts'
import { populateVolumes } from './copy-up.ts'
import { migrateSysctls } from './endpoint-sysctls.ts'
import type { Platform } from './images/documents.ts'
import { requirePlatform } from './images/platform.ts'
import { mountPoints } from './mount-points.ts'
import { checkName, inventName } from './names.ts'
import { volumeWarnings } from './no-effect.ts'
import { storedLinks } from './links.ts'
import { isUserNetwork, modeKind, modeName } from './network-mode.ts'
import { networkName, wantedNetworks } from './networking.ts'
import { containerPaths } from './paths.ts'
import { createdState } from './record.ts'
import type { ContainerRecord, MountPoint } from './record.ts'
import { checkResources } from './resources.ts'
import { makeFolders } from './rooted-path.ts'
import { prepareSnapshot, removeSnapshot, withRootfs } from './rootfs.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'
import { now } from './time.ts'
import { checkContainer, checkEndpoints } from './validate.ts'

export interface CreateOptions {
  readonly name: string
  /** As a number that compares: 1.44 is 144. */
  readonly apiVersion: number
  /** undefined: whatever the image is for. */
  readonly platform: Platform | undefined
}

export interface Created {
  readonly id: string
  readonly warnings: readonly string[]
}

export async function createContainer(
  context: Context,
  request: CreateRequest,
  options: CreateOptions,
): Promise<Created> {
  const givenHostConfig = ofVersion(request.HostConfig, options.apiVersion)
  const endpoints = requestedEndpoints(request, options.apiVersion)
  const warnings = [
    ...checkContainer(context, request, givenHostConfig),
    ...(options.apiVersion >= 142 ? volumeWarnings(givenHostConfig) : []),
  ]
  const checked = checkResources(givenHostConfig, false)
  warnings.push(...checked.warnings)
  const hostConfig = resolveModes(context, withDefaults(checked.resources, context.config))
  logMaxBytes(hostConfig.LogConfig.Config?.['max-size'])
  const mac = mergeMac(context, request.MacAddress, hostConfig, endpoints, options.apiVersion)
  warnings.push(...mac.warnings)
  const moved = moveSysctls(context, hostConfig, mac.endpoints, options.apiVersion)
  warnings.push(...moved.warnings)
  const networks = wantedNetworks(
    context,
    hostConfig.NetworkMode,
    request.NetworkDisabled,
    moved.endpoints,
  )
  warnings.push(...checkEndpoints(context, networks))

  if (request.Image === '') commandOf(request)
  const image = context.images.find(request.Image)
  requirePlatform(request.Image, image.document, options.platform)
  const merged = mergeImageConfig(request, image.config)
  const id = newId()
  const donor = donorHostname(context, hostConfig)
  const {
    HostConfig: _host,
    NetworkingConfig: _networking,
    ...config
  } = {
    ...request,
    ...withHostname(merged, hostConfig, id, context.config.hostname, donor),
    ...(modeKind(hostConfig.NetworkMode) === 'networks' ? {} : { MacAddress: '' }),
  }
  const command = commandOf(config)
  const name = takeName(context, options.name, id)
  const undo: (() => Promise<void> | void)[] = [() => context.registry.releaseName(name, id)]
  try {
    const paths = containerPaths(context.config, id)
    mkdirSync(paths.dir, { recursive: true, mode: 0o710 })
    chmodSync(paths.dir, 0o710)
    undo.push(() => rmSync(paths.dir, { recursive: true, force: true }))
    await prepareSnapshot(context, id, image.topChainId)
    undo.push(() => removeSnapshot(context, id))
    const recursiveReadOnly = options.apiVersion >= 144
    const mounts = await mountPoints(context, config, hostConfig, { id, recursiveReadOnly })
    undo.push(() => dropVolumes(context, mounts, id))
    for (const point of mounts) if (point.Type === 'volume') context.volumes.acquire(point.Name, id)
    const record: ContainerRecord = {
      id,
      name,
      created: now(),
      ...command,
      imageId: image.id,
      config,
      hostConfig: { ...hostConfig, Sysctls: moved.sysctls, Links: storedLinks(context, hostConfig) },
      networks,
      mounts,
      state: createdState,
      restartCount: 0,
      failures: 0,
      manuallyStopped: false,
      everStarted: false,
    }
    const container = await context.registry.add(record)
    undo.push(() => context.registry.delete(container))
    await prepareRootfs(context, container)
    context.registry.tell(container, 'create')
  } catch (error) {
    await undoAll(undo)
    throw error
  }
  return { id, warnings }
}

/** Older clients name a size of the console and mean none. */
function ofVersion(given: HostConfig | null, apiVersion: number): HostConfig {
  const hostConfig = given ?? hostConfigShape.decode({}, 'HostConfig')
  return apiVersion >= 142 ? hostConfig : { ...hostConfig, ConsoleSize: null }
}

/** EndpointsConfig by network; gates of old API versions. */
function requestedEndpoints(
  request: CreateRequest,
  apiVersion: number,
): Readonly<Record<string, EndpointSettings | null>> {
  const given = request.NetworkingConfig?.EndpointsConfig ?? {}
  const names = Object.keys(given)
  if (apiVersion < 144 && names.length > 1) {
    throw new Refusal(
      'invalid',
      `Container cannot be created with multiple network endpoints: ${names.sort().join(', ')}`,
    )
  }
  const older = {
    ...(apiVersion < 144 ? { MacAddress: '' } : {}),
    ...(apiVersion < 148 ? { GwPriority: 0 } : {}),
  }
  return Object.fromEntries(
    Object.entries(given).map(([name, settings]) => [
      name,
      settings === null ? null : { ...settings, ...older },
    ]),
  )
}

/**
 * `container:NAME` becomes `container:<full id>`. Whose processes or memory are shared must be
 * there; whose network is, only when this one starts.
 */
function resolveModes(context: Context, hostConfig: HostConfig): HostConfig {
  const resolve = (mode: string, mayBeAbsent: boolean): string => {
    if (!mode.startsWith('container:')) return mode
    try {
      return `container:${context.registry.find(mode.slice('container:'.length)).id}`
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      if (mayBeAbsent) return mode
      // Not 404: to clients that would mean a missing image, and they would pull it.
      throw new Refusal('invalid', error.message, { cause: error })
    }
  }
  const { NetworkMode, IpcMode, PidMode } = hostConfig
  return {
    ...hostConfig,
    NetworkMode: resolve(NetworkMode, true),
    IpcMode: resolve(IpcMode, false),
    PidMode: resolve(PidMode, false),
  }
}

function donorHostname(context: Context, { NetworkMode }: HostConfig): string | undefined {
  if (modeKind(NetworkMode) !== 'container') return undefined
  return context.registry.get(NetworkMode.slice('container:'.length))?.record.config.Hostname
}

/** The container-wide MAC address belongs to the main network's endpoint. */
function mergeMac(
  context: Context,
  mac: string,
  hostConfig: HostConfig,
  endpoints: Readonly<Record<string, EndpointSettings | null>>,
  apiVersion: number,
): {
  readonly endpoints: Readonly<Record<string, EndpointSettings | null>>
  readonly warnings: readonly string[]
} {
  const links = isUserNetwork(hostConfig.NetworkMode) ? hostConfig.Links : null
  const kind = modeKind(hostConfig.NetworkMode)
  if (mac !== '' && kind !== 'networks') {
    return { endpoints, warnings: [`MacAddress is discarded when using ${kind} network mode`] }
  }
  if (mac === '' && (links ?? []).length === 0) return { endpoints, warnings: [] }
  const key = mainKey(context, hostConfig, endpoints)
  const settings = endpoints[key] ?? endpointSettingsOf({})
  if (mac !== '' && !(key in endpoints) && Object.keys(endpoints).length > 0) {
    throw new Refusal(
      'invalid',
      'unable to migrate container-wide MAC address to a specific network: HostConfig.NetworkMode ' +
        'must match the identity of a network in NetworkSettings.Networks',
    )
  }
  if (mac !== '' && settings.MacAddress !== '' && settings.MacAddress !== mac) {
    throw new Refusal(
      'invalid',
      'the container-wide MAC address must match the endpoint-specific ' +
        'MAC address for the main network, or be left empty',
    )
  }
  const changed = {
    ...settings,
    MacAddress: mac === '' ? settings.MacAddress : mac,
    Links: settings.Links ?? links,
  }
  const warned = mac !== '' && apiVersion >= 144
  return {
    endpoints: { ...endpoints, [key]: changed },
    warnings: warned
      ? [
          'The container-wide MacAddress field is now deprecated. It should be specified in ' +
            'EndpointsConfig instead.',
        ]
      : [],
  }
}

/** Under which of its names the main network is among the endpoints. */
function mainKey(
  context: Context,
  hostConfig: HostConfig,
  endpoints: Readonly<Record<string, unknown>>,
): string {
  const main = modeName(hostConfig.NetworkMode)
  const own = networkName(context, main)
  return Object.keys(endpoints).find((name) => networkName(context, modeName(name)) === own) ?? main
}

/** Settings of eth0 belong to the main network's endpoint, too. */
function moveSysctls(
  context: Context,
  hostConfig: HostConfig,
  endpoints: Readonly<Record<string, EndpointSettings | null>>,
  apiVersion: number,
) {
  const { Sysctls: sysctls, NetworkMode } = hostConfig
  const key = mainKey(context, hostConfig, endpoints)
  const endpoint = endpoints[key] ?? endpointSettingsOf({})
  const migrated =
    modeKind(NetworkMode) === 'networks'
      ? migrateSysctls(sysctls ?? {}, endpoint, apiVersion)
      : undefined
  if (migrated === undefined) return { sysctls, endpoints, warnings: [] }
  return { ...migrated, endpoints: { ...endpoints, [key]: migrated.endpoint } }
}

function takeName(context: Context, given: string, id: string): string {
  const { registry } = context
  const name =
    given === ''
      ? inventName((candidate) => registry.nameIsFree(candidate), id.slice(0, 12))
      : checkName(given)
  registry.reserveName(name, id)
  return name
}

/** The working directory, and what volumes take over from the image, are made now. */
async function prepareRootfs(context: Context, container: Container): Promise<void> {
  const { config, mounts } = container.record
  const copied = mounts.filter((point) => point.copyUp)
  const needsFolder = config.WorkingDir !== '' && config.WorkingDir !== '/'
  if (copied.length === 0 && !needsFolder) return
  await withRootfs(context, container, async (root) => {
    const own = { path: root.path, mounts: new Map<string, string>() }
    if (needsFolder) makeFolders(own, config.WorkingDir)
    await populateVolumes(own, copied)
  })
}

/** Lets go of the volumes; anonymous ones of this container are removed. */
export async function dropVolumes(
  context: Context,
  mounts: readonly MountPoint[],
  id: string,
  removeAnonymous = true,
): Promise<void> {
  for (const point of mounts) {
    if (point.Type !== 'volume') continue
    context.volumes.release(point.Name, id)
    if (!point.anonymous || !removeAnonymous) continue
    try {
      await context.volumes.remove(point.Name, false)
    } catch (error) {
      if (!(error instanceof Refusal)) throw error
      log.debug('an anonymous volume is used elsewhere', {
        volume: point.Name,
        error: error.message,
      })
    }
  }
}

async function undoAll(undo: readonly (() => Promise<void> | void)[]): Promise<void> {
  for (const step of [...undo].reverse()) {
    try {
      await step()
    } catch (error) {
      log.warn('a step of a failed create could not be undone', { error: messageOf(error) })
    }
  }
}
