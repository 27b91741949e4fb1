/**
 * What a resource file of this room is made of: routes. A handler parses, calls a verb of
 * another room and renders; it decides nothing.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Duplex, Readable } from 'node:stream'
import type { Decoder } from './decode.ts'

/** An API version as a number that compares: 1.41 → 141, 1.5 → 105. */
export type ApiVersion = number

export interface ApiRequest {
  readonly method: string
  readonly version: ApiVersion
  /** Percent-decoded path parameters. `{name…}` in a pattern matches slashes too. */
  readonly params: Readonly<Record<string, string>>
  readonly query: Query
  /** Parses the JSON body with Docker's checks of Content-Type and its sentences. */
  json<T>(decoder: Decoder<T>): Promise<T>
  /** True when the request carries no body at all. */
  readonly bodyless: boolean
  readonly raw: IncomingMessage
  /** The body as bytes, for tar uploads; read it or `json`, not both. */
  readonly body: Readable
  readonly response: ServerResponse
  /** Decoded X-Registry-Auth, if any. */
  readonly registryAuth: Readonly<Record<string, string>> | undefined
  /** Client asked for a switch of protocol (attach, exec start). */
  readonly wantsUpgrade: boolean
  /**
   * Takes the connection over: 101 with an upgrade, else 200 with a raw stream. The duplex
   * begins with what the client had sent already; half-close is kept. Only for the paths that
   * `hijackable` of server.ts names, or when the client asked for an upgrade.
   */
  hijack(contentType: string): Duplex
  /** Switches to WebSocket; refuses a request that does not ask for it. `web-socket.ts` */
  webSocket(kind: 'binary' | 'text'): Promise<Duplex>
  /** Fires when the client has gone away. */
  readonly signal: AbortSignal
}

export interface Query {
  get(name: string): string | undefined
  getAll(name: string): readonly string[]
  /** Docker's boolean: '', 0, no, false, none (any case) are false; all else is true. */
  bool(name: string): boolean
  int(name: string): number | undefined
  /** Docker's filters: JSON map of name → {value: true} or [values]; 400 when malformed. */
  filters(): ReadonlyMap<string, readonly string[]>
}

/** What a handler answers; `undefined` when it has written the response itself. */
export interface Reply {
  readonly status: number
  /** Sent as JSON; absent = no body. */
  readonly json?: unknown
  readonly headers?: Readonly<Record<string, string>>
}

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE' | 'HEAD'
  /** `/networks/{id…}`; the version prefix is not part of it. */
  readonly pattern: string
  handle(request: ApiRequest): Promise<Reply | undefined>
}
