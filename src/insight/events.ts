/**
 * The engine's recent events and who listens to them.
 *
 * The last 256 are kept in memory, as Docker keeps them: `docker events --since` looks no further
 * back. A listener is called synchronously and must only take note.
 */
import type { EngineEvent } from '../base/event.ts'
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { nowNs } from '../containers/time.ts'

/** As Docker; a script that lists past events expects no more. */
const keptMax = 256

export interface RecordedEvent extends EngineEvent {
  /** Nanoseconds since 1970; every event has its own. */
  readonly timeNs: bigint
}

export type EventFilters = ReadonlyMap<string, readonly string[]>

export class EventLog {
  readonly #kept: RecordedEvent[] = []
  readonly #listeners = new Set<(event: RecordedEvent) => void>()
  #lastNs = 0n
  #clients = 0

  /** Records an event and tells everyone who listens. Bound, so that it can be handed around. */
  readonly emit = (event: EngineEvent): void => {
    const time = nowNs()
    // Two events of one moment keep their order for whoever sorts by time.
    this.#lastNs = time > this.#lastNs ? time : this.#lastNs + 1n
    const recorded = { ...event, timeNs: this.#lastNs }
    this.#kept.push(recorded)
    if (this.#kept.length > keptMax) this.#kept.shift()
    for (const listener of this.#listeners) {
      try {
        listener(recorded)
      } catch (error) {
        log.warn('an event listener failed', { error: messageOf(error) })
      }
    }
  }

  /** Kept events of a span; both ends belong to it. */
  past(sinceNs: bigint, untilNs: bigint | undefined): readonly RecordedEvent[] {
    return this.#kept.filter(
      ({ timeNs }) => timeNs >= sinceNs && (untilNs === undefined || timeNs <= untilNs),
    )
  }

  /** Calls `listener` for each event from now on, until the answered function is called. */
  subscribe(listener: (event: RecordedEvent) => void): () => void {
    this.#clients++
    const stop = this.observe(listener)
    return () => {
      if (stop()) this.#clients--
    }
  }

  /** The same for the engine itself, which is not counted. Answers false when it had ended. */
  observe(listener: (event: RecordedEvent) => void): () => boolean {
    const own = (event: RecordedEvent) => listener(event)
    this.#listeners.add(own)
    return () => this.#listeners.delete(own)
  }

  /** Clients that listen, for /info. */
  get clientCount(): number {
    return this.#clients
  }
}

/** Actions that carry an argument: `exec_start: sh` passes the filter `event=exec_start`. */
const withArgument = ['health_status', 'exec_create', 'exec_start']
/** Filters that name an object by id or name, or the beginning of either; of any type, as Docker's. */
const objectTypes = [
  'container',
  'daemon',
  'plugin',
  'volume',
  'network',
  'node',
  'service',
  'secret',
  'config',
]

/** Whether an event passes; different filters must all agree, one value of each suffices. */
export function passes(event: EngineEvent, filters: EventFilters): boolean {
  const exact = (key: string, value: string) => filters.get(key)?.includes(value) ?? true
  if (!exact('type', event.type) || !exact('scope', 'local')) return false
  return (
    passesAction(event, filters.get('event')) &&
    objectTypes.every((type) => passesObject(event, filters.get(type))) &&
    passesImage(event, filters.get('image')) &&
    passesLabels(event, filters.get('label'))
  )
}

function passesAction(event: EngineEvent, wanted: readonly string[] | undefined): boolean {
  if (wanted === undefined || wanted.includes(event.action)) return true
  return wanted.some((word) => withArgument.includes(word) && event.action.startsWith(word))
}

function passesObject(event: EngineEvent, wanted: readonly string[] | undefined): boolean {
  if (wanted === undefined) return true
  const name = event.attributes['name'] ?? ''
  return wanted.some((word) => event.id.startsWith(word) || name.startsWith(word))
}

function passesImage(event: EngineEvent, wanted: readonly string[] | undefined): boolean {
  if (wanted === undefined) return true
  const name = event.attributes[event.type === 'image' ? 'name' : 'image'] ?? ''
  const forms = [event.id, name, withoutTag(event.id), withoutTag(name)]
  return wanted.some((word) => forms.includes(word))
}

function withoutTag(reference: string): string {
  return reference.replace(/@.*$/, '').replace(/:[^/:]*$/, '')
}

function passesLabels(event: EngineEvent, wanted: readonly string[] = []): boolean {
  return wanted.every((word) => {
    const [key = '', ...rest] = word.split('=')
    const value = event.attributes[key]
    return value !== undefined && (rest.length === 0 || value === rest.join('='))
  })
}
