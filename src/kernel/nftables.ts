/**
 * nftables through libnftables, in this process.
 *
 * One command text is one kernel transaction: all or nothing. The home namespace has one
 * context that lives as long as the process (closing one waits for a grace period after
 * deletions); other namespaces get a fresh one per call, since the library may reopen its
 * socket, which must not land in the wrong namespace. Syntax traps: `fwd` is a keyword, and a
 * one-line table needs newlines or `;` before closing braces.
 *
 * The library opens its sockets without close-on-exec; it is set here.
 */
import { readdirSync, readlinkSync } from 'node:fs'
import koffi from 'koffi'
import { errorCode } from '../base/error-code.ts'
import { KernelError } from './error.ts'
import { libcCalls } from './ffi.ts'
import { withLowDescriptors } from './low-descriptors.ts'
import { homeNetns, inNetns, type Netns } from './netns.ts'

interface Library {
  readonly create: (flags: number) => unknown
  readonly free: {
    (context: unknown): void
    async(context: unknown, done: (error: unknown) => void): void
  }
  readonly bufferOutput: (context: unknown) => number
  readonly bufferError: (context: unknown) => number
  readonly run: (context: unknown, commands: string) => number
  readonly output: (context: unknown) => string | null
  readonly error: (context: unknown) => string | null
  readonly setFlags: (context: unknown, flags: number) => void
}

export interface NftOptions {
  /** Listings as JSON text. */
  readonly json?: boolean
  /** Listings show rule handles, needed to delete single rules. */
  readonly handles?: boolean
  /** Listings leave out counters, so that two of them compare equal. */
  readonly stateless?: boolean
}

const OUTPUT_STATELESS = 1 << 2
const OUTPUT_HANDLE = 1 << 3
const OUTPUT_JSON = 1 << 4
const soname = 'libnftables.so.1'
const ENOENT = 2
const FIOCLEX = 0x5451

let library: Library | undefined
let homeContext: unknown

/** Whether libnftables is on this machine and the kernel answers it. */
export function isNftablesAvailable(): boolean {
  try {
    nft(homeNetns(), 'list tables')
    return true
  } catch (error) {
    if (error instanceof KernelError) return false
    throw error
  }
}

/** Runs commands in a namespace; the answer is what `nft` would print. */
export function nft(ns: Netns, commands: string, options: NftOptions = {}): string {
  return withLowDescriptors(() => runIn(load(), ns, commands, options))
}

function runIn(calls: Library, ns: Netns, commands: string, options: NftOptions): string {
  if (ns.inode === homeNetns().inode) {
    homeContext ??= closingOnExec(() => inNetns(ns, () => newContext(calls)))
    return run(calls, homeContext, commands, options)
  }
  return inNetns(ns, () => {
    const context = newContext(calls)
    try {
      return run(calls, context, commands, options)
    } finally {
      calls.free(context)
    }
  })
}

/** Tables that are there until `release`, or until this process ends, however it does. */
export interface HeldTables {
  /** Resolves when they are gone. */
  release(): Promise<void>
}

/**
 * Makes tables with `flags owner`: nobody else can change or flush them. One text is all there is:
 * the library may reopen its socket while it reads, before it writes, and a table would go with
 * the socket. Fails where the kernel (before 5.12) or the library knows no owners.
 */
export function holdTables(ns: Netns, commands: string): HeldTables {
  const calls = load()
  const context = withLowDescriptors(() => closingOnExec(() => inNetns(ns, () => {
    const made = newContext(calls)
    try {
      run(calls, made, commands, {})
      return made
    } catch (error) {
      calls.free(made)
      throw error
    }
  })))
  return {
    // On a pool thread: the kernel waits for a grace period before it lets go of the tables.
    release: () => new Promise((done, fail) => {
      calls.free.async(context, (error) => {
        if (error) fail(error)
        else done()
      })
    }),
  }
}

/** Runs a section; sockets that it leaves open are not passed on to other programs. */
function closingOnExec<T>(section: () => T): T {
  const before = new Set(socketsOpen())
  const result = section()
  for (const fd of socketsOpen()) if (!before.has(fd)) libcCalls.ioctl(Number(fd), FIOCLEX, null)
  return result
}

/** Numbers of the descriptors that are sockets. */
function socketsOpen(): readonly string[] {
  const folder = '/proc/self/fd'
  return readdirSync(folder).filter((fd) => {
    try {
      return readlinkSync(`${folder}/${fd}`).startsWith('socket:')
    } catch (error) {
      // The one that the listing itself had open.
      if (errorCode(error) === 'ENOENT') return false
      throw error
    }
  })
}

/** A listing command's JSON: the array below `nftables`. */
export function nftJson(ns: Netns, commands: string): readonly unknown[] {
  const parsed: unknown = JSON.parse(nft(ns, commands, { json: true, handles: true }))
  const isListing = typeof parsed === 'object' && parsed !== null && 'nftables' in parsed
  if (isListing && Array.isArray(parsed.nftables)) return parsed.nftables
  throw new KernelError('nft', 0, firstLine(commands), 'the answer is no listing')
}

function run(calls: Library, context: unknown, commands: string, options: NftOptions): string {
  const { json = false, handles = false, stateless = false } = options
  const flags =
    (json ? OUTPUT_JSON : 0) | (handles ? OUTPUT_HANDLE : 0) | (stateless ? OUTPUT_STATELESS : 0)
  calls.setFlags(context, flags)
  const result = calls.run(context, commands)
  // Read both, always: reading is what empties the buffer for the next call.
  const output = calls.output(context) ?? ''
  const errors = calls.error(context) ?? ''
  if (result === 0) return output
  throw new KernelError('nft', 0, `nft ${firstLine(commands)}`, errors.trim() || 'it was refused')
}

/** Enough to recognise the command in a message. */
function firstLine(commands: string): string {
  const line = commands.trimStart().split('\n', 1)[0] ?? ''
  return line.length > 120 ? `${line.slice(0, 117)}...` : line
}

function newContext(calls: Library): unknown {
  const context = calls.create(0)
  if (context === null) throw new KernelError('nft_ctx_new', 0, 'open nftables', 'out of memory')
  calls.bufferOutput(context)
  calls.bufferError(context)
  return context
}

function load(): Library {
  library ??= loadLibrary()
  return library
}

function loadLibrary(): Library {
  let shared
  try {
    shared = koffi.load(soname)
  } catch {
    const reason = `${soname} is not on this machine: install libnftables1`
    throw new KernelError('dlopen', ENOENT, 'use nftables', reason)
  }
  return {
    create: shared.func('void *nft_ctx_new(uint32_t flags)'),
    free: shared.func('void nft_ctx_free(void *ctx)'),
    bufferOutput: shared.func('int nft_ctx_buffer_output(void *ctx)'),
    bufferError: shared.func('int nft_ctx_buffer_error(void *ctx)'),
    run: shared.func('int nft_run_cmd_from_buffer(void *ctx, const char *buf)'),
    output: shared.func('const char *nft_ctx_get_output_buffer(void *ctx)'),
    error: shared.func('const char *nft_ctx_get_error_buffer(void *ctx)'),
    setFlags: shared.func('void nft_ctx_output_set_flags(void *ctx, uint32_t flags)'),
  }
}
