/**
 * What stands behind the firewall writer: iptables or nftables. The writer merges and orders
 * requests; a backend makes the kernel agree with them.
 */
import type { BridgeIntent, LinkIntent, PortIntent } from './intent.ts'
import type { Family } from './rules.ts'

/** What one bridge or one endpoint asks for. */
export type Unit =
  | { readonly kind: 'bridge'; readonly intent: BridgeIntent }
  | {
      readonly kind: 'endpoint'
      readonly ports: readonly PortIntent[]
      readonly links: readonly LinkIntent[]
    }

/** A unit's new state; undefined removes it. `id` is unique over bridges and endpoints. */
export interface UnitChange {
  readonly id: string
  readonly unit: Unit | undefined
}

/** With neither: what concerns no bridge and no address. */
export interface ExplainMatch {
  readonly bridge?: string
  readonly address?: string
}

/** What rules of the user's, when last read, could let through before ours drop it. */
export interface UserOpens {
  /** What ours drop at `raw`. */
  readonly raw: boolean
  /** What ours drop when it is forwarded. */
  readonly forward: boolean
}

export interface Backend {
  readonly userOpens: UserOpens
  /** Makes the base; leaves what an earlier life left until the first `reconcile`. */
  start(): Promise<void>
  /** All or nothing: after an error kernel and memory are as before, as far as that can be. */
  apply(changes: readonly UnitChange[]): Promise<void>
  reconcile(): Promise<void>
  plan(): Promise<readonly string[]>
  explain(match: ExplainMatch): Promise<readonly string[]>
  removeAll(): Promise<void>
}

/**
 * What was there before us; kept by the caller, over restarts. Under the family: the forwarding
 * policy. Under `chainsN`: chains with names of ours that somebody else had made (`table/chain`).
 */
export type FormerKey = Family | `chains${Family}`

export interface FormerState {
  get(key: FormerKey): string | undefined
  set(key: FormerKey, word: string | undefined): Promise<void>
}

/** Words of a rule that names this bridge or address (alone, as a host, or before a port). */
export function mentions(text: string, match: ExplainMatch): boolean {
  const words = text.split(/[\s,"{}]+/)
  const { bridge, address } = match
  if (bridge !== undefined && words.some((word) => word === bridge)) return true
  if (address === undefined) return false
  const forms = [address, `${address}/32`, `${address}/128`]
  const starts = [`${address}:`, `[${address}]`]
  return words.some(
    (word) => forms.includes(word) ||
      (!address.includes(':') && word.startsWith(starts[0] ?? '')) ||
      word.startsWith(starts[1] ?? ''),
  )
}
