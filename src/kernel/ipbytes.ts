/** IP addresses between text and wire form, by libc: nobody reads them more exactly. */
import { libcCalls } from './ffi.ts'
import { KernelError } from './error.ts'

export const AF_INET = 2
export const AF_INET6 = 10
const EINVAL = 22

/** 4 or 16 bytes in network order. */
export function ipToBytes(address: string): Buffer {
  const family = address.includes(':') ? AF_INET6 : AF_INET
  const bytes = Buffer.alloc(family === AF_INET ? 4 : 16)
  if (libcCalls.inet_pton(family, address, bytes) !== 1) {
    throw new KernelError('inet_pton', EINVAL, JSON.stringify(address), 'not an IP address')
  }
  return bytes
}

/** The usual text of 4 or 16 bytes; IPv6 in its shortest form. */
export function bytesToIp(bytes: Buffer): string {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`
  return libcCalls.inet_ntop(AF_INET6, bytes, Buffer.alloc(46), 46) ?? ''
}

/** `172.18.0.0/16` as bytes and length; without a length the whole address counts. */
export function prefixToBytes(prefix: string): { readonly bytes: Buffer; readonly length: number } {
  const slash = prefix.indexOf('/')
  const bytes = ipToBytes(slash < 0 ? prefix : prefix.slice(0, slash))
  const text = slash < 0 ? String(bytes.length * 8) : prefix.slice(slash + 1)
  const length = Number(text)
  if (!/^\d{1,3}$/.test(text) || length > bytes.length * 8) {
    throw new KernelError('inet_pton', EINVAL, JSON.stringify(prefix), 'not an IP prefix')
  }
  return { bytes, length }
}

/** `02:42:ac:11:00:02` as six bytes. */
export function macToBytes(mac: string): Buffer {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac)) {
    throw new KernelError('ether_aton', EINVAL, JSON.stringify(mac), 'not a MAC address')
  }
  return Buffer.from(mac.replaceAll(':', ''), 'hex')
}

/** Six bytes as `02:42:ac:11:00:02`. */
export function bytesToMac(bytes: Buffer): string {
  const hex = bytes.toString('hex')
  let text = hex.slice(0, 2)
  for (let at = 2; at < hex.length; at += 2) text += `:${hex.slice(at, at + 2)}`
  return text
}
