/**
 * What should be allowed and translated, as data. Compiled to iptables (`compile.ts`) or to
 * nftables (`nft-compile.ts`); both offer the same guarantees.
 */

/** What holds for the whole daemon. */
export interface FirewallSettings {
  /** false: the host's own loopback and hairpin are done by DNAT and not by the keeper's relay. */
  readonly userlandProxy: boolean
  readonly ipv4: boolean
  readonly ipv6: boolean
  /** Lets routed hosts reach container addresses directly (allow-direct-routing). */
  readonly allowDirectRouting: boolean
  /**
   * Another engine works in chains of the same names: every rule of ours carries a comment, and
   * only rules with it are ours.
   */
  readonly sharedChains: boolean
}

export type GatewayMode = 'nat' | 'nat-unprotected' | 'routed' | 'isolated'

/** One bridge network, one family per subnet. */
export interface BridgeIntent {
  readonly networkId: string
  readonly bridge: string
  readonly families: readonly {
    readonly family: 4 | 6
    readonly subnet: string
    /** Address of the bridge itself, without prefix; '' without one. */
    readonly gateway: string
    readonly mode: GatewayMode
    /** SNAT to this source (host_ipv4/host_ipv6) instead of MASQUERADE. */
    readonly hostAddress?: string
  }[]
  readonly internal: boolean
  readonly icc: boolean
  readonly masquerade: boolean
  readonly trustedInterfaces: readonly string[]
}

/** One published range of one endpoint on one host address. */
export interface PortIntent {
  readonly bridge: string
  readonly family: 4 | 6
  readonly mode: GatewayMode
  readonly protocol: 'tcp' | 'udp' | 'sctp'
  /** 0.0.0.0 or :: for every address. */
  readonly hostIp: string
  readonly hostPort: number
  readonly containerIp: string
  readonly containerPort: number
  /** Consecutive ports from both starts. */
  readonly count: number
}

/** A legacy link under icc=false: the parent may open the child's port. */
export interface LinkIntent {
  readonly bridge: string
  readonly parentIp: string
  readonly childIp: string
  readonly protocol: 'tcp' | 'udp' | 'sctp'
  readonly port: number
}

/** The verbs of the one firewall writer; it merges what is waiting into one transaction. */
export interface Firewall {
  /**
   * Base chains, forwarding policy; called once, before all else. What an earlier life left stays
   * until the first `reconcile`, which is to be called when everything in use was set again.
   */
  start(): Promise<void>
  setBridge(bridge: BridgeIntent): Promise<void>
  removeBridge(networkId: string): Promise<void>
  /** Replaces all ports and links of one endpoint; empty lists remove. */
  setEndpoint(
    endpointId: string,
    ports: readonly PortIntent[],
    links: readonly LinkIntent[],
  ): Promise<void>
  /** Compares the kernel with everything that was set and patches it. */
  reconcile(): Promise<void>
  /** The differences as commands: what reconcile would do. */
  plan(): Promise<readonly string[]>
  /**
   * Our rules that concern this bridge or address, as typed commands, read from the kernel. With
   * neither: what every network needs (chains, and the jumps between them).
   */
  explain(match: {
    readonly bridge?: string
    readonly address?: string
  }): Promise<readonly string[]>
  /**
   * Removes every rule and chain of ours and restores the recorded policy (`portolan down`).
   * @param links names of the links that were ours
   */
  removeAll(links: readonly string[]): Promise<void>
}
