/**
 * Connection tracking after a change of published ports: entries that were made before the rules
 * changed would go on to match the old ones, for UDP as long as packets keep coming.
 */
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { forgetAll, type ConnectionFilter } from '../kernel/conntrack.ts'
import { homeNetns } from '../kernel/netns.ts'
import type { Endpoint, Publication } from './model.ts'

/** Walking the kernel's table takes 10 ms, where it is not empty: changes share one walk. */
const laterMs = 500
const due: ConnectionFilter[] = []
let later: NodeJS.Timeout | undefined

/** Forgets flows to published UDP ports and to addresses of endpoints; never fails a verb. */
export function forgetFlows(
  publications: readonly Publication[],
  endpoints: readonly Endpoint[],
): void {
  const filters: ConnectionFilter[] = []
  for (const { protocol, hostPort } of publications) {
    if (protocol !== 'udp' || hostPort === 0) continue
    filters.push({ protocol, originalPorts: [hostPort, hostPort] })
  }
  if (publications.length > 0) {
    for (const { ipv4, ipv6 } of endpoints) {
      for (const address of [ipv4, ipv6]) {
        if (address !== '') filters.push({ address: address.split('/')[0] ?? '' })
      }
    }
  }
  if (filters.length === 0) return
  due.push(...filters)
  // A UDP flow would go on with the next packet; all else has ended, and can wait for company.
  if (filters.some(({ protocol }) => protocol === 'udp')) forgetDue()
  else later ??= setTimeout(forgetDue, laterMs).unref()
}

function forgetDue(): void {
  clearTimeout(later)
  later = undefined
  try {
    forgetAll(homeNetns(), due.splice(0))
  } catch (error) {
    log.warn('cannot forget tracked connections', { error: messageOf(error) })
  }
}
