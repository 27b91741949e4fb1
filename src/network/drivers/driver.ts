/**
 * The seam that every network driver stands behind: what can be refused, which kernel objects a
 * network and its endpoints are, and what the firewall should allow. Drivers touch nothing.
 */
import type { Refusal } from '../../base/refusal.ts'
import type { BridgeIntent, GatewayMode } from '../../firewall/intent.ts'
import type { KernelObject } from '../../kernel/object.ts'
import type { Endpoint, EndpointSpec, Network, NetworkSpec } from '../model.ts'

/** What a driver may know about the machine and the daemon. */
export interface HostFacts {
  /** Links of the daemon's namespace by name. */
  readonly links: { get(name: string): HostLink | undefined }
  /** Networks that exist. */
  readonly networks: readonly Network[]
  /** How many endpoints a network has. */
  endpointsOn(networkId: string): number
  /** Whether the kernel can make links of a kind: `macvlan`, `vlan`, … */
  supportsLinkKind(kind: string): boolean
  readonly userlandProxy: boolean
  /** The kernel has IPv6 at all. */
  readonly ipv6: boolean
  /** The kernel chooses routing tables by rules (`ip rule`). */
  readonly policyRules: boolean
}

export interface HostLink {
  /** bridge, veth, …; '' for physical links and lo. */
  readonly kind: string
  readonly alias: string
  readonly mac: string
  readonly mtu: number
  readonly up: boolean
}

export interface SandboxRef {
  readonly netnsPath: string
}

/** How published ports reach an endpoint of a network. */
export interface Publishing {
  readonly bridge: string
  readonly mode4: GatewayMode
  readonly mode6: GatewayMode
  /** '' = the daemon's default. */
  readonly hostBinding: string
}

/** One per family, '' where there is none. */
export interface Addresses {
  readonly ipv4: string
  readonly ipv6: string
}

export interface Driver {
  readonly name: string
  /** Endpoints get addresses from pools. */
  readonly needsIpam: boolean
  /** Endpoints have a link in the daemon's namespace, beside the one in the container's. */
  readonly hasHostEnd: boolean
  /**
   * Its networks may share links of the daemon's namespace with each other: they are made and
   * removed one after another.
   */
  readonly sharesLinks: boolean
  /** Link of the daemon's namespace that endpoints' links are on top of; '' without one. */
  parentLink(network: Network): string
  /** Families of which the network reserves a gateway address. */
  gatewayFamilies(spec: NetworkSpec): ReadonlySet<4 | 6>
  /** Only a gateway that the request names is reserved, whatever the families. */
  readonly namedGatewaysOnly: boolean
  /** Nothing leads out of the network. */
  isInternal(network: Network): boolean
  /** The hardware address that an endpoint has by nature; undefined where it is ours to choose. */
  naturalMac(network: Network, host: HostFacts): string | undefined
  /** Everything that can be refused is refused here, before anything is touched. */
  validateNetwork(id: string, spec: NetworkSpec, host: HostFacts): Refusal | undefined
  /** What depends on the pools that the network was given. */
  validatePools(network: Network, host: HostFacts): Refusal | undefined
  validateEndpoint(
    network: Network,
    endpoint: EndpointSpec,
    host: HostFacts,
  ): Refusal | undefined
  networkObjects(network: Network, host: HostFacts): readonly KernelObject[]
  endpointObjects(
    network: Network,
    endpoint: Endpoint,
    sandbox: SandboxRef,
    host: HostFacts,
  ): readonly KernelObject[]
  /** Prefix of interface names in the container; '' = no interface. */
  interfacePrefix(network: Network): string
  /** Default routes that an endpoint with these addresses offers. */
  gatewaysOf(network: Network, addresses: Addresses): Addresses
  /** An endpoint's link itself is a way out: default routes without a gateway. */
  routesOnLink(network: Network): boolean
  /** undefined: ports are never published on this network. */
  publishing(network: Network): Publishing | undefined
  /** undefined: the network has no firewall rules. */
  bridgeIntent(network: Network): BridgeIntent | undefined
}
