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
import { closeOnPool, libcCalls } from './ffi.ts'
import { ipToBytes, macToBytes } from './ipbytes.ts'
import { inNetns, type Netns } from './netns.ts'

const AF_PACKET = 17
const SOCK_RAW_CLOEXEC_NONBLOCK = 3 | 0o2000000 | 0o4000
const ETH_P_ARP = 0x0806
const ETH_P_IPV6 = 0x86dd
const ICMPV6 = 58

/** After the first time: when the port surely forwards, and once more for a busy machine. */
const repeatAfterMs = [20, 200]

/**
 * Announces each address (with or without prefix length) of a link, now and twice more. The
 * namespace is held open for that long, a quarter of a second.
 */
export function announce(
  ns: Netns,
  index: number,
  mac: string,
  addresses: readonly string[],
): void {
  if (addresses.length === 0) return
  const frames = addresses.map((address) => frameFor(index, mac, address))
  // Protocol 0: this socket only sends and never receives.
  const fd = inNetns(ns, () => libcCalls.socket(AF_PACKET, SOCK_RAW_CLOEXEC_NONBLOCK, 0))
  if (fd >= 0) sendRepeatedly(fd, frames, repeatAfterMs)
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

function sendRepeatedly(fd: number, frames: readonly Frame[], later: readonly number[]): void {
  for (const { bytes, to } of frames) {
    libcCalls.sendto(fd, bytes, bytes.length, 0, to, to.length)
  }
  const [delayMs, ...rest] = later
  if (delayMs === undefined) {
    // Closing a packet socket waits for a grace period, 5 to 30 ms.
    closeOnPool(fd)
    return
  }
  setTimeout(() => sendRepeatedly(fd, frames, rest), delayMs).unref()
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
