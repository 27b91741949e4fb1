/** Neighbour and forwarding entries (`ip neigh`, `bridge fdb`): list, set, delete. */
import { attribute, nested } from './attributes.ts'
import { indexOf } from './address.ts'
import { isKernelError } from './error.ts'
import { AF_INET, AF_INET6, bytesToIp, bytesToMac, ipToBytes, macToBytes } from './ipbytes.ts'
import { findLinkOn, listLinksOn } from './link.ts'
import { NLM_F_CREATE, NLM_F_REPLACE, withRoute } from './netlink.ts'
import type { Netns } from './netns.ts'

const RTM_NEWNEIGH = 28
const RTM_DELNEIGH = 29
const RTM_GETNEIGH = 30
const NDA_DST = 1
const NDA_LLADDR = 2
const AF_BRIDGE = 7
const NUD_PERMANENT = 0x80
const NUD_NOARP = 0x40
const NTF_SELF = 2

export interface Neighbour {
  readonly link: string
  readonly address: string
  /** '' while it is not known. */
  readonly mac: string
  /** Set by somebody and kept for ever, not learnt. */
  readonly permanent: boolean
}

/** A forwarding entry of a vxlan link: frames to `mac` go to the host `destination`. */
export interface ForwardingEntry {
  readonly link: string
  readonly mac: string
  readonly destination: string
}

/** ARP and neighbour discovery entries of a namespace, or of one link. */
export function listNeighbours(ns: Netns, link?: string): readonly Neighbour[] {
  return withRoute(ns, (socket) => {
    const names = new Map(listLinksOn(socket).map(({ index, name }) => [index, name]))
    const found: Neighbour[] = []
    for (const family of [AF_INET, AF_INET6]) {
      const body = [neighbourHeader(family, 0, 0, 0)]
      for (const reply of socket.dump({ type: RTM_GETNEIGH, body, attempted: 'list neighbours' })) {
        const attributes = nested(reply.body.subarray(12))
        const address = attributes.get(NDA_DST)
        const state = reply.body.readUInt16LE(8)
        const name = names.get(reply.body.readInt32LE(4)) ?? ''
        // A kernel without IPv6 answers a question for it with the entries of all families.
        if (reply.body.readUInt8() !== family) continue
        if (address === undefined || (state & NUD_NOARP) !== 0) continue
        if (link !== undefined && name !== link) continue
        const mac = attributes.get(NDA_LLADDR)
        found.push({
          link: name,
          address: bytesToIp(address),
          mac: mac === undefined ? '' : bytesToMac(mac),
          permanent: (state & NUD_PERMANENT) !== 0,
        })
      }
    }
    return found
  })
}

/** Sets a permanent entry, whatever was there. */
export function setNeighbour(ns: Netns, link: string, address: string, mac: string): void {
  const attempted = `set neighbour ${address} at ${mac} on ${link}`
  change(ns, link, attempted, (index) => ({
    type: RTM_NEWNEIGH,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    header: neighbourHeader(familyOf(address), index, NUD_PERMANENT, 0),
    address,
    mac,
  }))
}

/** Deletes an entry, learnt ones too; false when it, or its link, is not there. */
export function deleteNeighbour(ns: Netns, link: string, address: string): boolean {
  const attempted = `delete neighbour ${address} on ${link}`
  return isThere(() =>
    change(ns, link, attempted, (index) => ({
      type: RTM_DELNEIGH,
      flags: 0,
      header: neighbourHeader(familyOf(address), index, 0, 0),
      address,
    })),
  )
}

/** Static entries of a link's own forwarding table (vxlan). */
export function listForwarding(ns: Netns, link: string): readonly ForwardingEntry[] {
  return withRoute(ns, (socket) => {
    const index = findLinkOn(socket, link)?.index
    if (index === undefined) return []
    const body = [neighbourHeader(AF_BRIDGE, 0, 0, 0)]
    const found: ForwardingEntry[] = []
    for (const reply of socket.dump({ type: RTM_GETNEIGH, body, attempted: 'list forwarding' })) {
      const attributes = nested(reply.body.subarray(12))
      const mac = attributes.get(NDA_LLADDR)
      const destination = attributes.get(NDA_DST)
      if (reply.body.readInt32LE(4) !== index || mac === undefined) continue
      if (destination === undefined) continue
      found.push({ link, mac: bytesToMac(mac), destination: bytesToIp(destination) })
    }
    return found
  })
}

/** Frames to `mac` on a vxlan link go to the host `destination`. */
export function setForwarding(ns: Netns, link: string, mac: string, destination: string): void {
  change(ns, link, `forward ${mac} on ${link} to ${destination}`, (index) => ({
    type: RTM_NEWNEIGH,
    flags: NLM_F_CREATE | NLM_F_REPLACE,
    header: neighbourHeader(AF_BRIDGE, index, NUD_PERMANENT | NUD_NOARP, NTF_SELF),
    address: destination,
    mac,
  }))
}

/** Deletes a forwarding entry; false when it is not there. */
export function deleteForwarding(
  ns: Netns,
  link: string,
  mac: string,
  destination: string,
): boolean {
  const attempted = `stop forwarding ${mac} on ${link} to ${destination}`
  return isThere(() =>
    change(ns, link, attempted, (index) => ({
      type: RTM_DELNEIGH,
      flags: 0,
      header: neighbourHeader(AF_BRIDGE, index, 0, NTF_SELF),
      address: destination,
      mac,
    })),
  )
}

interface Change {
  readonly type: number
  readonly flags: number
  readonly header: Buffer
  readonly address: string
  readonly mac?: string
}

function change(ns: Netns, link: string, attempted: string, make: (index: number) => Change): void {
  withRoute(ns, (socket) => {
    const { type, flags, header, address, mac } = make(indexOf(socket, link, attempted))
    const hardware = mac === undefined ? [] : [attribute(NDA_LLADDR, macToBytes(mac))]
    const body = [header, attribute(NDA_DST, ipToBytes(address)), ...hardware]
    socket.request({ type, flags, body, attempted })
  })
}

function isThere(remove: () => void): boolean {
  try {
    remove()
    return true
  } catch (error) {
    if (isKernelError(error, 'ENOENT', 'ENODEV')) return false
    throw error
  }
}

function familyOf(address: string): number {
  return address.includes(':') ? AF_INET6 : AF_INET
}

/** `ndmsg` */
function neighbourHeader(family: number, index: number, state: number, flags: number): Buffer {
  const header = Buffer.alloc(12)
  header.writeUInt8(family)
  header.writeInt32LE(index, 4)
  header.writeUInt16LE(state, 8)
  header.writeUInt8(flags, 10)
  return header
}
