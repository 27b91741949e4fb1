/** The process's own limits. Children inherit them: set before any is started that must not. */
import { checked, libcCalls } from './ffi.ts'

const RLIMIT_NOFILE = 7

/**
 * Lets this process open up to `wanted` descriptors. Where the system refuses to go beyond its
 * hard limit, that is taken. Answers the limit now in force.
 */
export function raiseDescriptorLimit(wanted: number): number {
  const limit = Buffer.alloc(16)
  checked(libcCalls.getrlimit(RLIMIT_NOFILE, limit), 'getrlimit', 'read the descriptor limit')
  const hard = limit.readBigUInt64LE(8)
  if (limit.readBigUInt64LE(0) >= BigInt(wanted)) return Number(limit.readBigUInt64LE(0))
  for (const maximum of [BigInt(wanted), hard]) {
    const soft = maximum < BigInt(wanted) ? maximum : BigInt(wanted)
    limit.writeBigUInt64LE(soft, 0)
    limit.writeBigUInt64LE(maximum > hard ? maximum : hard, 8)
    if (libcCalls.setrlimit(RLIMIT_NOFILE, limit) === 0) return Number(soft)
  }
  throw new Error(`the descriptor limit of ${hard} cannot be used`)
}
