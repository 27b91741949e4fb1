/**
 * The drivers without kernel objects: `host` (the daemon's own namespace) and `null` (only lo).
 * Their endpoints exist so that `network inspect` lists the containers.
 */
import { Refusal } from '../../base/refusal.ts'
import type { Network, NetworkSpec } from '../model.ts'
import type { Driver, HostFacts } from './driver.ts'

function objectless(name: 'host' | 'null'): Driver {
  return {
    name,
    needsIpam: false,
    hasHostEnd: false,
    sharesLinks: false,
    parentLink: () => '',
    namedGatewaysOnly: false,
    isInternal: ({ spec }) => spec.internal,
    naturalMac: () => '',
    routesOnLink: () => false,
    gatewayFamilies: () => new Set(),
    validateNetwork: (_id: string, _spec: NetworkSpec, host: HostFacts) => {
      const exists = host.networks.some(({ spec }) => spec.driver === name && !spec.configOnly)
      const sentence = `only one instance of "${name}" network is allowed`
      return exists ? new Refusal('forbidden', sentence) : undefined
    },
    validatePools: () => undefined,
    validateEndpoint: () => undefined,
    networkObjects: () => [],
    endpointObjects: () => [],
    interfacePrefix: (_network: Network) => '',
    gatewaysOf: () => ({ ipv4: '', ipv6: '' }),
    publishing: () => undefined,
    bridgeIntent: () => undefined,
  }
}

export const hostDriver: Driver = objectless('host')
export const nullDriver: Driver = objectless('null')
