/**
 * Host ports: who of us holds which, and which one comes next. The kernel's word (a listening
 * socket of another program) is asked of the keeper afterwards; a port it refuses is struck off
 * and the choice repeated.
 */
import { parseAddress } from '../address/ip.ts'
import { Refusal } from '../base/refusal.ts'
import type { Publication, PublicationSpec } from './model.ts'

/** What decides how one container's ports are published. */
export interface PortContext {
  readonly containerIpv4: string
  readonly containerIpv6: string
  /** Host address for publications that name none. */
  readonly defaultHostIp: string
  /** A default of 0.0.0.0 is published on :: too. */
  readonly alsoIpv6: boolean
  /** No host port is taken for this family (gateway mode routed). */
  readonly routed4: boolean
  readonly routed6: boolean
  readonly ephemeral: { readonly first: number; readonly last: number }
  readonly reserved: ReadonlySet<number>
  /** `tcp/8080`: the system refused these just now. */
  readonly busy: ReadonlySet<string>
}

/** How many candidates the system may refuse before the refusal is passed on. */
export const portTriesMax = 10

export class PortTable {
  /** `tcp/4/8080` → host address → owner. */
  #held = new Map<string, Map<string, string>>()
  /** Last ephemeral port by `tcp/0.0.0.0`. */
  #last = new Map<string, number>()

  /**
   * Reserves host ports for every spec, all or none; fixed ones first, so that no automatic one
   * takes a port that is asked for by number.
   */
  reserve(
    owner: string,
    specs: readonly PublicationSpec[],
    context: PortContext,
  ): readonly Publication[] {
    const order = [...specs.entries()].sort(([, a], [, b]) => freedom(a) - freedom(b))
    const found: Publication[][] = specs.map(() => [])
    const taken: Publication[] = []
    try {
      for (const [index, spec] of order) {
        const publications = this.#choose(owner, spec, context)
        for (const one of publications) this.#hold(owner, one)
        taken.push(...publications)
        found[index] = publications
      }
    } catch (error) {
      for (const one of taken) this.#drop(owner, one)
      throw error
    }
    return found.flat()
  }

  /** Holds what a stored endpoint has published already. */
  restore(owner: string, publications: readonly Publication[]): void {
    for (const one of publications) this.#hold(owner, one)
  }

  release(owner: string, publications: readonly Publication[]): void {
    for (const one of publications) this.#drop(owner, one)
  }

  #choose(owner: string, spec: PublicationSpec, context: PortContext): Publication[] {
    const addresses = hostAddresses(spec, context)
    const { protocol, containerPort } = spec
    const isRouted = (hostIp: string) => (isIpv4(hostIp) ? context.routed4 : context.routed6)
    if (addresses.length === 0) return []
    const make = (hostPort: number) =>
      addresses.map((hostIp): Publication => {
        if (!isRouted(hostIp)) return { protocol, containerPort, hostIp, hostPort }
        // Opened for whoever routes here: no address of the host has a part in it.
        const everywhere = isIpv4(hostIp) ? '0.0.0.0' : '::'
        return { protocol, containerPort, hostIp: everywhere, hostPort: 0 }
      })
    if (addresses.every(isRouted)) return make(0)
    if (spec.hostPortFirst !== 0 && spec.hostPortFirst === spec.hostPortLast) {
      const publications = make(spec.hostPortFirst)
      this.#refuseHeld(owner, publications, context)
      return publications
    }
    for (const port of this.#candidates(spec, addresses[0] ?? '', context)) {
      if (context.busy.has(`${protocol}/${port}`)) continue
      const publications = make(port)
      if (publications.some((one) => this.#holder(one) !== undefined)) continue
      if (spec.hostPortFirst === 0) this.#last.set(`${protocol}/${addresses[0]}`, port)
      return publications
    }
    const where = `${bracketed(addresses[0] ?? '')}:${spec.hostPortFirst || 0}`
    throw new Refusal('internal', `Bind for ${where} failed: all ports are allocated`)
  }

  *#candidates(spec: PublicationSpec, address: string, context: PortContext): Generator<number> {
    if (spec.hostPortFirst !== 0) {
      for (let port = spec.hostPortFirst; port <= spec.hostPortLast; port++) yield port
      return
    }
    const { first, last } = context.ephemeral
    const size = last - first + 1
    const previous = this.#last.get(`${spec.protocol}/${address}`) ?? last
    const start = previous < first || previous >= last ? first : previous + 1
    for (let step = 0; step < size; step++) {
      const port = first + ((start - first + step) % size)
      if (!context.reserved.has(port)) yield port
    }
  }

