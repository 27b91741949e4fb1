/**
 * Named pipes for container stdio.
 *
 * Opening a FIFO can block for ever, so both kinds of opening here are non-blocking. Node adds
 * close-on-exec to what `openSync` opens. The descriptors belong to the caller.
 */
import { chmodSync, constants, openSync } from 'node:fs'
import { checked, libcCalls } from './ffi.ts'

/** Makes a FIFO with exactly this mode, whatever the umask says. */
export function makeFifo(path: string, mode = 0o700): void {
  checked(libcCalls.mkfifo(path, mode), 'mkfifo', `make FIFO ${path}`)
  chmodSync(path, mode)
}

/**
 * Opens a FIFO without waiting for its other end.
 *
 * `read`: end-of-file is exact, it comes when the last writer has closed. `readWrite`: holds both
 * ends, so that the other side never sees end-of-file while this is open.
 */
export function openFifo(path: string, access: 'read' | 'readWrite'): number {
  const flags = access === 'read' ? constants.O_RDONLY : constants.O_RDWR
  return openSync(path, flags | constants.O_NONBLOCK)
}
