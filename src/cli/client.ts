/**
 * The command's side of the Engine API: one request at a time over the unix socket (or TCP) that
 * DOCKER_HOST or -H names. Speaks to any engine; assumes nothing but the API.
 */
import { request, type IncomingMessage, type RequestOptions } from 'node:http'
import type { Duplex } from 'node:stream'
import { Refusal, type RefusalKind } from '../base/refusal.ts'

export const defaultHost = 'unix:///run/portolan/docker.sock'

/** JSON as it comes: looked at through `field`, never trusted. */
export type Json = unknown

export interface Engine {
  /** Sends `body` as JSON, answers the parsed JSON (undefined for an empty body). */
  json(method: string, path: string, body?: Json): Promise<Json>
  /** The raw answer of a successful request, for streams; `body` may be a stream of a tar file. */
  stream(method: string, path: string, body?: NodeJS.ReadableStream): Promise<IncomingMessage>
  /** Switches the connection over: attach, exec. The answer says whether frames carry headers. */
  hijack(path: string, body?: Json): Promise<{ connection: Duplex; framed: boolean }>
}

/** @param host `unix:///path` or `tcp://address:port` */
export function connect(host: string): Engine {
  const target = targetOf(host)
  const send = (options: RequestOptions, body?: string | NodeJS.ReadableStream) =>
    new Promise<IncomingMessage>((resolve, reject) => {
      const outgoing = request({ ...target, ...options })
      outgoing.on('response', resolve)
      outgoing.on('error', (cause) => reject(unreachable(host, cause)))
      if (typeof body === 'object') body.pipe(outgoing)
      else outgoing.end(body)
    })

  return {
    async json(method, path, body) {
      const headers = body === undefined ? {} : { 'Content-Type': 'application/json' }
      const answer = await send({ method, path, headers }, body === undefined ? undefined : JSON.stringify(body))
      const text = await textOf(answer)
      refuseFailure(answer, text)
      return text === '' ? undefined : JSON.parse(text)
    },
    async stream(method, path, body) {
      const headers = body === undefined ? {} : { 'Content-Type': 'application/x-tar' }
      const answer = await send({ method, path, headers }, body)
      if ((answer.statusCode ?? 500) >= 400) refuseFailure(answer, await textOf(answer))
      return answer
    },
    hijack: (path, body) =>
      new Promise((resolve, reject) => {
        const text = JSON.stringify(body ?? {})
        const headers = {
          Connection: 'Upgrade', Upgrade: 'tcp',
          'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text),
        }
        const outgoing = request({ ...target, method: 'POST', path, headers })
        outgoing.on('error', (cause) => reject(unreachable(host, cause)))
        outgoing.on('upgrade', (answer, connection, head) => {
          if (head.length > 0) connection.unshift(head)
          const framed = answer.headers['content-type'] !== 'application/vnd.docker.raw-stream'
          resolve({ connection, framed })
        })
        outgoing.on('response', (answer) => {
          textOf(answer).then((problem) => {
            refuseFailure(answer, problem)
            reject(new Refusal('internal', `the engine did not switch protocols for ${path}`))
          }).catch(reject)
        })
        outgoing.end(text)
      }),
  }
}

function targetOf(host: string): RequestOptions {
  if (host.startsWith('unix://')) return { socketPath: host.slice('unix://'.length) }
  const tcp = /^tcp:\/\/([^:/]+|\[[0-9a-fA-F:]+\]):(\d+)\/?$/.exec(host)
  if (tcp?.[1] === undefined) {
    throw new Refusal('invalid', `host "${host}" is neither unix:///PATH nor tcp://ADDRESS:PORT`)
  }
  return { host: tcp[1].replace(/^\[|\]$/g, ''), port: Number(tcp[2]) }
}

function unreachable(host: string, cause: Error): Refusal {
  const forbidden = 'code' in cause && cause.code === 'EACCES'
  const advice = forbidden
    ? 'Only root and the group docker may talk to it: use sudo'
    : 'Is it running? Start it with: sudo portolan up'
  return new Refusal('unavailable', `cannot reach the engine at ${host}: ${cause.message}. ${advice}`, { cause })
}

async function textOf(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of answer) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks).toString()
}

function refuseFailure(answer: IncomingMessage, text: string): void {
  const status = answer.statusCode ?? 500
  if (status < 400) return
  const kind: RefusalKind = status === 404 ? 'notFound' : status === 409 ? 'conflict' : 'internal'
  let message = text
  if (answer.headers['content-type']?.includes('json')) message = field.text(JSON.parse(text), 'message')
  throw new Refusal(kind, message || `the engine answered ${status}`)
}

/** Reads fields of unknown JSON; what is absent or of another type reads as empty. */
export const field = {
  of(value: Json, ...path: string[]): Json {
    let at: Json = value
    for (const name of path) {
      if (typeof at !== 'object' || at === null) return undefined
      at = Object.entries(at).find(([key]) => key === name)?.[1]
    }
    return at
  },
  text(value: Json, ...path: string[]): string {
    const found = field.of(value, ...path)
    return typeof found === 'string' || typeof found === 'number' ? String(found) : ''
  },
  list(value: Json, ...path: string[]): readonly Json[] {
    const found = field.of(value, ...path)
    return Array.isArray(found) ? found : []
  },
  entries(value: Json, ...path: string[]): readonly (readonly [string, Json])[] {
    const found = field.of(value, ...path)
    return typeof found === 'object' && found !== null ? Object.entries(found) : []
  },
}
