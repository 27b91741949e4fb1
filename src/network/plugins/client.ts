/**
 * One call to a plugin: POST of a JSON document to /SERVICE.METHOD, answered by another.
 *
 * Bounds: 30 s and 1 MiB per answer. A plugin that cannot be reached is tried again for some
 * seconds, because it may just restart; one that answered, however badly, is not.
 */
import { readFileSync } from 'node:fs'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { request as httpsRequest, type RequestOptions } from 'node:https'
import { setTimeout as pause } from 'node:timers/promises'
import { messageOf, Refusal } from '../../base/refusal.ts'
import { fieldsOf, textOf, type PluginAddress } from './discovery.ts'

const accept = 'application/vnd.docker.plugins.v1.2+json'
const answerTimeoutMs = 30_000
const answerBytesMax = 1 << 20
/**
 * Pauses between tries while nobody listens: for what is made, for what is taken down, and for
 * what is taken down while others have just waited in vain.
 */
const patience = { patient: [100, 400, 1000, 2000], hasty: [100, 400], none: [] } as const
export type Patience = keyof typeof patience

/** The plugin has not answered: nobody knows what it has done. */
export class PluginSilent extends Error {
  override readonly name = 'PluginSilent'
}

export type Answer = ReadonlyMap<string, unknown>

/**
 * Calls `method`, for example `NetworkDriver.Join`.
 *
 * @throws Refusal when the plugin answers an error, PluginSilent when it does not answer
 */
export async function callPlugin(
  plugin: PluginAddress,
  method: string,
  body: unknown,
  how: Patience = 'patient',
): Promise<Answer> {
  const text = await send(plugin, method, body === undefined ? '' : JSON.stringify(body), how)
  let document: unknown
  try {
    document = text.trim() === '' ? {} : JSON.parse(text)
  } catch (error) {
    throw new Refusal('internal', `${method}: the plugin's answer is no JSON`, { cause: error })
  }
  const fields = fieldsOf(document)
  // Network drivers say Err, IPAM drivers Error.
  const wrong = textOf(fields.get('Err')) || textOf(fields.get('Error'))
  if (wrong !== '') throw new Refusal('internal', `remote: ${wrong}`)
  return fields
}

async function send(
  plugin: PluginAddress,
  method: string,
  body: string,
  how: Patience,
): Promise<string> {
  for (const pauseMs of [...patience[how], undefined]) {
    try {
      return await sendOnce(plugin, method, body)
    } catch (error) {
      if (!isUnreachable(error)) throw error
      if (pauseMs === undefined) {
        const sentence = `${method}: cannot reach the plugin at ${plugin.address}`
        throw new PluginSilent(`${sentence}: ${messageOf(error)}`)
      }
      await pause(pauseMs)
    }
  }
  throw new PluginSilent(`${method}: no answer`)
}

/** Nothing has been sent yet. */
function isUnreachable(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : ''
  return code === 'ECONNREFUSED' || code === 'ENOENT'
}

function sendOnce(plugin: PluginAddress, method: string, body: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const silent = (why: string) => new PluginSilent(`${method}: the plugin ${why}`)
  const { secure, options } = targetOf(plugin)
  const signal = AbortSignal.timeout(answerTimeoutMs)
  const length = Buffer.byteLength(body)
  const headers = { Accept: accept, 'Content-Type': accept, 'Content-Length': length }
  const all = { ...options, method: 'POST', path: `/${method}`, headers, agent: false, signal }
  const outgoing = (secure ? httpsRequest : httpRequest)(all, (answer) => {
    read(answer).then(
      (text) => {
        if (answer.statusCode === 200) resolve(text)
        else reject(refusalOf(method, answer.statusCode ?? 0, text))
      },
      (error: unknown) => reject(silent(`broke off: ${messageOf(error)}`)),
    )
  })
  outgoing.on('error', (error) => {
    if (isUnreachable(error)) reject(error)
    else if (signal.aborted) reject(silent(`has not answered in ${answerTimeoutMs / 1000} s`))
    else reject(silent(`broke off: ${error.message}`))
  })
  outgoing.end(body)
  return promise
}

function refusalOf(method: string, status: number, text: string): Refusal {
  let said = text.trim()
  try {
    const fields = fieldsOf(JSON.parse(text))
    said = textOf(fields.get('Err')) || textOf(fields.get('Error')) || said
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    // Old plugins answer plain text.
  }
  const kind = status === 404 ? 'notFound' : 'internal'
  return new Refusal(kind, `${method}: ${said === '' ? `status ${status}` : said}`)
}

async function read(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of answer) {
    const part = Buffer.from(chunk)
    bytes += part.length
    if (bytes > answerBytesMax) throw new Error(`its answer is longer than ${answerBytesMax} bytes`)
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
  const secure = protocol === 'https:' || tls !== undefined
  const options = { host: hostname, port: port === '' ? (secure ? 443 : 80) : Number(port) }
  if (tls === undefined) return { secure, options }
  const file = (key: string, path: string) => (path === '' ? {} : { [key]: readFileSync(path) })
  const files = {
    ...file('ca', tls.caFile),
    ...file('cert', tls.certFile),
    ...file('key', tls.keyFile),
  }
  return { secure, options: { ...options, ...files, rejectUnauthorized: !tls.insecureSkipVerify } }
}
