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
    case 'open':
      return open(request)
    case 'drain':
      await end(request.streamId, request.timeoutMs)
      return {}
    case 'close': {
      streams.get(request.streamId)?.close()
      streams.delete(request.streamId)
      return {}
    }
    case 'settle': {
      const wanted = new Set(request.streamIds)
      const surplus = [...streams.keys()].filter((streamId) => !wanted.has(streamId))
      // Whatever was written is still logged; nobody waits for more.
      await Promise.all(surplus.map((streamId) => end(streamId, 0)))
      return {}
    }
  }
}

async function open(request: Extract<StdioRequest, { method: 'open' }>): Promise<StdioAnswer> {
  const { streamId } = request.opening.spec
  const known = streams.get(streamId)
  if (known?.isCurrent()) return { stdinClosed: known.stdinClosed }
  await end(streamId, 0)
  const stream = new StdioStream(request.opening, stallMs)
  streams.set(streamId, stream)
  return { stdinClosed: stream.stdinClosed }
}

async function end(streamId: string, timeoutMs: number): Promise<void> {
  const stream = streams.get(streamId)
  await stream?.drain(timeoutMs)
  // A new process of the same container may have got its stream meanwhile.
  if (stream === streams.get(streamId)) streams.delete(streamId)
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
