/**
 * What macvlan and ipvlan networks have in common: each endpoint is a link on a parent, there is no
 * bridge, no gateway of ours, no firewall, and ports are never published. The two drivers say only
 * how their links behave and whom they put up with beside them.
 */
import { Refusal, refusalOf } from '../../base/refusal.ts'
import type { ChildObject, IpvlanObject, MacvlanObject } from '../../kernel/object.ts'
import type { Endpoint, EndpointSpec, Network, NetworkSpec } from '../model.ts'
import type { Addresses, Driver, HostFacts, SandboxRef } from './driver.ts'
import { parseAnnouncing, parseInterfacePrefix, parseMtu } from './options.ts'
import {
  childInside,
  gatewaysOf,
  isInternal,
  networksOnParent,
  parentObjects,
  parentOf,
  validateCommon,
  validateParent,
  type ChildDriver,
} from './parent.ts'

export interface ChildParts {
  readonly name: ChildDriver
  /** Refuses options that say how links behave; called before anything else is looked at. */
  checkOptions(spec: NetworkSpec): void
  /** Refuses to share a parent, where that cannot be. */
  checkNeighbour(spec: NetworkSpec, other: Network, parent: string): void
  checkEndpoint(network: Network, endpoint: EndpointSpec, host: HostFacts): void
  /** What of an endpoint's link is this driver's own. */
  linkOf(network: Network, endpoint: Endpoint, common: ChildObject): MacvlanObject | IpvlanObject
  naturalMac(network: Network, host: HostFacts): string | undefined
  /** Default routes lead to the link itself and not by a gateway. */
  routesOnLink(network: Network): boolean
}

export function childDriver(parts: ChildParts): Driver {
  const { name, routesOnLink } = parts
  return {
    name,
    needsIpam: true,
    hasHostEnd: false,
    sharesLinks: true,
    parentLink: ({ id, spec }) => parentOf(name, id, spec),
    gatewayFamilies: () => new Set(),
    namedGatewaysOnly: true,
    isInternal,
    naturalMac: parts.naturalMac,
    validateNetwork: (_id, spec, host) => refusalOf(() => validate(parts, spec, host)),
    validatePools: () => undefined,
    validateEndpoint: (network, endpoint, host) =>
      refusalOf(() => {
        requireParent(name, network, host)
        parts.checkEndpoint(network, endpoint, host)
      }),
    networkObjects: (network, host) => parentObjects(name, network, host),
    endpointObjects: (network, endpoint, sandbox, host) => [
      parts.linkOf(network, endpoint, commonOf(name, network, endpoint, sandbox)),
      ...childInside(network, endpoint, sandbox.netnsPath, host),
    ],
    interfacePrefix: ({ spec }) => parseInterfacePrefix(spec.options),
    gatewaysOf: (network, addresses): Addresses =>
      routesOnLink(network) ? { ipv4: '', ipv6: '' } : gatewaysOf(network, addresses),
    routesOnLink: (network) => routesOnLink(network) && !isInternal(network),
    publishing: () => undefined,
    bridgeIntent: () => undefined,
  }
}

function validate(parts: ChildParts, spec: NetworkSpec, host: HostFacts): void {
  parts.checkOptions(spec)
  validateCommon(parts.name, spec)
  for (const other of networksOnParent(parts.name, spec, host)) {
    parts.checkNeighbour(spec, other, spec.options['parent'] ?? '')
  }
  validateParent(parts.name, spec, host)
}

/** It was there when the network was made. */
function requireParent(driver: ChildDriver, { id, spec }: Network, host: HostFacts): void {
  const parent = parentOf(driver, id, spec)
  if (host.links.get(parent) !== undefined) return
  const sentence = `the requested parent interface ${parent} was not found on the Docker host`
  throw new Refusal('internal', sentence)
}

function commonOf(
  driver: ChildDriver,
  { id, spec }: Network,
  { interfaceName }: Endpoint,
  { netnsPath }: SandboxRef,
): ChildObject {
  const mtu = parseMtu(spec.options)
  const announceAtMs = parseAnnouncing(spec.options)
  return {
    netns: netnsPath,
    name: interfaceName,
    parent: parentOf(driver, id, spec),
    ...(mtu > 0 ? { mtu } : {}),
    ...(announceAtMs === undefined ? {} : { announceAtMs }),
  }
}

/**
 * An option that is one of some words, the first unless another is given.
 *
 * @param what for the sentence: `macvlan mode`
 */
export function wordOf<T extends string>(
  { options }: NetworkSpec,
  key: string,
  words: readonly [T, ...T[]],
  what: string,
  otherwise: string,
): T {
  const text = options[key] ?? ''
  if (text === '') return words[0]
  const word = words.find((one) => one === text)
  if (word !== undefined) return word
  throw new Refusal('internal', `requested ${what} '${text}' is not valid, ${otherwise}`)
}
