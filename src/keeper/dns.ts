/**
 * Names for all sandboxes: the zones of the networks and a name server in each sandbox.
 */
import { Zones } from '../names/zones.ts'
import type { ResolverSpec, ZoneRecord } from './client.ts'
import type { ResolverPorts } from './protocol.ts'
import { SandboxDns } from './sandbox-dns.ts'

export class SandboxNames {
  readonly #zones = new Zones()
  readonly #sandboxes = new Map<string, SandboxDns>()

  /** How many sandboxes are served. */
  get sandboxes(): number {
    return this.#sandboxes.size
  }

  setZone(networkId: string, records: readonly ZoneRecord[]): void {
    this.#zones.set(networkId, records)
  }

  changeZone(
    networkId: string,
    changed: readonly ZoneRecord[],
    removed: readonly string[],
  ): void {
    this.#zones.change(networkId, changed, removed)
  }

  removeZone(networkId: string): void {
    this.#zones.remove(networkId)
  }

  /** Names are answered when this returns. `wanted`: the ports of a keeper before this one. */
  setResolver(spec: ResolverSpec, wanted: ResolverPorts): ResolverPorts {
    const running = this.#sandboxes.get(spec.sandboxId)
    if (running?.isIn(spec.netnsPath)) {
      running.update(spec)
      return running.ports
    }
    running?.close(false)
    this.#sandboxes.delete(spec.sandboxId)
    const sandbox = new SandboxDns(spec, this.#zones, wanted)
    this.#sandboxes.set(spec.sandboxId, sandbox)
    return sandbox.ports
  }

  removeResolver(sandboxId: string): void {
    this.#sandboxes.get(sandboxId)?.close(true)
    this.#sandboxes.delete(sandboxId)
  }

  /** Closes what is not named. */
  keepOnly(networkIds: ReadonlySet<string>, sandboxIds: ReadonlySet<string>): void {
    for (const sandboxId of [...this.#sandboxes.keys()]) {
      if (!sandboxIds.has(sandboxId)) this.removeResolver(sandboxId)
    }
    for (const networkId of [...this.#zones.networkIds]) {
      if (!networkIds.has(networkId)) this.#zones.remove(networkId)
    }
  }

  close(): void {
    for (const sandboxId of [...this.#sandboxes.keys()]) this.removeResolver(sandboxId)
  }
}
