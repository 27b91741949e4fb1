/**
 * The mounts of a new container, collected from --volumes-from, -v, --mount, and the image's
 * volumes, in that order of precedence; volumes that are named are made.
 */
import { mkdirSync, realpathSync, statSync } from 'node:fs'
import { release } from 'node:os'
import { isAbsolute, join, normalize } from 'node:path'
import { randomHex } from '../base/id.ts'
import { Refusal, messageOf } from '../base/refusal.ts'
import type { Config, HostConfig, MountSpec } from './config.ts'
import { cleanDestination, parseBind, propagations, tmpfsOptions } from './mount-options.ts'
import type { MountPoint } from './record.ts'
import type { Context } from './rooms.ts'

const blank: MountPoint = {
  Type: '',
  Name: '',
  Source: '',
  Destination: '',
  Driver: '',
  Mode: '',
  RW: true,
  Propagation: '',
  anonymous: false,
  copyUp: false,
  subpath: '',
  options: null,
  createSource: false,
}

/** Collects them; a volume that was made stays when a later one is refused (as the engine's do). */
export async function mountPoints(
  context: Context,
  config: Config,
  hostConfig: HostConfig,
  { id, recursiveReadOnly }: MountOwner,
): Promise<readonly MountPoint[]> {
  const points = new Map<string, MountPoint>()
  for (const point of volumesFrom(context, hostConfig)) points.set(point.Destination, point)
  const own = new Set<string>()
  const claim = (destination: string) => {
    if (own.has(destination)) throw new Refusal('invalid', `Duplicate mount point: ${destination}`)
    own.add(destination)
  }
  for (const text of hostConfig.Binds ?? []) {
    const point = propagated(context, await bindPoint(context, text, hostConfig.VolumeDriver, id))
    claim(point.Destination)
    points.set(point.Destination, point)
  }
  for (const spec of hostConfig.Mounts ?? []) {
    const point = propagated(context, await mountPoint(context, spec, id))
    claim(point.Destination)
    points.set(point.Destination, point)
  }
  const tmpfs = new Set(Object.keys(hostConfig.Tmpfs ?? {}).map(cleanDestination))
  for (const destination of tmpfs) claim(destination)
  for (const path of Object.keys(config.Volumes ?? {})) {
    const destination = cleanDestination(path)
    if (points.has(destination) || tmpfs.has(destination)) continue
    points.set(destination, await anonymousPoint(context, destination, hostConfig.VolumeDriver, id))
  }
  const recursive = recursiveReadOnly && canBeRecursive()
  return [...points.values()].map((point) =>
    recursive && point.Type === 'bind' && !point.RW ? withRecursion(point) : point,
  )
}

/**
 * A bind of the engine's data, or of what holds it (`-v /:/host`), follows what is mounted and
 * unmounted there: as a private one it would keep the file systems of other containers alive.
 */
function propagated({ config }: Context, point: MountPoint): MountPoint {
  if (point.Type !== 'bind') return point
  const { Source, Propagation } = point
  const root = realpathSync(config.dataRoot)
  if (!isWithin(Source, root) && !isWithin(root, Source)) {
    return { ...point, Propagation: Propagation === '' ? 'rprivate' : Propagation }
  }
  if (!['', 'rslave', 'rshared'].includes(Propagation)) {
    throw new Refusal(
      'invalid',
      'invalid mount config: must use either propagation mode "rslave" or "rshared" when mount ' +
        `source is within the daemon root, daemon root: "${root}", bind mount source: ` +
        `"${Source}", propagation: "${Propagation}"`,
    )
  }
  return { ...point, Propagation: Propagation === '' ? 'rslave' : Propagation }
}

const isWithin = (path: string, folder: string): boolean => `${path}/`.startsWith(join(folder, '/'))

/** Whose mounts they are, and how its API version takes «read-only». */
export interface MountOwner {
  readonly id: string
  /** With what is mounted below it, unless the mount says otherwise. */
  readonly recursiveReadOnly: boolean
}

/** The kernel has mount_setattr. */
function canBeRecursive(): boolean {
  const [major = 0, minor = 0] = release().split('.').map(Number)
  return major > 5 || (major === 5 && minor >= 12)
}

function withRecursion(point: MountPoint): MountPoint {
  const options = point.options ?? []
  const decided = options.some((option) => ['bind', 'rro', 'nonrecursive-ro'].includes(option))
  const isPrivate = ['', 'rprivate'].includes(point.Propagation)
  return decided || !isPrivate ? point : { ...point, options: [...options, 'rro'] }
}

/** All refusals that need nothing made; mounts are parsed again when they are collected. */
export function checkMounts(hostConfig: HostConfig): void {
  for (const text of hostConfig.Binds ?? []) parseBind(text)
  for (const spec of hostConfig.Mounts ?? []) checkMountSpec(spec)
  for (const [path, options] of Object.entries(hostConfig.Tmpfs ?? {})) {
    if (!isAbsolute(path)) {
      throw new Refusal('invalid', `invalid mount path: '${path}' mount path must be absolute`)
    }
    tmpfsOptions(options)
  }
}

