/**
 * Tells neighbours at once which MAC an address has now: a gratuitous ARP per IPv4 address, an
 * unsolicited neighbour advertisement per IPv6 address.
 *
 * Without it a container that takes over another's address would be unreachable until the
 * neighbours' entries age. It is a courtesy: nothing fails when it cannot be sent.
 *
 * A bridge drops what comes by a port whose carrier it has not noticed yet, which the kernel does a
 * little later on a worker thread: so the frames are sent again, a bounded number of times.
 */
import { isKernelError } from './error.ts'
import { closeOnPool, libcCalls } from './ffi.ts'
import { ipToBytes, macToBytes } from './ipbytes.ts'
import { inNetns, openNetns, type Netns } from './netns.ts'

const AF_PACKET = 17
const SOCK_RAW_CLOEXEC_NONBLOCK = 3 | 0o2000000 | 0o4000
const ETH_P_ARP = 0x0806
const ETH_P_IPV6 = 0x86dd
const ICMPV6 = 58

/** At once, when the port surely forwards, and once more for a busy machine. */
const usualAtMs = [0, 20, 220]
/** A socket keeps its namespace: for later frames another one is made. */
const heldMsMax = 250

/**
 * Announces each address (with or without prefix length) of a link, at these times from now.
 *
 * Within a quarter of a second by one socket, which holds the namespace open for that long; later
 * ones by sockets of their own, for as long as the namespace is there.
 */
export function announce(
  ns: Netns,
  index: number,
  mac: string,
  addresses: readonly string[],
  atMs: readonly number[] = usualAtMs,
): void {
  if (addresses.length === 0 || atMs.length === 0) return
  const frames = addresses.map((address) => frameFor(index, mac, address))
  const soon = atMs.filter((at) => at <= heldMsMax)
  const fd = packetSocket(ns)
  if (fd >= 0) sendRepeatedly(fd, frames, soon, 0)
  const { path } = ns
  for (const at of atMs.slice(soon.length)) setTimeout(() => sendOnce(path, frames), at).unref()
}

/** Protocol 0: this socket only sends and never receives. */
function packetSocket(ns: Netns): number {
  return inNetns(ns, () => libcCalls.socket(AF_PACKET, SOCK_RAW_CLOEXEC_NONBLOCK, 0))
}

function sendOnce(path: string, frames: readonly Frame[]): void {
  let ns: Netns
  try {
    ns = openNetns(path)
  } catch (error) {
    if (isKernelError(error)) return // the container has gone, and its namespace with it
    throw error
  }
  const fd = packetSocket(ns)
  ns.close()
  if (fd >= 0) sendRepeatedly(fd, frames, [0], 0)
}

interface Frame {
  readonly bytes: Buffer
  readonly to: Buffer
}

function frameFor(index: number, mac: string, address: string): Frame {
  const hardware = macToBytes(mac)
  const ip = ipToBytes(address.replace(/\/.*$/, ''))
  const isV4 = ip.length === 4
  const bytes = isV4 ? arpFrame(hardware, ip) : advertFrame(hardware, ip)
  return { bytes, to: linkLayerAddress(index, isV4 ? ETH_P_ARP : ETH_P_IPV6) }
}

/** Sends at these times, counted from the same moment as `nowMs`, and closes the socket. */
function sendRepeatedly(
  fd: number,
  frames: readonly Frame[],
  [at, ...later]: readonly number[],
  nowMs: number,
): void {
  if (at === undefined) {
    // Closing a packet socket waits for a grace period, 5 to 30 ms.
    closeOnPool(fd)
    return
  }
  const send = () => {
    for (const { bytes, to } of frames) {
      libcCalls.sendto(fd, bytes, bytes.length, 0, to, to.length)
    }
    sendRepeatedly(fd, frames, later, at)
  }
  if (at > nowMs) setTimeout(send, at - nowMs).unref()
  else send()
}

/** `struct sockaddr_ll` */
function linkLayerAddress(index: number, protocol: number): Buffer {
  const name = Buffer.alloc(20)
  name.writeUInt16LE(AF_PACKET)
  name.writeUInt16BE(protocol, 2)
  name.writeInt32LE(index, 4)
  return name
}

/** An ARP request for the own address, to everybody: RFC 5227 announcement. */
export function arpFrame(mac: Buffer, address: Buffer): Buffer {
  const ethernet = Buffer.concat([Buffer.alloc(6, 0xff), mac, Buffer.of(0x08, 0x06)])
  const fixed = Buffer.of(0, 1, 0x08, 0, 6, 4, 0, 1)
  return Buffer.concat([ethernet, fixed, mac, address, Buffer.alloc(6), address])
}

/** An unsolicited neighbour advertisement with the override flag, to all nodes: RFC 4861 7.2.6. */
export function advertFrame(mac: Buffer, address: Buffer): Buffer {
  const allNodes = ipToBytes('ff02::1')
  const advert = Buffer.concat([
    Buffer.of(136, 0, 0, 0, 0x20, 0, 0, 0),
    address,
    Buffer.of(2, 1), // option: target link-layer address, in units of 8 bytes
    mac,
  ])
  const lengthAndKind = Buffer.of(0, 0, 0, advert.length, 0, 0, 0, ICMPV6)
  const pseudo = Buffer.concat([address, allNodes, lengthAndKind])
  advert.writeUInt16BE(checksum(Buffer.concat([pseudo, advert])), 2)
  const header = Buffer.from([0x60, 0, 0, 0, 0, advert.length, ICMPV6, 255])
  const ethernet = Buffer.concat([Buffer.of(0x33, 0x33, 0, 0, 0, 1), mac, Buffer.of(0x86, 0xdd)])
  return Buffer.concat([ethernet, header, address, allNodes, advert])
}

function checksum(bytes: Buffer): number {
  let sum = 0
  for (let offset = 0; offset < bytes.length; offset += 2) sum += bytes.readUInt16BE(offset)
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16)
  return ~sum & 0xffff
}
