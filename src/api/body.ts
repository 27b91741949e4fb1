/**
 * The body of a request: bytes with a bound, then JSON with Docker's checks of Content-Type.
 *
 * A request that switches protocols is a special case: Node hands over the socket behind the
 * headers, so the body's Content-Length bytes are taken from it here, wherever they are: in the
 * same packet, later, or glued to what already belongs to the stream.
 */
import type { IncomingHttpHeaders } from 'node:http'
import type { Socket } from 'node:net'
import { Readable } from 'node:stream'
import { Refusal } from '../base/refusal.ts'
import type { Decoder } from './decode.ts'
import { BodyTooLarge } from './errors.ts'
import { parseJson } from './json.ts'
import { parseMediaType } from './media-type.ts'

/** More than any JSON body of the API; a bound against a client that never stops. */
const jsonBytesMax = 64 * 1024 * 1024

/** True when the request carries no body at all. */
export function isBodyless(headers: IncomingHttpHeaders): boolean {
  return headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) === 0
}

/** Reads and decodes; no body and no Content-Type count as an empty object. */
export async function readJson<T>(
  body: Readable,
  headers: IncomingHttpHeaders,
  decoder: Decoder<T>,
): Promise<T> {
  const bodyless = isBodyless(headers)
  const type = headers['content-type'] ?? ''
  if (type === '' && bodyless) return decoder.decode(undefined, '')
  const parsed = parseMediaType(type)
  if ('problem' in parsed) {
    throw new Refusal('invalid', `malformed Content-Type header (${type}): ${parsed.problem}`)
  }
  if (parsed.type !== 'application/json') {
    throw new Refusal(
      'invalid',
      `unsupported Content-Type header (${type}): must be 'application/json'`,
    )
  }
  if (bodyless) return decoder.decode(undefined, '')
  return decoder.decode(parseJson(await readText(body, headers)), '')
}

async function readText(body: Readable, headers: IncomingHttpHeaders): Promise<string> {
  if (Number(headers['content-length'] ?? 0) > jsonBytesMax) throw new BodyTooLarge(jsonBytesMax)
  return (await collectAll(body, jsonBytesMax)).toString('utf8')
}

/** By listeners: `for await` would cost every request with a body a tenth of a millisecond. */
function collectAll(body: Readable, bytesMax: number): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>()
  const chunks: Buffer[] = []
  let bytes = 0
  const take = (chunk: unknown) => {
    if (!Buffer.isBuffer(chunk)) return refuse(new TypeError('the body is not a stream of bytes'))
    bytes += chunk.length
    if (bytes > bytesMax) return refuse(new BodyTooLarge(bytesMax))
    chunks.push(chunk)
  }
  const refuse = (error: Error) => {
    body.off('data', take).pause()
    reject(error)
  }
  body.on('data', take)
  body.once('end', () => resolve(Buffer.concat(chunks)))
  body.once('error', reject)
  const cutOff = () => reject(new Refusal('invalid', 'the request was cut off'))
  // Nothing more is told of a body that is gone already.
  if (body.closed) cutOff()
  else body.once('close', cutOff)
  return promise
}

/** A body of a request that takes its connection over is a few words; more stays in the socket. */
const takenBytesMax = 1024 * 1024

/**
 * The first `bytes` bytes of a socket as a stream of their own; what follows stays in it. A small
 * body is taken at once, whether the handler asks for it or not: some clients send one to attach,
 * and it must not end up in the container's input. `bodyPending`: it is still to be read.
 */
export async function takeBody(
  socket: Socket,
  bytes: number,
): Promise<{ readonly body: Readable; readonly bodyPending: boolean }> {
  const bodyPending = bytes > takenBytesMax
  const chunks = take(socket, bytes)
  const body = Readable.from(bodyPending ? chunks : await collect(chunks), { objectMode: false })
  return { body, bodyPending }
}

async function collect(chunks: AsyncIterable<Buffer>): Promise<readonly Buffer[]> {
  const collected: Buffer[] = []
  for await (const chunk of chunks) collected.push(chunk)
  return collected
}

async function* take(socket: Socket, bytes: number): AsyncGenerator<Buffer> {
  let left = bytes
  while (left > 0) {
    const ready = Math.min(left, socket.readableLength)
    const chunk: unknown = ready > 0 ? socket.read(ready) : null
    if (Buffer.isBuffer(chunk)) {
      left -= chunk.length
      yield chunk
    } else if (socket.readableEnded || socket.destroyed) {
      return // the JSON parser says «unexpected EOF»
    } else {
      await readable(socket)
    }
  }
}

function readable(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      for (const event of events) socket.off(event, done)
      resolve()
    }
    const events = ['readable', 'end', 'close'] as const
    for (const event of events) socket.on(event, done)
    socket.read(0) // asks for more, and for 'end'
  })
}
