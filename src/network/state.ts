/**
 * What exists: networks by id and name, sandboxes by container, endpoints by network. Memory, in
 * step with the store; what is being made is here already, so that names and networks are reserved.
 */
import { Refusal } from '../base/refusal.ts'
import type { ZoneRecord } from '../keeper/client.ts'
import type { Endpoint, Network, Sandbox } from './model.ts'
import type { NetworkRecord, SandboxRecord } from './records.ts'

export interface NetworkEntry {
  record: NetworkRecord
  /** Endpoints, also those being made, by their id. */
  readonly endpoints: Map<string, { readonly containerId: string }>
  /** Names that its endpoints have, by endpoint. */
  readonly names: Map<string, ZoneRecord>
  /** Addresses that an earlier endpoint had with a MAC that does not follow from them. */
  readonly strayAddresses: Set<string>
  /** Being removed: no longer found, no new endpoints. */
  removing: boolean
}

export interface SandboxEntry {
  record: SandboxRecord
  /** False until `open` has finished: not shown yet. */
  ready: boolean
}

export class State {
  readonly networks = new Map<string, NetworkEntry>()
  readonly sandboxes = new Map<string, SandboxEntry>()
  /** Identities of objects that a verb is about to make, for networks not on the list yet. */
  readonly inTheMaking = new Set<string>()
  #names = new Map<string, string>()

  /** Refuses a name that exists or is being made. */
  reserveName(name: string, id: string): void {
    if (this.#names.has(name)) {
      throw new Refusal('conflict', `network with name ${name} already exists`)
    }
    this.#names.set(name, id)
  }

  freeName(name: string, id: string): void {
    if (this.#names.get(name) === id) this.#names.delete(name)
  }

  addNetwork(record: NetworkRecord): NetworkEntry {
    const entry: NetworkEntry = {
      record,
      endpoints: new Map(),
      names: new Map(),
      strayAddresses: new Set(),
      removing: false,
    }
    this.networks.set(record.network.id, entry)
    this.#names.set(record.network.spec.name, record.network.id)
    return entry
  }

  removeNetwork(id: string): void {
    const entry = this.networks.get(id)
    if (entry === undefined) return
    this.networks.delete(id)
    this.freeName(entry.record.network.spec.name, id)
  }

  /** Full id, then full name, then unique prefix of the id. */
  find(idOrName: string): NetworkEntry {
    const exact = this.networks.get(idOrName) ?? this.networks.get(this.#names.get(idOrName) ?? '')
    if (exact !== undefined && !exact.removing) return exact
    const found = idOrName === '' ? [] : this.#byPrefix(idOrName)
    const [first] = found
    if (first !== undefined && found.length === 1) return first
    if (found.length > 1) {
      const matches = `${found.length} matches found based on ID prefix`
      throw new Refusal('invalid', `${matches}: network ${idOrName} is ambiguous`)
    }
    throw new Refusal('notFound', `network ${idOrName} not found`)
  }

  #byPrefix(prefix: string): NetworkEntry[] {
    const found: NetworkEntry[] = []
    for (const [id, entry] of this.networks) {
      if (id.startsWith(prefix) && !entry.removing) found.push(entry)
    }
    return found
  }

  list(): readonly Network[] {
    return [...this.networks.values()]
      .filter(({ removing }) => !removing)
      .map(({ record }) => record.network)
  }

  network(id: string): Network | undefined {
    return this.networks.get(id)?.record.network
  }

  sandbox(containerId: string): Sandbox | undefined {
    return this.sandboxes.get(containerId)?.record.sandbox
  }

  /** Puts an endpoint on its network's list, before anything is made. */
  join(endpoint: Endpoint): void {
    const { containerId } = endpoint
    this.networks.get(endpoint.networkId)?.endpoints.set(endpoint.id, { containerId })
  }

  leave(endpoint: Endpoint): void {
    this.networks.get(endpoint.networkId)?.endpoints.delete(endpoint.id)
  }

  endpointsOf(networkId: string): readonly (Endpoint & { readonly containerName: string })[] {
    const found: (Endpoint & { readonly containerName: string })[] = []
    for (const [id, { containerId }] of this.networks.get(networkId)?.endpoints ?? []) {
      const entry = this.sandboxes.get(containerId)
      const endpoint = entry?.record.sandbox.endpoints.find((one) => one.id === id)
      if (entry === undefined || endpoint === undefined) continue
      found.push({ ...endpoint, containerName: entry.record.sandbox.spec.containerName })
    }
    return found
  }
}
