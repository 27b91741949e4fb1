/** IP addresses of links: list, add, delete. Adding what is there already changes nothing. */
import { attribute, nested, textOf, u32, u32Of } from './attributes.ts'
import { isKernelError, KernelError } from './error.ts'
import { checked, libcCalls } from './ffi.ts'
import { AF_INET, AF_INET6, bytesToIp, prefixToBytes } from './ipbytes.ts'
import { findLinkOn, listLinksOn, type Link } from './link.ts'
import {
  NLM_F_CREATE,
  NLM_F_EXCL,
  withRoute,
  type NetlinkMessage,
  type NetlinkSocket,
} from './netlink.ts'
import type { Netns } from './netns.ts'

const RTM_NEWADDR = 20
const RTM_DELADDR = 21
const RTM_GETADDR = 22
const IFA_ADDRESS = 1
const IFA_LOCAL = 2
const IFA_LABEL = 3
const IFA_BROADCAST = 4
const IFA_FLAGS = 8
/** Usable at once: nobody else can have an address that our own pools gave out. */
const IFA_F_NODAD = 2
const IFA_F_PERMANENT = 0x80
const ENODEV = 19
const SIOCGIFINDEX = 0x8933
/** `struct ifreq`: the name, and where its union begins. */
const ifreqBytes = 40
const ifreqValue = 16
const nameBytesMax = 15

export interface LinkAddress {
  readonly link: string
  readonly index: number
  readonly family: 4 | 6
  /** With prefix length: 172.18.0.1/16. */
  readonly address: string
  /** 0 global, 253 link, 254 host. */
  readonly scope: number
  /** '' where there is none. */
  readonly broadcast: string
  readonly label: string
  /** false: given by the kernel or a router for a time. */
  readonly permanent: boolean
}

/** All addresses of a namespace, or of one link. */
export function listAddresses(ns: Netns, link?: string): readonly LinkAddress[] {
  return withRoute(ns, (socket) => listAddressesOn(socket, link))
}

/** The same on an open socket. */
export function listAddressesOn(
  socket: NetlinkSocket,
  link?: string,
  links: readonly Link[] = listLinksOn(socket),
): readonly LinkAddress[] {
  const names = new Map(links.map(({ index, name }) => [index, name]))
  const body = [addressHeader(0, 0, 0)]
  const found: LinkAddress[] = []
  for (const reply of socket.dump({ type: RTM_GETADDR, body, attempted: 'list addresses' })) {
    const family = reply.body.readUInt8()
    const attributes = nested(reply.body.subarray(8))
    const bytes = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS)
    if (reply.type !== RTM_NEWADDR || bytes === undefined) continue
    if (family !== AF_INET && family !== AF_INET6) continue
    const index = reply.body.readUInt32LE(4)
    const name = names.get(index) ?? ''
    if (link !== undefined && name !== link) continue
    const flags = u32Of(attributes.get(IFA_FLAGS)) ?? reply.body.readUInt8(2)
    const broadcast = attributes.get(IFA_BROADCAST)
    found.push({
      link: name,
      index,
      family: family === AF_INET ? 4 : 6,
      address: `${bytesToIp(bytes)}/${reply.body.readUInt8(1)}`,
      scope: reply.body.readUInt8(3),
      broadcast: broadcast === undefined ? '' : bytesToIp(broadcast),
      label: textOf(attributes.get(IFA_LABEL)),
      permanent: (flags & IFA_F_PERMANENT) !== 0,
    })
  }
  return found
}

/** Gives a link an address; true when it was not there before. */
export function addAddress(ns: Netns, link: string, address: string): boolean {
  return withRoute(ns, (socket) => {
    const index = indexOf(socket, link, `add address ${address} to ${link}`)
    const [outcome] = socket.send([newAddress(index, link, address)])
    if (outcome === undefined) return true
    if (outcome.code === 'EEXIST') return false
    throw outcome
  })
}

/** Takes an address away; false when it, or its link, is not there. */
export function deleteAddress(ns: Netns, link: string, address: string): boolean {
  return withRoute(ns, (socket) => {
    const found = findLinkOn(socket, link)
    if (found === undefined) return false
    try {
      socket.request({
        type: RTM_DELADDR,
        body: addressBody(found.index, address),
        attempted: `delete address ${address} from ${link}`,
      })
      return true
    } catch (error) {
      if (isKernelError(error, 'EADDRNOTAVAIL')) return false
      throw error
    }
  })
}

/** The message that adds an address, for bursts. */
export function newAddress(index: number, link: string, address: string): NetlinkMessage {
  const isV6 = address.includes(':')
  return {
    type: RTM_NEWADDR,
    flags: NLM_F_CREATE | NLM_F_EXCL,
    body: [...addressBody(index, address), ...(isV6 ? [u32(IFA_FLAGS, IFA_F_NODAD)] : [])],
    attempted: `add address ${address} to ${link}`,
  }
}

/** The index of a link that must exist. */
export function indexOf(socket: NetlinkSocket, link: string, attempted: string): number {
  const found = findLinkOn(socket, link)
  if (found !== undefined) return found.index
  throw new KernelError('RTM_GETLINK', ENODEV, attempted, 'no such device')
}

/**
 * The same for a link that we have made. It does not wait for the kernel's lock, as netlink does,
 * nor has it the state of a bridge's ports brought up to date. Not for names that users choose:
 * for one that is not there the kernel looks for a module (netdevice(7), SIOCGIFINDEX).
 */
export function indexOfOurs(socket: NetlinkSocket, link: string, attempted: string): number {
  const request = Buffer.alloc(ifreqBytes)
  request.write(link, 0, nameBytesMax, 'utf8')
  checked(libcCalls.ioctl(socket.fd, SIOCGIFINDEX, request), 'SIOCGIFINDEX', attempted)
  return request.readInt32LE(ifreqValue)
}

function addressBody(index: number, address: string): readonly Buffer[] {
  const { bytes, length } = prefixToBytes(address)
  const family = bytes.length === 4 ? AF_INET : AF_INET6
  return [
    addressHeader(family, length, index),
    attribute(IFA_LOCAL, bytes),
    attribute(IFA_ADDRESS, bytes),
    ...(family === AF_INET && length < 31 ? [attribute(IFA_BROADCAST, lastOf(bytes, length))] : []),
  ]
}

/** The broadcast address, as `ip addr add … brd +` and libnetwork set it. */
function lastOf(bytes: Buffer, length: number): Buffer {
  const last = Buffer.alloc(4)
  const hostBits = length === 0 ? 0xffffffff : 2 ** (32 - length) - 1
  last.writeUInt32BE((bytes.readUInt32BE() | hostBits) >>> 0)
  return last
}

/** `ifaddrmsg` */
function addressHeader(family: number, prefixLength: number, index: number): Buffer {
  const header = Buffer.alloc(8)
  header.writeUInt8(family)
  header.writeUInt8(prefixLength, 1)
  header.writeUInt32LE(index, 4)
  return header
}
