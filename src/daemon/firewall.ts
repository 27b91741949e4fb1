/** Chooses what stands behind the firewall writer, and remembers policies that it changed. */
import { tableAccess, nftAccess } from '../firewall/access.ts'
import type { PolicyRecord } from '../firewall/backend.ts'
import type { Firewall } from '../firewall/intent.ts'
import { IptablesBackend } from '../firewall/iptables.ts'
import { NftablesBackend } from '../firewall/nftables.ts'
import type { Family } from '../firewall/rules.ts'
import { FirewallWriter, noFirewall } from '../firewall/writer.ts'
import { watchFirewall } from '../kernel/monitor.ts'
import { homeNetns } from '../kernel/netns.ts'
import type { Forwarding } from '../network/forwarding.ts'
import type { Store } from '../store/store.ts'
import type { Config } from './config.ts'
import { firewallSettings } from './network-config.ts'
import { isRecord } from './option.ts'

const collectionName = 'firewall-policies'

export function createFirewall(config: Config, store: Store, forwarding: Forwarding): Firewall {
  const policies = policyRecord(store)
  if (!config.iptables) return noFirewall
  const settings = firewallSettings(config)
  const dropForwarding = (family: Family) =>
    !config['ip-forward-no-drop'] && forwarding.switchedByUs(family)
  const backend =
    config['firewall-backend'] === 'nftables'
      ? new NftablesBackend({ settings, access: nftAccess(homeNetns()), dropForwarding })
      : new IptablesBackend({ settings, access: tableAccess(), dropForwarding, policies })
  return new FirewallWriter(backend, (changed) => watchFirewall(homeNetns(), changed))
}

function policyRecord(store: Store): PolicyRecord {
  const records = store.collection(collectionName, (document) => {
    const policy = isRecord(document) ? document['policy'] : undefined
    if (typeof policy !== 'string') throw new Error('a policy is a word')
    return { policy }
  })
  return {
    get: (family) => records.get(String(family))?.policy,
    set: (family, policy) =>
      store.write([
        {
          collection: collectionName,
          id: String(family),
          document: policy === undefined ? null : { policy },
        },
      ]),
  }
}
