/**
 * One call to a plugin: POST of a JSON document to /SERVICE.METHOD, answered by another.
 *
 * Bounds: 30 s (less for what is taken down) and 1 MiB per answer. A plugin that cannot be reached
 * is tried again for 15 s, as long as Docker does, because it may just restart; one that was
 * reached, however badly it answers, is not asked twice.
 */
import { readFileSync } from 'node:fs'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest, type RequestOptions } from 'node:https'
import { setTimeout as pause } from 'node:timers/promises'
import { errorCode } from '../../base/error-code.ts'
import { messageOf, Refusal } from '../../base/refusal.ts'
import { parseAnswer, type Answer } from './answer.ts'
import { fieldsOf, textOf, type PluginAddress } from './discovery.ts'

const accept = 'application/vnd.docker.plugins.v1.2+json'
const answerBytesMax = 1 << 20

/** How long a plugin is waited for. */
export interface Patience {
  /** Pauses between tries while nobody listens. */
  readonly pausesMs: readonly number[]
  readonly answerMs: number
}

/** For what is made. */
export const patient: Patience = {
  pausesMs: [100, 400, 500, 1000, 2000, 4000, 7000],
  answerMs: 30_000,
}
/** For what is taken down. */
export const hasty: Patience = { pausesMs: [100, 400], answerMs: 10_000 }
/** For what is taken down while others have just waited in vain, and for mere information. */
export const brief: Patience = { pausesMs: [], answerMs: 2_000 }

/** The plugin has not answered: nobody knows what it has done. */
export class PluginSilent extends Error {
  override readonly name = 'PluginSilent'
}

/** The plugin answered with another status than 200. */
export class PluginStatus extends Refusal {
  readonly status: number

  constructor(status: number, message: string) {
    super('internal', message)
    this.status = status
  }
}

/** Whether the plugin does not have the method: some need not be there. */
export function isMissingMethod(error: unknown): boolean {
  return error instanceof PluginStatus && error.status === 404
}

/**
 * Calls `method`, for example `NetworkDriver.Join`.
 *
 * @throws Refusal when the plugin answers an error, PluginSilent when it does not answer
 */
export async function callPlugin(
  plugin: PluginAddress,
  method: string,
  body: unknown,
  how: Patience,
): Promise<Answer> {
  const text = body === undefined ? '' : JSON.stringify(body)
  return parseAnswer(method, await send(plugin, method, text, how))
}

async function send(
  plugin: PluginAddress,
  method: string,
  body: string,
  { pausesMs, answerMs }: Patience,
): Promise<string> {
  for (let tries = 0; ; tries++) {
    try {
      return await sendOnce(plugin, method, body, answerMs)
    } catch (error) {
      if (!isUnreachable(error)) throw error
      const pauseMs = pausesMs[tries]
      if (pauseMs === undefined) throw silent(plugin, method, dialError(plugin, error))
      await pause(pauseMs)
    }
  }
}

/** Nothing has been sent yet. */
function isUnreachable(error: unknown): boolean {
  return ['ECONNREFUSED', 'ENOENT', 'EHOSTUNREACH', 'ENETUNREACH'].includes(errorCode(error))
}

/** In the words of Go's client, which is what users look for. */
function silent(plugin: PluginAddress, method: string, why: string): PluginSilent {
  const { secure, options } = targetOf(plugin)
  const isLocal = options.socketPath !== undefined && options.socketPath !== null
  const host = isLocal ? 'plugin.moby.localhost' : `${options.host}:${options.port}`
  return new PluginSilent(`Post "http${secure ? 's' : ''}://${host}/${method}": ${why}`)
}

const systemWords: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'connection refused',
  ENOENT: 'no such file or directory',
  EHOSTUNREACH: 'no route to host',
  ENETUNREACH: 'network is unreachable',
}

function dialError({ address }: PluginAddress, error: unknown): string {
  const [protocol = '', where = ''] = address.split('://')
  const network = protocol === 'unix' ? 'unix' : 'tcp'
  const why = systemWords[errorCode(error)] ?? messageOf(error)
  return `dial ${network} ${where}: connect: ${why}`
}

function sendOnce(
  plugin: PluginAddress,
  method: string,
  body: string,
  answerMs: number,
): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const { secure, options } = targetOf(plugin)
  const signal = AbortSignal.timeout(answerMs)
  const length = Buffer.byteLength(body)
  const headers = { Accept: accept, 'Content-Type': accept, 'Content-Length': length }
  const all = { ...options, method: 'POST', path: `/${method}`, headers, agent: false, signal }
  const fail = (error: unknown) => {
    if (isUnreachable(error)) reject(error)
    else if (signal.aborted) reject(silent(plugin, method, `no answer in ${answerMs / 1000} s`))
    // It took the request and went away without an answer.
    else if (errorCode(error) === 'ECONNRESET') reject(silent(plugin, method, 'EOF'))
    else reject(silent(plugin, method, messageOf(error)))
  }
  const outgoing = (secure ? httpsRequest : httpRequest)(all, (answer) => {
    read(answer).then((text) => {
      if (answer.statusCode === 200) resolve(text)
      else reject(refusalOf(method, answer.statusCode ?? 0, text))
    }, fail)
  })
  outgoing.on('error', fail)
  outgoing.end(body)
  return promise
}

function refusalOf(method: string, status: number, text: string): PluginStatus {
  let said = text.trim()
  try {
    said = textOf(fieldsOf(JSON.parse(text)).get('Err')) || said
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    // Old plugins answer plain text.
  }
  return new PluginStatus(status, `${method}: ${said}`)
}

async function read(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of answer) {
    const part = Buffer.from(chunk)
    bytes += part.length
    if (bytes > answerBytesMax) throw new Error(`the answer is longer than ${answerBytesMax} bytes`)
    chunks.push(part)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function targetOf({ address, tls }: PluginAddress): {
  readonly secure: boolean
  readonly options: RequestOptions
} {
  if (address.startsWith('unix://')) {
    return { secure: false, options: { socketPath: address.slice('unix://'.length) } }
  }
  const { protocol, hostname, port } = new URL(address.replace(/^tcp:/, 'http:'))
  const files = tls === undefined ? '' : tls.caFile + tls.certFile + tls.keyFile
  const secure = protocol === 'https:' || files !== ''
  const options = { host: hostname, port: port === '' ? (secure ? 443 : 80) : Number(port) }
  if (tls === undefined || !secure) return { secure, options }
  const file = (key: string, path: string) => (path === '' ? {} : { [key]: readFileSync(path) })
  const certificates = {
    ...file('ca', tls.caFile),
    ...file('cert', tls.certFile),
    ...file('key', tls.keyFile),
    rejectUnauthorized: !tls.insecureSkipVerify,
  }
  return { secure, options: { ...options, ...certificates } }
}
