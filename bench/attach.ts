/**
 * `npm run bench -- attach`: Portolan and Debian's dockerd in turn, by API, in one interleaved
 * run; each in a network namespace of its own, on the same machine under the same load.
 *
 * Prints medians in ms and the ratio. Compare ratios of one run, never times of two.
 *
 * Before each measured call both engines get the same pause, so that a call is not charged with
 * what the kernel still does for the one before it (removing a link holds its lock for 10-40 ms,
 * and Portolan answers before that). The row `disconnect, connect` measures the two at once,
 * without a pause between them.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { loadavg } from 'node:os'
import { Lab, dockerdPath, sleep } from '../test/lab/lab.ts'

const rounds = 30
const manyEndpoints = 300
/** So often, by turns without and with a port, of which the middle one counts … */
const cpuRounds = 3
/** … and each long enough that a comparison with the kernel, or a tick of 10 ms, does not decide. */
const attaches = 150
const settleMs = 3000
const tickMs = 10 // USER_HZ is 100 on every Linux that Node runs on
/** With many endpoints, over the first. */
const growthMax = 1.2
const pauseMs = 100

type Measure = 'network create' | 'connect' | 'connect, 1 port' | 'disconnect' | 'disconnect, connect' | 'run -d, 1 port'
/** At most this share of dockerd's median. */
const targets: Readonly<Record<Measure, number>> = {
  'network create': 0.15,
  connect: 0.15,
  'connect, 1 port': 0.3,
  disconnect: 0.2,
  'disconnect, connect': 1,
  'run -d, 1 port': 0.6,
}

interface Peer {
  readonly name: string
  readonly lab: Lab
  readonly samples: Map<Measure, number[]>
}

async function call(lab: Lab, method: string, path: string, body?: object): Promise<unknown> {
  const answer = await lab.api(method, path, body)
  assert.ok(answer.status < 400, `${method} ${path}: ${answer.status} ${answer.text}`)
  return answer.json
}

function idOf(answer: unknown): string {
  assert.ok(typeof answer === 'object' && answer !== null && 'Id' in answer)
  return String(answer.Id)
}

async function timed<T>(peer: Peer, measure: Measure, work: () => Promise<T>): Promise<T> {
  await sleep(pauseMs)
  const start = process.hrtime.bigint()
  const result = await work()
  const ms = Number(process.hrtime.bigint() - start) / 1e6
  peer.samples.set(measure, [...(peer.samples.get(measure) ?? []), ms])
  return result
}

const sleeper = { Image: 'busybox', Cmd: ['sleep', '1d'], StopSignal: 'SIGKILL' }
const published = (port: number) => ({ ExposedPorts: { '80/tcp': {} }, PortBindings: { '80/tcp': [{ HostPort: String(port) }] } })

/** What one round measures, on one engine. */
async function round(peer: Peer, index: number): Promise<void> {
  const { lab } = peer
  const name = `net${index}`
  await timed(peer, 'network create', () => call(lab, 'POST', '/networks/create', { Name: name }))
  await timed(peer, 'connect', () => call(lab, 'POST', `/networks/${name}/connect`, { Container: 'plain' }))
  await timed(peer, 'disconnect', () => call(lab, 'POST', `/networks/${name}/disconnect`, { Container: 'plain' }))
  await call(lab, 'POST', `/networks/${name}/connect`, { Container: 'plain' })
  await timed(peer, 'disconnect, connect', async () => {
    await call(lab, 'POST', `/networks/${name}/disconnect`, { Container: 'plain' })
    await call(lab, 'POST', `/networks/${name}/connect`, { Container: 'plain' })
  })
  await call(lab, 'POST', `/networks/${name}/disconnect`, { Container: 'plain' })
  await timed(peer, 'connect, 1 port', () => call(lab, 'POST', `/networks/${name}/connect`, { Container: 'ported' }))
  await call(lab, 'POST', `/networks/${name}/disconnect`, { Container: 'ported' })
  const id = await timed(peer, 'run -d, 1 port', async () => {
    const { ExposedPorts, PortBindings } = published(20000 + index)
    const made = idOf(await call(lab, 'POST', '/containers/create', { ...sleeper, ExposedPorts, HostConfig: { PortBindings } }))
    await call(lab, 'POST', `/containers/${made}/start`)
    return made
  })
  await call(lab, 'DELETE', `/containers/${id}?force=1`)
  await call(lab, 'DELETE', `/networks/${name}`)
}

async function prepare(name: string, engine: 'portolan' | 'dockerd'): Promise<Peer> {
  const netns = `bench-${engine}`
  const lab = await Lab.start(undefined, { engine, netns })
  for (const [container, extra] of [['plain', {}], ['ported', published(19999)]] as const) {
    const { ExposedPorts, PortBindings } = { ExposedPorts: {}, PortBindings: {}, ...extra }
    await call(lab, 'POST', `/networks/create`, { Name: `home-${container}`, Internal: true })
    const HostConfig = { NetworkMode: `home-${container}`, PortBindings }
    await call(lab, 'POST', `/containers/create?name=${container}`, { ...sleeper, ExposedPorts, HostConfig })
    await call(lab, 'POST', `/containers/${container}/start`)
  }
  return { name, lab, samples: new Map() }
}

