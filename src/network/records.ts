/** The documents that this room keeps in the store, and how they are read back. */
import type { Endpoint, Network, Sandbox } from './model.ts'

export const collections = {
  networks: 'networks',
  sandboxes: 'sandboxes',
  settings: 'network-settings',
  debts: 'plugin-debts',
} as const

export interface NetworkRecord {
  readonly network: Network
  /** Addresses that we put on a bridge that is the user's own. */
  readonly lentAddresses: readonly string[]
}

export interface SandboxRecord {
  readonly sandbox: Sandbox
  /** Hash of the resolv.conf that we wrote last: another one means that the user edited it. */
  readonly resolvConfHash: string
}

export interface SettingRecord {
  /** What the kernel had before we changed it. */
  readonly before: string
}

/** A network that plugins must give up; `asked`: its driver, too, and not only that of addresses. */
export interface NetworkDebt {
  readonly kind: 'network'
  readonly network: Network
  readonly asked: boolean
}

/** An endpoint that plugins must give up. */
export interface EndpointDebt {
  readonly kind: 'endpoint'
  readonly endpoint: Endpoint
  readonly netnsPath: string
}

export type PluginDebt = NetworkDebt | EndpointDebt

function fieldsOf(document: unknown): ReadonlyMap<string, unknown> {
  if (typeof document !== 'object' || document === null) {
    throw new TypeError('a document of the network room is not an object')
  }
  return new Map(Object.entries(document))
}

/** Checks the parts that tell the kind of document; the rest was written by this same code. */
function requireFields(part: unknown, kind: string, keys: readonly string[]): void {
  const fields = fieldsOf(part)
  const missing = keys.find((key) => !fields.has(key))
  if (missing !== undefined) throw new TypeError(`a stored ${kind} has no ${missing}`)
}

export function parseNetworkRecord(document: unknown): NetworkRecord {
  requireFields(document, 'network', ['network', 'lentAddresses'])
  requireFields(fieldsOf(document).get('network'), 'network', ['id', 'created', 'spec', 'pools'])
  // Checked above as far as it tells our documents from others.
  return document as NetworkRecord
}

export function parseSandboxRecord(document: unknown): SandboxRecord {
  requireFields(document, 'sandbox', ['sandbox', 'resolvConfHash'])
  const keys = ['id', 'spec', 'netnsPath', 'endpoints', 'ports']
  requireFields(fieldsOf(document).get('sandbox'), 'sandbox', keys)
  // Checked above as far as it tells our documents from others.
  return document as SandboxRecord
}

export function parseSettingRecord(document: unknown): SettingRecord {
  const before = fieldsOf(document).get('before')
  if (typeof before !== 'string') throw new TypeError('a stored setting has no text')
  return { before }
}

export function parsePluginDebt(document: unknown): PluginDebt {
  const kind = fieldsOf(document).get('kind')
  const keys = kind === 'network' ? ['network', 'asked'] : ['endpoint', 'netnsPath']
  requireFields(document, 'debt to a plugin', keys)
  // Checked above as far as it tells our documents from others.
  return document as PluginDebt
}
