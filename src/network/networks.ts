/**
 * The verbs of this room, as other rooms call them. Specification; `network/engine.ts` implements.
 *
 * Every verb either holds completely or has left nothing behind. Names, subnets, addresses and
 * ports are reserved before anything in the kernel is touched.
 */
import type { Change } from '../store/store.ts'
import type { Endpoint, EndpointSpec, Network, NetworkSpec, Sandbox, SandboxSpec } from './model.ts'

/** What the caller wants to be stored in the same commit; asked when that is written. */
export type Alongside = () => readonly Change[]

export interface Networks {
  create(spec: NetworkSpec): Promise<Network>
  /** Refuses a predefined network, or one with endpoints. */
  remove(idOrName: string): Promise<void>
  /** Full id, then full name, then unique id prefix; refuses with Docker's sentences. */
  find(idOrName: string): Network
  list(): readonly Network[]
  /** Live endpoints of a network, with the container's name as it is now. */
  endpointsOf(networkId: string): readonly (Endpoint & { readonly containerName: string })[]
  /** Removes unused networks that pass `keep === false`; answers their names. */
  prune(unused: (network: Network) => boolean): Promise<readonly string[]>

  /** Refuses what can be refused at container create; an unknown network is no refusal there. */
  validateEndpoint(networkName: string, spec: EndpointSpec): void

  /** Makes a container's network whole: namespace, endpoints, files, names, ports. */
  open(spec: SandboxSpec): Promise<Sandbox>
  /** Takes it down again, whatever is left of it; idempotent. */
  close(containerId: string): Promise<void>
  /** The live sandbox of a container, if it has one of its own. */
  sandbox(containerId: string): Sandbox | undefined
  connect(containerId: string, spec: EndpointSpec, alongside?: Alongside): Promise<Endpoint>
  /** `force`: also removes an endpoint whose container is gone. */
  disconnect(
    containerId: string,
    network: string,
    force: boolean,
    alongside?: Alongside,
  ): Promise<void>
  /** Names, PTR, hosts of a container that was renamed. */
  rename(containerId: string, name: string): Promise<void>

  /**
   * At daemon start: predefined networks, stored networks and the sandboxes of `running`
   * containers are compared with the kernel and patched; all else that is ours is removed.
   */
  restore(running: ReadonlySet<string>): Promise<void>
  /** Compares everything with the kernel and patches it. */
  reconcile(): Promise<void>
  /** The same by turns; answers which share of the sandboxes had its turn. */
  reconcileTurn(): Promise<number>
  /** Compares and patches the policy rules alone, at once. */
  repairPolicyRules(): void
  /** What differs between desired and kernel, in the words of ip, iptables, nft. */
  plan(): Promise<readonly string[]>
}
