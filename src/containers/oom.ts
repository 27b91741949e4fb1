/** Out of memory: containerd's events, subscribed to for as long as the daemon lives. */
import { setTimeout as sleep } from 'node:timers/promises'
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { messageInAny } from './containerd/any.ts'
import { TaskOOMSchema } from './containerd/gen/event_payloads_pb.ts'
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
        if (container === undefined) continue
        container.live.oomKilled = true
        context.registry.tell(container, 'oom')
      }
    } catch (error) {
      log.debug('events of containerd are asked for again', { error: messageOf(error) })
    }
    await sleep(retryDelayMs, undefined, { ref: false })
  }
}