const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN

/**
 * CPU time of daemon and keeper, ms: their threads to the nanosecond, and the programs that they
 * ran and waited for to the kernel's tick.
 */
function cpuMs(lab: Lab): number {
  let ms = 0
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    const command = safely(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8'))
    if (!command.includes(lab.folder) || !/main\.ts\0daemon|keeper/.test(command)) continue
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const [ns = '0'] = safely(() => readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8')).split(' ')
      ms += Number(ns) / 1e6
    }
    const fields = safely(() => readFileSync(`/proc/${pid}/stat`, 'utf8')).replace(/^.*\) /, '').split(' ')
    ms += fields.slice(13, 15).reduce((sum, field) => sum + Number(field), 0) * tickMs
  }
  return ms
}

function safely(read: () => string): string {
  try {
    return read()
  } catch {
    return '' // the process ended while we looked
  }
}

/** CPU of an attach and detach on an empty network, and with 300 endpoints on it. */
async function cpuWithManyEndpoints(lab: Lab): Promise<void> {
  await call(lab, 'POST', '/networks/create', { Name: 'many', IPAM: { Config: [{ Subnet: '10.99.0.0/16' }] } })
  const first = await cpuOfAttaches(lab)
  for (let i = 0; i < manyEndpoints; i++) {
    const id = idOf(await call(lab, 'POST', '/containers/create', { ...sleeper, HostConfig: { NetworkMode: 'many' } }))
    await call(lab, 'POST', `/containers/${id}/start`)
  }
  const last = await cpuOfAttaches(lab)
  for (const [container, what] of [['plain', 'no port'], ['ported', '1 port']] as const) {
    const [a, b] = [first[container], last[container]]
    console.log(`CPU of connect and disconnect, ${what}: ${a.toFixed(1)} ms, with ${manyEndpoints} endpoints ${b.toFixed(1)} ms: ${(b / a).toFixed(2)} (at most ${growthMax})`)
  }
}

/** What was compiled long ago is compiled again before anything counts. */
async function cpuOfAttaches(lab: Lab): Promise<Readonly<Record<'plain' | 'ported', number>>> {
  const measure = async (container: 'plain' | 'ported') => {
    await sleep(settleMs)
    const before = cpuMs(lab)
    for (let i = 0; i < attaches; i++) {
      await call(lab, 'POST', '/networks/many/connect', { Container: container })
      await call(lab, 'POST', '/networks/many/disconnect', { Container: container })
    }
    return (cpuMs(lab) - before) / attaches
  }
  await measure('plain')
  await measure('ported')
  const taken: Record<'plain' | 'ported', number[]> = { plain: [], ported: [] }
  for (let turn = 0; turn < cpuRounds; turn++) {
    for (const container of ['plain', 'ported'] as const) taken[container].push(await measure(container))
  }
  return { plain: median(taken.plain), ported: median(taken.ported) }
}

export async function main(args: readonly string[]): Promise<void> {
  const withDockerd = dockerdPath() !== undefined
  const peers: Peer[] = []
  try {
    for (const engine of ['portolan', ...(withDockerd ? ['dockerd' as const] : [])] as const) {
      execFileSync('ip', ['netns', 'add', `bench-${engine}`])
      execFileSync('ip', ['-n', `bench-${engine}`, 'link', 'set', 'lo', 'up'])
      peers.push(await prepare(engine, engine))
    }
    console.log(`load ${loadavg().map((l) => l.toFixed(1)).join(' ')}, ${rounds} rounds, interleaved`)
    for (let index = 0; index < rounds; index++) {
      for (const peer of index % 2 === 0 ? peers : [...peers].reverse()) await round(peer, index)
    }
    console.log(`load ${loadavg().map((l) => l.toFixed(1)).join(' ')} at the end; medians in ms`)
    report(peers)
    const [ours] = peers
    if (args.includes('--many') && ours !== undefined) await cpuWithManyEndpoints(ours.lab)
  } finally {
    for (const { lab } of peers) {
      const ids = (await lab.docker('ps', '-aq')).out.split('\n').filter((id) => id !== '')
      if (ids.length > 0) await lab.docker('rm', '-f', ...ids)
      await lab.stop()
    }
  }
}

function report(peers: readonly Peer[]): void {
  const [ours, theirs] = peers
  for (const [measure, target] of Object.entries(targets)) {
    const of = (peer: Peer | undefined) =>
      median([...(peer?.samples ?? [])].find(([name]) => name === measure)?.[1] ?? [])
    const [a, b] = [of(ours), of(theirs)]
    const ratio = a / b
    const verdict = Number.isNaN(ratio) ? '' : `  ratio ${ratio.toFixed(3)} (at most ${target}) ${ratio <= target ? 'ok' : 'TOO SLOW'}`
    console.log(`${measure.padEnd(20)} portolan ${a.toFixed(1).padStart(7)}  dockerd ${b.toFixed(1).padStart(7)}${verdict}`)
  }
}
