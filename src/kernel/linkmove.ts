/**
 * Moves a link that somebody else made into another namespace, under a new name, and tells what
 * it has become. The kernel takes it down on the way and drops its addresses.
 */
import { text, u32 } from './attributes.ts'
import { KernelError } from './error.ts'
import { findLinkOn, type Link } from './link.ts'
import { changeLinkMessage, IFLA, linkHeader, RTM_SETLINK } from './linkmessages.ts'
import { withRoute } from './netlink.ts'
import type { Netns } from './netns.ts'

const ENODEV = 19

/** Name and state on the other side; `mac` is set there when given. */
export interface Arrival {
  readonly name: string
  readonly mac?: string
  readonly up: boolean
}

/** @throws KernelError ENODEV when `from` has no such link, EEXIST when `to` has one already */
export function moveLink(from: Netns, name: string, to: Netns, arrival: Arrival): Link {
  const attempted = `move link ${name} to another namespace as ${arrival.name}`
  const vanished = () => new KernelError('RTM_SETLINK', ENODEV, attempted, `no link ${name}`)
  withRoute(from, (socket) => {
    const link = findLinkOn(socket, name)
    if (link === undefined) throw vanished()
    const header = linkHeader({ index: link.index })
    const body = [header, text(IFLA.IFNAME, arrival.name), u32(IFLA.NET_NS_FD, to.fd)]
    socket.request({ type: RTM_SETLINK, body, attempted })
  })
  return withRoute(to, (socket) => {
    const { mac, up } = arrival
    socket.request(changeLinkMessage(arrival.name, mac === undefined ? { up } : { mac, up }))
    const moved = findLinkOn(socket, arrival.name)
    if (moved === undefined) throw vanished()
    return moved
  })
}
