/**
 * Attaching a client to the stdio of a container or an exec.
 *
 * A client that comes before the start is joined by the start, after the FIFOs are open and
 * before the process runs, so that it misses nothing. Half-close of the client is the end of stdin
 * where Docker says so; detach keys end this attachment only. A client that falls a mebibyte behind
 * is dropped by the keeper.
 */
import type { Duplex } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { log } from '../base/log.ts'
import { Refusal, messageOf } from '../base/refusal.ts'
import type { Attachment } from '../keeper/client.ts'
import { DetachFilter, parseDetachKeys } from './detach-keys.ts'
import { frame, writeTo } from './frames.ts'
import { streamLogs } from './logs.ts'
import { hasProcess } from './record.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'

export interface AttachRequest {
  readonly stdin: boolean
  readonly stdout: boolean
  readonly stderr: boolean
  /** Also what was written before. */
  readonly logs: boolean
  /** false: the old output only. */
  readonly stream: boolean
  readonly detachKeys: string
  /** Output and errors apart, in Docker's frames, where there is no terminal. */
  readonly multiplexed: boolean
}

/** Refuses before the connection is taken over. */
export function checkAttach(
  { record: { state } }: Container,
  shownAs: string,
  request: AttachRequest,
): void {
  if (state.status === 'paused') {
    throw new Refusal(
      'conflict',
      `container ${shownAs} is paused, unpause the container before attach`,
    )
  }
  if (state.status === 'restarting') {
    throw new Refusal(
      'conflict',
      `container ${shownAs} is restarting, wait until the container is running`,
    )
  }
  parseDetachKeys(request.detachKeys)
}

/** How long what a client sent last may take when the container's input is full. */
const lastInputMs = 5_000

/** Serves an attached client until the stream ends or the client leaves. */
export async function attachContainer(
  context: Context,
  container: Container,
  request: AttachRequest,
  client: Duplex,
): Promise<void> {
  const { config } = container.record
  const framed = request.multiplexed && !config.Tty
  if (request.logs) {
    await streamLogs(
      context,
      container,
      {
        stdout: request.stdout,
        stderr: request.stderr,
        follow: false,
        timestamps: false,
        details: false,
        tail: undefined,
        since: undefined,
        until: undefined,
      },
      client,
      framed,
    )
  }
  if (!request.stream) {
    client.end()
    return
  }
  context.registry.tell(container, 'attach')
  const wantsAny = request.stdin || request.stdout || request.stderr
  const attachment = wantsAny ? await joined(context, container, request, client) : undefined
  if (attachment === undefined) {
    client.end()
    return
  }
  const outcome = await serve({
    attachment,
    client,
    framed,
    stdin: request.stdin && config.OpenStdin,
    detachKeys: config.Tty || request.detachKeys !== '' ? request.detachKeys : undefined,
    endsStdin: config.StdinOnce && !config.Tty,
    // A start that goes on is finished when its queue is: until the shim has opened the FIFO,
    // whoever closes it throws away what is in it.
    started: () => context.registry.queue.run(container.id, () => Promise.resolve()),
    closeStdin: () => closeStdin(context, container.id, ''),
  })
  if (outcome === 'detached') context.registry.tell(container, 'detach')
}

/** Joins the running stream, or waits for the start; undefined when the client left before. */
async function joined(
  context: Context,
  container: Container,
  request: AttachRequest,
  client: Duplex,
): Promise<Attachment | undefined> {
  const { stdin, stdout, stderr } = request
  const options = { stdin: stdin && container.record.config.OpenStdin, stdout, stderr }
  const join = () => context.keeper.attach(container.id, options)
  if (hasProcess(container.record.state.status)) return join()
  const { promise, resolve, reject } = Promise.withResolvers<Attachment | undefined>()
  const waiter = { join: () => join().then(resolve, reject), cancel: () => resolve(undefined) }
  container.live.attachers.add(waiter)
  client.once('close', waiter.cancel)
  try {
    return await promise
  } finally {
    container.live.attachers.delete(waiter)
    client.off('close', waiter.cancel)
  }
}

