/** /containers/{id}: attach, logs, wait, stats, export: answers that go on. */
import { Refusal } from '../base/refusal.ts'
import type { Containers } from '../containers/containers.ts'
import { parseTimestamp } from '../containers/time.ts'
import { PlainRefusal } from './errors.ts'
import type { ApiRequest, Route } from './route.ts'
import { openJsonStream, rawStream, streamType } from './stream.ts'

export function containerStreamRoutes(containers: Containers): readonly Route[] {
  const route = (
    method: Route['method'],
    name: string,
    handle: (containers: Containers, request: ApiRequest) => Promise<undefined>,
  ): Route => ({
    method,
    pattern: `/containers/{id…}/${name}`,
    handle: (request) => handle(containers, request),
  })
  return [
    route('POST', 'attach', attach),
    route('GET', 'attach/ws', attachWebSocket),
    route('GET', 'logs', logs),
    route('POST', 'wait', wait),
    route('GET', 'stats', stats),
    route('GET', 'export', exportRootfs),
  ]
}

const attachOptions = ({ query }: ApiRequest) => ({
  stdin: query.bool('stdin'),
  stdout: query.bool('stdout'),
  stderr: query.bool('stderr'),
  logs: query.bool('logs'),
  stream: query.bool('stream'),
  detachKeys: query.get('detachKeys') ?? '',
  multiplexed: true,
})

async function attach(containers: Containers, request: ApiRequest): Promise<undefined> {
  const { params, version } = request
  const id = params['id'] ?? ''
  const options = attachOptions(request)
  const { tty } = attachable(() => containers.checkAttach(id, options))
  const client = request.hijack(streamType(tty, version))
  await containers.attach(id, options, client)
  return undefined
}

/** Who attaches reads text: why not is a line of it, as with dockerd. */
function attachable<T>(check: () => T): T {
  try {
    return check()
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    const { kind, message } = error
    throw new PlainRefusal(`${message}\r\n`, { kind, contentType: rawStream, cause: error })
  }
}

/** Before this version the streams were not chosen, before that other one messages were text. */
const sinceChosenStreams = 142
const sinceBinaryMessages = 128

/** Output and errors come together here: dockerd sends no frames of its own inside messages. */
async function attachWebSocket(containers: Containers, request: ApiRequest): Promise<undefined> {
  const { params, version } = request
  const id = params['id'] ?? ''
  const all = version < sinceChosenStreams ? { stdin: true, stdout: true, stderr: true } : {}
  const options = { ...attachOptions(request), multiplexed: false, ...all }
  containers.checkAttach(id, options)
  const client = await request.webSocket(version < sinceBinaryMessages ? 'text' : 'binary')
  await containers.attach(id, options, client)
  return undefined
}

async function logs(containers: Containers, request: ApiRequest): Promise<undefined> {
  const { params, query, response, version } = request
  const id = params['id'] ?? ''
  const moment = (name: string) => {
    const text = query.get(name) ?? ''
    return text === '' || text === '0' ? undefined : parseTimestamp(text)
  }
  const tail = query.get('tail') ?? 'all'
  const options = {
    stdout: query.bool('stdout'),
    stderr: query.bool('stderr'),
    follow: query.bool('follow'),
    timestamps: query.bool('timestamps'),
    details: query.bool('details'),
    tail: /^\d+$/.test(tail) ? Number(tail) : undefined,
    since: moment('since'),
    until: moment('until'),
  }
  if (!options.stdout && !options.stderr) {
    throw new Refusal('invalid', 'Bad parameters: you must choose at least one stream')
  }
  const { tty } = containers.checkLogs(id, options)
  response.writeHead(200, { 'Content-Type': streamType(tty, version) })
  response.flushHeaders()
  await containers.logs(id, options, response)
  response.end()
  return undefined
}

const conditions = ['not-running', 'next-exit', 'removed'] as const

async function wait(containers: Containers, request: ApiRequest): Promise<undefined> {
  const { params, query, response, signal } = request
  const text = query.get('condition') ?? ''
  const condition = conditions.find((known) => known === (text === '' ? 'not-running' : text))
  if (condition === undefined) throw new Refusal('invalid', `invalid condition: "${text}"`)
  const waiting = containers.wait(params['id'] ?? '', condition)
  signal.addEventListener('abort', waiting.cancel, { once: true })
  // The client starts the container only when it has seen that we wait.
  response.writeHead(200, { 'Content-Type': 'application/json' })
  response.flushHeaders()
  const { code, error } = await waiting.result
  const reason = error === '' ? {} : { Error: { Message: error } }
  response.end(JSON.stringify({ ...reason, StatusCode: code }) + '\n')
  return undefined
}

/** Older versions do not know it. */
const sinceOneShot = 141

async function stats(containers: Containers, request: ApiRequest): Promise<undefined> {
  const { params, query, signal, version } = request
  const id = params['id'] ?? ''
  const streaming = query.get('stream') === undefined || query.bool('stream')
  const oneShot = version >= sinceOneShot && query.bool('one-shot')
  if (streaming && oneShot) {
    throw new Refusal('invalid', 'cannot have stream=true and one-shot=true')
  }
  const samples = containers.stats(id, { streaming, oneShot }, signal)
  const stream = openJsonStream(request)
  try {
    for await (const sample of samples) stream.write(sample)
    stream.end()
  } catch (error) {
    stream.fail(error)
  }
  return undefined
}

async function exportRootfs(containers: Containers, request: ApiRequest): Promise<undefined> {
  const { params, response } = request
  await containers.export(params['id'] ?? '', () =>
    response.writeHead(200, { 'Content-Type': 'application/octet-stream' }),
  )
  return undefined
}
