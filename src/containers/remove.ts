/**
 * Removal of a container: refused while it runs unless forced, then everything that is its own
 * goes: network, snapshot, folder, anonymous volumes, name.
 *
 * A removal that fails half-way leaves the container `dead`; removing it again goes on.
 */
import { rmSync } from 'node:fs'
import { Refusal, messageOf, wrap } from '../base/refusal.ts'
import { unmountAll } from '../kernel/mount.ts'
import { dismissAttachers } from './attach.ts'
import { dropVolumes } from './create.ts'
import { parseLink } from './links.ts'
import { containerPaths } from './paths.ts'
import { deadState, hasProcess, isRunning, removingState } from './record.ts'
import { removeSnapshot } from './rootfs.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'
import { SIGKILL } from './signals.ts'
import { killContainer } from './stop.ts'
import { forgetTask, releaseShm, removeFifos } from './task.ts'

export interface RemoveOptions {
  readonly force: boolean
  /** Anonymous volumes too. */
  readonly volumes: boolean
}

export async function removeContainer(
  context: Context,
  container: Container,
  options: RemoveOptions,
  name: string,
): Promise<void> {
  const { live } = container
  if (live.removing) {
    throw new Refusal('conflict', `removal of container ${name} is already in progress`)
  }
  if (isRunning(container.record.state.status) && !options.force) throw refusalOfRunning(container, name)
  live.removing = true
  try {
    for (let ends = 0; !(await removeIdle(context, container, options)); ends++) {
      if (!options.force || ends === endsMax) throw refusalOfRunning(container, name)
      await endForRemoval(context, container, name)
    }
  } finally {
    live.removing = false
  }
}

/** New starts are refused while it is being removed; as many may have been asked for before. */
const endsMax = 16

/** False when it runs, also because of a start that was asked for earlier than the removal. */
function removeIdle(
  context: Context,
  container: Container,
  options: RemoveOptions,
): Promise<boolean> {
  const { id } = container
  // What runs is ended outside of the queue: its exit is handled inside.
  if (isRunning(container.record.state.status)) return Promise.resolve(false)
  return context.registry.queue.run(id, async () => {
    if (isRunning(container.record.state.status)) return false
    await removeNow(context, container, options.volumes)
    return true
  })
}

const cannot = (name: string): string => `cannot remove container "${name.replace(/^\//, '')}"`

function refusalOfRunning({ record }: Container, name: string): Refusal {
  const { status } = record.state
  const what = `${cannot(name)}: container is ${status}`
  return new Refusal(
    'conflict',
    status === 'paused'
      ? `${what} and must be unpaused first`
      : `${what}: stop the container before removing or force remove`,
  )
}

/** A container that ends by itself meanwhile is what was wanted. */
async function endForRemoval(context: Context, container: Container, name: string): Promise<void> {
  try {
    await killContainer(context, container, SIGKILL, name)
  } catch (error) {
    if (hasProcess(container.record.state.status)) {
      throw wrap(`${cannot(name)}: could not kill: `, error)
    }
  }
  if (hasProcess(container.record.state.status)) {
    throw new Refusal(
      'internal',
      `${cannot(name)}: could not kill: tried to kill container, but did not receive an exit event`,
    )
  }
}

/** Inside the queue, with no process left. */
export async function removeNow(
  context: Context,
  container: Container,
  volumes: boolean,
): Promise<void> {
  const { id, live } = container
  if (context.registry.get(id) === undefined) return
  clearTimeout(live.restartTimer)
  dismissAttachers(container)
  const before = container.record.state
  await context.registry.save(container, { state: removingState(before) })
  const paths = containerPaths(context.config, id)
  let begun = false
  try {
    // First: while containerd is away nothing of the container is touched.
    await forgetTask(context, id)
    begun = true
    await context.networks.close(id)
    await context.keeper.closeStdio(id)
    live.rootfsHolders = 0
    unmountAll(paths.rootfs)
    releaseShm(context, id)
    removeFifos(context, id)
    await removeSnapshot(context, id)
    rmSync(paths.dir, { recursive: true, force: true })
    await dropVolumes(context, container.record.mounts, id, volumes)
  } catch (error) {
    const state = begun ? deadState(container.record.state, messageOf(error)) : before
    await context.registry.save(container, { state })
    throw wrap(`unable to remove container "${id}": `, error)
  }
  await context.registry.delete(container)
  context.registry.tell(container, 'destroy')
  context.registry.wake(container, ['removed', 'not-running', 'next-exit'])
}

/** `docker rm --link parent/alias`: only the link goes. */
export async function removeLink(context: Context, linkName: string): Promise<void> {
  const [parentName = '', alias = ''] = linkName.replace(/^\//, '').split('/')
  if (alias === '')
    throw new Refusal('invalid', `conflict: cannot remove the default link name of the container`)
  const parent = context.registry.find(parentName)
  const links = parent.record.hostConfig.Links ?? []
  const kept = links.filter((text) => parseLink(text).alias !== alias)
  if (kept.length === links.length) {
    throw new Refusal('notFound', `No such link: /${parentName}/${alias}`)
  }
  await context.registry.save(parent, { hostConfig: { ...parent.record.hostConfig, Links: kept } })
}
