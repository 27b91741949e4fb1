/**
 * Where a plugin listens: `NAME.sock` (or `NAME/NAME.sock`) among the sockets, else `NAME.spec`
 * (an address) or `NAME.json` (an address and TLS files) among the specifications. Looked for at
 * every question, so that a plugin may come, move and go while the daemon runs.
 */
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Refusal } from '../../base/refusal.ts'

export interface PluginFolders {
  readonly sockets: string
  readonly specs: readonly string[]
}

export const pluginFolders: PluginFolders = {
  sockets: '/run/docker/plugins',
  specs: ['/etc/docker/plugins', '/usr/lib/docker/plugins'],
}

export interface PluginAddress {
  /** `unix:///path`, `tcp://host:port`, `http://…` or `https://…`. */
  readonly address: string
  readonly tls: PluginTls | undefined
}

export interface PluginTls {
  readonly insecureSkipVerify: boolean
  /** Paths; '' = none. */
  readonly caFile: string
  readonly certFile: string
  readonly keyFile: string
}

/** Names that cannot lead out of a folder. */
const plainName = /^[A-Za-z0-9][\w.:@-]*$/
const specBytesMax = 1 << 20

/** The address of a plugin; undefined when nobody of that name is there. */
export function findPlugin(name: string, folders: PluginFolders): PluginAddress | undefined {
  if (!plainName.test(name)) return undefined
  for (const path of pathsOf(folders.sockets, name, '.sock')) {
    if (isSocket(path)) return { address: `unix://${path}`, tls: undefined }
  }
  for (const folder of folders.specs) {
    for (const path of pathsOf(folder, name, '.spec')) {
      const text = readSpec(path)
      if (text !== undefined) return checked(name, { address: text.trim(), tls: trusting })
    }
    for (const path of pathsOf(folder, name, '.json')) {
      const text = readSpec(path)
      if (text !== undefined) return checked(name, parseJson(path, text))
    }
  }
  return undefined
}

/** As with Docker: a plugin without an authority of its own is taken by its address. */
const trusting: PluginTls = { insecureSkipVerify: true, caFile: '', certFile: '', keyFile: '' }

const pathsOf = (folder: string, name: string, ending: string): readonly string[] => [
  join(folder, name + ending),
  join(folder, name, name + ending),
]

function isSocket(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isSocket() === true
}

function readSpec(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false })
  if (found === undefined || !found.isFile() || found.size > specBytesMax) return undefined
  return readFileSync(path, 'utf8')
}

function checked(name: string, found: PluginAddress): PluginAddress {
  if (/^(?:unix|tcp|http|https):\/\/./.test(found.address)) return found
  const bad = `plugin "${name}" has no usable address "${found.address}"`
  const wanted = 'give unix:///path, tcp://host:port, http://host:port or https://host:port'
  throw new Refusal('invalid', `${bad}: ${wanted}`)
}

function parseJson(path: string, text: string): PluginAddress {
  let document: unknown
  try {
    document = JSON.parse(text)
  } catch (error) {
    throw new Refusal('internal', `${path} is no JSON`, { cause: error })
  }
  const fields = fieldsOf(document)
  const tls = fields.get('TLSConfig') ?? undefined
  return { address: textOf(fields.get('Addr')), tls: tls === undefined ? undefined : parseTls(tls) }
}

function parseTls(value: unknown): PluginTls {
  const fields = fieldsOf(value)
  const caFile = textOf(fields.get('CAFile'))
  return {
    insecureSkipVerify: fields.get('InsecureSkipVerify') === true || caFile === '',
    caFile,
    certFile: textOf(fields.get('CertFile')),
    keyFile: textOf(fields.get('KeyFile')),
  }
}

/** The members of an object; none of anything else. */
export function fieldsOf(value: unknown): ReadonlyMap<string, unknown> {
  return new Map(typeof value === 'object' && value !== null ? Object.entries(value) : [])
}

/** A text; '' for anything else. */
export function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
