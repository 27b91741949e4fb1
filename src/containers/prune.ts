/** docker container prune: everything that does not run, by age and label. */
import { Refusal } from '../base/refusal.ts'
import { snapshotter } from './containerd/client.ts'
import { matchesLabels } from './label-filter.ts'
import { isRunning } from './record.ts'
import { removeContainer } from './remove.ts'
import type { Context } from './rooms.ts'
import { epochMs, parseMoment } from './time.ts'

export interface PrunedContainers {
  readonly ids: readonly string[]
  readonly bytes: number
}

const filterNames = new Set(['until', 'label', 'label!'])
let isPruning = false

export async function pruneContainers(
  context: Context,
  filters: ReadonlyMap<string, readonly string[]>,
): Promise<PrunedContainers> {
  for (const name of filters.keys()) {
    if (!filterNames.has(name)) throw new Refusal('invalid', `invalid filter '${name}'`)
  }
  const [until, second] = filters.get('until') ?? []
  if (second !== undefined) throw new Refusal('invalid', 'more than one until filter specified')
  const latestMs = until === undefined ? Infinity : Number(parseMoment(until) / 1_000_000n)
  if (isPruning) throw new Refusal('conflict', 'a prune operation is already running')
  isPruning = true
  try {
    return await removeAll(context, filters, latestMs)
  } finally {
    isPruning = false
  }
}

async function removeAll(
  context: Context,
  filters: ReadonlyMap<string, readonly string[]>,
  latestMs: number,
): Promise<PrunedContainers> {
  const ids: string[] = []
  let bytes = 0
  for (const container of context.registry.all()) {
    const { state, created, config } = container.record
    if (isRunning(state.status) || epochMs(created) > latestMs) continue
    if (!matchesLabels(config.Labels, filters)) continue
    const { size } = await context.containerd.snapshots.usage({ snapshotter, key: container.id })
    try {
      await removeContainer(context, container, { force: false, volumes: false }, container.id)
    } catch (error) {
      // Started, or removed by somebody else, meanwhile.
      if (error instanceof Refusal && error.kind === 'conflict') continue
      throw error
    }
    ids.push(container.id)
    bytes += Number(size)
  }
  context.emit({
    type: 'container',
    action: 'prune',
    id: '',
    attributes: { reclaimed: String(bytes) },
  })
  return { ids, bytes }
}
