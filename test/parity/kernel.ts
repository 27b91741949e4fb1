/**
 * Kernel state as two engines can be compared by: links with their addresses and routes as sorted
 * lines, and the rules of the nat table, whose layout did not change between 20.10 and 28.x.
 */

interface Link {
  readonly ifname: string
  readonly mtu: number
  readonly flags: readonly string[]
  readonly address?: string
  readonly addr_info: readonly { family: string; local: string; prefixlen: number; scope: string }[]
}

/** `ip -j addr`: name, MTU, whether it is up, addresses (without link-local ones). */
export function addresses(text: string): unknown {
  return links(text).map(({ ifname, mtu, flags, addr_info }) => [
    /^(<?veth)/.test(ifname) ? 'veth' : ifname, mtu, flags.includes('UP') ? 'up' : 'down',
    ...addr_info.filter(({ scope }) => scope !== 'link')
      .map(({ local, prefixlen }) => (local.startsWith('<pool>') ? local : `${local}/${prefixlen}`))
      .sort(),
  ].join(' ')).sort()
}

/** The same, with MAC addresses: what a container sees. */
export function inside(text: string): unknown {
  return links(text).map(({ ifname, mtu, address, addr_info }) => [
    ifname, mtu, address,
    ...addr_info.filter(({ scope }) => scope !== 'link')
      .map(({ local, prefixlen }) => `${local}/${prefixlen}`).sort(),
  ].join(' ')).sort()
}

function links(text: string): Link[] {
  const found: unknown = JSON.parse(text)
  if (!Array.isArray(found)) return []
  // `ip -j` has printed these fields since 2018.
  return found.filter((link: Link) => typeof link?.ifname === 'string')
}

/** Lines, sorted; whether a carrier has been noticed yet is a matter of time. */
export function lines(text: string): unknown {
  return text.split('\n').map((line) => line.trim().replace(/ linkdown$/, '')).filter((line) => line !== '').sort()
}

/** Rules of `iptables-save`, as a set: chains of both layouts are named alike in nat. */
export function natRules(text: string): unknown {
  return text.split('\n').filter((line) => line.startsWith('-A')).sort()
}
