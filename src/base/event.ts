/**
 * What happens in the engine, as `docker events` tells it. Rooms emit, `insight/events.ts` keeps
 * and streams; the emitter is handed in by the entry point, so no room imports another for it.
 */

export interface EngineEvent {
  readonly type: 'container' | 'image' | 'network' | 'volume' | 'daemon' | 'builder' | 'plugin'
  /** As on the wire, for example `create`, `die`, `exec_start: sh`. */
  readonly action: string
  /** Actor.ID */
  readonly id: string
  /** Actor.Attributes */
  readonly attributes: Readonly<Record<string, string>>
}

export type EmitEvent = (event: EngineEvent) => void
