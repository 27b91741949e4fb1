/** The wall clock in nanoseconds, for log lines. */

/** Further apart than this, and somebody has set the clock. */
const driftNsMax = 2_000_000n

let wallMinusMonotonicNs = 0n

/** The wall clock with the fine steps of the monotonic one; follows when the clock is set. */
export function nowNs(): bigint {
  const monotonicNs = process.hrtime.bigint()
  const wallNs = BigInt(Date.now()) * 1_000_000n
  const drift = wallNs - (monotonicNs + wallMinusMonotonicNs)
  if (drift > driftNsMax || drift < -driftNsMax) wallMinusMonotonicNs = wallNs - monotonicNs
  return monotonicNs + wallMinusMonotonicNs
}
