/**
 * The ipvlan driver: each endpoint is a link on the parent that shares its hardware address. In
 * mode l2 the containers answer ARP on the parent's network; in l3 and l3s the parent routes for
 * them, nothing is broadcast, and whoever is outside needs a route to their subnet.
 */
import { Refusal, refusalOf } from '../../base/refusal.ts'
import type { IpvlanObject } from '../../kernel/object.ts'
import type { Endpoint, EndpointSpec, Network, NetworkSpec } from '../model.ts'
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

export const ipvlanDriver: Driver = {
  name: 'ipvlan',
  needsIpam: true,
  hasHostEnd: false,
  sharesLinks: true,
  parentLink: ({ id, spec }) => parentOf('ipvlan', id, spec),
  gatewayFamilies: () => new Set(),
  namedGatewaysOnly: true,
  isInternal,
  naturalMac: () => '',
  validateNetwork: (_id, spec, host) => refusalOf(() => validate(spec, host)),
  validatePools: () => undefined,
  validateEndpoint: (_network, endpoint) => refusalOf(() => refuseMac(endpoint)),
  networkObjects: (network, host) => parentObjects('ipvlan', network, host),
  endpointObjects: (network, endpoint, sandbox, host) => [
    linkOf(network, endpoint, sandbox),
    ...childInside(network, endpoint, sandbox.netnsPath, host),
  ],
  interfacePrefix: ({ spec }) => parseInterfacePrefix(spec.options),
  gatewaysOf: (network, addresses) =>
    modeOf(network.spec) === 'l2' ? gatewaysOf(network, addresses) : { ipv4: '', ipv6: '' },
  routesOnLink: (network) => modeOf(network.spec) !== 'l2' && !isInternal(network),
  publishing: () => undefined,
  bridgeIntent: () => undefined,
}

function modeOf({ options }: NetworkSpec): IpvlanObject['mode'] {
  const text = options['ipvlan_mode'] ?? ''
  switch (text) {
    case '':
      return 'l2'
    case 'l2':
    case 'l3':
    case 'l3s':
      return text
    default: {
      const otherwise = "'l2' mode is the ipvlan driver default"
      throw new Refusal('internal', `requested ipvlan mode '${text}' is not valid, ${otherwise}`)
    }
  }
}

function flagOf({ options }: NetworkSpec): IpvlanObject['flag'] {
  const text = options['ipvlan_flag'] ?? ''
  switch (text) {
    case '':
      return 'bridge'
    case 'bridge':
    case 'private':
    case 'vepa':
      return text
    default: {
      const otherwise = "'bridge' is the ipvlan driver default"
      throw new Refusal('internal', `requested ipvlan flag '${text}' is not valid, ${otherwise}`)
    }
  }
}

function validate(spec: NetworkSpec, host: HostFacts): void {
  const [mode, flag] = [modeOf(spec), flagOf(spec)]
  validateCommon('ipvlan', spec)
  for (const other of networksOnParent('ipvlan', spec, host)) {
    const [theirMode, theirFlag] = [modeOf(other.spec), flagOf(other.spec)]
    if (mode === theirMode && flag === theirFlag) continue
    // The kernel keeps both per parent: a new link would switch those of the other network.
    const name = parentOf('ipvlan', other.id, { ...other.spec, options: {} })
    const uses = `network ${name} is already using parent interface ${spec.options['parent']}`
    throw new Refusal('internal', `${uses} in mode ${theirMode} with flag ${theirFlag}`)
  }
  validateParent('ipvlan', spec, host)
}

function refuseMac(endpoint: EndpointSpec): void {
  if (endpoint.macAddress === undefined) return
  const sentence = 'ipvlan interfaces do not support custom mac address assignment'
  throw new Refusal('internal', sentence)
}

function linkOf(network: Network, endpoint: Endpoint, { netnsPath }: SandboxRef): IpvlanObject {
  const { id, spec } = network
  const mtu = parseMtu(spec.options)
  const announceAtMs = parseAnnouncing(spec.options)
  return {
    type: 'ipvlan',
    netns: netnsPath,
    name: endpoint.interfaceName,
    parent: parentOf('ipvlan', id, spec),
    mode: modeOf(spec),
    flag: flagOf(spec),
    ...(mtu > 0 ? { mtu } : {}),
    ...(announceAtMs === undefined ? {} : { announceAtMs }),
  }
}
