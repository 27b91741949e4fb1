/**
 * Volumes of the local driver: a folder `<dataRoot>/volumes/<name>/_data` each, known to the
 * store, with their users (containers, running or not) in memory.
 *
 * A volume that names a device is mounted while it has a user. Folders found on disk that the
 * store does not know are volumes too: user data is never swept.
 */
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { EmitEvent } from '../../base/event.ts'
import { newId } from '../../base/id.ts'
import { KeyedQueue } from '../../base/queue.ts'
import { messageOf, Refusal } from '../../base/refusal.ts'
import type { Collection, Store } from '../../store/store.ts'
import { truthFilter } from '../truth-filter.ts'
import { matchesLabels, type Filters } from '../label-filter.ts'
import { mountVolume, needsMount, unmountVolume } from './options.ts'
import { checkVolumeRequest, isVolumeName, matchesName } from './check.ts'
import {
  anonymousLabel,
  isAnonymous,
  parseVolume,
  type Volume,
  type VolumeRecord,
} from './record.ts'
import { folderBytes } from './usage.ts'

export interface VolumeRequest {
  /** '' invents one and makes the volume anonymous, as `docker volume create` does. */
  readonly name: string
  /** '' is the default, `local`. */
  readonly driver: string
  readonly options: Readonly<Record<string, string>> | null
  readonly labels: Readonly<Record<string, string>> | null
  /** In use by this container from the beginning, so that no prune comes between. */
  readonly containerId?: string
}

export interface VolumeUsage {
  readonly volume: Volume
  readonly bytes: number
  readonly users: number
}

export interface Pruned {
  readonly names: readonly string[]
  readonly bytes: number
}

export interface Volumes {
  /** Makes it, or answers the one that is there. */
  create(request: VolumeRequest): Promise<Volume>
  /** Refuses with «get X: no such volume». */
  find(name: string): Volume
  list(filters: Filters): readonly Volume[]
  /** @param force a volume that is not there is no error */
  remove(name: string, force: boolean): Promise<void>
  /** Unused ones: anonymous only, unless the filter all=true is set or `every` (old clients). */
  prune(filters: Filters, every?: boolean): Promise<Pruned>
  /** Counts the container as a user; mounts what must be mounted. Harmless twice. */
  acquire(name: string, containerId: string): void
  release(name: string, containerId: string): void
  usedBy(name: string): readonly string[]
  /** With sizes; walks the folders. */
  usage(): Promise<readonly VolumeUsage[]>
  /** Detaches every volume's mount, for the teardown of the engine. */
  unmountAll(): void
}

const collection = 'volumes'
const driverName = 'local'

/** @param root absolute; the folder that holds the volumes */
export async function openVolumes(root: string, store: Store, emit: EmitEvent): Promise<Volumes> {
  mkdirSync(root, { recursive: true, mode: 0o701 })
  const volumes = new LocalVolumes(root, store, emit)
  await volumes.adoptFolders()
  return volumes
}

const timestamp = (): string => new Date().toISOString().replace(/\.\d+Z$/, 'Z')

class LocalVolumes implements Volumes {
  readonly #root: string
  readonly #store: Store
  readonly #emit: EmitEvent
  readonly #records: Collection<VolumeRecord>
  readonly #users = new Map<string, Set<string>>()
  readonly #queue = new KeyedQueue()

  constructor(root: string, store: Store, emit: EmitEvent) {
    this.#root = root
    this.#store = store
    this.#emit = emit
    this.#records = store.collection(collection, parseVolume)
  }

  async adoptFolders(): Promise<void> {
    const unknown = readdirSync(this.#root, { withFileTypes: true }).filter(
      (entry) =>
        entry.isDirectory() &&
        isVolumeName(entry.name) &&
        this.#records.get(entry.name) === undefined &&
        existsSync(this.#mountpoint(entry.name)),
    )
    if (unknown.length === 0) return
    const createdAt = timestamp()
    await this.#store.write(
      unknown.map(({ name }) => ({
        collection,
        id: name,
        document: { name, driver: driverName, labels: null, options: null, createdAt },
      })),
    )
  }

