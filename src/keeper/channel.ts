/**
 * The daemon's end of one control connection: numbered requests, answers by number.
 *
 * When the connection is lost every request that waits is rejected with `ChannelLost`; whether it
 * was carried out is then unknown, and the caller states it again to the next keeper.
 */
import { connect, type Socket } from 'node:net'
import { messageOf, Refusal, type RefusalKind } from '../base/refusal.ts'
import { log } from '../base/log.ts'
import * as field from './fields.ts'
import type { JsonObject } from './fields.ts'
import { encodeJson, frameObject, FrameReader } from './frames.ts'
import { parseAnswer, protocolVersion, type Answer, type Request } from './protocol.ts'

export class ChannelLost extends Error {
  override readonly name = 'ChannelLost'
}

/** A keeper answers at once or is stuck. */
const greetingTimeoutMs = 2_000

const refusalKinds: readonly RefusalKind[] = [
  'notModified',
  'invalid',
  'unauthorized',
  'forbidden',
  'notFound',
  'conflict',
  'internal',
  'notImplemented',
  'unavailable',
]

export class Channel {
  readonly #socket: Socket
  readonly #waiting = new Map<number, PromiseWithResolvers<Answer>>()
  readonly closed: Promise<void>
  #lastId = 0

  private constructor(socket: Socket) {
    this.#socket = socket
    this.closed = new Promise((resolve) => socket.once('close', () => resolve()))
    void this.closed.then(() => this.#lose())
  }

  /** Connects and checks the greeting. Rejects when nobody, or no keeper of ours, answers. */
  static open(socketPath: string): Promise<Channel> {
    const { promise, resolve, reject } = Promise.withResolvers<Channel>()
    const socket = connect(socketPath)
    const reader = new FrameReader()
    let channel: Channel | undefined
    socket.setTimeout(greetingTimeoutMs, () => socket.destroy(new Error('the keeper is silent')))
    socket.on('error', reject)
    socket.on('close', () => reject(new ChannelLost('the keeper closed the connection')))
    socket.on('data', (chunk) => {
      try {
        for (const frame of reader.push(chunk)) {
          const message = frameObject(frame)
          if (channel !== undefined) channel.#settle(message)
          else {
            checkGreeting(message)
            socket.setTimeout(0)
            channel = new Channel(socket)
            resolve(channel)
          }
        }
      } catch (error) {
        log.error('unreadable message from the keeper', { error: messageOf(error) })
        socket.destroy(error instanceof Error ? error : new Error(String(error)))
      }
    })
    return promise
  }

  request(request: Request): Promise<Answer> {
    if (this.#socket.destroyed) return Promise.reject(new ChannelLost('the keeper has gone'))
    const id = ++this.#lastId
    const waiting = Promise.withResolvers<Answer>()
    this.#waiting.set(id, waiting)
    this.#socket.write(encodeJson({ id, ...request }))
    return waiting.promise
  }

  /** Sends what is requested meanwhile, synchronously, in one write. */
  together<T>(requests: () => T): T {
    this.#socket.cork()
    try {
      return requests()
    } finally {
      this.#socket.uncork()
    }
  }

  close(): void {
    this.#socket.destroy()
  }

  #settle(message: JsonObject): void {
    const id = field.number(message, 'id')
    const waiting = this.#waiting.get(id)
    this.#waiting.delete(id)
    if ('error' in message) waiting?.reject(refusalOf(message))
    else waiting?.resolve(parseAnswer(message))
  }

  #lose(): void {
    for (const waiting of this.#waiting.values()) {
      waiting.reject(new ChannelLost('the keeper died while it was asked'))
    }
    this.#waiting.clear()
  }
}

function checkGreeting(message: JsonObject): void {
  const version = field.number(message, 'protocol')
  if (version === protocolVersion) return
  throw new Error(`the keeper speaks protocol ${version}, this daemon ${protocolVersion}`)
}

function refusalOf(message: JsonObject): Refusal {
  const kind = refusalKinds.find((candidate) => candidate === message['kind']) ?? 'internal'
  return new Refusal(kind, field.text(message, 'error'))
}
