/**
 * One HTTP exchange with a registry, as a stream, with redirects followed by hand: credentials
 * never go to another origin. Proxies are taken from the environment, as usual.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { pipeline } from 'node:stream'
import { getCACertificates } from 'node:tls'
import { Refusal } from '../../base/refusal.ts'

export interface HttpCall {
  readonly method: 'GET' | 'HEAD' | 'POST' | 'PUT'
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly body?: Readable | Buffer
  readonly signal: AbortSignal
  /** Certificates are not checked: for registries that are declared insecure. */
  readonly insecure: boolean
}

export interface HttpAnswer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: IncomingMessage
  /** After redirects. */
  readonly url: URL
}

/** Nothing came or went for this long: the other end is gone. */
const idleTimeoutMs = 60_000
const redirectsMax = 10
const userAgent = 'docker/28.2.2 (portolan)'

const proxyEnv = process.env
// Made when first needed: the daemon's configuration may name proxies of its own before.
let plain: HttpAgent | undefined
let insecure: HttpsAgent | undefined
const plainAgent = () => (plain ??= new HttpAgent({ keepAlive: true, proxyEnv }))
const insecureAgent = () =>
  (insecure ??= new HttpsAgent({ keepAlive: true, proxyEnv, rejectUnauthorized: false }))
/** Where the engine's users put the certificates of their own registries, by host and port. */
const certificatesFolder = '/etc/docker/certs.d'
const secureAgents = new Map<string, HttpsAgent>()
/** More registries than one daemon talks to; the oldest agent goes. */
const agentsMax = 64

/** Trusts what the system trusts and, for this host, what `certs.d` adds. */
function secureAgent(host: string): HttpsAgent {
  const known = secureAgents.get(host)
  if (known !== undefined) return known
  const shared = [...getCACertificates('bundled'), ...getCACertificates('system')]
  const ca = [...shared, ...ownAuthorities(host)]
  const agent = new HttpsAgent({ keepAlive: true, proxyEnv, ca })
  const [oldest] = secureAgents.keys()
  if (secureAgents.size >= agentsMax && oldest !== undefined) secureAgents.delete(oldest)
  secureAgents.set(host, agent)
  return agent
}

function ownAuthorities(host: string): readonly string[] {
  const folder = join(certificatesFolder, host)
  if (!existsSync(folder)) return []
  return readdirSync(folder)
    .filter((name) => name.endsWith('.crt'))
    .map((name) => readFileSync(join(folder, name), 'utf8'))
}

/** Sends and answers as soon as the headers are there. The body must be read or destroyed. */
export async function exchange(call: HttpCall): Promise<HttpAnswer> {
  let { url } = call
  let headers = call.headers
  for (let hop = 0; hop <= redirectsMax; hop++) {
    const body = await send({ ...call, url, headers })
    const status = body.statusCode ?? 0
    const location = body.headers.location
    const follows =
      location !== undefined &&
      [301, 302, 303, 307, 308].includes(status) &&
      (call.method === 'GET' || call.method === 'HEAD')
    if (!follows) return { status, headers: body.headers, body, url }
    body.destroy()
    const next = new URL(location, url)
    if (next.origin !== url.origin) {
      const { Authorization: _ours, ...others } = headers
      headers = others
    }
    if (next.protocol === 'http:' && url.protocol === 'https:' && !call.insecure) {
      throw new Refusal('internal', `${url.host} redirects to plain HTTP at ${next.host}`)
    }
    url = next
  }
  throw new Refusal('internal', `${call.url.href}: more than ${redirectsMax} redirects`)
}

function send(call: HttpCall): Promise<IncomingMessage> {
  const { url, method, signal, body } = call
  const secure = url.protocol === 'https:'
  const agent = !secure ? plainAgent() : call.insecure ? insecureAgent() : secureAgent(url.host)
  const headers = { 'User-Agent': userAgent, ...call.headers }
  return new Promise((resolve, reject) => {
    const outgoing = (secure ? httpsRequest : httpRequest)(url, {
      method,
      headers,
      agent,
      signal,
      timeout: idleTimeoutMs,
    })
    outgoing.on('timeout', () =>
      outgoing.destroy(new Error(`no answer in ${idleTimeoutMs / 1000} s`)),
    )
    outgoing.on('error', reject)
    outgoing.on('response', resolve)
    if (body === undefined || Buffer.isBuffer(body)) outgoing.end(body)
    else
      pipeline(body, outgoing, (error) => {
        if (error) reject(error)
      })
  })
}

/** The body whole; refuses one that is longer than `bytesMax`. */
export async function readBody(answer: HttpAnswer, bytesMax: number): Promise<Buffer> {
  const pieces: Buffer[] = []
  let size = 0
  for await (const piece of bytesIn(answer.body)) {
    size += piece.length
    if (size > bytesMax)
      throw new Refusal('internal', `${answer.url.href} answers more than ${bytesMax} bytes`)
    pieces.push(Buffer.from(piece))
  }
  return Buffer.concat(pieces)
}

/** The body in pieces. */
export async function* bytesIn(body: AsyncIterable<unknown>): AsyncGenerator<Uint8Array> {
  for await (const piece of body) if (piece instanceof Uint8Array) yield piece
}
