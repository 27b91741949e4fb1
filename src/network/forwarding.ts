/**
 * What is switched on in the host's kernel: IP forwarding, and for networks that need it the
 * filtering of bridged packets. What it was before is kept in the store and given back by
 * `restoreAll`. The firewall asks `switchedByUs`: only then does FORWARD get a policy of DROP, as
 * dockerd does.
 */
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { runCommand } from '../kernel/command.ts'
import { homeNetns } from '../kernel/netns.ts'
import { readSysctl, writeSysctl } from '../kernel/sysctl.ts'
import type { Collection, Store } from '../store/store.ts'
import { collections, parseSettingRecord, type SettingRecord } from './records.ts'

const keysOf: Readonly<Record<4 | 6, readonly string[]>> = {
  4: ['net/ipv4/ip_forward'],
  6: ['net/ipv6/conf/default/forwarding', 'net/ipv6/conf/all/forwarding'],
}

const filterKeys: Readonly<Record<4 | 6, string>> = {
  4: 'net/bridge/bridge-nf-call-iptables',
  6: 'net/bridge/bridge-nf-call-ip6tables',
}

export class Forwarding {
  #store: Store
  #before: Collection<SettingRecord>

  constructor(store: Store) {
    this.#store = store
    this.#before = store.collection(collections.settings, parseSettingRecord)
  }

  /** Makes the host forward packets of this family; records first, then writes. */
  async switchOn(family: 4 | 6): Promise<void> {
    for (const key of keysOf[family]) await this.#set(key)
  }

  /** Has rules see packets between ports of one bridge; false where the kernel cannot. */
  async filterBridged(family: 4 | 6): Promise<boolean> {
    const key = filterKeys[family]
    if (readSysctl(homeNetns(), key) === undefined) {
      await runCommand('modprobe', ['br_netfilter'], {}).catch((error: unknown) => {
        log.warn('cannot load br_netfilter', { error: messageOf(error) })
      })
    }
    return this.#set(key)
  }

  async #set(key: string): Promise<boolean> {
    const now = readSysctl(homeNetns(), key)
    if (now === undefined || now === '1') return now === '1'
    if (this.#before.get(key) === undefined) {
      const document: SettingRecord = { before: now }
      await this.#store.write([{ collection: collections.settings, id: key, document }])
    }
    writeSysctl(homeNetns(), key, '1')
    return true
  }

  /** True when forwarding was off before we came. */
  switchedByUs(family: 4 | 6): boolean {
    return keysOf[family].some((key) => this.#before.get(key) !== undefined)
  }

  /** Puts back what was there before (`portolan down`). */
  async restoreAll(): Promise<void> {
    for (const key of [...Object.values(filterKeys), ...keysOf[6], ...keysOf[4]]) {
      const record = this.#before.get(key)
      if (record === undefined) continue
      if (readSysctl(homeNetns(), key) !== undefined) writeSysctl(homeNetns(), key, record.before)
      await this.#store.write([{ collection: collections.settings, id: key, document: null }])
    }
  }
}
