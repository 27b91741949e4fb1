/**
 * The bytes of a container over a WebSocket (RFC 6455, spoken by `ws`), seen as a duplex stream.
 *
 * Each write is one message; what comes in counts as bytes, text or binary alike. Nothing is
 * compressed. A client that breaks the protocol, or sends a message beyond the bound, is told why
 * by the code of a close frame and cut off. The stream's end is a close frame with code 1000; there
 * is no half-close: a client that closes has left.
 */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { WebSocketServer, type WebSocket } from 'ws'
import { log } from '../base/log.ts'
import { Refusal } from '../base/refusal.ts'

/** One message of input is kept whole in memory before it is passed on. */
export const messageBytesMax = 4 * 1024 * 1024

export interface Upgrade {
  readonly message: IncomingMessage
  readonly socket: Socket
  /** Clients of older API versions expect text. */
  readonly kind: 'binary' | 'text'
  /** Called when nothing can be refused any more, before the first byte is sent. */
  readonly accepted: () => void
}

/** Shakes hands; refuses what is no WebSocket request, with nothing sent. */
export function acceptWebSocket({ message, socket, kind, accepted }: Upgrade): Promise<Duplex> {
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: messageBytesMax,
    // Output may be cut within a character; input is bytes in any case.
    skipUTF8Validation: true,
  })
  return new Promise((resolve, reject) => {
    server.once('wsClientError', (error: Error) => {
      reject(new Refusal('invalid', `not websocket protocol: ${error.message}`))
    })
    server.once('headers', accepted)
    server.handleUpgrade(message, socket, Buffer.alloc(0), (client) => {
      resolve(new WebSocketStream(client, kind === 'binary'))
    })
  })
}

class WebSocketStream extends Duplex {
  readonly #client: WebSocket
  readonly #binary: boolean

  constructor(client: WebSocket, binary: boolean) {
    super()
    this.#client = client
    this.#binary = binary
    client.on('message', (data) => {
      if (!this.push(data)) client.pause()
    })
    // `close` follows in any case.
    client.on('error', (error) => log.debug('a WebSocket failed', { error: error.message }))
    client.once('close', () => this.#left())
    this.on('error', (error) => log.debug('a WebSocket was lost', { error: error.message }))
  }

  /** What has come in is still read; without a reader there is nobody to wait for. */
  #left(): void {
    if (this.destroyed) return
    this.push(null)
    this.end()
    if (this.readableFlowing !== true && this.listenerCount('readable') === 0) this.destroy()
  }

  override _read(): void {
    if (this.#client.isPaused) this.#client.resume()
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    this.#client.send(chunk, { binary: this.#binary }, done)
  }

  override _final(done: () => void): void {
    if (this.#client.readyState === this.#client.CLOSED) {
      done()
      return
    }
    this.#client.once('close', () => done())
    this.#client.close(1000)
    // The client's answer must be read, whether anybody wants input or not.
    this.resume()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#client.terminate()
    done(error)
  }
}