function volumesFrom(context: Context, hostConfig: HostConfig): readonly MountPoint[] {
  return (hostConfig.VolumesFrom ?? []).flatMap((text) => {
    const [name = '', mode = ''] = text.split(':')
    if (name === '') {
      throw new Refusal('invalid', 'volumes-from specification cannot be an empty string')
    }
    if (!['', 'ro', 'rw', 'z', 'Z'].includes(mode)) {
      throw new Refusal('invalid', `invalid mode: ${mode}`)
    }
    return donorMounts(context, name).map((point) => ({
      ...point,
      copyUp: false,
      RW: point.RW && mode !== 'ro',
      anonymous: false,
    }))
  })
}

function donorMounts(context: Context, name: string): readonly MountPoint[] {
  try {
    return context.registry.find(name).record.mounts
  } catch (error) {
    // Not 404: to clients that would mean a missing image, and they would pull it.
    throw new Refusal('invalid', messageOf(error), { cause: error })
  }
}

async function bindPoint(
  context: Context,
  text: string,
  driver: string,
  id: string,
): Promise<MountPoint> {
  const spec = parseBind(text)
  const common = { ...blank, Destination: spec.destination, RW: !spec.readOnly }
  if (isAbsolute(spec.source)) {
    return {
      ...common,
      Type: 'bind',
      Source: cleanDestination(spec.source),
      Mode: spec.mode,
      Propagation: spec.propagation,
      createSource: true,
    }
  }
  if (spec.source === '') return anonymousPoint(context, spec.destination, driver, id)
  const volume = await context.volumes.create({
    name: spec.source,
    driver,
    options: null,
    labels: null,
  })
  return {
    ...common,
    Type: 'volume',
    Name: volume.name,
    Source: volume.mountpoint,
    Driver: 'local',
    Mode: spec.mode === '' ? 'z' : spec.mode,
    copyUp: !spec.noCopy,
  }
}

async function anonymousPoint(
  context: Context,
  destination: string,
  driver: string,
  id: string,
): Promise<MountPoint> {
  if (!isAbsolute(destination)) {
    throw new Refusal(
      'invalid',
      `invalid volume specification: '${destination}': invalid mount ` +
        `config for type "volume": invalid mount path: '${destination}' mount path must be ` +
        'absolute',
    )
  }
  const name = randomHex(32)
  const labels = { 'com.docker.volume.anonymous': '' }
  const volume = await context.volumes.create({
    name,
    driver,
    options: null,
    labels,
    containerId: id,
  })
  return {
    ...blank,
    Type: 'volume',
    Name: volume.name,
    Source: volume.mountpoint,
    Destination: destination,
    Driver: 'local',
    anonymous: true,
    copyUp: true,
  }
}

const badMount = (spec: MountSpec, why: string) =>
  new Refusal('invalid', `invalid mount config for type "${spec.Type}": ${why}`)

function checkVolumeSpec(spec: MountSpec): void {
  const subpath = spec.VolumeOptions?.Subpath ?? ''
  if (spec.Source === '' && subpath !== '') {
    throw badMount(spec, 'must not set Subpath when using anonymous volumes')
  }
  if (isAbsolute(subpath) || normalize(subpath).split('/')[0] === '..') {
    throw badMount(spec, 'subpath must be a relative path within the volume')
  }
  if (spec.Source === '' && spec.ReadOnly) {
    throw badMount(spec, 'must not set ReadOnly mode when using anonymous volumes')
  }
}

/** Read-only for what is mounted below it, too, where the kernel can do that. */
function checkReadOnly(spec: MountSpec): void {
  const { ReadOnlyNonRecursive, ReadOnlyForceRecursive } = spec.BindOptions ?? {}
  if (ReadOnlyNonRecursive !== true && ReadOnlyForceRecursive !== true) return
  const option = ReadOnlyForceRecursive === true ? 'ForceRecursive' : 'NonRecursive'
  if (!spec.ReadOnly) {
    throw badMount(spec, `mount option ReadOnly${option} requires ReadOnly to be specified`)
  }
  if (ReadOnlyNonRecursive === true && ReadOnlyForceRecursive === true) {
    throw badMount(
      spec,
      'mount options ReadOnlyNonRecursive and ReadOnlyForceRecursive exclude each other',
    )
  }
  if (ReadOnlyForceRecursive === true && !['', 'rprivate'].includes(propagationOf(spec))) {
    throw badMount(
      spec,
      'mount option ReadOnlyForceRecursive requires Propagation to be rprivate',
    )
  }
}

const propagationOf = (spec: MountSpec): string => spec.BindOptions?.Propagation ?? ''

