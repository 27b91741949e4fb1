/** Renaming: the name is taken first, names and hosts follow, and on failure nothing changed. */
import { Refusal } from '../base/refusal.ts'
import { checkName } from './names.ts'
import { dnsNames } from './networking.ts'
import { hasProcess, type ContainerRecord } from './record.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'

export function renameContainer(
  context: Context,
  container: Container,
  wanted: string,
): Promise<void> {
  return context.registry.queue.run(container.id, async () => {
    const name = allocating(() => checkName(wanted.replace(/^\/?/, '/')))
    const before = container.record.name
    if (name === before) {
      throw new Refusal('invalid', 'Renaming a container with the same name as its current name')
    }
    allocating(() => context.registry.reserveName(name, container.id))
    try {
      await context.networks.rename(container.id, name)
      await context.registry.save(container, { name, ...renamed(container, name) })
    } catch (error) {
      context.registry.releaseName(name, container.id)
      throw error
    }
    context.registry.releaseName(before, container.id)
    context.registry.tell(container, 'rename', { oldName: `/${before}` })
  })
}

/** What runs is found under its new name at once; of what does not, inspect says so once it starts. */
function renamed({ record }: Container, name: string): Partial<Pick<ContainerRecord, 'networks'>> {
  if (!hasProcess(record.state.status)) return {}
  const networks = Object.entries(record.networks).map(([network, settings]) => {
    return [network, { ...settings, DNSNames: dnsNames({ ...record, name }, settings) }] as const
  })
  return { networks: Object.fromEntries(networks) }
}

/** Refusals of the new name, in the words that Docker puts before them. */
function allocating<T>(allocate: () => T): T {
  try {
    return allocate()
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    const sentence = `Error when allocating new name: ${error.message}`
    throw new Refusal(error.kind, sentence, { cause: error })
  }
}
