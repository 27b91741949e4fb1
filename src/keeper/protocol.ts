/**
 * What daemon and keeper say to each other over the control socket.
 *
 * Frames of JSON. The keeper speaks first: `{protocol, pid}`; a daemon that knows another protocol
 * ends that keeper and starts its own. Then the daemon sends numbered requests, each answered by
 * number. A snapshot is every fact stated again and then `settle`, which names them all: what the
 * keeper holds beyond that is closed. All requests may be repeated without harm.
 */
import type { PortHold, ResolverSpec, StdioSpec, ZoneRecord } from './client.ts'
import * as field from './fields.ts'
import type { JsonObject } from './fields.ts'

/** Raised with every change that an older process would misread. */
export const protocolVersion = 1

/** Ports inside the sandbox on which its resolver listens; kept across restarts of the keeper. */
export interface ResolverPorts {
  readonly udp: number
  readonly tcp: number
}

/** A stream as a keeper takes it up, which may be another one than the first. */
export interface StreamOpening {
  readonly spec: StdioSpec
  /** Its input was ended before. */
  readonly stdinClosed: boolean
  /** Clients that were attached to it; they come back, and output waits a moment for them. */
  readonly attachers: number
}

export type Request =
  | {
      readonly method: 'setZone'
      readonly networkId: string
      readonly name: string
      readonly records: readonly ZoneRecord[]
    }
  | {
      readonly method: 'changeZone'
      readonly networkId: string
      readonly name: string
      readonly changed: readonly ZoneRecord[]
      readonly removed: readonly string[]
    }
  | { readonly method: 'removeZone'; readonly networkId: string }
  | { readonly method: 'setResolver'; readonly spec: ResolverSpec; readonly ports: ResolverPorts }
  | { readonly method: 'removeResolver'; readonly sandboxId: string }
  | {
      readonly method: 'holdPorts'
      readonly endpointId: string
      readonly ports: readonly PortHold[]
    }
  | { readonly method: 'releasePorts'; readonly endpointId: string }
  | { readonly method: 'openStdio'; readonly opening: StreamOpening }
  | { readonly method: 'drainStdio'; readonly streamId: string; readonly timeoutMs: number }
  | { readonly method: 'closeStdio'; readonly streamId: string }
  | {
      readonly method: 'settle'
      readonly zones: readonly string[]
      readonly resolvers: readonly string[]
      readonly ports: readonly string[]
      readonly streams: readonly string[]
    }
  | { readonly method: 'stop' }

/** What some requests answer; the others answer an empty object. */
export interface Answer {
  readonly ports?: ResolverPorts
  readonly stdinClosed?: boolean
}

/** A method of which the other side knows nothing is an error, never ignored. */
const parsers: Readonly<Record<Request['method'], (from: JsonObject) => Request>> = {
  setZone: (from) => ({
    method: 'setZone',
    networkId: field.text(from, 'networkId'),
    name: field.text(from, 'name'),
    records: field.list(from, 'records', parseRecord),
  }),
  changeZone: (from) => ({
    method: 'changeZone',
    networkId: field.text(from, 'networkId'),
    name: field.text(from, 'name'),
    changed: field.list(from, 'changed', parseRecord),
    removed: field.texts(from, 'removed'),
  }),
  removeZone: (from) => ({ method: 'removeZone', networkId: field.text(from, 'networkId') }),
  setResolver: (from) => ({
    method: 'setResolver',
    spec: parseResolver(field.object(from, 'spec')),
    ports: parseResolverPorts(field.object(from, 'ports')),
  }),
  removeResolver: (from) => ({
    method: 'removeResolver',
    sandboxId: field.text(from, 'sandboxId'),
  }),
  holdPorts: (from) => ({
    method: 'holdPorts',
    endpointId: field.text(from, 'endpointId'),
    ports: field.list(from, 'ports', parsePort),
  }),
  releasePorts: (from) => ({ method: 'releasePorts', endpointId: field.text(from, 'endpointId') }),
  openStdio: (from) => ({
    method: 'openStdio',
    opening: parseOpening(field.object(from, 'opening')),
  }),
  drainStdio: (from) => ({
    method: 'drainStdio',
    streamId: field.text(from, 'streamId'),
    timeoutMs: field.number(from, 'timeoutMs'),
  }),
  closeStdio: (from) => ({ method: 'closeStdio', streamId: field.text(from, 'streamId') }),
  settle: (from) => ({
    method: 'settle',
    zones: field.texts(from, 'zones'),
    resolvers: field.texts(from, 'resolvers'),
    ports: field.texts(from, 'ports'),
    streams: field.texts(from, 'streams'),
  }),
  stop: () => ({ method: 'stop' }),
}

