/**
 * The HTTP server of the API: finds the route, answers errors as `{"message"}`, puts the engine's
 * headers on everything, and lets a handler take the connection over.
 *
 * Node stops reading a connection as HTTP only when it takes the request for an upgrade. Clients
 * may also attach without asking for one, so requests to the paths of `hijackable` are treated
 * alike; a request that carries upgrade headers to any other path is answered normally.
 */
import { IncomingMessage, ServerResponse, createServer, type Server } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { TlsOptions } from 'node:tls'
import { renderExact } from '../base/json.ts'
import { log } from '../base/log.ts'
import { Refusal, messageOf } from '../base/refusal.ts'
import { takeBody } from './body.ts'
import { BodyTooLarge, errorBody, PlainRefusal, statusOf } from './errors.ts'
import { toApiRequest, type Exchange } from './request.ts'
import type { Reply, Route } from './route.ts'
import { createRouter, pageNotFound, type Router } from './router.ts'
import { engineVersion, negotiate, newestVersion, oldestVersion, splitVersion } from './version.ts'

/** Far more clients than an engine has; a bound on descriptors. */
const connectionsMax = 8192
/** X-Registry-Config carries the credentials of every registry that the user knows. */
const headerBytesMax = 256 * 1024
const headersTimeoutMs = 30_000
/** Idle connections that clients keep for their next request. */
const keepAliveTimeoutMs = 300_000
/** How long an answered client that keeps sending is listened to. */
const lingerMs = 1000

/** POST to attach or exec start: what follows the body is a raw stream. */
const hijackable = /^(\/v[0-9.]+)?\/(containers\/.+\/attach|exec\/[^/]+\/start)(\?|$)/

export interface Api {
  /** A server that answers these routes; the caller makes it listen. */
  createServer(tls?: TlsOptions): Server
  /** Stops accepting and cuts what is left. */
  close(): Promise<void>
}

export interface ApiOptions {
  readonly experimental: boolean
  /** Older ones are refused, as if we did not speak them. */
  readonly oldest?: string
}

export function createApi(routes: readonly Route[], options: ApiOptions): Api {
  const headers = {
    'Api-Version': newestVersion,
    'Docker-Experimental': String(options.experimental),
    Ostype: 'linux',
    Server: `Docker/${engineVersion} (linux)`,
  }
  const { oldest = oldestVersion } = options
  const router = createRouter(routes)
  const servers: Server[] = []
  const taken = new Set<Duplex>()
  return {
    createServer(tls) {
      const server = makeServer(tls)
      server.on('request', (message: IncomingMessage, response: ServerResponse) => {
        const bodyPending = true
        const socket = undefined
        const own = { message, response, body: message, bodyPending, socket }
        void answer(router, { ...own, headers, oldest })
      })
      server.on('upgrade', (message: IncomingMessage, socket: Socket, head: Buffer) => {
        taken.add(socket)
        socket.once('close', () => taken.delete(socket))
        void detached(message, socket, head).then((exchange) =>
          answer(router, { ...exchange, headers, oldest }),
        )
      })
      server.on('clientError', refuseMalformed)
      servers.push(server)
      return server
    },
    async close() {
      const closed = servers.map((server) => new Promise((resolve) => server.close(resolve)))
      for (const server of servers) server.closeAllConnections()
      for (const socket of taken) socket.destroy()
      await Promise.all(closed)
    },
  }
}

/** Says «upgrade» for the paths whose connection may be taken over. */
class Message extends IncomingMessage {
  #upgrade = false

  constructor(socket: Socket) {
    super(socket)
    Object.defineProperty(this, 'upgrade', {
      get: () => this.#upgrade || (this.url !== undefined && hijackable.test(this.url)),
      set: (value: unknown) => {
        this.#upgrade = value === true
      },
    })
  }
}

function makeServer(tls: TlsOptions | undefined): Server {
  const options = {
    IncomingMessage: Message,
    maxHeaderSize: headerBytesMax,
    headersTimeout: headersTimeoutMs,
    keepAliveTimeout: keepAliveTimeoutMs,
    requestTimeout: 0, // an image may take its time to come in
  }
  const server =
    tls === undefined
      ? createServer(options)
      : createTlsServer({ ...options, ...tls, allowHalfOpen: true })
  server.maxConnections = connectionsMax
  return server
}

