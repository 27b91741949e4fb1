/**
 * The root file system of a container: a containerd snapshot, mounted by us at
 * `<dataRoot>/containers/<id>/rootfs` while somebody uses it.
 *
 * The daemon and containerd share the mount namespace. The snapshot carries the label that keeps
 * containerd's garbage collector away for as long as the container exists.
 */
import { closeSync, constants, existsSync, mkdirSync, openSync, symlinkSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { errorCode } from '../base/error-code.ts'
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { throughRestart } from './containerd/away.ts'
import { snapshotter, isAlreadyExists, unlessNotFound } from './containerd/client.ts'
import { hasExited } from '../kernel/process.ts'
import { isMountPoint, mountAll, unmountAll } from '../kernel/mount.ts'
import { containerPaths } from './paths.ts'
import { hasProcess } from './record.ts'
import type { MountPoint } from './record.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'
import { makeFolders, withPlace, type Root } from './rooted-path.ts'

/** What containerd has of ours carries it, with the container's id. */
export const containerLabel = 'portolan.container'

/** Ids of containers that have a snapshot. */
export async function snapshotOwners(context: Context): Promise<readonly string[]> {
  const ids: string[] = []
  const filters = [`labels."${containerLabel}"`]
  for await (const { info } of context.containerd.snapshots.list({ snapshotter, filters })) {
    ids.push(...info.map(({ name }) => name))
  }
  return ids
}

/** Makes the writable snapshot on top of an image. */
export async function prepareSnapshot(context: Context, id: string, parent: string): Promise<void> {
  const labels = { 'containerd.io/gc.root': new Date().toISOString(), [containerLabel]: id }
  try {
    await throughRestart(() =>
      context.containerd.snapshots.prepare({ snapshotter, key: id, parent, labels }),
    )
  } catch (error) {
    if (!isAlreadyExists(error)) throw error
  }
}

export async function removeSnapshot(context: Context, id: string): Promise<void> {
  const { snapshots } = context.containerd
  await unlessNotFound(throughRestart(() => snapshots.remove({ snapshotter, key: id })))
}

/** Mounts the root file system, or counts one more user of it. Every call needs its release. */
export async function holdRootfs(context: Context, container: Container): Promise<string> {
  const { rootfs } = containerPaths(context.config, container.id)
  container.live.rootfsHolders++
  try {
    if (container.live.rootfsHolders === 1 && !isMountPoint(rootfs)) {
      await mountRootfs(context, container.id, rootfs)
    } else {
      await container.live.rootfsReady
    }
  } catch (error) {
    container.live.rootfsHolders--
    throw error
  }
  return rootfs
}

function mountRootfs(context: Context, id: string, rootfs: string): Promise<void> {
  const ready = (async () => {
    mkdirSync(rootfs, { recursive: true })
    const { mounts } = await context.containerd.snapshots.mounts({ snapshotter, key: id })
    mountAll(
      mounts.map((entry) => ({
        type: entry.type,
        source: entry.source,
        target: rootfs,
        options: entry.options,
      })),
    )
    markAsContainer(rootfs)
  })()
  const container = context.registry.get(id)
  if (container !== undefined) container.live.rootfsReady = ready
  return ready
}

/**
 * What Docker puts into every root: `/.dockerenv`, empty, which many programs look for to know that
 * they run in a container, and `/etc/mtab`, which some read to know what is mounted.
 */
function markAsContainer(rootfs: string): void {
  linkMtab({ path: rootfs, mounts: new Map() })
  const { O_CREAT, O_EXCL, O_WRONLY } = constants
  try {
    // O_EXCL: whatever an image has under that name, a link too, stays as it is.
    closeSync(openSync(join(rootfs, '.dockerenv'), O_CREAT | O_EXCL | O_WRONLY, 0o755))
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error
  }
}

/** An image whose /etc is a file has no place for it. */
function linkMtab(root: Root): void {
  try {
    makeFolders(root, '/etc')
    withPlace(root, '/etc/mtab', false, ({ path, exists }) => {
      if (!exists) symlinkSync('/proc/mounts', path)
    })
  } catch (error) {
    if (errorCode(error) !== 'ENOTDIR') throw error
    log.debug('no place for /etc/mtab', { root: root.path, error: messageOf(error) })
  }
}

export function releaseRootfs(context: Context, container: Container): void {
  container.live.rootfsHolders = Math.max(0, container.live.rootfsHolders - 1)
  if (container.live.rootfsHolders === 0)
    unmountAll(containerPaths(context.config, container.id).rootfs)
}

/** Runs `section` while the root file system can be looked at, running or not. */
export async function withRootfs<T>(
  context: Context,
  container: Container,
  section: (root: Root) => Promise<T>,
): Promise<T> {
  const rootfs = await holdRootfs(context, container)
  try {
    return await section(rootOf(container, rootfs))
  } finally {
    releaseRootfs(context, container)
  }
}

/** A running container is seen through its own mounts; else volumes and binds are put in by us. */
export function rootOf(container: Container, rootfs: string): Root {
  const { state, mounts } = container.record
  if (hasProcess(state.status) && !hasExited(state.pid)) {
    return { path: `/proc/${state.pid}/root`, mounts: new Map() }
  }
  const mounted = new Map([...networkFiles(dirname(rootfs)), ...mountSources(mounts)])
  return { path: rootfs, mounts: mounted }
}

/** Looks again when the process ended meanwhile, and its mounts with it. */
export function lookInside<T>(
  context: Context,
  container: Container,
  look: (root: Root) => T,
): T {
  const { rootfs } = containerPaths(context.config, container.id)
  try {
    return look(rootOf(container, rootfs))
  } catch (error) {
    const { state } = container.record
    if (!hasProcess(state.status) || !hasExited(state.pid)) throw error
    return look(rootOf(container, rootfs))
  }
}

/** What its last run had for these is what a container that was stopped shows. */
function networkFiles(folder: string): readonly (readonly [string, string])[] {
  return ['hosts', 'hostname', 'resolv.conf']
    .map((name) => [`/etc/${name}`, join(folder, name)] as const)
    .filter(([, source]) => existsSync(source))
}

function mountSources(mounts: readonly MountPoint[]): ReadonlyMap<string, string> {
  return new Map(
    mounts.filter((point) => point.Source !== '').map((point) => [point.Destination, point.Source]),
  )
}
