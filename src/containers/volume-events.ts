/** `volume mount` before a container's networks and its start event, `volume unmount` before its die event. */
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'

export function tellVolumes(
  context: Context,
  { id, record }: Container,
  action: 'mount' | 'unmount',
): void {
  for (const { Type, Name, Driver, Destination, Propagation, RW } of record.mounts) {
    if (Type !== 'volume') continue
    const place = { destination: Destination, propagation: Propagation, 'read/write': String(RW) }
    const attributes = { driver: Driver, container: id, ...(action === 'mount' ? place : {}) }
    context.emit({ type: 'volume', action, id: Name, attributes })
  }
}
