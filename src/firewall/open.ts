/** The firewall of one daemon, by the name of its backend (`--firewall-backend`, `--iptables`). */
import { openNetns } from '../kernel/netns.ts'
import { nftAccess, tableAccess } from './access.ts'
import type { Backend, PolicyRecord } from './backend.ts'
import { IptablesBackend } from './iptables.ts'
import type { Firewall, FirewallSettings } from './intent.ts'
import { NftablesBackend } from './nftables.ts'
import type { Family } from './rules.ts'
import { FirewallWriter, noFirewall } from './writer.ts'

export type FirewallBackend = 'iptables' | 'nftables' | 'none'

export interface OpenFirewallOptions {
  /** none: `--iptables=false`, nothing is ever read or written. */
  readonly backend: FirewallBackend
  readonly settings: FirewallSettings
  /** Path of a network namespace; the daemon's own when absent. */
  readonly netns?: string
  /**
   * Whether this engine switched forwarding on for a family (and not ip-forward-no-drop): then what
   * nobody accepts is dropped. Asked at start and by every comparison.
   */
  readonly dropForwarding: (family: Family) => boolean
  /** Where the policy before that is kept, over restarts. */
  readonly policies: PolicyRecord
}

/** Nothing is touched before `start`. */
export function openFirewall(options: OpenFirewallOptions): Firewall {
  return options.backend === 'none' ? noFirewall : new FirewallWriter(openBackend(options))
}

function openBackend(options: OpenFirewallOptions): Backend {
  const { settings, netns = '', dropForwarding, policies } = options
  if (options.backend === 'nftables') {
    return new NftablesBackend({ settings, access: nftAccess(openNetns(netns)), dropForwarding })
  }
  return new IptablesBackend({ settings, access: tableAccess(netns), dropForwarding, policies })
}
