/** What the event stream tells of every verb, in order, as the verb is used; and of its filters. */
import type { Panel } from './panel.ts'

type Request = readonly [method: string, path: string, body?: unknown]
type Step = readonly [what: string, ...Request]

/** As process 1 it does not hear SIGTERM: it is always the second signal that ends it. */
const command = { Image: 'busybox', Cmd: ['sleep', '600'], Labels: { color: 'red' } }
const once = { Image: 'busybox', Cmd: ['true'] }
const filters = (filter: object) => encodeURIComponent(JSON.stringify(filter))

/** Each is done, waited for, and what was told meanwhile is compared. */
const steps: readonly Step[] = [
  ['network create', 'POST', '/networks/create', { Name: 'evnet', IPAM: { Config: [{ Subnet: '10.83.0.0/16' }] }, Labels: { a: 'b' } }],
  ['network create refused', 'POST', '/networks/create', { Name: 'evnet' }],
  ['config-only network', 'POST', '/networks/create', { Name: 'evcfg', ConfigOnly: true }],
  ['config-only network removed', 'DELETE', '/networks/evcfg'],
  ['volume create', 'POST', '/volumes/create', { Name: 'evvol', Labels: { a: 'b' } }],
  ['volume create again', 'POST', '/volumes/create', { Name: 'evvol' }],
  ['create', 'POST', '/containers/create?name=ev', { ...command, HostConfig: { NetworkMode: 'evnet', Binds: ['evvol:/v'] } }],
  ['create refused', 'POST', '/containers/create?name=ev', command],
  ['start', 'POST', '/containers/ev/start'], ['start again', 'POST', '/containers/ev/start'],
  ['pause', 'POST', '/containers/ev/pause'], ['unpause', 'POST', '/containers/ev/unpause'],
  ['top', 'GET', '/containers/ev/top'], ['export', 'GET', '/containers/ev/export'], ['changes', 'GET', '/containers/ev/changes'],
  ['stat', 'HEAD', '/containers/ev/archive?path=/etc/passwd'], ['copy out', 'GET', '/containers/ev/archive?path=/etc/passwd'],
  ['resize', 'POST', '/containers/ev/resize?h=10&w=10'], ['update', 'POST', '/containers/ev/update', { Memory: 67108864, MemorySwap: -1 }],
  ['rename', 'POST', '/containers/ev/rename?name=evr'], ['rename back', 'POST', '/containers/evr/rename?name=ev'],
  ['connect', 'POST', '/networks/bridge/connect', { Container: 'ev' }], ['connect again', 'POST', '/networks/bridge/connect', { Container: 'ev' }],
  ['disconnect', 'POST', '/networks/bridge/disconnect', { Container: 'ev' }], ['disconnect by force', 'POST', '/networks/evnet/disconnect', { Container: 'ev', Force: true }],
  ['connect once more', 'POST', '/networks/evnet/connect', { Container: 'ev' }],
  ['exec create', 'POST', '/containers/ev/exec', { Cmd: ['true'] }], ['signal', 'POST', '/containers/ev/kill?signal=WINCH'],
  ['commit', 'POST', '/commit?container=ev&repo=evimage&tag=v1&comment=c'], ['tag', 'POST', '/images/evimage:v1/tag?repo=evimage&tag=v2'],
  ['untag', 'DELETE', '/images/evimage:v2'], ['image get', 'GET', '/images/busybox/get'],
  ['restart', 'POST', '/containers/ev/restart?t=0'],
]

/** What comes when the container is gone. */
const lastSteps: readonly Step[] = [
  ['create for force', 'POST', '/containers/create?name=ev', { ...command, Volumes: { '/anon': {} } }], ['start for force', 'POST', '/containers/ev/start'],
  ['remove by force', 'DELETE', '/containers/ev?force=1&v=1'],
  ['container prune', 'POST', '/containers/prune'],
  ['volume remove', 'DELETE', '/volumes/evvol'], ['volume create unnamed', 'POST', '/volumes/create', {}], ['volume prune', 'POST', '/volumes/prune'],
  ['network remove', 'DELETE', '/networks/evnet'], ['network for prune', 'POST', '/networks/create', { Name: 'evprune' }],
  ['network prune', 'POST', '/networks/prune'], ['image remove', 'DELETE', '/images/evimage:v1'], ['image prune', 'POST', '/images/prune'],
]