const methods = Object.keys(parsers) as readonly Request['method'][]

export function parseRequest(from: JsonObject): Request {
  return parsers[field.oneOf(from, 'method', methods)](from)
}

export function parseAnswer(from: JsonObject): Answer {
  const answer: { ports?: ResolverPorts; stdinClosed?: boolean } = {}
  if ('ports' in from) answer.ports = parseResolverPorts(field.object(from, 'ports'))
  if ('stdinClosed' in from) answer.stdinClosed = field.flag(from, 'stdinClosed')
  return answer
}

function parseResolverPorts(from: JsonObject): ResolverPorts {
  return { udp: field.number(from, 'udp'), tcp: field.number(from, 'tcp') }
}

function parseRecord(from: JsonObject): ZoneRecord {
  return {
    endpointId: field.text(from, 'endpointId'),
    names: field.texts(from, 'names'),
    ipv4: field.text(from, 'ipv4'),
    ipv6: field.text(from, 'ipv6'),
  }
}

function parseResolver(from: JsonObject): ResolverSpec {
  return {
    sandboxId: field.text(from, 'sandboxId'),
    netnsPath: field.text(from, 'netnsPath'),
    networks: field.list(from, 'networks', (network) => ({
      networkId: field.text(network, 'networkId'),
      name: field.text(network, 'name'),
    })),
    linkAliases: field.list(from, 'linkAliases', (link) => ({
      networkId: field.text(link, 'networkId'),
      alias: field.text(link, 'alias'),
      name: field.text(link, 'name'),
    })),
    upstreams: field.list(from, 'upstreams', (upstream) => ({
      address: field.text(upstream, 'address'),
      fromHost: field.flag(upstream, 'fromHost'),
    })),
    keepSingleLabels: field.flag(from, 'keepSingleLabels'),
    hostUpstreamsAllowed: field.flag(from, 'hostUpstreamsAllowed'),
  }
}

function parsePort(from: JsonObject): PortHold {
  return {
    protocol: field.oneOf(from, 'protocol', ['tcp', 'udp', 'sctp']),
    hostIp: field.text(from, 'hostIp'),
    hostPort: field.number(from, 'hostPort'),
    containerIp: field.text(from, 'containerIp'),
    containerPort: field.number(from, 'containerPort'),
    relay: field.flag(from, 'relay'),
    // Left out by daemons that were started before there was such a thing.
    ...(from['untranslated'] === true ? { untranslated: true } : {}),
  }
}

function parseOpening(from: JsonObject): StreamOpening {
  return {
    spec: parseStdio(field.object(from, 'spec')),
    stdinClosed: field.flag(from, 'stdinClosed'),
    attachers: field.number(from, 'attachers'),
  }
}

function parseStdio(from: JsonObject): StdioSpec {
  return {
    streamId: field.text(from, 'streamId'),
    fifoStdin: field.text(from, 'fifoStdin'),
    fifoStdout: field.text(from, 'fifoStdout'),
    fifoStderr: field.text(from, 'fifoStderr'),
    tty: field.flag(from, 'tty'),
    logPath: field.text(from, 'logPath'),
    logMaxBytes: field.number(from, 'logMaxBytes'),
    logMaxFiles: field.number(from, 'logMaxFiles'),
    logAttributes: field.textMap(from, 'logAttributes'),
  }
}
