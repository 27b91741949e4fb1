/**
 * Child processes for the few things that only a program does. Never a shell, always bounded: in
 * time, in output, and in what it inherits (stdio pipes only).
 *
 * Starts in the home namespace: being asynchronous it cannot be called from inside a section.
 */
import { spawn } from 'node:child_process'
import { KernelError } from './error.ts'

export interface CommandOptions {
  readonly input?: string
  /** After this the child is killed and the call fails. */
  readonly timeoutMs?: number
  /** Answer a non-zero exit instead of throwing. */
  readonly tolerate?: boolean
  /** Enter the network namespace at this path first (nsenter). */
  readonly netns?: string
}

export interface CommandResult {
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
}

/** iptables waits for its lock this long at most before it gives up by itself. */
const timeoutMsDefault = 30_000
/** Ten thousand published ports are about 5 MB of iptables-save. */
const outputBytesMax = 64 << 20
/** Firewall tools live where an ordinary user's PATH does not look. */
const path = `${process.env['PATH'] ?? '/usr/bin:/bin'}:/usr/local/sbin:/usr/sbin:/sbin`
/** What every child is started with, whatever the user's environment holds. */
export const commandEnvironment: Readonly<Record<string, string>> = { PATH: path, LC_ALL: 'C' }

/** Runs a program to its end. A program that is missing is a KernelError with code ENOENT. */
export function runCommand(
  program: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<CommandResult> {
  const netns = options.netns ?? ''
  const argv = netns === '' ? [program, ...args] : ['nsenter', `--net=${netns}`, program, ...args]
  return new Promise((resolve, reject) => {
    const child = spawn(argv[0] ?? program, argv.slice(1), {
      stdio: 'pipe',
      env: commandEnvironment,
    })
    const timeoutMs = options.timeoutMs ?? timeoutMsDefault
    const deadline = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
    const stdout = collect(child.stdout, () => child.kill('SIGKILL'))
    const stderr = collect(child.stderr, () => child.kill('SIGKILL'))
    child.on('error', (error: NodeJS.ErrnoException) => {
      clearTimeout(deadline)
      const errno = -(error.errno ?? 0)
      reject(new KernelError('execve', errno, `run ${program}`, 'the program cannot be started'))
    })
    child.on('close', (exitCode, signal) => {
      clearTimeout(deadline)
      const result = { exitCode: exitCode ?? -1, stdout: stdout(), stderr: stderr() }
      if (exitCode === 0 || (exitCode !== null && options.tolerate === true)) resolve(result)
      else reject(failure(program, args, signal, result))
    })
    // A child that ends without reading its input is told by its exit code.
    child.stdin.on('error', () => undefined)
    child.stdin.end(options.input ?? '')
  })
}

function collect(stream: NodeJS.ReadableStream, overflow: () => void): () => string {
  const chunks: Buffer[] = []
  let bytes = 0
  stream.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    if (bytes > outputBytesMax) overflow()
    else chunks.push(chunk)
  })
  return () => Buffer.concat(chunks).toString('utf8')
}

function failure(
  program: string,
  args: readonly string[],
  signal: NodeJS.Signals | null,
  result: CommandResult,
): KernelError {
  const why = result.stderr.trim() || result.stdout.trim().slice(-2000)
  const ended = signal === null ? `exit status ${result.exitCode}` : `killed by ${signal}`
  const reason = why === '' ? ended : `${why} (${ended})`
  return new KernelError(program, 0, [program, ...args].join(' '), reason)
}
