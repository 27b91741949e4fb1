/**
 * Whom the relay serves: what the firewall lets through but cannot translate. That is the host
 * itself and the containers of its bridges; everybody else is translated by the kernel, and is
 * not served here when the kernel's rules are missing for a moment. Containers of internal
 * networks are never served: what the kernel routes nowhere shall not get there by a relay.
 */
import { existsSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { contains, parsePrefix } from '../address/prefix.ts'
import type { Prefix } from '../address/prefix.ts'
import { parseAddress } from '../address/ip.ts'
import { listLinks } from '../kernel/link.ts'
import { homeNetns } from '../kernel/netns.ts'
import type { RuleObject } from '../kernel/object.ts'
import { listPolicyRules } from '../kernel/policy-rule.ts'
import type { PortHold } from './client.ts'

/** Addresses of the host change rarely; an unknown source makes us look again after this. */
const freshMs = 1000

interface HostAddresses {
  readonly own: ReadonlySet<string>
  readonly bridged: readonly Prefix[]
}

export class RelaySources {
  #known: HostAddresses = { own: new Set(), bridged: [] }
  #readAtMs = -Infinity

  /** @param link number of the link, where `source` means nothing without it */
  accepts(hold: PortHold, source: string, link?: number): boolean {
    if (isLoopback(source)) return true
    if (isLoopback(hold.hostIp)) return false
    if (isClosed(source, link)) return false
    if (hold.untranslated === true) return true
    const v6 = hold.hostIp.includes(':')
    // Nothing translates between the families, nor link-local sources: for these it is the relay.
    if (v6 && (!hold.containerIp.includes(':') || /^fe[89ab]/i.test(source))) return true
    if (this.#isKnown(source)) return true
    if (performance.now() - this.#readAtMs < freshMs) return false
    this.#readAtMs = performance.now()
    this.#known = readAddresses()
    return this.#isKnown(source)
  }

  #isKnown(source: string): boolean {
    const address = parseAddress(source)
    if (address === undefined) return false
    return this.#known.own.has(source) ||
      this.#known.bridged.some((prefix) => contains(prefix, address))
  }
}

export function isLoopback(address: string): boolean {
  return address.startsWith('127.') || address === '::1'
}

/** Asked anew each time: a network may have become internal, or its subnet another's. */
function isClosed(source: string, link: number | undefined): boolean {
  const rules = closingRules()
  if (rules.length === 0) return false
  const address = parseAddress(source)
  const isInside = rules.some(({ to }) => {
    const prefix = to === '' ? undefined : parsePrefix(to)?.prefix
    return prefix !== undefined && address !== undefined && contains(prefix, address)
  })
  if (isInside || link === undefined) return isInside
  const name = listLinks(homeNetns()).find(({ index }) => index === link)?.name
  return rules.some(({ iif }) => iif === name)
}

/** What keeps internal networks from being routed: the kernel itself says which ones are. */
function closingRules(): readonly RuleObject[] {
  return listPolicyRules(homeNetns()).filter(({ action }) => action === 'blackhole')
}

function readAddresses(): HostAddresses {
  const closed = new Set(closingRules().map(({ iif }) => iif))
  const own = new Set<string>()
  const bridged: Prefix[] = []
  for (const [name, addresses] of Object.entries(networkInterfaces())) {
    const bridge = isBridge(name) && !closed.has(name)
    for (const { address, cidr } of addresses ?? []) {
      own.add(address)
      const prefix = bridge && cidr !== null ? parsePrefix(cidr)?.prefix : undefined
      if (prefix !== undefined) bridged.push(prefix)
    }
  }
  return { own, bridged }
}

/** The names decide where /sys shows another namespace than the one that we are in. */
function isBridge(name: string): boolean {
  return /^(docker0|docker_gwbridge|br-[0-9a-f]{12})$/.test(name) ||
    existsSync(`/sys/class/net/${name}/bridge`)
}
