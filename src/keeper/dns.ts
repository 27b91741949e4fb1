/** Names of all sandboxes. */
import type { ResolverSpec, ZoneRecord } from './client.ts'
import type { ResolverPorts } from './protocol.ts'

export class SandboxNames {
  readonly #resolvers = new Map<string, ResolverSpec>()
  get sandboxes(): number {
    return this.#resolvers.size
  }
  setZone(_networkId: string, _name: string, _records: readonly ZoneRecord[]): void {}
  changeZone(
    _networkId: string,
    _name: string,
    _changed: readonly ZoneRecord[],
    _removed: readonly string[],
  ): void {}
  removeZone(_networkId: string): void {}
  setResolver(spec: ResolverSpec, ports: ResolverPorts): ResolverPorts {
    this.#resolvers.set(spec.sandboxId, spec)
    return ports
  }
  removeResolver(sandboxId: string): void {
    this.#resolvers.delete(sandboxId)
  }
  keepOnly(_zones: ReadonlySet<string>, resolvers: ReadonlySet<string>): void {
    for (const id of this.#resolvers.keys()) if (!resolvers.has(id)) this.#resolvers.delete(id)
  }
  close(): void {}
}
