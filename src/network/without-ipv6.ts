/**
 * Containers whose IPv6 is switched off by a sysctl of theirs: lo has no ::1, and no endpoint gets
 * an IPv6 address. Pure.
 */
import { Refusal } from '../base/refusal.ts'
import type { EndpointSpec, SandboxSpec } from './model.ts'

/** `--sysctl net.ipv6.conf.all.disable_ipv6=1`, or `lo` in place of `all`. */
export function isWithoutIpv6({ sysctls }: SandboxSpec): boolean {
  return ['all', 'lo'].some((name) => sysctls[`net.ipv6.conf.${name}.disable_ipv6`] === '1')
}

/** Refuses an IPv6 address that such a container asks for. */
export function refuseIpv6({ ipv6Address, linkLocalIps }: EndpointSpec): void {
  const wanted = [ipv6Address ?? '', ...linkLocalIps].find((address) => address.includes(':'))
  if (wanted === undefined) return
  const why = 'IPv6 is switched off in this container, by its sysctl disable_ipv6'
  throw new Refusal('invalid', `address ${wanted}: ${why}`)
}
