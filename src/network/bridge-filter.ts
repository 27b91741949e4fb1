/**
 * Networks whose containers must not reach each other, and all networks without the userland
 * proxy, need rules that see packets between two ports of one bridge (br_netfilter).
 */
import { log } from '../base/log.ts'
import { Refusal } from '../base/refusal.ts'
import { parseBridgeOptions } from './drivers/options.ts'
import type { Network } from './model.ts'
import type { Room } from './room.ts'

/** Switches the filtering on where a network needs it; refuses in Docker's words where it cannot. */
export async function ensureBridgeFilter(room: Room, network: Network): Promise<void> {
  const { driver, options, configOnly } = network.spec
  if (driver !== 'bridge' || configOnly || !room.config.iptables) return
  if (parseBridgeOptions(options).icc && room.config.userlandProxy) return
  for (const { family } of network.pools) {
    if (await room.forwarding.filterBridged(family)) continue
    const file = `bridge-nf-call-${family === 4 ? 'ip' : 'ip6'}tables`
    const what = 'cannot restrict inter-container communication or run without the userland proxy'
    const why = `stat /proc/sys/net/bridge/${file}: no such file or directory`
    const variable = 'DOCKER_IGNORE_BR_NETFILTER_ERROR'
    const sentence = `${what}: ${why}: set environment variable ${variable}=1 to ignore`
    if (process.env[variable] !== '1') throw new Refusal('internal', sentence)
    log.warn(sentence, { network: network.spec.name })
  }
}
