/**
 * What becomes of calls while containerd is away.
 *
 * A call that finds nobody listening waits for a bounded time: nothing of it was done. One that
 * breaks off in the middle is made again when it only asks. What fails in the end is a sentence
 * that says so, of a class of its own; what containerd itself answers stays as it is.
 */
import { Code, ConnectError, type Interceptor } from '@connectrpc/connect'
import type { Http2SessionManager } from '@connectrpc/connect-node'
import { Refusal } from '../../base/refusal.ts'

const retryMs = 25
/** A process that is killed takes connections until its socket is closed, and breaks them off. */
const dyingMs = 100
/** So often may it go away in the middle of the same call. */
const timesMax = 5
/** Calls that change nothing. */
const asking = /^(Get|List|ListStream|ListPids|Info|Status|Stat|Mounts|Usage|Version|Read)$/

/** containerd is not there, or went away during the call. */
export class ContainerdAway extends Refusal {
  /** Part of the call may have been done. */
  readonly midway: boolean

  constructor(socketPath: string, error: ConnectError) {
    const midway = !isNobodyListening(error)
    const happened = midway ? 'went away during the call' : 'does not answer'
    const effect = midway ? '' : ', so nothing was done'
    const text = `containerd at ${socketPath} ${happened} (${codeOf(error)})${effect}`
    super('unavailable', `${text}: try again when it runs`, { cause: error })
    this.midway = midway
  }
}

/** `ECONNREFUSED`: the socket's path, which is in the kernel's words, too, is said already. */
function codeOf({ cause, rawMessage }: ConnectError): string {
  return cause instanceof Error && 'code' in cause ? String(cause.code) : rawMessage
}

/** Makes a call that does no harm twice again, if containerd went away in the middle of it. */
export async function throughRestart<T>(call: () => Promise<T>): Promise<T> {
  for (let times = 1; ; times++) {
    try {
      return await call()
    } catch (error) {
      if (!(error instanceof ContainerdAway) || !error.midway || times === timesMax) throw error
    }
    await sleep(dyingMs)
  }
}

/** The connection could not be made at all, so the call cannot have had an effect. */
function isNobodyListening(error: unknown): boolean {
  const cause: unknown = error instanceof ConnectError ? error.cause : undefined
  return cause instanceof Error && 'syscall' in cause && cause.syscall === 'connect'
}

/** What containerd says itself comes with a status; what we called off is no loss, either. */
function isLost(error: unknown): error is ConnectError {
  if (!(error instanceof ConnectError) || error.metadata.has('grpc-status')) return false
  const { code, rawMessage } = error
  // A connection that ends takes its streams along with this word, as if somebody had wanted it.
  if (code === Code.Canceled) return rawMessage.startsWith('http/2 stream closed')
  return code !== Code.DeadlineExceeded
}

/** Waits for a containerd that is not there, for at most `patienceMs`. */
export function patient(sessions: Http2SessionManager, patienceMs: number): Interceptor {
  return (next) => async (request) => {
    const deadline = Date.now() + patienceMs
    // What a stream is sent cannot be sent twice: the connection is made before.
    for (let tries = 0; request.stream && Date.now() < deadline; tries++) {
      if (tries > 0) await sleep(retryMs, request.signal)
      if ((await sessions.connect()) !== 'error') break
    }
    for (let tries = 0; ; tries++) {
      try {
        return await next(request)
      } catch (error) {
        const again = isNobodyListening(error) || (isLost(error) && asking.test(request.method.name))
        if (request.stream || !again || Date.now() >= deadline || request.signal.aborted) throw error
      }
      await sleep(retryMs, request.signal)
    }
  }
}

/** Shorter when the call is called off: then the next try says so. */
function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((wake) => {
    const done = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      wake()
    }
    const timer = setTimeout(done, milliseconds)
    signal?.addEventListener('abort', done)
  })
}

/** The same client, whose failures are sentences. */
export function plainspoken<T extends object>(client: T, socketPath: string): T {
  return new Proxy(client, {
    get(target, name, receiver): unknown {
      const method: unknown = Reflect.get(target, name, receiver)
      if (typeof method !== 'function') return method
      return (sent: unknown, ...rest: readonly unknown[]) => {
        const source = isAsyncIterable(sent) ? new Source(sent) : undefined
        const said = (error: unknown) => source?.failure ?? sentence(error, socketPath)
        return sayingOf(Reflect.apply(method, target, [source ?? sent, ...rest]), said)
      }
    },
  })
}

function sentence(error: unknown, socketPath: string): unknown {
  if (isLost(error)) return new ContainerdAway(socketPath, error)
  // The code in front of it is for programs.
  if (error instanceof ConnectError) error.message = error.rawMessage
  return error
}

/** What is sent as a stream; when it cannot be read, that is why the call fails. */
class Source implements AsyncIterable<unknown> {
  readonly #items: AsyncIterable<unknown>
  failure: unknown

  constructor(items: AsyncIterable<unknown>) {
    this.#items = items
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<unknown> {
    try {
      yield* this.#items
    } catch (error) {
      this.failure = error
      throw error
    }
  }
}

type Said = (error: unknown) => unknown

function sayingOf(answer: unknown, said: Said): unknown {
  if (answer instanceof Promise) {
    return answer.catch((error: unknown) => {
      throw said(error)
    })
  }
  return isAsyncIterable(answer) ? sayingStream(answer, said) : answer
}

async function* sayingStream(
  answers: AsyncIterable<unknown>,
  said: Said,
): AsyncGenerator<unknown> {
  try {
    yield* answers
  } catch (error) {
    throw said(error)
  }
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value
}
