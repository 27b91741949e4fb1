/**
 * The ipvlan driver: each endpoint is a link on the parent that shares its hardware address. In
 * mode l2 the containers answer ARP on the parent's network; in l3 and l3s the parent routes for
 * them, nothing is broadcast, and whoever is outside needs a route to their subnet.
 */
import { Refusal } from '../../base/refusal.ts'
import type { IpvlanObject } from '../../kernel/object.ts'
import type { EndpointSpec, NetworkSpec } from '../model.ts'
import { childDriver, wordOf } from './child.ts'
import type { Driver } from './driver.ts'
import { parentOf } from './parent.ts'

export const ipvlanDriver: Driver = childDriver({
  name: 'ipvlan',
  checkOptions: (spec) => {
    modeOf(spec)
    flagOf(spec)
  },
  checkNeighbour: (spec, other, parent) => {
    const [theirMode, theirFlag] = [modeOf(other.spec), flagOf(other.spec)]
    if (modeOf(spec) === theirMode && flagOf(spec) === theirFlag) return
    // The kernel keeps both per parent: a new link would switch those of the other network.
    const name = parentOf('ipvlan', other.id, { ...other.spec, options: {} })
    const uses = `network ${name} is already using parent interface ${parent}`
    throw new Refusal('internal', `${uses} in mode ${theirMode} with flag ${theirFlag}`)
  },
  checkEndpoint: (_network, endpoint) => refuseMac(endpoint),
  linkOf: ({ spec }, _endpoint, common) => {
    return { type: 'ipvlan', ...common, mode: modeOf(spec), flag: flagOf(spec) }
  },
  naturalMac: () => '',
  routesOnLink: ({ spec }) => modeOf(spec) !== 'l2',
})

function modeOf(spec: NetworkSpec): IpvlanObject['mode'] {
  const otherwise = "'l2' mode is the ipvlan driver default"
  return wordOf(spec, 'ipvlan_mode', ['l2', 'l3', 'l3s'], 'ipvlan mode', otherwise)
}

function flagOf(spec: NetworkSpec): IpvlanObject['flag'] {
  const flags = ['bridge', 'private', 'vepa'] as const
  return wordOf(spec, 'ipvlan_flag', flags, 'ipvlan flag', "'bridge' is the ipvlan driver default")
}

function refuseMac(endpoint: EndpointSpec): void {
  if (endpoint.macAddress === undefined) return
  const sentence = 'ipvlan interfaces do not support custom mac address assignment'
  throw new Refusal('internal', sentence)
}
