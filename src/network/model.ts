/**
 * The nouns of this room: Network, Endpoint, Sandbox, Publication.
 *
 * What is stored is what was asked for (specs) plus what was given out (addresses, ids, port
 * numbers). What the kernel should hold is computed from these by the drivers, never stored.
 */

export interface IpamPoolSpec {
  readonly subnet: string
  readonly ipRange?: string
  readonly gateway?: string
  readonly auxiliary?: Readonly<Record<string, string>>
}

/** A network as asked for: the parsed body of a create request. */
export interface NetworkSpec {
  readonly name: string
  readonly driver: string
  readonly scope: string
  readonly enableIpv4: boolean
  readonly enableIpv6: boolean
  readonly internal: boolean
  readonly attachable: boolean
  readonly ingress: boolean
  readonly configOnly: boolean
  readonly configFrom: string
  readonly ipam: {
    readonly driver: string
    /** null when the request had none: inspect shows the difference. */
    readonly options: Readonly<Record<string, string>> | null
    readonly pools: readonly IpamPoolSpec[]
  }
  readonly options: Readonly<Record<string, string>>
  readonly labels: Readonly<Record<string, string>>
}

/** A network that exists. */
export interface Network {
  readonly id: string
  /** RFC 3339 with nanoseconds. */
  readonly created: string
  readonly spec: NetworkSpec
  /** Pools in force, IPv4 first; the gateway is always filled, `given` says what inspect shows. */
  readonly pools: readonly AllocatedPool[]
}

export interface AllocatedPool {
  readonly family: 4 | 6
  readonly subnet: string
  readonly gateway: string | null
  readonly ipRange?: string
  readonly auxiliary: Readonly<Record<string, string>>
  /** Absent for pools of the local address space of our own; others may overlap with those. */
  readonly addressSpace?: string
  /** Name that an IPAM plugin has for it; absent for pools of our own. */
  readonly remoteId?: string
  /** What `network inspect` prints for it (only a wholly automatic pool shows its gateway). */
  readonly shown: IpamPoolSpec
}

/** How one container wants to be on one network: Docker's EndpointSettings, the input half. */
export interface EndpointSpec {
  readonly network: string
  readonly ipv4Address?: string
  readonly ipv6Address?: string
  readonly linkLocalIps: readonly string[]
  readonly macAddress?: string
  readonly aliases: readonly string[]
  /** `container:alias`; on user networks a private alias in names. */
  readonly links: readonly string[]
  readonly driverOpts: Readonly<Record<string, string>>
  readonly gwPriority: number
}

/** An endpoint that exists: one attachment of a sandbox to a network. */
export interface Endpoint {
  readonly id: string
  readonly networkId: string
  readonly networkName: string
  readonly sandboxId: string
  readonly containerId: string
  readonly spec: EndpointSpec
  /** eth0, eth1, …; '' on host and none. */
  readonly interfaceName: string
  /** Name of the host end of the veth pair; '' without one. */
  readonly hostInterface: string
  readonly macAddress: string
  /** With prefix length, or ''. */
  readonly ipv4: string
  readonly ipv6: string
  readonly gateway4: string
  readonly gateway6: string
  readonly dnsNames: readonly string[]
  /** What a network plugin said when it was joined; absent on networks of our own drivers. */
  readonly remote?: RemoteLink
}

/** The link that a plugin made, and the routes that it wants through it. */
export interface RemoteLink {
  /** Its name in the daemon's namespace; '' = the endpoint has no link. */
  readonly sourceName: string
  readonly routes: readonly StaticRoute[]
}

export interface StaticRoute {
  readonly destination: string
  /** '' = on the link itself. */
  readonly gateway: string
}

/** Container port range → host, as asked for (Docker's PortBindings, one entry each). */
export interface PublicationSpec {
  readonly protocol: 'tcp' | 'udp' | 'sctp'
  readonly containerPort: number
  /** '' = the network's default host address. */
  readonly hostIp: string
  /** 0-0 = ephemeral; a range with one container port = the first free one in it. */
  readonly hostPortFirst: number
  readonly hostPortLast: number
}

/** A published port that is held: one element of NetworkSettings.Ports. */
export interface Publication {
  readonly protocol: 'tcp' | 'udp' | 'sctp'
  readonly containerPort: number
  readonly hostIp: string
  readonly hostPort: number
}

/** Everything that a start needs to know to make a container's network. */
export interface SandboxSpec {
  readonly containerId: string
  /** Without the leading slash. */
  readonly containerName: string
  readonly hostname: string
  readonly domainname: string
  readonly mode:
    | { readonly kind: 'host' }
    | { readonly kind: 'none' } // own namespace, only lo; the network `none` is listed
    | { readonly kind: 'disabled' } // NetworkDisabled: lo only, no network entry, empty files
    | { readonly kind: 'networks' }
    | { readonly kind: 'container'; readonly containerId: string }
  /** The endpoints to make, main network first. */
  readonly endpoints: readonly EndpointSpec[]
  readonly publications: readonly PublicationSpec[]
  /** Exposed ports, `80/tcp`, for links and for listing unpublished ones. */
  readonly exposed: readonly string[]
  readonly publishAll: boolean
  readonly dns: readonly string[]
  readonly dnsSearch: readonly string[]
  readonly dnsOptions: readonly string[]
  /** `name:ip`, ip may be `host-gateway`. */
  readonly extraHosts: readonly string[]
  /** Legacy links of the default bridge: the linked container and the alias. */
  readonly links: readonly LegacyLink[]
  readonly sysctls: Readonly<Record<string, string>>
  /** Folder in which hosts, hostname and resolv.conf of this container are written. */
  readonly filesDir: string
}

export interface LegacyLink {
  readonly containerId: string
  readonly containerName: string
  readonly alias: string
  /** Exposed ports of the linked container, `80/tcp`. */
  readonly exposed: readonly string[]
}

/** A container's network as it is now. */
export interface Sandbox {
  readonly id: string
  readonly spec: SandboxSpec
  /** SandboxKey: <exec-root>/netns/<12 hex>, `…/netns/default` for host mode. */
  readonly netnsPath: string
  readonly endpoints: readonly Endpoint[]
  /** `80/tcp` → bindings; null = exposed only. */
  readonly ports: Readonly<Record<string, readonly Publication[] | null>>
}
