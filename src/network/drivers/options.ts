/**
 * The bridge driver's options, parsed once: `com.docker.network.…` strings to typed values.
 * Unknown options are kept and ignored; bad values are refused in Docker's words.
 */
import { parseAddress } from '../../address/ip.ts'
import { Refusal } from '../../base/refusal.ts'
import type { GatewayMode } from '../../firewall/intent.ts'
import { parseGoBool, parseGoInt } from '../problems.ts'

export const optionKeys = {
  name: 'com.docker.network.bridge.name',
  defaultBridge: 'com.docker.network.bridge.default_bridge',
  icc: 'com.docker.network.bridge.enable_icc',
  masquerade: 'com.docker.network.bridge.enable_ip_masquerade',
  hostBinding: 'com.docker.network.bridge.host_binding_ipv4',
  inhibitIpv4: 'com.docker.network.bridge.inhibit_ipv4',
  gatewayMode4: 'com.docker.network.bridge.gateway_mode_ipv4',
  gatewayMode6: 'com.docker.network.bridge.gateway_mode_ipv6',
  trusted: 'com.docker.network.bridge.trusted_host_interfaces',
  mtu: 'com.docker.network.driver.mtu',
  interfacePrefix: 'com.docker.network.container_iface_prefix',
  announceCount: 'com.docker.network.advertise_addr_nmsgs',
  announceIntervalMs: 'com.docker.network.advertise_addr_ms',
  host4: 'com.docker.network.host_ipv4',
  host6: 'com.docker.network.host_ipv6',
  enable4: 'com.docker.network.enable_ipv4',
  enable6: 'com.docker.network.enable_ipv6',
} as const

export interface BridgeOptions {
  /** '' = br- and the first 12 digits of the network's id. */
  readonly bridge: string
  readonly defaultBridge: boolean
  readonly icc: boolean
  readonly masquerade: boolean
  /** '' = the daemon's default. */
  readonly hostBinding: string
  readonly inhibitIpv4: boolean
  readonly mode4: GatewayMode
  readonly mode6: GatewayMode
  readonly trustedInterfaces: readonly string[]
  /** 0 = left to the kernel. */
  readonly mtu: number
  readonly interfacePrefix: string
  /** undefined = as ever. */
  readonly announceAtMs: readonly number[] | undefined
  readonly hostAddress4: string
  readonly hostAddress6: string
}

type Options = Readonly<Record<string, string>>

const interfaceNameMax = 15
/** Leaves three digits for the number behind it. */
const interfacePrefixMax = 12
const mtuMax = 65_535
/** The kernel's smallest for Ethernet devices. */
const mtuMin = 68

export function parseBridgeOptions(options: Options): BridgeOptions {
  return {
    bridge: interfaceName(options, optionKeys.name, interfaceNameMax),
    defaultBridge: bool(options, optionKeys.defaultBridge, false),
    icc: bool(options, optionKeys.icc, true),
    masquerade: bool(options, optionKeys.masquerade, true),
    hostBinding: address(options, optionKeys.hostBinding, [4, 6]),
    inhibitIpv4: bool(options, optionKeys.inhibitIpv4, false),
    mode4: gatewayMode(options, optionKeys.gatewayMode4),
    mode6: gatewayMode(options, optionKeys.gatewayMode6),
    trustedInterfaces: (options[optionKeys.trusted] ?? '').split(':').filter((name) => name !== ''),
    mtu: parseMtu(options),
    interfacePrefix: parseInterfacePrefix(options),
    announceAtMs: parseAnnouncing(options),
    hostAddress4: address(options, optionKeys.host4, [4]),
    hostAddress6: address(options, optionKeys.host6, [6]),
  }
}

function fail(key: string, value: string, why: string): Refusal {
  return new Refusal('invalid', `failed to parse ${key} value: ${value} (${why})`)
}

function bool(options: Options, key: string, otherwise: boolean): boolean {
  const text = options[key]
  if (text === undefined) return otherwise
  const value = parseGoBool(text)
  if (value !== undefined) return value
  throw fail(key, text, `strconv.ParseBool: parsing ${JSON.stringify(text)}: invalid syntax`)
}

/** 0 = left to the kernel. */
export function parseMtu(options: Options): number {
  const text = options[optionKeys.mtu]
  if (text === undefined) return 0
  const value = parseGoInt(text)
  if (value === undefined) {
    const why = `strconv.Atoi: parsing ${JSON.stringify(text)}: invalid syntax`
    throw fail(optionKeys.mtu, text, why)
  }
  if (value < 0 || value > mtuMax || (value > 0 && value < mtuMin)) {
    throw new Refusal('invalid', `invalid MTU number: ${value}`)
  }
  return value
}

/** What interface names in the container begin with. */
export function parseInterfacePrefix(options: Options): string {
  return interfaceName(options, optionKeys.interfacePrefix, interfacePrefixMax) || 'eth'
}

/** When a bridge's new port surely forwards. */
const announceFirstMs = 200
const announceCount = { min: 0, max: 3, otherwise: 3 }
const announceIntervalMs = { min: 100, max: 2000, otherwise: 1000 }

/** When the addresses of a new endpoint are announced; undefined when nothing is said of it. */
export function parseAnnouncing(options: Options): readonly number[] | undefined {
  const { announceCount: countKey, announceIntervalMs: intervalKey } = optionKeys
  const count = numberWithin(options, countKey, announceCount, 'an integer')
  const interval = numberWithin(options, intervalKey, announceIntervalMs, 'integer milliseconds')
  if (options[countKey] === undefined && options[intervalKey] === undefined) return undefined
  return Array.from({ length: count }, (_, index) => announceFirstMs + index * interval)
}

function numberWithin(
  options: Options,
  key: string,
  { min, max, otherwise }: { readonly min: number; readonly max: number; readonly otherwise: number },
  what: string,
): number {
  const text = options[key]
  if (text === undefined) return otherwise
  const value = parseGoInt(text)
  if (value === undefined) {
    const sentence = `value for option ${key} ${JSON.stringify(text)} must be ${what}`
    throw new Refusal('invalid', sentence)
  }
  if (value >= min && value <= max) return value
  throw new Refusal('invalid', `${key} must be in the range ${min} to ${max}`)
}

function address(options: Options, key: string, families: readonly (4 | 6)[]): string {
  const text = options[key]
  if (text === undefined) return ''
  const family = parseAddress(text)?.family
  if (family === undefined) throw fail(key, text, 'nil ip')
  if (!families.includes(family)) throw fail(key, text, `not an IPv${families.join()} address`)
  return text
}

function gatewayMode(options: Options, key: string): GatewayMode {
  const text = options[key] ?? 'nat'
  switch (text) {
    case 'nat':
    case 'nat-unprotected':
    case 'routed':
    case 'isolated':
      return text
    default:
      throw fail(key, text, `unknown gateway mode ${text}`)
  }
}

function interfaceName(options: Options, key: string, lengthMax: number): string {
  const text = options[key] ?? ''
  if (text.length > lengthMax) throw new Refusal('internal', 'numerical result out of range')
  if (/[/\s:%]/.test(text) || text === '.' || text === '..') {
    throw new Refusal('invalid', `failed to parse ${key} value: ${text} (not an interface name)`)
  }
  return text
}
