/**
 * A few low descriptor numbers, kept free for code that waits by select(2).
 *
 * libnftables does, on the netlink socket it opens: with a number from FD_SETSIZE on, glibc ends
 * the process ("bit out of range 0 - FD_SETSIZE on fd_set"). A keeper of 200 containers has more
 * than a thousand descriptors, so some low ones are held from the start and given up for the
 * length of one synchronous call. Another thread may take one of them in that moment; it comes
 * back with a later call, and a call that would get none is refused instead of risked.
 */
import { closeSync, openSync } from 'node:fs'
import { KernelError } from './error.ts'

/** select(2): what an fd_set holds. */
const FD_SETSIZE = 1024
const EMFILE = 24
/** One call opens one or two; the others make up for those that a thread takes meanwhile. */
const held = 8

let reserve: number[] = []

/** Holds low numbers; call it when the process is young. */
export function reserveLowDescriptors(): void {
  while (reserve.length < held) {
    const descriptor = openSync('/dev/null', 'r')
    if (descriptor >= FD_SETSIZE) {
      closeSync(descriptor)
      return
    }
    reserve.push(descriptor)
  }
}

/** Runs a synchronous section in which newly opened descriptors get low numbers. */
export function withLowDescriptors<T>(section: () => T): T {
  for (const descriptor of reserve) closeSync(descriptor)
  reserve = []
  try {
    const lowest = openSync('/dev/null', 'r')
    closeSync(lowest)
    // The second one that the section may open is the next free number, or not far from it.
    if (lowest >= FD_SETSIZE - held) {
      const reason = `its socket would be number ${lowest}, and it can use none above ${FD_SETSIZE}`
      throw new KernelError('select', EMFILE, 'use libnftables', reason)
    }
    return section()
  } finally {
    reserveLowDescriptors()
  }
}
