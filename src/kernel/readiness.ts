/**
 * Calls back when a descriptor can be read, from the event loop and without a thread.
 *
 * koffi's poll is experimental, so it is used here and nowhere else. After an error condition on
 * the descriptor (a netlink overrun, for one) libuv stops polling and reports a negative status:
 * polling is then started again, and the callback is told by `failed`.
 */
import koffi from 'koffi'

export interface ReadinessWatch {
  /** Stops; to be called before the descriptor is closed. */
  close(): void
  /** Stops until `resume`. */
  pause(): void
  resume(): void
  /** Lets the process end although this is watched. */
  unref(): void
}

/**
 * @param ready called whenever there is something to read; must read until `EAGAIN` or be called
 *   again at once. `failed`: the descriptor reported an error and events may be missing
 */
export function watchReadable(fd: number, ready: (failed: boolean) => void): ReadinessWatch {
  let open = true
  // The typings leave out the first argument: libuv's status, 0 or a negative errno.
  const onEvent = (status: unknown) => {
    if (!open) return
    const failed = typeof status === 'number' && status < 0
    if (failed) handle.start({ readable: true }, onEvent)
    ready(failed)
  }
  // Kept in the closure of `close`: a handle without a reference would be collected.
  const handle = koffi.node.poll(fd, { readable: true }, onEvent)
  return {
    close() {
      if (open) handle.close()
      open = false
    },
    pause() {
      if (open) handle.stop()
    },
    resume() {
      if (open) handle.start({ readable: true }, onEvent)
    },
    unref: () => handle.unref(),
  }
}
