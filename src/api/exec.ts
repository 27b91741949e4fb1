/** /containers/{id…}/exec and /exec/{id}: create, start, resize, inspect. */
import { log } from '../base/log.ts'
import { Refusal, messageOf } from '../base/refusal.ts'
import type { Containers } from '../containers/containers.ts'
import { terminalSize } from './containers.ts'
import * as d from './decode.ts'
import type { ApiRequest, Reply, Route } from './route.ts'
import { frame, streamType } from './stream.ts'

export function execRoutes(containers: Containers): readonly Route[] {
  const id = ({ params }: ApiRequest): string => params['id'] ?? ''
  return [
    {
      method: 'POST',
      pattern: '/containers/{id…}/exec',
      handle: (request) => create(containers, request),
    },
    {
      method: 'POST',
      pattern: '/exec/{id}/start',
      handle: (request) => start(containers, request),
    },
    {
      method: 'POST',
      pattern: '/exec/{id}/resize',
      handle: async (request) => {
        const { height, width } = terminalSize(request)
        await containers.resizeExec(id(request), height, width)
        return { status: 200 }
      },
    },
    {
      method: 'GET',
      pattern: '/exec/{id}/json',
      handle: async (request) => ({ status: 200, json: containers.inspectExec(id(request)) }),
    },
  ]
}

const createDecoder = d.struct('container.ExecOptions', {
  User: d.string,
  Privileged: d.bool,
  Tty: d.bool,
  AttachStdin: d.bool,
  AttachStderr: d.bool,
  AttachStdout: d.bool,
  DetachKeys: d.string,
  Env: d.list(d.string, '[]string'),
  WorkingDir: d.string,
  Cmd: d.list(d.string, '[]string'),
})

async function create(containers: Containers, request: ApiRequest): Promise<Reply> {
  const body = await request.json(createDecoder)
  if (body.Cmd.length === 0) throw new Refusal('invalid', 'No exec command specified')
  const execId = containers.createExec(request.params['id'] ?? '', {
    command: body.Cmd,
    tty: body.Tty,
    attachStdin: body.AttachStdin,
    attachStdout: body.AttachStdout,
    attachStderr: body.AttachStderr,
    detachKeys: body.DetachKeys,
    env: body.Env,
    workingDir: body.WorkingDir,
    user: body.User,
    privileged: body.Privileged,
  })
  return { status: 201, json: { Id: execId } }
}

/** Before this version it was named and did nothing. */
const sinceConsoleSize = 142

const startDecoder = d.struct('container.ExecStartOptions', {
  Detach: d.bool,
  Tty: d.bool,
  ConsoleSize: d.optional(d.list(d.int, '[]uint')),
})

async function start(containers: Containers, request: ApiRequest): Promise<Reply | undefined> {
  const id = request.params['id'] ?? ''
  const body = await request.json(startDecoder)
  const { tty } = containers.checkExecStart(id)
  if (
    request.version >= sinceConsoleSize &&
    body.ConsoleSize !== undefined &&
    body.ConsoleSize.length > 0 &&
    !tty
  ) {
    throw new Refusal('invalid', 'console size is only supported when TTY is enabled')
  }
  const consoleSize = request.version >= sinceConsoleSize ? (body.ConsoleSize ?? undefined) : undefined
  if (body.Detach) {
    await containers.startExec(id, { client: undefined, consoleSize })
    return { status: 200 }
  }
  const client = request.hijack(streamType(tty, request.version))
  try {
    await containers.startExec(id, { client, consoleSize })
  } catch (error) {
    // Status 101 is sent already: the reason goes where the output would.
    log.debug('an exec did not start', { id, error: messageOf(error) })
    const text = Buffer.from(`${messageOf(error)}\r\n`)
    client.end(tty ? text : frame('stdout', text))
  }
  return undefined
}
