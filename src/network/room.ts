/** What the verbs of this room share: the rooms it calls, and what it keeps in memory. */
import type { EmitEvent } from '../base/event.ts'
import type { KeyedQueue } from '../base/queue.ts'
import type { Firewall } from '../firewall/intent.ts'
import type { Keeper } from '../keeper/client.ts'
import type { Store } from '../store/store.ts'
import type { NetworkConfig } from './config.ts'
import type { Departures } from './departures.ts'
import type { Forwarding } from './forwarding.ts'
import type { Ipam } from './ipam/ipam.ts'
import type { Plugins } from './plugins/plugins.ts'
import type { PortTable } from './ports.ts'
import type { State } from './state.ts'

/** What the entry point hands in. */
export interface NetworkDependencies {
  readonly config: NetworkConfig
  readonly store: Store
  readonly firewall: Firewall
  readonly keeper: Keeper
  readonly forwarding: Forwarding
  readonly emit: EmitEvent
}

export interface Room extends NetworkDependencies {
  readonly state: State
  readonly ipam: Ipam
  readonly ports: PortTable
  readonly queue: KeyedQueue
  readonly departures: Departures
  readonly plugins: Plugins
}
