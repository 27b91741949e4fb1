/**
 * Routes of our own, beside Docker's: GET /portolan/how/{name} tells how a network was made,
 * GET /portolan/plan what differs between what should be and the kernel. Both answer `Lines`.
 */
import { Refusal } from '../base/refusal.ts'
import { howContainer, howNetwork, type HowSources } from '../insight/how.ts'
import type { Network } from '../network/model.ts'
import type { Networks } from '../network/networks.ts'
import type { Reply, Route } from './route.ts'

export interface PortolanSources extends HowSources {
  readonly networks: Networks
  /** Full id and name of a container; refuses with Docker's sentence. */
  findContainer(idOrName: string): { readonly id: string; readonly name: string }
}

export function portolanRoutes(sources: PortolanSources): readonly Route[] {
  return [
    {
      method: 'GET',
      pattern: '/portolan/how/{name…}',
      handle: async ({ params }) => reply(await how(sources, params['name'] ?? '')),
    },
    {
      method: 'GET',
      pattern: '/portolan/plan',
      handle: async () => reply(await sources.networks.plan()),
    },
  ]
}

const reply = (lines: readonly string[]): Reply => ({ status: 200, json: { Lines: lines } })

async function how(sources: PortolanSources, asked: string): Promise<readonly string[]> {
  const container = orNone(() => sources.findContainer(asked))
  if (container === undefined) {
    const network = orNone<Network>(() => sources.networks.find(asked))
    if (network !== undefined) return howNetwork(sources, network)
    throw new Refusal('notFound', `No such container or network: ${asked}`)
  }
  const sandbox = sources.networks.sandbox(container.id)
  if (sandbox !== undefined) return howContainer(sources, container.name, sandbox)
  const why = 'has no network of its own now: it does not run, or is in another container\'s'
  throw new Refusal('conflict', `container ${container.name} ${why}`)
}

function orNone<T>(find: () => T): T | undefined {
  try {
    return find()
  } catch (error) {
    if (error instanceof Refusal && error.kind === 'notFound') return undefined
    throw error
  }
}
