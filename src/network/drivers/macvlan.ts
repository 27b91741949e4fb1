/**
 * The macvlan driver: each endpoint is a link of its own on the parent, with its own hardware
 * address, as if the container were plugged into the parent's network; the host itself cannot talk
 * to these containers.
 */
import { Refusal } from '../../base/refusal.ts'
import type { MacvlanObject } from '../../kernel/object.ts'
import type { Network, NetworkSpec } from '../model.ts'
import { childDriver, wordOf } from './child.ts'
import type { Driver, HostFacts } from './driver.ts'
import { parentOf } from './parent.ts'

export const macvlanDriver: Driver = childDriver({
  name: 'macvlan',
  checkOptions: (spec) => void modeOf(spec),
  checkNeighbour: (spec, other, parent) => {
    const uses = `macvlan network ${other.id} is already using parent interface ${parent}`
    if (modeOf(spec) === 'passthru') {
      throw new Refusal('internal', `cannot use mode passthru, ${uses}`)
    }
    if (modeOf(other.spec) === 'passthru') throw new Refusal('internal', `${uses} in mode passthru`)
  },
  checkEndpoint: (network, _endpoint, host) => requireRoom(network, host),
  linkOf: ({ spec }, endpoint, common) => {
    const mode = modeOf(spec)
    // Setting an address in passthru mode sets the parent's: only where the user asks for one.
    const hasOwnMac = mode !== 'passthru' || endpoint.spec.macAddress !== undefined
    const mac = hasOwnMac ? { mac: endpoint.macAddress } : {}
    return { type: 'macvlan', ...common, mode, ...mac }
  },
  naturalMac: ({ id, spec }, host) => {
    if (modeOf(spec) !== 'passthru') return undefined
    return host.links.get(parentOf('macvlan', id, spec))?.mac ?? ''
  },
  routesOnLink: () => false,
})

function modeOf(spec: NetworkSpec): MacvlanObject['mode'] {
  const modes = ['bridge', 'private', 'vepa', 'passthru'] as const
  const otherwise = "'bridge' mode is the macvlan driver default"
  return wordOf(spec, 'macvlan_mode', modes, 'macvlan mode', otherwise)
}

/** The kernel gives a parent in passthru mode to one link only. */
function requireRoom({ id, spec }: Network, host: HostFacts): void {
  if (modeOf(spec) !== 'passthru' || host.endpointsOn(id) === 0) return
  const parent = parentOf('macvlan', id, spec)
  const sentence = `network ${spec.name} passes ${parent} through to one container`
  throw new Refusal('forbidden', `${sentence}, which is there already: disconnect that one first`)
}
