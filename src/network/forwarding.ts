/**
 * IP forwarding of the host: switched on where it is off, what it was before kept in the store,
 * given back by `restoreAll`. The firewall asks `switchedByUs`: only then does FORWARD get a
 * policy of DROP, as dockerd does.
 */
import { homeNetns } from '../kernel/netns.ts'
import { readSysctl, writeSysctl } from '../kernel/sysctl.ts'
import type { Collection, Store } from '../store/store.ts'
import { collections, parseSettingRecord, type SettingRecord } from './records.ts'

const keysOf: Readonly<Record<4 | 6, readonly string[]>> = {
  4: ['net/ipv4/ip_forward'],
  6: ['net/ipv6/conf/default/forwarding', 'net/ipv6/conf/all/forwarding'],
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
    for (const key of keysOf[family]) {
      const now = readSysctl(homeNetns(), key)
      if (now === undefined || now === '1') continue
      if (this.#before.get(key) === undefined) {
        const document: SettingRecord = { before: now }
        await this.#store.write([{ collection: collections.settings, id: key, document }])
      }
      writeSysctl(homeNetns(), key, '1')
    }
  }

  /** True when forwarding was off before we came. */
  switchedByUs(family: 4 | 6): boolean {
    return keysOf[family].some((key) => this.#before.get(key) !== undefined)
  }

  /** Puts back what was there before (`portolan down`). */
  async restoreAll(): Promise<void> {
    for (const key of [...keysOf[6], ...keysOf[4]]) {
      const record = this.#before.get(key)
      if (record === undefined) continue
      writeSysctl(homeNetns(), key, record.before)
      await this.#store.write([{ collection: collections.settings, id: key, document: null }])
    }
  }
}
