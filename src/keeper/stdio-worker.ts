/**
 * The keeper's thread for standard streams: a container that writes without end keeps this thread
 * busy and no other. It takes requests from the keeper's main thread, one answer each, and serves
 * attach connections on a socket of its own.
 */
import { rmSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { parentPort, workerData } from 'node:worker_threads'
import { messageOf } from '../base/refusal.ts'
import { serveAttach } from './attach-server.ts'
import type { StdioAnswer, StdioCall, StdioRequest, StdioWorkerData } from './stdio.ts'
import { StdioStream } from './stdio-stream.ts'

const streams = new Map<string, StdioStream>()
const { attachSocketPath, stallMs }: StdioWorkerData = workerData

async function perform(request: StdioRequest): Promise<StdioAnswer> {
  switch (request.method) {
    case 'open': {
      const known = streams.get(request.spec.streamId)
      if (known !== undefined) return { stdinClosed: known.stdinClosed }
      const stream = new StdioStream(request.spec, request.stdinClosed, stallMs)
      streams.set(request.spec.streamId, stream)
      return { stdinClosed: stream.stdinClosed }
    }
    case 'drain': {
      await streams.get(request.streamId)?.drain(request.timeoutMs)
      streams.delete(request.streamId)
      return {}
    }
    case 'close': {
      streams.get(request.streamId)?.close()
      streams.delete(request.streamId)
      return {}
    }
    case 'settle': {
      const wanted = new Set(request.streamIds)
      const surplus = [...streams.keys()].filter((streamId) => !wanted.has(streamId))
      // Whatever was written is still logged; nobody waits for more.
      await Promise.all(
        surplus.map((streamId) => perform({ method: 'drain', streamId, timeoutMs: 0 })),
      )
      return {}
    }
  }
}

function serve(port: NonNullable<typeof parentPort>): void {
  rmSync(attachSocketPath, { force: true })
  const server = serveAttach(attachSocketPath, (streamId) => streams.get(streamId))
  server.on('listening', () => port.postMessage({ id: 0, answer: {} }))
  port.on('message', (call: StdioCall) => {
    perform(call.request).then(
      (answer) => port.postMessage({ id: call.id, answer }),
      (error: unknown) => port.postMessage({ id: call.id, error: messageOf(error) }),
    )
  })
}

if (parentPort !== null) serve(parentPort)
flushCompileCache()
