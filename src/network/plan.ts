/** What differs between desired and kernel, as commands that a network engineer would type. */
import { sayChange, sayCreate, sayDelete, sayDeleteLink } from '../kernel/words.ts'
import type { Step } from './diff.ts'
import { missingSteps, surplus } from './reconcile.ts'
import type { Room } from './room.ts'

/** Kernel first, then the firewall; empty when nothing differs. */
export async function planAll(room: Room): Promise<readonly string[]> {
  const { links, namespaces, rules } = surplus(room)
  const firewall = await room.firewall.plan()
  return [
    ...links.map(sayDeleteLink),
    ...namespaces.flatMap((path) => sayDelete({ type: 'netns', path })),
    ...rules.flatMap(sayDelete),
    ...missingSteps(room).flatMap(({ steps }) => steps.flatMap(sayStep)),
    ...firewall,
  ]
}

/** The commands of one step. */
function sayStep({ verb, object }: Step): readonly string[] {
  switch (verb) {
    case 'create':
      return sayCreate(object)
    case 'change':
      return sayChange(object)
    case 'delete':
      return sayDelete(object)
  }
}
