/**
 * A client's connection to the system message bus: calls with an answer, and the signals asked
 * for. Only what firewalld needs; no objects of our own. Does not keep the process alive.
 *
 * Bounds: 30 s per call (firewalld answers nothing while it reloads), 256 calls under way, 8 MiB
 * per message. A connection that breaks fails its calls and is not opened again by itself.
 */
import { existsSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { decodeMessage, encodeMessage, messageLength, type Message, type Value } from './wire.ts'

const callTimeoutMs = 30_000
const connectTimeoutMs = 5_000
const callsMax = 256
const messageBytesMax = 8 << 20
const busName = 'org.freedesktop.DBus'

/** An error that the other side answered; `name` tells its kind. */
export class BusError extends Error {
  override readonly name: string

  constructor(name: string, message: string) {
    super(message)
    this.name = name
  }
}

export interface BusTarget {
  readonly destination: string
  readonly path: string
  readonly interface: string
}

export const busItself: BusTarget = {
  destination: busName,
  path: '/org/freedesktop/DBus',
  interface: busName,
}

/** Where the system bus listens; undefined when nothing is there. */
export function systemBusPath(
  address: string | undefined = process.env['DBUS_SYSTEM_BUS_ADDRESS'],
): string | undefined {
  const given = /(?:^|;)unix:(?:[^;]*,)?path=([^,;]+)/.exec(address ?? '')?.[1]
  const path = given ?? '/run/dbus/system_bus_socket'
  return existsSync(path) ? path : undefined
}

interface Pending {
  resolve(body: readonly Value[]): void
  reject(error: unknown): void
  readonly timer: NodeJS.Timeout
}

export class Bus {
  readonly #socket: Socket
  readonly #pending = new Map<number, Pending>()
  #received = Buffer.alloc(0)
  #serial = 0
  #authenticated: ((failure?: Error) => void) | undefined

  /** Signals that were subscribed to. */
  onSignal: (signal: Message) => void = () => undefined
  onClose: () => void = () => undefined

  private constructor(socket: Socket) {
    this.#socket = socket
  }

  /** Connects, proves who we are by the socket's credentials, and says hello. */
  static async connect(path: string): Promise<Bus> {
    const socket = connect(path)
    const bus = new Bus(socket)
    const ready = Promise.withResolvers<void>()
    bus.#authenticated = (failure) => {
      if (failure === undefined) ready.resolve()
      else ready.reject(failure)
    }
    const silent = () => socket.destroy(new Error('the message bus says nothing'))
    const timer = setTimeout(silent, connectTimeoutMs)
    socket.on('error', (error) => ready.reject(error))
    socket.on('data', (chunk: Buffer) => bus.#receive(chunk))
    socket.on('close', () => {
      ready.reject(new Error('the message bus has closed the connection'))
      bus.#closed()
    })
    const uid = Buffer.from(String(process.getuid?.() ?? 0)).toString('hex')
    socket.write(`\0AUTH EXTERNAL ${uid}\r\n`)
    try {
      await ready.promise
      await bus.call(busItself, 'Hello')
    } catch (error) {
      socket.destroy()
      throw error
    } finally {
      clearTimeout(timer)
    }
    socket.unref()
    return bus
  }

  call(
    target: BusTarget,
    member: string,
    signature = '',
    body: readonly Value[] = [],
  ): Promise<readonly Value[]> {
    if (this.#socket.destroyed) return Promise.reject(new Error('the message bus is gone'))
    if (this.#pending.size >= callsMax) {
      return Promise.reject(new Error(`${callsMax} calls wait for the message bus already`))
    }
    const serial = ++this.#serial
    const head = { type: 'call', serial, replySerial: 0, errorName: '' } as const
    const bytes = encodeMessage({ ...head, ...target, member, signature, body })
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(serial)
        const within = `in ${callTimeoutMs / 1000} s`
        reject(new Error(`${target.destination} has not answered ${member} ${within}`))
      }, callTimeoutMs)
      this.#pending.set(serial, { resolve, reject, timer })
      this.#socket.write(bytes)
    })
  }

  /** Asks for signals, by a match rule. */
  async subscribe(rule: string): Promise<void> {
    await this.call(busItself, 'AddMatch', 's', [rule])
  }

  close(): void {
    this.#socket.destroy()
  }

  #closed(): void {
    for (const { reject, timer } of this.#pending.values()) {
      clearTimeout(timer)
      reject(new Error('the message bus is gone'))
    }
    this.#pending.clear()
    this.onClose()
  }

  #receive(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk])
    try {
      if (this.#authenticated !== undefined) this.#authenticate(this.#authenticated)
      while (this.#authenticated === undefined && this.#takeMessage());
    } catch (error) {
      this.#socket.destroy(error instanceof Error ? error : new Error(String(error)))
    }
  }

  #authenticate(done: (failure?: Error) => void): void {
    const end = this.#received.indexOf('\r\n')
    if (end < 0) return
    const line = this.#received.toString('utf8', 0, end)
    this.#received = this.#received.subarray(end + 2)
    this.#authenticated = undefined
    if (line.startsWith('OK ')) this.#socket.write('BEGIN\r\n')
    done(line.startsWith('OK ') ? undefined : new Error(`the message bus refuses us: ${line}`))
  }

  /** True when there was a whole message. */
  #takeMessage(): boolean {
    const length = messageLength(this.#received)
    if (length === undefined) return false
    if (length > messageBytesMax) throw new Error(`a message of ${length} bytes`)
    if (this.#received.length < length) return false
    const message = decodeMessage(this.#received.subarray(0, length))
    this.#received = this.#received.subarray(length)
    if (message.type === 'signal') this.onSignal(message)
    else this.#answer(message)
    return true
  }

  #answer(message: Message): void {
    const pending = this.#pending.get(message.replySerial)
    if (pending === undefined) return
    this.#pending.delete(message.replySerial)
    clearTimeout(pending.timer)
    if (message.type === 'error') {
      pending.reject(new BusError(message.errorName, String(message.body[0] ?? message.errorName)))
    } else pending.resolve(message.body)
  }
}