/** Called by the start when the streams are open and the process does not run yet. */
export async function joinAttachers(container: Container): Promise<void> {
  await Promise.all([...container.live.attachers].map((waiter) => waiter.join()))
}

/** Nobody will start this any more. */
export function dismissAttachers(container: Container): void {
  for (const waiter of container.live.attachers) waiter.cancel()
}

/** Tells containerd that no more will come; fine when the process has ended. */
export async function closeStdin(
  context: Context,
  containerId: string,
  execId: string,
): Promise<void> {
  try {
    await context.containerd.tasks.closeIO({ containerId, execId, stdin: true })
  } catch (error) {
    log.debug('stdin could not be closed', { id: containerId, error: messageOf(error) })
  }
}

export interface Service {
  readonly attachment: Attachment
  readonly client: Duplex
  readonly framed: boolean
  readonly stdin: boolean
  /** undefined: nothing typed detaches. */
  readonly detachKeys: string | undefined
  /** The end of the client's input is the end of stdin. */
  readonly endsStdin: boolean
  /** Awaited before stdin is closed. */
  started?(): Promise<void>
  closeStdin(): Promise<void>
  /** Awaited after the last output, before the client is told the end. */
  beforeEnd?(): Promise<void>
}

/** Carries bytes both ways. Resolves when the output has ended or the client has left. */
export async function serve(service: Service): Promise<'ended' | 'detached'> {
  const { attachment, client } = service
  let typedDetach = false
  const input = carryInput(service).then((detached) => {
    if (!detached) return
    typedDetach = true
    attachment.detach()
  })
  input.catch((error: unknown) => {
    log.debug('an attached client could not write', { error: messageOf(error) })
  })
  client.on('error', (error) => log.debug('an attached client failed', { error: error.message }))
  client.once('close', () => void leave(attachment, input))
  try {
    for await (const { stream, data } of attachment.output) {
      if (await writeTo(client, service.framed ? frame(stream, data) : data)) continue
      await leave(attachment, input)
      break
    }
    if (!typedDetach && !client.destroyed) await service.beforeEnd?.()
    client.end()
  } catch (error) {
    log.debug('an attached client was dropped', { error: messageOf(error) })
    if (typedDetach) client.end()
    else client.destroy()
  } finally {
    attachment.detach()
  }
  return typedDetach ? 'detached' : 'ended'
}

/** What a client sent before it left, its end included, still counts; but not for ever. */
async function leave(attachment: Attachment, input: Promise<void>): Promise<void> {
  const timer = new AbortController()
  const late = sleep(lastInputMs, undefined, { signal: timer.signal, ref: false })
  await Promise.allSettled([Promise.race([input, late])])
  timer.abort()
  attachment.detach()
}

/** True when the client typed the detach keys. */
async function carryInput(service: Service): Promise<boolean> {
  const { client, endsStdin } = service
  let typedDetach = false
  try {
    typedDetach = await copyInput(service)
  } catch (error) {
    if (!client.destroyed) throw error
    log.debug('an attached client broke off', { error: messageOf(error) })
  }
  if (!typedDetach && service.stdin && endsStdin) await endStdin(service)
  return typedDetach
}

async function copyInput({ attachment, client, detachKeys, stdin }: Service): Promise<boolean> {
  const filter =
    detachKeys === undefined ? undefined : new DetachFilter(parseDetachKeys(detachKeys))
  for await (const chunk of client.iterator({ destroyOnReturn: false })) {
    const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk))
    if (!stdin) continue
    const { data, detached } = filter?.take(bytes) ?? { data: bytes, detached: false }
    if (data.length > 0) await attachment.write(data)
    if (detached) return true
  }
  return false
}

async function endStdin(service: Service): Promise<void> {
  await service.started?.()
  await service.attachment.closeStdin()
  await service.closeStdin()
}
