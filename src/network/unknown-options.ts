/**
 * What is said of networks and endpoints and nothing here looks at. It is kept and shown, as with
 * Docker, and the answer to the request says so. Plugins have options of their own: theirs all pass.
 */
import { optionKeys } from './drivers/options.ts'
import type { EndpointSpec, NetworkSpec } from './model.ts'

const families = [optionKeys.enable4, optionKeys.enable6]
const announcing = [optionKeys.announceCount, optionKeys.announceIntervalMs]
const ofParent = ['parent', optionKeys.mtu, optionKeys.interfacePrefix, ...announcing, ...families]
const known: Readonly<Record<string, readonly string[]>> = {
  bridge: Object.values(optionKeys),
  macvlan: ['macvlan_mode', ...ofParent],
  ipvlan: ['ipvlan_mode', 'ipvlan_flag', ...ofParent],
  host: families,
  null: families,
}
/** Of our own IPAM. */
const knownOfIpam: readonly string[] = []
const knownOfEndpoints = [
  'com.docker.network.endpoint.ifname',
  'com.docker.network.endpoint.sysctls',
]

/** One sentence per option without effect. */
export function unknownNetworkOptions(spec: NetworkSpec): readonly string[] {
  // What a configuration network is for, its networks say.
  const options = spec.configOnly ? [...Object.values(known).flat()] : known[spec.driver]
  const strange = (given: object, taken: readonly string[] | undefined) =>
    taken === undefined ? [] : Object.keys(given).filter((key) => !taken.includes(key))
  const ownIpam = ['', 'default', 'null'].includes(spec.ipam.driver)
  const isLocal = ['', 'local'].includes(spec.scope)
  return [
    ...(isLocal ? [] : [`Scope ${spec.scope} is kept and has no effect: networks are of this host.`]),
    ...strange(spec.options, options).map((key) => without(key, `driver ${spec.driver}`)),
    ...strange(spec.ipam.options ?? {}, ownIpam ? knownOfIpam : undefined).map((key) =>
      without(key, 'the IPAM driver'),
    ),
  ]
}

/** The same of an endpoint on a network of one of our own drivers. */
export function unknownEndpointOptions(
  endpoint: EndpointSpec,
  driver: string,
): readonly string[] {
  if (known[driver] === undefined) return []
  return Object.keys(endpoint.driverOpts)
    .filter((key) => !knownOfEndpoints.includes(key))
    .map((key) => without(key, `endpoints of driver ${driver}`))
}

const without = (key: string, place: string): string =>
  `Option ${key} is not known to ${place}. It is kept and has no effect.`
