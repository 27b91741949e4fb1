/**
 * Keeps a long-lived process small: what only its start needed is given back.
 *
 * A Node process has touched most of its executable, and much of its heap, when its modules are
 * loaded, and seldom again. `giveBack` collects garbage, returns free memory of the allocator, and
 * forgets the pages of mapped files; those that are used again come back from the page cache one
 * fault at a time. Only mappings that are read-only and wholly unmodified are touched.
 *
 * Limit: collecting stops the thread for some tens of milliseconds, so it is done when idle.
 */
import { readFileSync } from 'node:fs'
import { libcCalls, trimAllocator } from './ffi.ts'

const MADV_DONTNEED = 4
/** How often to look whether there is something to give back, and time to do so. */
const intervalMs = 5_000
/** The first time, after the start. */
const firstMs = 1_000
/** Idle: at most this share of an interval was spent computing: one `docker ps`, not a run. */
const idleShare = 0.01
/** Worth it: this much was computed since the last time. */
const worthMs = 300

/** Gives back what is not in use. Quick, but for the garbage collector where that is exposed. */
export function giveBack(): void {
  globalThis.gc?.()
  trimAllocator()
  for (const { start, bytes } of cleanMappings(readFileSync('/proc/self/smaps', 'latin1'))) {
    // A refusal means that the pages stay; nothing depends on it.
    libcCalls.madvise(start, bytes, MADV_DONTNEED)
  }
}

/** Does so soon, and again when the process is idle after it has worked. */
export function stayResidentSmall(): { stop(): void } {
  let before = cpuMs()
  let last = -Infinity
  const look = () => {
    const now = cpuMs()
    const isIdle = now - before <= intervalMs * idleShare
    before = now
    if (last !== -Infinity && (!isIdle || now - last < worthMs)) return
    giveBack()
    before = last = cpuMs()
  }
  const first = setTimeout(look, firstMs).unref()
  const timer = setInterval(look, intervalMs).unref()
  return {
    stop() {
      clearTimeout(first)
      clearInterval(timer)
    },
  }
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

interface Mapping {
  readonly start: bigint
  readonly bytes: number
}

/** Read-only private mappings of files in which no page was ever written. */
export function cleanMappings(smaps: string): readonly Mapping[] {
  const found: Mapping[] = []
  const areas = smaps.split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
  for (const area of areas) {
    const head = /^([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ \d+ +\//.exec(area)
    if (head === null || !/^Anonymous: +0 kB$/m.test(area)) continue
    const [start, end] = [BigInt(`0x${head[1] ?? '0'}`), BigInt(`0x${head[2] ?? '0'}`)]
    found.push({ start, bytes: Number(end - start) })
  }
  return found
}
