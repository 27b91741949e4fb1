/** Published ports in the form that costs least: neighbours as one range, in a fixed order. */
import type { PortIntent } from './intent.ts'

/**
 * Ports that follow each other on both sides become one range, whatever order they came in; the
 * result is in ascending order of container ports, as Docker programs them.
 */
export function mergeRanges(ports: readonly PortIntent[]): readonly PortIntent[] {
  const groups = Map.groupBy(ports, (port) => {
    const { bridge, family, mode, protocol, hostIp, containerIp } = port
    // Within a group both sides are the same distance apart, or there is no host side (routed).
    const distance = port.hostPort === 0 ? 'none' : port.hostPort - port.containerPort
    return [bridge, family, mode, protocol, hostIp, containerIp, distance].join(' ')
  })
  const merged: PortIntent[] = []
  for (const group of groups.values()) {
    let open: PortIntent | undefined
    for (const port of group.toSorted((a, b) => a.containerPort - b.containerPort)) {
      const end = open === undefined ? -1 : open.containerPort + open.count
      if (open === undefined || port.containerPort > end) {
        if (open !== undefined) merged.push(open)
        open = port
      } else {
        const last = Math.max(end, port.containerPort + port.count)
        open = { ...open, count: last - open.containerPort }
      }
    }
    if (open !== undefined) merged.push(open)
  }
  return merged.toSorted((a, b) => a.containerPort - b.containerPort)
}
