/**
 * What the daemon wants its keeper to hold: kept here so that callers state each fact once and a
 * new keeper can be told everything.
 */
import type { PortHold, ResolverSpec, StdioSpec, ZoneRecord } from './client.ts'
import type { Request, ResolverPorts } from './protocol.ts'

interface Zone {
  readonly name: string
  readonly records: Map<string, ZoneRecord>
}

export class Desired {
  readonly zones = new Map<string, Zone>()
  readonly resolvers = new Map<string, { spec: ResolverSpec; ports: ResolverPorts }>()
  readonly ports = new Map<string, readonly PortHold[]>()
  readonly streams = new Map<string, { spec: StdioSpec; stdinClosed: boolean; attachers: number }>()
  /** Asked for and not answered yet: it may be refused, but must not be closed meanwhile. */
  readonly #asked = {
    resolvers: new Set<string>(),
    ports: new Set<string>(),
    streams: new Set<string>(),
  }

  async whileAsked<T>(
    kind: 'resolvers' | 'ports' | 'streams',
    id: string,
    asking: () => Promise<T>,
  ): Promise<T> {
    this.#asked[kind].add(id)
    try {
      return await asking()
    } finally {
      this.#asked[kind].delete(id)
    }
  }

  /**
   * Takes the new records of a zone and answers what to tell the keeper: the difference, so that a
   * network of a thousand endpoints does not send a thousand records for each attach.
   */
  replaceZone(networkId: string, name: string, list: readonly ZoneRecord[]): Request {
    const before = this.zones.get(networkId)?.records ?? new Map<string, ZoneRecord>()
    const records = new Map(list.map((record) => [record.endpointId, record]))
    this.zones.set(networkId, { name, records })
    const changed = list.filter((record) => !equal(before.get(record.endpointId), record))
    const removed = [...before.keys()].filter((endpointId) => !records.has(endpointId))
    return { method: 'changeZone', networkId, name, changed, removed }
  }

  /** Takes a change of one endpoint, at a cost that does not grow with the zone. */
  changeZone(
    networkId: string,
    name: string,
    endpointId: string,
    record: ZoneRecord | undefined,
  ): Request {
    const zone = this.zones.get(networkId)
    const records = zone?.records ?? new Map<string, ZoneRecord>()
    if (record === undefined) records.delete(endpointId)
    else records.set(endpointId, record)
    if (zone === undefined) {
      this.zones.set(networkId, { name, records })
      return { method: 'setZone', networkId, name, records: [...records.values()] }
    }
    const removed = record === undefined ? [endpointId] : []
    const changed = record === undefined ? [] : [record]
    return { method: 'changeZone', networkId, name, changed, removed }
  }

  /** Everything, streams first: output waits in pipes of 64 KiB. */
  facts(): readonly Request[] {
    const facts: Request[] = []
    for (const stream of this.streams.values()) {
      facts.push({ method: 'openStdio', opening: { ...stream } })
    }
    for (const [networkId, { name, records }] of this.zones) {
      facts.push({ method: 'setZone', networkId, name, records: [...records.values()] })
    }
    for (const resolver of this.resolvers.values()) {
      facts.push({ method: 'setResolver', ...resolver })
    }
    for (const [endpointId, ports] of this.ports) {
      facts.push({ method: 'holdPorts', endpointId, ports })
    }
    return facts
  }

  /** Names everything, so that the keeper closes the rest. */
  settle(): Request {
    return {
      method: 'settle',
      zones: [...this.zones.keys()],
      resolvers: [...this.resolvers.keys(), ...this.#asked.resolvers],
      ports: [...this.ports.keys(), ...this.#asked.ports],
      streams: [...this.streams.keys(), ...this.#asked.streams],
    }
  }
}

function equal(a: ZoneRecord | undefined, b: ZoneRecord): boolean {
  if (a === b) return true
  return (
    a !== undefined &&
    a.ipv4 === b.ipv4 &&
    a.ipv6 === b.ipv6 &&
    a.names.length === b.names.length &&
    a.names.every((name, index) => name === b.names[index])
  )
}