  create(request: VolumeRequest): Promise<Volume> {
    const anonymous = request.name === ''
    const name = anonymous ? newId() : request.name
    return this.#queue.run(name, async () => {
      checkVolumeRequest(name, request)
      const present = this.#records.get(name)
      if (request.containerId !== undefined) this.#userSet(name).add(request.containerId)
      if (present !== undefined) return this.#volume(present)
      const record: VolumeRecord = {
        name,
        driver: driverName,
        labels: anonymous ? { ...request.labels, [anonymousLabel]: '' } : request.labels,
        options: request.options,
        createdAt: timestamp(),
      }
      try {
        mkdirSync(this.#mountpoint(name), { recursive: true, mode: 0o755 })
        await this.#store.write([{ collection, id: name, document: record }])
      } catch (error) {
        this.#users.delete(name)
        await rm(join(this.#root, name), { recursive: true, force: true })
        throw new Refusal('internal', `create ${name}: ${messageOf(error)}`, { cause: error })
      }
      this.#tell('create', name, { driver: driverName })
      return this.#volume(record)
    })
  }

  find(name: string): Volume {
    const record = this.#records.get(name)
    if (record === undefined) throw noSuchVolume(name)
    return this.#volume(record)
  }

  list(filters: Filters): readonly Volume[] {
    const dangling = truthFilter('dangling', filters.get('dangling'))
    return this.#records
      .all()
      .filter(
        (record) =>
          matchesLabels(record.labels, filters) &&
          (dangling === undefined || dangling === (this.usedBy(record.name).length === 0)) &&
          matchesName(record.name, filters.get('name')) &&
          (filters.get('driver') ?? [driverName]).includes(record.driver),
      )
      .map((record) => this.#volume(record))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  remove(name: string, force: boolean): Promise<void> {
    return this.#queue.run(name, async () => {
      if (this.#records.get(name) === undefined) {
        if (force) return
        throw noSuchVolume(name)
      }
      const users = this.usedBy(name)
      if (users.length > 0) {
        const text = `remove ${name}: volume is in use - [${users.join(', ')}]`
        throw new Refusal('conflict', text)
      }
      unmountVolume(this.#mountpoint(name))
      // The folder first: a crash between leaves an empty volume, never data without a name.
      await rm(join(this.#root, name), { recursive: true, force: true })
      await this.#store.write([{ collection, id: name, document: null }])
      this.#tell('destroy', name, { driver: driverName })
    })
  }

  async prune(filters: Filters, every = false): Promise<Pruned> {
    const all = every || truthFilter('all', filters.get('all')) === true
    const names: string[] = []
    let bytes = 0
    for (const record of this.#records.all()) {
      if (this.usedBy(record.name).length > 0 || !matchesLabels(record.labels, filters)) continue
      if (!all && !isAnonymous(record)) continue
      const size = await folderBytes(this.#mountpoint(record.name))
      try {
        await this.remove(record.name, true)
      } catch (error) {
        if (error instanceof Refusal && error.kind === 'conflict') continue // taken meanwhile
        throw error
      }
      names.push(record.name)
      bytes += size
    }
    this.#emit({
      type: 'volume',
      action: 'prune',
      id: '',
      attributes: { reclaimed: String(bytes) },
    })
    return { names, bytes }
  }

  acquire(name: string, containerId: string): void {
    const { mountpoint, options } = this.find(name)
    if (options !== null && needsMount(options)) mountVolume(mountpoint, options)
    this.#userSet(name).add(containerId)
  }

  release(name: string, containerId: string): void {
    const users = this.#users.get(name)
    users?.delete(containerId)
    if (users === undefined || users.size > 0) return
    this.#users.delete(name)
    const options = this.#records.get(name)?.options ?? null
    if (needsMount(options)) unmountVolume(this.#mountpoint(name))
  }

  usedBy(name: string): readonly string[] {
    return [...(this.#users.get(name) ?? [])]
  }

  async usage(): Promise<readonly VolumeUsage[]> {
    const found: VolumeUsage[] = []
    for (const volume of this.list(new Map())) {
      const bytes = await folderBytes(volume.mountpoint)
      found.push({ volume, bytes, users: this.usedBy(volume.name).length })
    }
    return found
  }

  unmountAll(): void {
    for (const record of this.#records.all()) {
      if (needsMount(record.options)) unmountVolume(this.#mountpoint(record.name))
    }
  }

  #volume(record: VolumeRecord): Volume {
    return { ...record, mountpoint: this.#mountpoint(record.name) }
  }

  #mountpoint(name: string): string {
    return join(this.#root, name, '_data')
  }

  #userSet(name: string): Set<string> {
    const users = this.#users.get(name) ?? new Set()
    this.#users.set(name, users)
    return users
  }

  #tell(action: string, id: string, attributes: Readonly<Record<string, string>>): void {
    this.#emit({ type: 'volume', action, id, attributes })
  }
}

const noSuchVolume = (name: string): Refusal =>
  new Refusal('notFound', `get${name === '' ? '' : ` ${name}`}: no such volume`)
