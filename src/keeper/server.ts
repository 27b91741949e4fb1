/**
 * The keeper's end of the control socket.
 *
 * One daemon at a time: a new connection takes over, since the daemon before it is dead or has lost
 * interest. What is held does not change when a daemon goes.
 */
import { createServer, type Server, type Socket } from 'node:net'
import { log } from '../base/log.ts'
import { messageOf, Refusal } from '../base/refusal.ts'
import * as field from './fields.ts'
import type { JsonObject } from './fields.ts'
import { encodeJson, frameObject, FrameReader } from './frames.ts'
import { parseRequest, protocolVersion, type Answer, type Request } from './protocol.ts'

export interface ControlHandler {
  perform(request: Request): Promise<Answer>
  /** The daemon has gone, or has come. */
  daemonChanged(present: boolean): void
}

export function serveControl(socketPath: string, handler: ControlHandler): Server {
  let daemon: Socket | undefined
  const server = createServer((connection) => {
    daemon?.destroy()
    daemon = connection
    handler.daemonChanged(true)
    const reader = new FrameReader()
    connection.write(encodeJson({ protocol: protocolVersion, pid: process.pid }))
    connection.on('error', () => connection.destroy())
    connection.on('close', () => {
      if (daemon !== connection) return
      daemon = undefined
      handler.daemonChanged(false)
    })
    connection.on('data', (chunk) => {
      try {
        for (const frame of reader.push(chunk)) answer(connection, handler, frameObject(frame))
      } catch (error) {
        log.error('unreadable message from the daemon', { error: messageOf(error) })
        connection.destroy()
      }
    })
  })
  return server.listen(socketPath)
}

function answer(connection: Socket, handler: ControlHandler, message: JsonObject): void {
  const id = field.number(message, 'id')
  const send = (reply: object) => {
    if (connection.writable) connection.write(encodeJson({ id, ...reply }))
  }
  const perform = async () => handler.perform(parseRequest(message))
  perform().then(send, (error: unknown) => {
    const kind = error instanceof Refusal ? error.kind : 'internal'
    send({ error: messageOf(error), kind })
  })
}
