/** Which registries may speak plain HTTP, and what is said when one does not answer. */
import { BlockList, isIP } from 'node:net'
import { messageOf, Refusal } from '../../base/refusal.ts'
import { isObject } from '../shape.ts'

/** `[::1]:5000` → `::1`. */
const hostOf = (domain: string): string => domain.replace(/:\d+$/, '').replace(/^\[|\]$/g, '')

/** Those on this machine, and those that the daemon's settings name, by host or by prefix. */
export function maySpeakPlainHttp(domain: string, insecure: readonly string[]): boolean {
  const host = hostOf(domain)
  if (host === 'localhost' || insecure.includes(domain)) return true
  const version = isIP(host)
  if (version === 0) return false
  const list = new BlockList()
  list.addSubnet('127.0.0.0', 8, 'ipv4')
  list.addAddress('::1', 'ipv6')
  for (const entry of insecure) {
    const [address = '', bits] = entry.split('/')
    const family = isIP(address)
    if (bits !== undefined && family !== 0) {
      list.addSubnet(address, Number(bits), family === 4 ? 'ipv4' : 'ipv6')
    }
  }
  return list.check(host, version === 4 ? 'ipv4' : 'ipv6')
}

const unverified = 'tls: failed to verify certificate'

/** In the words of the engine: which registry, and why it cannot be reached. */
export function dialError(url: URL, method: string, error: unknown): Refusal {
  const verb = method.slice(0, 1) + method.slice(1).toLowerCase()
  const why = dialReason(url, error)
  const text =
    why === undefined
      ? `${verb} "${url.href}": ${messageOf(error)}`
      : `${verb} "${url.origin}/v2/": ${why}`
  return new Refusal('internal', text, { cause: error })
}

/** Why there is no connection to the host of this URL; undefined for what comes after that. */
export function dialReason(url: URL, error: unknown): string | undefined {
  const fields: Readonly<Record<string, unknown>> =
    error instanceof Error && isObject(error) ? error : {}
  switch (fields['code']) {
    case 'ECONNREFUSED': {
      const address = `${String(fields['address'])}:${String(fields['port'])}`
      return `dial tcp ${address}: connect: connection refused`
    }
    case 'ENOTFOUND':
      return `dial tcp: lookup ${url.hostname}: no such host`
    case 'EAI_AGAIN':
      return `dial tcp: lookup ${url.hostname}: Temporary failure in name resolution`
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
      return `${unverified}: x509: certificate signed by unknown authority`
    case 'CERT_HAS_EXPIRED':
      return `${unverified}: x509: certificate has expired or is not yet valid`
    default:
      return undefined
  }
}
