/**
 * The macvlan driver: each endpoint is a link of its own on the parent, with its own hardware
 * address, as if the container were plugged into the parent's network. No bridge, no gateway of
 * ours, no firewall, no published ports; the host itself cannot talk to these containers.
 */
import { Refusal, refusalOf } from '../../base/refusal.ts'
import type { MacvlanObject } from '../../kernel/object.ts'
import type { Endpoint, Network, NetworkSpec } from '../model.ts'
import type { Driver, HostFacts, SandboxRef } from './driver.ts'
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
} from './parent.ts'

export const macvlanDriver: Driver = {
  name: 'macvlan',
  needsIpam: true,
  hasHostEnd: false,
  sharesLinks: true,
  parentLink: ({ id, spec }) => parentOf('macvlan', id, spec),
  gatewayFamilies: () => new Set(),
  namedGatewaysOnly: true,
  isInternal,
  naturalMac: ({ id, spec }, host) => {
    if (modeOf(spec) !== 'passthru') return undefined
    return host.links.get(parentOf('macvlan', id, spec))?.mac ?? ''
  },
  validateNetwork: (_id, spec, host) => refusalOf(() => validate(spec, host)),
  validatePools: () => undefined,
  validateEndpoint: (network, _endpoint, host) => refusalOf(() => requireRoom(network, host)),
  networkObjects: (network, host) => parentObjects('macvlan', network, host),
  endpointObjects: (network, endpoint, sandbox, host) => [
    linkOf(network, endpoint, sandbox),
    ...childInside(network, endpoint, sandbox.netnsPath, host),
  ],
  interfacePrefix: ({ spec }) => parseInterfacePrefix(spec.options),
  gatewaysOf,
  routesOnLink: () => false,
  publishing: () => undefined,
  bridgeIntent: () => undefined,
}

type Mode = MacvlanObject['mode']

function modeOf({ options }: NetworkSpec): Mode {
  const text = options['macvlan_mode'] ?? ''
  switch (text) {
    case '':
      return 'bridge'
    case 'bridge':
    case 'private':
    case 'vepa':
    case 'passthru':
      return text
    default: {
      const otherwise = "'bridge' mode is the macvlan driver default"
      throw new Refusal('internal', `requested macvlan mode '${text}' is not valid, ${otherwise}`)
    }
  }
}

function validate(spec: NetworkSpec, host: HostFacts): void {
  const mode = modeOf(spec)
  validateCommon('macvlan', spec)
  const parent = spec.options['parent'] ?? ''
  for (const other of networksOnParent('macvlan', spec, host)) {
    const they = `macvlan network ${other.id.slice(0, 12)}`
    const uses = `${they} is already using parent interface ${parent}`
    if (mode === 'passthru') throw new Refusal('internal', `cannot use mode passthru, ${uses}`)
    if (modeOf(other.spec) === 'passthru') throw new Refusal('internal', `${uses} in mode passthru`)
  }
  validateParent('macvlan', spec, host)
}

/** The kernel gives a parent in passthru mode to one link only. */
function requireRoom(network: Network, host: HostFacts): void {
  const { id, spec } = network
  if (modeOf(spec) !== 'passthru' || host.endpointsOn(id) === 0) return
  const parent = parentOf('macvlan', id, spec)
  const sentence = `network ${spec.name} passes ${parent} through to one container`
  throw new Refusal('forbidden', `${sentence}, which is there already: disconnect that one first`)
}

function linkOf(network: Network, endpoint: Endpoint, { netnsPath }: SandboxRef): MacvlanObject {
  const { id, spec } = network
  const mode = modeOf(spec)
  const mtu = parseMtu(spec.options)
  const announceAtMs = parseAnnouncing(spec.options)
  // Setting an address in passthru mode sets the parent's: only where the user asks for one.
  const hasOwnMac = mode !== 'passthru' || endpoint.spec.macAddress !== undefined
  return {
    type: 'macvlan',
    netns: netnsPath,
    name: endpoint.interfaceName,
    parent: parentOf('macvlan', id, spec),
    mode,
    ...(hasOwnMac ? { mac: endpoint.macAddress } : {}),
    ...(mtu > 0 ? { mtu } : {}),
    ...(announceAtMs === undefined ? {} : { announceAtMs }),
  }
}
