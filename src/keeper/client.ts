/**
 * The keeper as the daemon sees it. Specification of the calls; `keeper/connection.ts` implements
 * them over a unix socket, `keeper/process.ts` is the other end.
 *
 * The daemon hands over a full snapshot when a keeper has (re)started, then numbered deltas. The
 * client keeps the desired state for that purpose: callers state each fact once.
 */

/** Names that one network gives to its endpoints. */
export interface ZoneRecord {
  readonly endpointId: string
  /** In the order of DNSNames: the first one answers PTR. */
  readonly names: readonly string[]
  readonly ipv4: string // without prefix, or ''
  readonly ipv6: string
}

export interface ResolverSpec {
  readonly sandboxId: string
  readonly netnsPath: string
  /** Attached networks in gateway order. */
  readonly networks: readonly { readonly networkId: string; readonly name: string }[]
  /** alias → name, private to this sandbox, per network. */
  readonly linkAliases: readonly {
    readonly networkId: string
    readonly alias: string
    readonly name: string
  }[]
  readonly upstreams: readonly { readonly address: string; readonly fromHost: boolean }[]
  /** Single-label names are answered empty instead of forwarded (an explicit ndots > 0). */
  readonly keepSingleLabels: boolean
  /** Every network is internal: servers in the host's namespace are not asked. */
  readonly hostUpstreamsAllowed: boolean
}

export interface PortHold {
  readonly protocol: 'tcp' | 'udp' | 'sctp'
  readonly hostIp: string
  readonly hostPort: number
  /** Where the relay sends what DNAT does not take; sources it accepts are decided by `relay`. */
  readonly containerIp: string
  readonly containerPort: number
  /** false: only reserve the port, relay nothing (userland-proxy off, routed). */
  readonly relay: boolean
  /** No rule translates anything (iptables or ip6tables off): the relay serves every source. */
  readonly untranslated?: boolean
}

export interface StdioSpec {
  /** Container id, or exec id. */
  readonly streamId: string
  readonly fifoStdin: string // '' when there is none
  readonly fifoStdout: string
  readonly fifoStderr: string // '' with a TTY
  readonly tty: boolean
  /** json-file log, '' = none (exec, or log driver none). */
  readonly logPath: string
  readonly logMaxBytes: number // 0 = no rotation
  readonly logMaxFiles: number
  /** Attributes to put in each log line (--log-opt labels, env), already chosen. */
  readonly logAttributes: Readonly<Record<string, string>>
}

export interface Keeper {
  /** Replaces the records of one network. */
  setZone(networkId: string, networkName: string, records: readonly ZoneRecord[]): Promise<void>
  /** Adds or replaces the record of one endpoint, or (undefined) takes it away. */
  changeZone(
    networkId: string,
    networkName: string,
    endpointId: string,
    record: ZoneRecord | undefined,
  ): Promise<void>
  removeZone(networkId: string): Promise<void>
  /**
   * Sends what is asked for within, before its first await, in one piece: the keeper and its
   * answers then cost one wake-up.
   */
  together<T>(requests: () => T): T
  /** Opens (or updates) the resolver of a sandbox; returns when names are answered. */
  setResolver(spec: ResolverSpec): Promise<void>
  removeResolver(sandboxId: string): Promise<void>

  /**
   * Takes the ports of one endpoint, replacing those it held; all or none. A port that someone
   * else has is refused with Docker's sentences.
   */
  holdPorts(endpointId: string, ports: readonly PortHold[]): Promise<void>
  releasePorts(endpointId: string): Promise<void>

  /** Starts to read a container's or exec's output and to write its log. FIFOs exist already. */
  openStdio(spec: StdioSpec): Promise<void>
  /** Resolves when all output was read and logged, at latest after `timeoutMs`; then closes. */
  drainStdio(streamId: string, timeoutMs: number): Promise<void>
  /** Closes what is left of a stream; idempotent. */
  closeStdio(streamId: string): Promise<void>
  /**
   * A live connection to a stream. `output` yields chunks from now on and ends when the stream
   * ends; `stdin` takes bytes, its end closes the container's stdin if `closeStdinOnEnd`.
   */
  attach(streamId: string, options: AttachOptions): Promise<Attachment>
}

export interface AttachOptions {
  readonly stdin: boolean
  readonly stdout: boolean
  readonly stderr: boolean
}

export interface OutputChunk {
  readonly stream: 'stdout' | 'stderr'
  readonly data: Buffer
}

export interface Attachment {
  /** Ends with the stream; an attacher that is more than 1 MiB behind is dropped (throws). */
  readonly output: AsyncIterable<OutputChunk>
  /** Resolves when the bytes are in the FIFO. */
  write(data: Buffer): Promise<void>
  /** Lets go of the FIFO's write end after all bytes; CloseIO is then the caller's to ask for. */
  closeStdin(): Promise<void>
  detach(): void
}
