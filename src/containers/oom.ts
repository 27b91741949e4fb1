/**
 * Out of memory: containerd's events, subscribed to for as long as the daemon lives. They may come
 * after the exit: so the counter in the cgroup is read, too, before that goes.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { errorCode } from '../base/error-code.ts'
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { messageInAny } from './containerd/any.ts'
import { TaskOOMSchema } from './containerd/gen/event_payloads_pb.ts'
import { cgroupsPathOf } from './cgroup-path.ts'
import { cgroupFolder, cgroupLayout } from './cgroups.ts'
import { hasProcess } from './record.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'

const retryDelayMs = 500

/** Runs until the daemon lets go. */
export async function watchOom(context: Context): Promise<void> {
  const filters = [`namespace==${context.containerd.namespace},topic~=^/tasks/oom`]
  while (!context.closing.aborted) {
    try {
      const stream = context.containerd.events.subscribe({ filters }, { signal: context.closing })
      for await (const { event } of stream) {
        const container = context.registry.get(
          messageInAny(TaskOOMSchema, event)?.containerId ?? '',
        )
        // Without a process it is late: the counter has told already.
        if (container !== undefined && hasProcess(container.record.state.status)) {
          notice(context, container)
        }
      }
    } catch (error) {
      log.debug('events of containerd are asked for again', { error: messageOf(error) })
    }
    await sleep(retryDelayMs, undefined, { ref: false })
  }
}

/** Before the cgroup goes; nothing where it has gone already, or is not mounted. */
export function lookForOom(context: Context, container: Container): void {
  if (container.live.oomKilled) return
  const layout = cgroupLayout()
  const folder = cgroupFolder(layout, 'memory', cgroupsPathOf(container.record, context.config))
  if (folder === '') return
  const file = join(folder, layout.version === 2 ? 'memory.events' : 'memory.oom_control')
  if (/^oom_kill [1-9]/m.test(contentOf(file))) notice(context, container)
}

function contentOf(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    // systemd takes an empty cgroup away when it likes, in the middle of our look, too.
    if (errorCode(error) !== '') return ''
    throw error
  }
}

function notice(context: Context, container: Container): void {
  container.live.oomKilled = true
  context.registry.tell(container, 'oom')
}
