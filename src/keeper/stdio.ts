/**
 * The keeper's main thread's end of the thread for standard streams (`stdio-worker.ts`).
 *
 * Must be started before the first section in a foreign namespace: a thread is born in the
 * namespace that its maker is in at that moment.
 */
import { Worker } from 'node:worker_threads'
import type { StreamOpening } from './protocol.ts'

export type StdioRequest =
  | { readonly method: 'open'; readonly opening: StreamOpening }
  | { readonly method: 'drain'; readonly streamId: string; readonly timeoutMs: number }
  | { readonly method: 'close'; readonly streamId: string }
  | { readonly method: 'settle'; readonly streamIds: readonly string[] }

/** `stdinClosed`: an adopted stream whose input had been ended already. */
export interface StdioAnswer {
  readonly stdinClosed?: boolean
}

export interface StdioCall {
  readonly id: number
  readonly request: StdioRequest
}

export interface StdioWorkerData {
  readonly attachSocketPath: string
  /** How long a full attacher may take nothing before it is dropped. */
  readonly stallMs: number
}

type StdioReply =
  | { readonly id: number; readonly answer: StdioAnswer }
  | { readonly id: number; readonly error: string }

export class Stdio {
  readonly #worker: Worker
  readonly #waiting = new Map<number, PromiseWithResolvers<StdioAnswer>>()
  #lastId = 0

  private constructor(data: StdioWorkerData) {
    const extension = import.meta.url.endsWith('.ts') ? '.ts' : '.js'
    const script = new URL(`./stdio-worker${extension}`, import.meta.url)
    this.#worker = new Worker(script, { workerData: data })
    this.#worker.on('message', (reply: StdioReply) => this.#settle(reply))
  }

  /** Resolves when attach connections are served. `failed` means that the thread is lost. */
  static async start(data: StdioWorkerData, failed: (error: unknown) => void): Promise<Stdio> {
    const stdio = new Stdio(data)
    stdio.#worker.on('error', failed)
    const listening = Promise.withResolvers<StdioAnswer>()
    stdio.#waiting.set(0, listening)
    await listening.promise
    return stdio
  }

  call(request: StdioRequest): Promise<StdioAnswer> {
    const id = ++this.#lastId
    const waiting = Promise.withResolvers<StdioAnswer>()
    this.#waiting.set(id, waiting)
    const call: StdioCall = { id, request }
    this.#worker.postMessage(call)
    return waiting.promise
  }

  async close(): Promise<void> {
    await this.#worker.terminate()
  }

  #settle(reply: StdioReply): void {
    const waiting = this.#waiting.get(reply.id)
    this.#waiting.delete(reply.id)
    if ('answer' in reply) waiting?.resolve(reply.answer)
    else waiting?.reject(new Error(reply.error))
  }
}