function checkMountSpec(spec: MountSpec): void {
  if (spec.Target === '') throw badMount(spec, 'field Target must not be empty')
  if (!['bind', 'volume', 'tmpfs'].includes(spec.Type)) throw badMount(spec, 'mount type unknown')
  if (cleanDestination(spec.Target) === '/') {
    throw badMount(spec, "invalid specification: destination can't be '/'")
  }
  if (!isAbsolute(spec.Target)) {
    throw badMount(spec, `invalid mount path: '${spec.Target}' mount path must be absolute`)
  }
  if (spec.Type === 'bind') {
    if (spec.Source === '') throw badMount(spec, 'field Source must not be empty')
    if (!isAbsolute(spec.Source)) {
      throw badMount(spec, `invalid mount path: '${spec.Source}' mount path must be absolute`)
    }
    checkReadOnly(spec)
    const propagation = propagationOf(spec)
    if (propagation !== '' && !propagations.has(propagation)) {
      throw badMount(spec, `invalid propagation mode: ${propagation}`)
    }
  }
  if (spec.Type === 'tmpfs' && spec.Source !== '')
    throw badMount(spec, 'field Source must not be specified')
  if (spec.Type !== 'bind' && spec.BindOptions !== null) {
    throw badMount(spec, 'field BindOptions must not be specified')
  }
  if (spec.Type !== 'volume' && spec.VolumeOptions !== null) {
    throw badMount(spec, 'field VolumeOptions must not be specified')
  }
  if (spec.Type !== 'tmpfs' && spec.TmpfsOptions !== null) {
    throw badMount(spec, 'field TmpfsOptions must not be specified')
  }
  if (spec.Type === 'volume') checkVolumeSpec(spec)
  if (spec.Type === 'tmpfs') tmpfsMountOptions(spec)
  if (!['', 'default', 'consistent', 'cached', 'delegated'].includes(spec.Consistency)) {
    throw badMount(spec, `invalid consistency: ${spec.Consistency}`)
  }
}

async function mountPoint(context: Context, spec: MountSpec, id: string): Promise<MountPoint> {
  checkMountSpec(spec)
  const Destination = cleanDestination(spec.Target)
  const common = { ...blank, Type: spec.Type, Destination, RW: !spec.ReadOnly }
  if (spec.Type === 'tmpfs') {
    return { ...common, options: tmpfsMountOptions(spec) }
  }
  if (spec.Type === 'bind') return bindMount(spec, common)
  const named = spec.Source !== ''
  const given = spec.VolumeOptions?.Labels ?? null
  const volume = await context.volumes.create({
    name: named ? spec.Source : randomHex(32),
    driver: spec.VolumeOptions?.DriverConfig?.Name ?? '',
    options: spec.VolumeOptions?.DriverConfig?.Options ?? null,
    labels: named ? given : { 'com.docker.volume.anonymous': '', ...given },
    ...(named ? {} : { containerId: id }),
  })
  return {
    ...common,
    Name: volume.name,
    Source: volume.mountpoint,
    Driver: 'local',
    Mode: 'z',
    anonymous: !named,
    copyUp: spec.VolumeOptions?.NoCopy !== true,
    subpath: spec.VolumeOptions?.Subpath ?? '',
  }
}

function tmpfsMountOptions(spec: MountSpec): readonly string[] {
  const { SizeBytes = 0, Mode = 0, Options = [] } = spec.TmpfsOptions ?? {}
  const given = (Options ?? []).map((pair) => (pair ?? []).join('='))
  return [
    ...tmpfsOptions(given.join(',')),
    ...(SizeBytes > 0 ? [`size=${SizeBytes}`] : []),
    ...(Mode > 0 ? [`mode=${Mode.toString(8)}`] : []),
    ...(spec.ReadOnly ? ['ro'] : []),
  ]
}

function bindMount(spec: MountSpec, common: MountPoint): MountPoint {
  const options = spec.BindOptions
  const createSource = options?.CreateMountpoint === true
  if (!createSource && statSync(spec.Source, { throwIfNoEntry: false }) === undefined) {
    throw badMount(spec, `bind source path does not exist: ${spec.Source}`)
  }
  return {
    ...common,
    Source: cleanDestination(spec.Source),
    Propagation: propagationOf(spec),
    options: [
      ...(options?.NonRecursive === true ? ['bind'] : []),
      ...(options?.ReadOnlyForceRecursive === true ? ['rro'] : []),
      ...(options?.ReadOnlyNonRecursive === true ? ['nonrecursive-ro'] : []),
    ],
    createSource,
  }
}

/** Makes the host folders of `-v /host:/inside` that do not exist, as the engine does. */
export function makeBindSources(points: readonly MountPoint[]): void {
  for (const point of points) {
    if (point.Type !== 'bind') continue
    if (statSync(point.Source, { throwIfNoEntry: false }) !== undefined) continue
    if (!point.createSource) {
      throw new Refusal(
        'invalid',
        `invalid mount config for type "bind": bind source path does not exist: ${point.Source}`,
      )
    }
    try {
      mkdirSync(point.Source, { recursive: true, mode: 0o755 })
    } catch (error) {
      throw new Refusal(
        'internal',
        `error while creating mount source path '${point.Source}': ${messageOf(error)}`,
        { cause: error },
      )
    }
  }
}
