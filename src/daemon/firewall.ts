/**
 * Chooses what stands behind the firewall writer, remembers what was there before us, and takes
 * away the rules of the other backend after a change of `--firewall-backend`.
 */
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { tableAccess, nftAccess } from '../firewall/access.ts'
import type { Backend, FormerState } from '../firewall/backend.ts'
import { ZonedFirewall, type FirewalldStatus } from '../firewall/firewalld/zoned.ts'
import { Guard } from '../firewall/guard.ts'
import type { Firewall } from '../firewall/intent.ts'
import { IptablesBackend } from '../firewall/iptables.ts'
import { NftablesBackend } from '../firewall/nftables.ts'
import type { WatchFirewall } from '../firewall/repair.ts'
import type { Family } from '../firewall/rules.ts'
import { FirewallWriter, noFirewall } from '../firewall/writer.ts'
import { watchFirewall } from '../kernel/monitor.ts'
import { homeNetns } from '../kernel/netns.ts'
import { holdTables } from '../kernel/nftables.ts'
import type { Forwarding } from '../network/forwarding.ts'
import type { Store } from '../store/store.ts'
import type { Config } from './config.ts'
import { firewallSettings } from './network-config.ts'
import { isRecord } from './option.ts'

/** `4`, `6`, `chains4`, `chains6`: what was there before us. `backend`: which backend's rules are in the kernel. */
const collectionName = 'firewall'

export interface OpenFirewall {
  readonly firewall: Firewall
  firewalld(): FirewalldStatus
}

export async function openFirewall(
  config: Config,
  store: Store,
  forwarding: Forwarding,
): Promise<OpenFirewall> {
  const words = store.collection(collectionName, parseWord)
  const former = formerState(store, (id) => words.get(id)?.word)
  const make = (name: string): Backend => makeBackend(name, config, forwarding, former)
  if (!config.iptables) {
    return { firewall: noFirewall, firewalld: () => ({ running: false, reloadedAt: '' }) }
  }
  const wanted = config['firewall-backend'] || 'iptables'
  const before = words.get('backend')?.word ?? wanted
  if (before !== wanted) await retire(before, make(before))
  await store.write([change('backend', wanted)])
  const watch: WatchFirewall = (changed) => watchFirewall(homeNetns(), changed)
  const guard = new Guard(firewallSettings(config), (commands) => holdTables(homeNetns(), commands))
  const options = { watch, mayRepair: () => firewall.quiet(), guard }
  const writer = new FirewallWriter(make(wanted), options)
  const firewall: ZonedFirewall = new ZonedFirewall(writer)
  return { firewall, firewalld: () => firewall.status() }
}

function makeBackend(
  name: string,
  config: Config,
  forwarding: Forwarding,
  former: FormerState,
): Backend {
  const settings = firewallSettings(config)
  const dropForwarding = (family: Family) =>
    !config['ip-forward-no-drop'] && forwarding.switchedByUs(family)
  return name === 'nftables'
    ? new NftablesBackend({ settings, access: nftAccess(homeNetns()), dropForwarding })
    : new IptablesBackend({ settings, access: tableAccess(), dropForwarding, former })
}

/** The tools of the other backend may be gone by now: then so is the way to its rules. */
async function retire(name: string, backend: Backend): Promise<void> {
  try {
    await backend.removeAll()
  } catch (error) {
    log.warn('the rules of the former firewall backend are still there', {
      backend: name,
      error: messageOf(error),
    })
  }
}

function parseWord(document: unknown): { readonly word: string } {
  const word = isRecord(document) ? document['word'] : undefined
  if (typeof word !== 'string') throw new Error('a word is missing')
  return { word }
}

function change(id: string, word: string | undefined) {
  return { collection: collectionName, id, document: word === undefined ? null : { word } }
}

function formerState(store: Store, get: (id: string) => string | undefined): FormerState {
  return {
    get: (key) => get(String(key)),
    set: (key, word) => store.write([change(String(key), word)]),
  }
}