const wanted: readonly object[] = [
  { type: ['container'] }, { type: ['network', 'volume'] }, { type: ['zz'] }, { event: ['start', 'die'] }, { event: ['exec_create'] }, { container: ['ev'] },
  { container: ['nope'] }, { image: ['busybox'] }, { label: ['color=red'] }, { label: ['color'] }, { network: ['evnet'] }, { volume: ['evvol'] }, { scope: ['local'] },
  { scope: ['swarm'] }, { foo: ['x'] }, { type: ['container'], event: ['create', 'destroy'] }, { node: ['x'] }, {},
]

export async function eventTopic(panel: Panel): Promise<void> {
  await pause(quietMs)
  const begin = seconds()
  for (const [what, ...request] of steps) await group(panel, what, [request])
  const verb = (name: string): Request => ['POST', `/containers/ev/${name}`]
  // The end of a process is told a moment after the answer: all until somebody has waited for it.
  await group(panel, 'stop and start', [verb('stop?t=0'), verb('stop?t=0'), verb('start')])
  await group(panel, 'kill and remove', [verb('kill'), verb('wait'), ['DELETE', '/containers/ev'], ['DELETE', '/containers/ev']])
  for (const [what, ...request] of lastSteps) await group(panel, what, [request])
  const create = ['POST', '/containers/create?name=ev', once] as const
  const start = ['POST', '/containers/ev/start'] as const
  await group(panel, 'a run', [create, start, ['POST', '/containers/ev/wait'], ['DELETE', '/containers/ev']])
  await group(panel, 'a run and a prune', [create, start, ['POST', '/containers/ev/wait'], ['POST', '/containers/prune']])
  const until = seconds()
  for (const filter of wanted) {
    await panel.ask(`events that pass ${JSON.stringify(filter)}`, 'GET', `/events?since=${begin}&until=${until}&filters=${filters(filter)}`, undefined,
      { shape: 'lines', pick: actions })
  }
  for (const query of ['since=zz', 'until=zz', 'since=5&until=3', `since=${until}&until=${begin}`, 'since=-1&until=1', 'since=1h&until=0s', 'since=1&until=2&filters=zz',
    'since=2020-01-01T00:00:00Z&until=2020-01-02', 'since=1.5&until=2.5', 'since=1.&until=2']) {
    await panel.ask(`events by ${query.replaceAll(/\d{9,}\.\d+/g, 'T')}`, 'GET', `/events?${query}`, undefined, { shape: 'lines', pick: actions })
  }
}

const seconds = (): string => (Date.now() / 1000).toFixed(3)
const pause = (ms: number) => new Promise((wake) => { setTimeout(wake, ms) })
/** Events may be told a moment after the answer; what was before this topic, much later. */
const betweenMs = 5
const quietMs = 300

/** Between two moments a few milliseconds away from what is told before and after. */
async function group(panel: Panel, what: string, requests: readonly Request[]): Promise<void> {
  await pause(betweenMs)
  const since = seconds()
  for (const [method, path, body] of requests) await panel.do(method, path, body)
  await pause(betweenMs)
  await panel.ask(`events of ${what}`, 'GET', `/events?since=${since}&until=${seconds()}`, undefined, { shape: 'lines', pick: told })
}

/** Whole events, in order, without their times. */
function told(lines: unknown): unknown {
  if (!Array.isArray(lines)) return lines
  return stopBeforeDie(lines.map((line: unknown) => {
    const { time: _time, timeNano: _nano, ...rest }: Record<string, unknown> = typeof line === 'object' && line !== null ? { ...line } : { line }
    return JSON.parse(JSON.stringify(rest).replaceAll(/[0-9a-f]{64}/g, 'id').replaceAll(/"execDuration":"\d+"/g, '"execDuration":"0"')) as Told
  }))
}

interface Told { readonly Action?: unknown }

/** dockerd tells the two by two threads, and now and then the other way round. Our order has tests of its own. */
function stopBeforeDie(events: readonly Told[]): readonly Told[] {
  const ordered = [...events]
  for (const [index, event] of events.entries()) {
    const next = events[index + 1]
    if (event.Action === 'die' && next?.Action === 'stop') ordered.splice(index, 2, next, event)
  }
  return ordered
}

/** Type and action, counted. */
function actions(lines: unknown): unknown {
  if (!Array.isArray(lines)) return lines
  const counts: Record<string, number> = {}
  for (const line of lines as readonly { Type?: unknown; Action?: unknown; message?: unknown }[]) {
    const name = line.message === undefined ? `${String(line.Type)} ${String(line.Action)}`.replace(/[0-9a-f]{64}/, 'id') : JSON.stringify(line.message)
    counts[name] = (counts[name] ?? 0) + 1
  }
  return counts
}
