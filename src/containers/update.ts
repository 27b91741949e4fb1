/** docker update: limits and restart policy, of a running container at once. */
import { Refusal } from '../base/refusal.ts'
import { anyOci } from './containerd/any.ts'
import { throughRestart } from './containerd/away.ts'
import type { HostConfig, UpdateRequest } from './config.ts'
import { hasProcess } from './record.ts'
import { checkResources, ociResources } from './resources.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'
import { taskFailure } from './task-failure.ts'
import { checkRestartPolicy } from './validate.ts'

/** Fields that a zero value leaves alone; the pointers among them by null. */
const changeable = [
  'CpuShares',
  'Memory',
  'NanoCpus',
  'BlkioWeight',
  'CpuPeriod',
  'CpuQuota',
  'CpuRealtimePeriod',
  'CpuRealtimeRuntime',
  'CpusetCpus',
  'CpusetMems',
  'MemoryReservation',
  'MemorySwap',
  'PidsLimit',
] as const

export function updateContainer(
  context: Context,
  container: Container,
  request: UpdateRequest,
): Promise<readonly string[]> {
  return context.registry.queue.run(container.id, async () => {
    const { status } = container.record.state
    if (status === 'removing' || status === 'dead') {
      throw new Refusal(
        'conflict',
        `Cannot update container ${container.id}: container is marked for removal and cannot ` +
          'be "update".',
      )
    }
    checkRestartPolicy(request.RestartPolicy)
    if (
      container.record.hostConfig.AutoRemove &&
      !['', 'no'].includes(request.RestartPolicy.Name)
    ) {
      throw new Refusal(
        'invalid',
        'Restart policy cannot be updated because AutoRemove is enabled for the container',
      )
    }
    checkResources(request, true)
    const merged = merge(container.id, container.record.hostConfig, request)
    const { resources: hostConfig, warnings } = checkResources(merged, true)
    const kept = keptFields(request)
    if (hasProcess(status)) await apply(context, container, hostConfig)
    await context.registry.save(container, { hostConfig })
    context.registry.tell(container, 'update')
    return [...kept, ...warnings]
  })
}

/** What can be given when a container is created only. */
function keptFields(request: UpdateRequest): readonly string[] {
  const taken: readonly string[] = [...changeable, 'RestartPolicy']
  return Object.entries(request)
    .filter(([field, value]) => !taken.includes(field) && isSet(value))
    .map(([field]) => `${field} of a container cannot be updated. ${field} discarded.`)
}

const isSet = (value: unknown): boolean =>
  Array.isArray(value)
    ? value.length > 0
    : value !== '' && value !== 0 && value !== false && value !== null

/** What excludes each other, the one asked for and the other there already. */
const exclusive = [
  ['NanoCpus', 'Nano CPUs', 'CpuPeriod', 'CPU Period'],
  ['NanoCpus', 'Nano CPUs', 'CpuQuota', 'CPU Quota'],
  ['CpuPeriod', 'CPU Period', 'NanoCpus', 'NanoCPUs'],
  ['CpuQuota', 'CPU Quota', 'NanoCpus', 'NanoCPUs'],
] as const

function conflictOf(hostConfig: HostConfig, request: UpdateRequest): string | undefined {
  const { Memory, MemorySwap } = request
  const pair = exclusive.find(([asked, , set]) => request[asked] > 0 && hostConfig[set] > 0)
  if (pair !== undefined) {
    const [, asked, , set] = pair
    return `Conflicting options: ${asked} cannot be updated as ${set} has already been set`
  }
  return Memory !== 0 && Memory > hostConfig.MemorySwap && MemorySwap === 0
    ? 'Memory limit should be smaller than already set memoryswap limit, ' +
        'update the memoryswap at the same time'
    : undefined
}

function merge(id: string, hostConfig: HostConfig, request: UpdateRequest): HostConfig {
  const conflict = conflictOf(hostConfig, request)
  if (conflict !== undefined) {
    throw new Refusal('conflict', `Cannot update container ${id}: ${conflict}`)
  }
  let merged = hostConfig
  for (const field of changeable) {
    const value = request[field]
    if (value !== 0 && value !== '' && value !== null) merged = { ...merged, [field]: value }
  }
  if (request.RestartPolicy.Name !== '')
    merged = { ...merged, RestartPolicy: request.RestartPolicy }
  return merged
}

async function apply(
  context: Context,
  container: Container,
  hostConfig: HostConfig,
): Promise<void> {
  const resources = anyOci('LinuxResources', ociResources(hostConfig))
  const request = { containerId: container.id, resources }
  try {
    await throughRestart(() => context.containerd.tasks.update(request))
  } catch (error) {
    const failure = taskFailure(container, error, `Cannot update container ${container.id}`)
    // It has ended meanwhile: then the next start has the new limits.
    if (failure.kind !== 'conflict') throw failure
  }
}
