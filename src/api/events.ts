/** GET /events: past events of a span, then live ones, until the client goes or `until` comes. */
import { sortedMap } from '../base/json.ts'
import { Refusal } from '../base/refusal.ts'
import { timerMsMax } from '../base/timer.ts'
import { nowNs, parseTimestamp } from '../containers/time.ts'
import { passes, type EventLog, type RecordedEvent } from '../insight/events.ts'
import type { ApiRequest, ApiVersion, Route } from './route.ts'
import { openJsonStream, type JsonStream } from './stream.ts'

/** The first version that tells of it. */
const sinceImageCreate = 146

export function eventRoutes(events: EventLog): readonly Route[] {
  return [{ method: 'GET', pattern: '/events', handle: (request) => streamEvents(events, request) }]
}

async function streamEvents(events: EventLog, request: ApiRequest): Promise<undefined> {
  const { query, version, signal } = request
  const filters = query.filters()
  const since = moment(query.get('since'))
  const until = moment(query.get('until'))
  if (until !== undefined && since !== undefined && until < since) {
    throw new Refusal(
      'invalid',
      `\`since\` time (${query.get('since')}) cannot be after \`until\` time (` +
        `${query.get('until')})`,
    )
  }
  const stream = open(request)
  const write = (event: RecordedEvent) => {
    const isNew = event.type === 'image' && event.action === 'create'
    if (isNew && version < sinceImageCreate) return
    if (passes(event, filters)) stream.write(render(event, version))
  }
  if (since !== undefined) for (const event of events.past(since, until)) write(event)
  const leftMs = until === undefined ? timerMsMax : Number((until - nowNs()) / 1_000_000n)
  if (leftMs <= 0) {
    stream.end()
    return undefined
  }
  const unsubscribe = events.subscribe(write)
  // An end that is later is as good as none.
  const timer = setTimeout(() => stream.end(), Math.min(leftMs, timerMsMax))
  const stop = () => {
    clearTimeout(timer)
    unsubscribe()
  }
  if (signal.aborted) stop()
  else signal.addEventListener('abort', stop)
  return undefined
}

function moment(text: string | undefined): bigint | undefined {
  return text === undefined || text === '' || text === '0' ? undefined : parseTimestamp(text)
}

/** One object per line; clients may ask for a name that says so. */
function open(request: ApiRequest): JsonStream {
  const accepted = request.raw.headers.accept ?? ''
  if (accepted.includes('application/json-seq')) {
    return openJsonStream(request, { contentType: 'application/json-seq', prefix: '\x1e' })
  }
  const named = ['application/jsonl', 'application/x-ndjson'].find((type) =>
    accepted.includes(type),
  )
  return openJsonStream(request, { contentType: named ?? 'application/json' })
}

function render(event: RecordedEvent, version: ApiVersion): unknown {
  const { type, action, id, attributes, timeNs } = event
  const message = {
    Type: type,
    Action: action,
    Actor: { ID: id, Attributes: sortedMap(attributes) },
    scope: 'local',
    time: Number(timeNs / 1_000_000_000n),
    timeNano: timeNs,
  }
  if (version >= 152 || (type !== 'container' && type !== 'image')) return message
  const image = type === 'container' ? (attributes['image'] ?? '') : ''
  const from = image === '' ? {} : { from: image }
  return { status: action, ...(id === '' ? {} : { id }), ...from, ...message }
}
