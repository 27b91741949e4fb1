/**
 * One iptables-restore that stays: a change costs no start of a process, and a deletion does not
 * wait for the kernel's grace period (which the kernel lets a process wait for when it ends).
 *
 * With --verbose the program repeats comments when it comes to them: a comment behind a COMMIT says
 * that it was carried out. A program that does not do so is asked by ending its input, each time.
 * When a change is refused the program ends, and the next change starts another. Left alone for a
 * while it is ended; when this process dies its input ends, and so does it.
 */
import { spawn, type ChildProcessByStdio } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { commandEnvironment } from './command.ts'
import { KernelError } from './error.ts'
import type { IptablesFamily } from './iptables.ts'

/** Another holder of the xtables lock is waited for this long, then the restore fails. */
const lockWaitSeconds = 20
/** Ten thousand rules take about four seconds on a busy machine. */
const timeoutMs = 60_000
/** A program that has carried out a change says so at once. */
const echoTimeoutMs = 5_000
const idleMs = 10_000
/** Output to a pipe leaves the program when its buffer of 4 KiB is full. */
const padding = `#${'-'.repeat(511)}\n`.repeat(10)
const errorBytesMax = 16_384

type Child = ChildProcessByStdio<Writable, Readable, Readable>

interface Waiting {
  readonly mark: string
  /** What the child has printed since, its end only. */
  output: string
  resolve(): void
  reject(error: KernelError): void
}

export class IptablesSession {
  readonly #program: string
  readonly #netns: string
  #child: Child | undefined
  #waiting: Waiting | undefined
  #errors = ''
  #marks = 0
  #echoes = true
  #idle: NodeJS.Timeout | undefined

  /** @param netns path of a namespace; the daemon's own when absent */
  constructor(family: IptablesFamily, netns = '') {
    this.#program = family === 4 ? 'iptables-restore' : 'ip6tables-restore'
    this.#netns = netns
  }

  /** Carries out the text, table by table. One call at a time. */
  restore(text: string): Promise<void> {
    if (this.#waiting !== undefined) throw new Error(`${this.#program} is busy`)
    clearTimeout(this.#idle)
    const child = this.#child ?? this.#start()
    hold(child)
    const mark = `# done ${++this.#marks}\n`
    return new Promise<void>((resolve, reject) => {
      const patience = setTimeout(() => child.stdin.end(), echoTimeoutMs)
      const limit = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
      const settle = () => {
        clearTimeout(patience)
        clearTimeout(limit)
        this.#waiting = undefined
      }
      this.#waiting = {
        mark,
        output: '',
        resolve: () => { settle(); resolve() },
        reject: (error) => { settle(); reject(error) },
      }
      child.stdin.write(text + (this.#echoes ? mark + padding : ''))
      if (!this.#echoes) child.stdin.end()
    })
  }

  /** Ends the program when it is done. */
  close(): void {
    clearTimeout(this.#idle)
    this.#child?.stdin.end()
    this.#child = undefined
  }

  #start(): Child {
    const args = ['--noflush', '--verbose', '--wait', String(lockWaitSeconds)]
    const argv = this.#netns === ''
      ? [this.#program, ...args]
      : ['nsenter', `--net=${this.#netns}`, this.#program, ...args]
    const child = spawn(argv[0] ?? '', argv.slice(1), {
      stdio: ['pipe', 'pipe', 'pipe'], env: commandEnvironment,
    })
    this.#child = child
    this.#errors = ''
    // A program that ends without reading on is told by its exit code.
    child.stdin.on('error', () => undefined)
    child.stdout.on('data', (chunk: Buffer) => this.#printed(child, chunk))
    child.stderr.on('data', (chunk: Buffer) => {
      if (this.#child === child) this.#errors = (this.#errors + String(chunk)).slice(-errorBytesMax)
    })
    child.on('error', (error: NodeJS.ErrnoException) => {
      this.#ended(child, -(error.errno ?? 0), 'the program cannot be started')
    })
    child.on('close', (code, signal) => {
      this.#ended(child, 0, code === 0 ? '' : `exit status ${code ?? signal}`)
    })
    return child
  }

  #printed(child: Child, chunk: Buffer): void {
    const waiting = this.#waiting
    if (waiting === undefined || this.#child !== child) return
    const output = waiting.output + String(chunk)
    if (!output.includes(waiting.mark)) {
      waiting.output = output.slice(-waiting.mark.length)
      return
    }
    waiting.resolve()
    release(child)
    if (child.stdin.writableEnded) this.#child = undefined // it was slow, and was given up on
    else this.#idle = setTimeout(() => this.close(), idleMs).unref()
  }

  #ended(child: Child, errno: number, problem: string): void {
    if (this.#child !== child) return
    this.#child = undefined
    clearTimeout(this.#idle)
    const waiting = this.#waiting
    if (waiting === undefined) return
    if (problem === '') {
      // It did all and did not say so: do not wait for that again.
      this.#echoes = false
      waiting.resolve()
      return
    }
    const why = this.#errors.trim()
    const reason = why === '' ? problem : `${why} (${problem})`
    waiting.reject(new KernelError(this.#program, errno, `${this.#program} --noflush`, reason))
  }
}

/** While it works the event loop stays for it; while it waits it keeps nothing alive. */
function hold(child: Child): void {
  child.ref()
  for (const stream of [child.stdin, child.stdout, child.stderr]) refOf(stream)?.ref()
}

function release(child: Child): void {
  child.unref()
  for (const stream of [child.stdin, child.stdout, child.stderr]) refOf(stream)?.unref()
}

interface Referenced {
  ref(): void
  unref(): void
}

/** Pipes to children are sockets, which the types do not say. */
function refOf(stream: object): Referenced | undefined {
  return 'ref' in stream && 'unref' in stream ? (stream as Referenced) : undefined
}
