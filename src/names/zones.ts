/**
 * Names of endpoints per network, and how a name is looked up from a sandbox. Pure.
 *
 * A container sees the names of the networks it is attached to and no others. Names compare without
 * regard to ASCII case. Every change costs the changed endpoint, not the network.
 */

import { formatAddress, parseAddress } from '../address/ip.ts'

export interface NameRecord {
  readonly endpointId: string
  /** The first one answers PTR. */
  readonly names: readonly string[]
  /** Without prefix length, or ''. */
  readonly ipv4: string
  readonly ipv6: string
}

/** What one sandbox can see. */
export interface NameView {
  /** Attached networks in gateway order. */
  readonly networks: readonly { readonly networkId: string; readonly name: string }[]
  /** Private names of this sandbox for names of a network. */
  readonly linkAliases: readonly {
    readonly networkId: string
    readonly alias: string
    readonly name: string
  }[]
}

export type Family = 4 | 6

/** Lower case for ASCII letters only, as DNS wants it. */
export function foldCase(name: string): string {
  return name.replace(/[A-Z]+/g, (letters) => letters.toLowerCase())
}

class Zone {
  readonly #records = new Map<string, NameRecord>()
  readonly #byName = new Map<string, Set<string>>()
  readonly #byAddress = new Map<string, string>()

  get endpointIds(): IterableIterator<string> {
    return this.#records.keys()
  }

  set(record: NameRecord): void {
    this.remove(record.endpointId)
    this.#records.set(record.endpointId, record)
    for (const name of record.names) {
      const holders = this.#byName.get(foldCase(name)) ?? new Set()
      this.#byName.set(foldCase(name), holders.add(record.endpointId))
    }
    for (const ip of [record.ipv4, record.ipv6]) {
      if (ip !== '') this.#byAddress.set(canonicalIp(ip), record.endpointId)
    }
  }

  remove(endpointId: string): void {
    const record = this.#records.get(endpointId)
    if (record === undefined) return
    this.#records.delete(endpointId)
    for (const name of record.names) {
      const holders = this.#byName.get(foldCase(name))
      holders?.delete(endpointId)
      if (holders?.size === 0) this.#byName.delete(foldCase(name))
    }
    for (const ip of [record.ipv4, record.ipv6].filter((each) => each !== '').map(canonicalIp)) {
      if (this.#byAddress.get(ip) === endpointId) this.#byAddress.delete(ip)
    }
  }

  /** Undefined: no such name. Empty: the name exists without an address of this family. */
  addresses(foldedName: string, family: Family): readonly string[] | undefined {
    const holders = this.#byName.get(foldedName)
    if (holders === undefined) return undefined
    const found = new Set<string>()
    for (const endpointId of holders) {
      const record = this.#records.get(endpointId)
      const ip = family === 4 ? record?.ipv4 : record?.ipv6
      if (ip !== undefined && ip !== '') found.add(ip)
    }
    return [...found]
  }

  owner(ip: string): NameRecord | undefined {
    return this.#records.get(this.#byAddress.get(ip) ?? '')
  }
}

export class Zones {
  readonly #zones = new Map<string, Zone>()
  /** Grows with every change; answers kept from an older generation are stale. */
  #generation = 0

  get generation(): number {
    return this.#generation
  }

  get networkIds(): IterableIterator<string> {
    return this.#zones.keys()
  }

  /** Replaces all records of a network. */
  set(networkId: string, records: readonly NameRecord[]): void {
    this.#generation++
    const zone = new Zone()
    for (const record of records) zone.set(record)
    this.#zones.set(networkId, zone)
  }

  change(networkId: string, changed: readonly NameRecord[], removed: readonly string[]): void {
    this.#generation++
    const zone = this.#zones.get(networkId) ?? new Zone()
    this.#zones.set(networkId, zone)
    for (const endpointId of removed) zone.remove(endpointId)
    for (const record of changed) zone.set(record)
  }

  remove(networkId: string): void {
    this.#generation++
    this.#zones.delete(networkId)
  }

  /**
   * Addresses of a name as `view` sees it: for `a.b.c` the whole name in every network, then
   * `a.b` in network `c`, then `a` in network `b.c`. Undefined: not ours. Empty: ours, but without
   * an address of this family.
   */
  lookup(view: NameView, name: string, family: Family): readonly string[] | undefined {
    const folded = foldCase(name)
    const found = this.#resolve(view, folded, view.networks, family)
    if (found !== undefined) return found
    for (let dot = folded.lastIndexOf('.'); dot > 0; dot = folded.lastIndexOf('.', dot - 1)) {
      const network = folded.slice(dot + 1)
      const named = view.networks.filter((each) => foldCase(each.name) === network)
      if (named.length === 0) continue
      const qualified = this.#resolve(view, folded.slice(0, dot), named, family)
      if (qualified !== undefined) return qualified
    }
    return undefined
  }

  /** `name.network` of the endpoint that has this address, or undefined. */
  reverse(view: NameView, ip: string): string | undefined {
    const canonical = canonicalIp(ip)
    for (const network of view.networks) {
      const name = this.#zones.get(network.networkId)?.owner(canonical)?.names[0]
      if (name !== undefined) return `${name}.${network.name}`
    }
    return undefined
  }

  #resolve(
    view: NameView,
    folded: string,
    networks: NameView['networks'],
    family: Family,
  ): readonly string[] | undefined {
    const aliasOf = (networkId: string) =>
      view.linkAliases
        .filter((link) => link.networkId === networkId && foldCase(link.alias) === folded)
        .map((link) => foldCase(link.name))
    const byAlias = this.#first(networks, family, aliasOf)
    return byAlias ?? this.#first(networks, family, () => [folded])
  }

  /** The first network that has an address wins; one that knows the name without it is a miss. */
  #first(
    networks: NameView['networks'],
    family: Family,
    namesIn: (networkId: string) => readonly string[],
  ): readonly string[] | undefined {
    let known: readonly string[] | undefined
    for (const { networkId } of networks) {
      for (const name of namesIn(networkId)) {
        const found = this.#zones.get(networkId)?.addresses(name, family)
        if (found !== undefined && found.length > 0) return found
        known ??= found
      }
    }
    return known
  }
}

/** One spelling for each address; what is no address is compared as it stands. */
function canonicalIp(ip: string): string {
  const address = parseAddress(ip)
  return address === undefined ? ip : formatAddress(address)
}

/** A new order for every answer, so that no address is always first. */
export function shuffled<T>(items: readonly T[]): readonly T[] {
  const order = [...items]
  for (let last = order.length - 1; last > 0; last--) {
    const pick = Math.floor(Math.random() * (last + 1))
    const [a, b] = [order[last], order[pick]]
    if (a !== undefined && b !== undefined) [order[last], order[pick]] = [b, a]
  }
  return order
}
