/** RFC 3339 in UTC with nine digits, as the engine API prints times. */
export function timestampNow(): string {
  const microseconds = Math.round((performance.timeOrigin + performance.now()) * 1000)
  const seconds = Math.floor(microseconds / 1_000_000)
  const fraction = String(microseconds % 1_000_000).padStart(6, '0')
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${fraction}000Z`
}
