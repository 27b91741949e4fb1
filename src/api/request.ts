/** Puts together what a handler gets to see of a request. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex, Readable } from 'node:stream'
import { Refusal } from '../base/refusal.ts'
import { isBodyless, readJson } from './body.ts'
import { parseQuery } from './query.ts'
import type { ApiRequest, ApiVersion } from './route.ts'
import { rawStream } from './stream.ts'
import { acceptWebSocket } from './web-socket.ts'

/** What is known of a request before its route is. */
export interface Exchange {
  readonly message: IncomingMessage
  readonly response: ServerResponse
  readonly body: Readable
  /** Bytes of the body may still be in the socket. */
  readonly bodyPending: boolean
  /** Present when Node has let go of the connection: it can be taken over. */
  readonly socket: Socket | undefined
  /** Headers that every response carries. */
  readonly headers: Readonly<Record<string, string>>
  /** The oldest API version that is answered. */
  readonly oldest: string
}

export function toApiRequest(
  exchange: Exchange,
  version: ApiVersion,
  params: Readonly<Record<string, string>>,
  search: string,
): ApiRequest {
  const { message, response, body } = exchange
  const headers = message.headers
  let abort: AbortController | undefined
  return {
    method: message.method ?? 'GET',
    version,
    params,
    query: parseQuery(search),
    bodyless: isBodyless(headers),
    raw: message,
    body,
    response,
    registryAuth: decodeAuth(headers['x-registry-auth']),
    wantsUpgrade: headers.upgrade !== undefined,
    json: (decoder) => readJson(body, headers, decoder),
    hijack: (contentType) => hijack(exchange, contentType),
    webSocket: (kind) => webSocket(exchange, kind),
    get signal() {
      abort ??= abortWhenGone(response)
      return abort.signal
    },
  }
}

function abortWhenGone(response: ServerResponse): AbortController {
  const abort = new AbortController()
  const socket = response.socket
  if (socket === null || socket.destroyed) abort.abort()
  // A hijacked connection has left its response: then the socket is what closes.
  else for (const end of [response, socket]) end.once('close', () => abort.abort())
  return abort
}

/** Answers 101 or 200 by hand, and hands over the connection. */
function hijack(exchange: Exchange, contentType: string): Socket {
  const { message, response, socket, body, bodyPending } = exchange
  if (socket === undefined) throw new Error(`${message.url ?? ''} cannot be hijacked`)
  if (bodyPending && !body.readableEnded) {
    throw new Error('the body must be read before the connection is taken over')
  }
  response.detachSocket(socket)
  const upgrade = message.headers.upgrade
  const lines = [upgrade === undefined ? 'HTTP/1.1 200 OK' : 'HTTP/1.1 101 UPGRADED']
  // Who asks for no upgrade is told of a raw stream, whatever it is.
  lines.push(`Content-Type: ${upgrade === undefined ? rawStream : contentType}`)
  if (upgrade !== undefined) lines.push('Connection: Upgrade', `Upgrade: ${upgrade}`)
  for (const [name, value] of Object.entries(exchange.headers)) lines.push(`${name}: ${value}`)
  socket.write(lines.join('\r\n') + '\r\n\r\n')
  return socket
}

async function webSocket(exchange: Exchange, kind: 'binary' | 'text'): Promise<Duplex> {
  const { message, response, socket } = exchange
  if (socket === undefined) {
    throw new Refusal('invalid', 'not websocket protocol: the request asks for no upgrade')
  }
  const accepted = () => response.detachSocket(socket)
  return acceptWebSocket({ message, socket, kind, accepted })
}

/** base64url JSON; whatever is no such thing counts as no credentials, as in Docker. */
function decodeAuth(header: string | string[] | undefined): ApiRequest['registryAuth'] {
  if (typeof header !== 'string' || header === '') return undefined
  try {
    const value: unknown = JSON.parse(Buffer.from(header, 'base64url').toString('utf8'))
    if (typeof value !== 'object' || value === null) return undefined
    return Object.fromEntries(Object.entries(value).filter(isText))
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

function isText(entry: [string, unknown]): entry is [string, string] {
  return typeof entry[1] === 'string'
}