  /** As Docker says it: who has just this address and port is known, the rest is the kernel's word. */
  #refuseHeld(owner: string, publications: readonly Publication[], context: PortContext): void {
    for (const one of publications) {
      const holder = one.hostPort === 0 ? undefined : this.#holder(one)
      if (holder === undefined) continue
      const same = this.#held.get(keyOf(one))?.get(one.hostIp)
      const where = `${bracketed(one.hostIp)}:${one.hostPort}`
      if (same !== undefined && same !== holderOf(owner, one)) {
        throw new Refusal('internal', `Bind for ${where} failed: port is already allocated`)
      }
      const inUse = 'address already in use'
      if (holder.startsWith(`${owner}/`)) {
        const kind = one.protocol.toUpperCase()
        throw new Refusal('internal', `failed to listen on ${kind} socket: ${inUse}`)
      }
      const target = `${targetOf(one, context)}:${one.containerPort}/${one.protocol}`
      throw new Refusal('internal', `failed to bind host port for ${where}:${target}: ${inUse}`)
    }
  }

  #holder(one: Publication): string | undefined {
    const held = this.#held.get(keyOf(one))
    if (held === undefined) return undefined
    if (isWildcard(one.hostIp)) return held.get(one.hostIp) ?? held.values().next().value
    return held.get(one.hostIp) ?? held.get('0.0.0.0') ?? held.get('::')
  }

  #hold(owner: string, one: Publication): void {
    if (one.hostPort === 0) return
    const held = this.#held.get(keyOf(one)) ?? new Map<string, string>()
    held.set(one.hostIp, holderOf(owner, one))
    this.#held.set(keyOf(one), held)
  }

  #drop(owner: string, one: Publication): void {
    const held = this.#held.get(keyOf(one))
    if (held?.get(one.hostIp) !== holderOf(owner, one)) return
    held.delete(one.hostIp)
    if (held.size === 0) this.#held.delete(keyOf(one))
  }
}

/** Who holds a host port: one port of one container. */
const holderOf = (owner: string, { containerPort }: Publication): string =>
  `${owner}/${containerPort}`

/** Where a port leads: the relay serves IPv6 for a container that has none. */
function targetOf({ hostIp }: Publication, { containerIpv4, containerIpv6 }: PortContext): string {
  const address = isIpv4(hostIp) || containerIpv6 === '' ? containerIpv4 : containerIpv6
  return bracketed(address.split('/')[0] ?? '')
}

/** Fixed ports, then ranges, then whatever is free. */
function freedom(spec: PublicationSpec): number {
  if (spec.hostPortFirst === 0) return 2
  return spec.hostPortFirst === spec.hostPortLast ? 0 : 1
}

/** The host addresses of one publication that can be served at all. */
function hostAddresses(spec: PublicationSpec, context: PortContext): string[] {
  const hostIp = spec.hostIp === '' ? context.defaultHostIp : spec.hostIp
  if (parseAddress(hostIp) === undefined) {
    throw new Refusal('invalid', `invalid IP address: ${hostIp}`)
  }
  const both = spec.hostIp === '' && hostIp === '0.0.0.0'
  const all = both ? ['0.0.0.0', '::'] : [hostIp]
  const served = all.filter((address) =>
    isIpv4(address)
      ? context.containerIpv4 !== ''
      : context.containerIpv6 !== '' || context.alsoIpv6,
  )
  if (served.length === 0 && spec.hostIp !== '') {
    const [family, why] = isIpv4(hostIp) ? [4, ''] : [6, ' and the userland proxy is off']
    const sentence = `the container has no IPv${family} address that could be published${why}`
    throw new Refusal('invalid', `cannot publish ${bracketed(hostIp)}: ${sentence}`)
  }
  return served
}

const isIpv4 = (address: string): boolean => !address.includes(':')
const isWildcard = (address: string): boolean => address === '0.0.0.0' || address === '::'
const bracketed = (address: string): string => (isIpv4(address) ? address : `[${address}]`)
const keyOf = ({ protocol, hostIp, hostPort }: Publication): string =>
  `${protocol}/${isIpv4(hostIp) ? 4 : 6}/${hostPort}`

/** `ip_local_reserved_ports`: `8080,9000-9010`. */
export function parseReservedPorts(text: string): ReadonlySet<number> {
  const ports = new Set<number>()
  for (const part of text.trim().split(',')) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(part)
    if (match === null) continue
    for (let port = Number(match[1]); port <= Number(match[2] ?? match[1]); port++) ports.add(port)
  }
  return ports
}

/** `ip_local_port_range`, with Docker's fallback. */
export function parsePortSpan(text: string): { readonly first: number; readonly last: number } {
  const [first, last] = text.trim().split(/\s+/).map(Number)
  if (first === undefined || last === undefined || !(first > 0 && last >= first)) {
    return { first: 49_153, last: 65_535 }
  }
  return { first, last }
}

