/**
 * Keeps a containerd running: starts or adopts it, waits until it answers, notices its death and
 * starts it again. Containers do not notice; whoever waits for something in containerd is called
 * back and asks again.
 */
import { log } from '../../base/log.ts'
import { messageOf, Refusal } from '../../base/refusal.ts'
import { connectContainerd, isUnimplemented, type Containerd } from './client.ts'
import {
  end,
  findRunning,
  forget,
  hasItsFiles,
  identify,
  isAlive,
  isUsable,
  launch,
  logTail,
  record,
  type ContainerdFiles,
  type ProcessIdentity,
} from './process.ts'

export type { ContainerdFiles } from './process.ts'

export interface SupervisedContainerd {
  readonly pid: number
  /** True if it ran already when we came. */
  readonly adopted: boolean
  /** Called each time containerd answers again after it was away: exits may have been missed. */
  onBack(callback: () => void): void
  /** Stops watching and leaves containerd running. */
  release(): void
  /** Ends containerd; shims and containers live on. */
  stop(): Promise<void>
}

/** A cold start on a busy disk takes seconds. */
const readyTimeoutMs = 60_000
const readyPollMs = 20
const restartDelayMaxMs = 30_000
const restartDelayMinMs = 50
/** Linux keeps 108 bytes for a socket path; containerd adds `.ttrpc` to ours. */
const socketBytesMax = 100

/** Starts containerd with our own configuration, or adopts the one that an earlier run started. */
export async function startContainerd(files: ContainerdFiles): Promise<SupervisedContainerd> {
  for (const path of [files.root, files.state, files.socket]) {
    if (!path.startsWith('/'))
      throw new Refusal('invalid', `containerd needs absolute paths: ${path}`)
  }
  if (Buffer.byteLength(files.socket) > socketBytesMax) {
    const advice = `longer than ${socketBytesMax} bytes; choose a shorter --exec-root`
    throw new Refusal('invalid', `the path of containerd's socket is ${advice}: ${files.socket}`)
  }
  const supervisor = new Supervisor(files)
  await supervisor.start()
  return supervisor
}

/** Answers when containerd does; refuses after `timeoutMs` or when `isGone` says so. */
export async function waitReady(
  containerd: Containerd,
  timeoutMs: number,
  isGone: () => boolean = () => false,
): Promise<string> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    try {
      const { version } = await containerd.version.version({}, { timeoutMs: 5000 })
      // It answers also when it could not open its database; then only this call fails.
      await containerd.leases.list({ filters: ['id==none'] }, { timeoutMs: 5000 })
      return version
    } catch (error) {
      if (isUnimplemented(error)) {
        throw new Refusal('unavailable', 'containerd could not open its database', { cause: error })
      }
      if (isGone()) throw new Refusal('unavailable', 'containerd ended while it started')
      if (Date.now() > deadline) {
        const bound = `${timeoutMs / 1000} s`
        const text = `containerd at ${containerd.socketPath} did not answer in ${bound}`
        throw new Refusal('unavailable', `${text}: ${messageOf(error)}`, { cause: error })
      }
    }
    await sleep(readyPollMs)
  }
}

/**
 * Resolves when the connection to containerd breaks: an event stream that never carries anything
 * ends at the moment the process does, also if it is not a child of ours.
 */
export async function untilLost(containerd: Containerd, signal: AbortSignal): Promise<void> {
  try {
    const filters = ['topic=="/portolan/none"']
    for await (const event of containerd.events.subscribe({ filters }, { signal })) {
      log.debug('unexpected event from containerd', { topic: event.topic })
    }
  } catch (error) {
    if (!signal.aborted) log.debug('event stream from containerd ended', { why: messageOf(error) })
  }
}

/** For a containerd that somebody else runs: calls back whenever it answers again. */
export function watchForeign(containerd: Containerd, onBack: () => void): { release(): void } {
  const stopped = new AbortController()
  const watch = async () => {
    while (!stopped.signal.aborted) {
      await untilLost(containerd, stopped.signal)
      if (stopped.signal.aborted) return
      const gone = () => stopped.signal.aborted
      const back = await waitReady(containerd, restartDelayMaxMs, gone).then(
        () => true,
        () => false,
      )
      if (back) onBack()
      else log.warn('containerd does not answer', { socket: containerd.socketPath })
    }
  }
  void watch()
  return { release: () => stopped.abort() }
}

class Supervisor implements SupervisedContainerd {
  readonly #files: ContainerdFiles
  readonly #client: Containerd
  readonly #stopped = new AbortController()
  readonly #callbacks: (() => void)[] = []
  #process: ProcessIdentity | undefined
  #watching: Promise<void> = Promise.resolve()
  adopted = false

  constructor(files: ContainerdFiles) {
    this.#files = files
    this.#client = connectContainerd(files.socket, 'portolan.watch', 0)
  }

  get pid(): number {
    return this.#process?.pid ?? 0
  }

  async start(): Promise<void> {
    const running = findRunning(this.#files)
    if (running !== undefined && isUsable(running) && hasItsFiles(this.#files)) {
      this.#process = running
      this.adopted = await waitReady(this.#client, readyTimeoutMs, () => !isAlive(running)).then(
        () => true,
        () => false,
      )
      if (this.adopted) record(this.#files, running)
    }
    if (!this.adopted) {
      if (running !== undefined) {
        log.info('ending a containerd that cannot be adopted', { pid: running.pid })
        await end(running)
      }
      await this.#launch()
    }
    this.#watching = this.#watch()
  }

  onBack(callback: () => void): void {
    this.#callbacks.push(callback)
  }

  release(): void {
    this.#stopped.abort()
    this.#client.close()
  }

  async stop(): Promise<void> {
    this.release()
    await this.#watching
    if (this.#process !== undefined) await end(this.#process)
    forget(this.#files)
  }

  async #launch(): Promise<void> {
    const started = launch(this.#files)
    this.#process = started
    try {
      await waitReady(this.#client, readyTimeoutMs, () => !isAlive(started))
    } catch (error) {
      await end(started)
      const why = messageOf(error)
      throw new Refusal('unavailable', `${why}; the end of its log:\n${logTail(this.#files)}`, {
        cause: error,
      })
    }
    // Only now is its executable containerd and not what was forked.
    const identity = identify(started.pid) ?? started
    this.#process = identity
    record(this.#files, identity)
    log.info('containerd runs', { pid: identity.pid, socket: this.#files.socket })
  }

  async #watch(): Promise<void> {
    let delayMs = restartDelayMinMs
    while (!this.#stopped.signal.aborted) {
      const since = Date.now()
      await untilLost(this.#client, this.#stopped.signal)
      if (this.#stopped.signal.aborted) return
      // One that has run for long starts again at once; one that cannot run is tried ever rarer.
      delayMs = Date.now() - since > restartDelayMaxMs ? restartDelayMinMs : delayMs
      await sleep(delayMs)
      if (this.#stopped.signal.aborted) return
      delayMs = Math.min(delayMs * 2, restartDelayMaxMs)
      await this.#revive()
    }
  }

  async #revive(): Promise<void> {
    try {
      const running = this.#process
      if (running === undefined || !isAlive(running)) {
        log.warn('containerd has ended; starting it again', { pid: running?.pid })
        await this.#launch()
      }
      for (const callback of this.#callbacks) callback()
    } catch (error) {
      log.error('containerd does not start', { why: messageOf(error) })
    }
  }
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((wake) => setTimeout(wake, milliseconds))
}
