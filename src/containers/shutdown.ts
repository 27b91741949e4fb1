/** How long the end of the daemon waits for containers to stop. */

/** After the signal that nothing survives. */
const graceSeconds = 5

/**
 * The daemon's own limit, or what the most patient container is allowed, if that is more.
 * -1: without end.
 */
export function shutdownLimitSeconds(own: number, containers: readonly number[]): number {
  if (own < 0 || containers.some((seconds) => seconds < 0)) return -1
  return Math.max(own, ...containers.map((seconds) => seconds + graceSeconds))
}