/** A request whose connection Node has let go of: its body is still to be taken from the socket. */
async function detached(
  message: IncomingMessage,
  socket: Socket,
  head: Buffer,
): Promise<Omit<Exchange, 'headers' | 'oldest'>> {
  socket.on('error', (error) => log.debug('client connection failed', { error: error.message }))
  if (head.length > 0) socket.unshift(head)
  const response = new ServerResponse(message)
  response.shouldKeepAlive = false
  response.assignSocket(socket)
  // Node's own listener for this went away together with its parser.
  const drain = () => response.emit('drain')
  socket.on('drain', drain)
  response.once('finish', () => {
    response.detachSocket(socket)
    socket.off('drain', drain)
    endSoftly(socket)
  })
  const length = Number(message.headers['content-length'] ?? 0)
  return { message, response, ...(await takeBody(socket, length)), socket }
}

/** Closes so that a client which still sends can read the answer: unread bytes would reset it. */
function endSoftly(socket: Socket): void {
  socket.end()
  socket.resume()
  const timer = setTimeout(() => socket.destroy(), lingerMs)
  socket.once('close', () => clearTimeout(timer))
}

async function answer(router: Router, exchange: Exchange): Promise<void> {
  const { response } = exchange
  for (const [name, value] of Object.entries(exchange.headers)) response.setHeader(name, value)
  try {
    const reply = await handle(router, exchange)
    if (reply !== undefined) send(response, reply)
  } catch (error) {
    sendError(exchange, error)
  }
}

async function handle(router: Router, exchange: Exchange): Promise<Reply | undefined> {
  const { message } = exchange
  const url = message.url ?? '/'
  const mark = url.indexOf('?')
  const path = decodePath(mark < 0 ? url : url.slice(0, mark))
  if (exchange.socket !== undefined && message.headers['transfer-encoding'] !== undefined) {
    throw new Refusal('invalid', 'a request that takes its connection over needs a Content-Length')
  }
  const clean = cleanPath(path)
  if (clean !== path) {
    const Location = encodeURI(clean) + (mark < 0 ? '' : url.slice(mark))
    return { status: 301, headers: { Location } }
  }
  const versioned = splitVersion(path)
  if (message.method === 'OPTIONS') return { status: 200 }
  const match = router.match(message.method ?? 'GET', versioned.path)
  if (match === undefined) throw pageNotFound()
  const version = negotiate(versioned.given, exchange.oldest)
  const search = mark < 0 ? '' : url.slice(mark + 1)
  return await match.route.handle(toApiRequest(exchange, version, match.params, search))
}

function decodePath(path: string): string {
  try {
    return decodeURIComponent(path)
  } catch (error) {
    throw new PlainRefusal('400 Bad Request', { cause: error })
  }
}

/** Without empty, `.` and `..` segments: clients are sent there, as with Docker. */
function cleanPath(path: string): string {
  const kept: string[] = []
  for (const segment of path.split('/')) {
    if (segment === '..') kept.pop()
    else if (segment !== '' && segment !== '.') kept.push(segment)
  }
  const slash = kept.length > 0 && path.endsWith('/') ? '/' : ''
  return `/${kept.join('/')}${slash}`
}

function send(response: ServerResponse, reply: Reply): void {
  if (response.destroyed) return
  for (const [name, value] of Object.entries(reply.headers ?? {})) response.setHeader(name, value)
  response.statusCode = reply.status
  if (reply.json === undefined || reply.status === 304 || reply.status === 204) {
    response.end()
    return
  }
  const text = Buffer.from(renderExact(reply.json) + '\n')
  response.setHeader('Content-Type', 'application/json')
  response.setHeader('Content-Length', text.length)
  response.end(text)
}

/** An error before the first byte is a response; after it, all that is left is to cut. */
function sendError(exchange: Exchange, error: unknown): void {
  const { message, response, socket } = exchange
  const status = statusOf(error)
  const fields = { method: message.method, url: message.url, error: messageOf(error) }
  if (status === 500) log.error('request failed', fields)
  else log.debug('request refused', { ...fields, status })
  if (!(error instanceof Refusal) && error instanceof Error) log.debug(error.stack ?? '')
  const overtaken = socket !== undefined && response.socket === null
  if (response.headersSent || overtaken) {
    response.destroy()
    socket?.destroy()
    return
  }
  // What the client still sends of its body is not worth reading.
  if (error instanceof BodyTooLarge) response.setHeader('Connection', 'close')
  if (error instanceof PlainRefusal) {
    response.setHeader('Content-Type', error.contentType)
    response.statusCode = status
    response.end(error.message)
    return
  }
  send(response, { status, json: errorBody(error) })
}

/** What is no HTTP gets the shortest answer there is. */
function refuseMalformed(error: Error, socket: Duplex): void {
  if (!socket.writable || socket.destroyed) return
  const tooLarge = 'code' in error && error.code === 'HPE_HEADER_OVERFLOW'
  const status = tooLarge ? '431 Request Header Fields Too Large' : '400 Bad Request'
  const head = `HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close`
  socket.end(`${head}\r\n\r\n${status}`)
}
