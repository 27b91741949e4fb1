/**
 * What calls become when containerd ends: those that come while it is being started again wait for
 * it, those that it breaks off in the middle are done, once, and those for which it does not come
 * back say so, with nothing half made.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import test from 'node:test'
import { connectContainerd } from '../src/containers/containerd/client.ts'
import { end, launch, type ContainerdFiles } from '../src/containers/containerd/process.ts'
import { waitReady } from '../src/containers/containerd/supervisor.ts'
import { pidOf } from './lab/chaos.ts'
import { Lab, sleep, type Answer } from './lab/lab.ts'

const inFlightMs = 300

interface Call {
  readonly what: string
  readonly wanted: number
  readonly ask: () => Promise<Answer>
}

const field = (json: unknown, name: string): string =>
  typeof json === 'object' && json !== null ? String(Reflect.get(json, name) ?? '') : ''

async function made(lab: Lab, name: string, command: string, starts: boolean): Promise<void> {
  const body = { Image: 'busybox', Cmd: ['sh', '-c', command], HostConfig: { NetworkMode: 'none' } }
  const create = await lab.api('POST', `/containers/create?name=${name}`, body)
  assert.equal(create.status, 201, create.text)
  if (!starts) return
  const start = await lab.api('POST', `/containers/${name}/start`)
  assert.equal(start.status, 204, start.text)
}

/** Containers in every state, and a call of each kind for them; each call finds its own. */
async function callsOn(lab: Lab): Promise<readonly Call[]> {
  const running = ['pausing', 'thawing', 'signalled', 'stopping', 'again', 'limited', 'listed', 'forced', 'looked']
  await Promise.all([
    ...running.map((name) => made(lab, name, 'exec sleep 600', true)),
    made(lab, 'busy', 'while [ ! -e /tmp/done ]; do sleep 0.1; done; sleep 0.3; cat /tmp/done; sleep 600', true),
    ...['idle', 'removed'].map((name) => made(lab, name, 'echo started; exec sleep 600', false)),
  ])
  await lab.ok('pause', 'thawing')
  const body = { Cmd: ['sh', '-c', 'echo once >>/tmp/done'] }
  const exec = field((await lab.api('POST', '/containers/busy/exec', body)).json, 'Id')
  const call = (what: string, wanted: number, ask: Call['ask']): Call => ({ what, wanted, ask })
  const post = (path: string, wanted: number, given?: unknown) => call(path, wanted, () => lab.api('POST', path, given))
  const get = (path: string) => call(path, 200, () => lab.api('GET', path))
  return [
    post('/containers/create?name=made', 201, { Image: 'busybox', Cmd: ['true'] }),
    post('/containers/idle/start', 204),
    post(`/exec/${exec}/start`, 200, { Detach: true }),
    post('/containers/pausing/pause', 204),
    post('/containers/thawing/unpause', 204),
    post('/containers/signalled/kill?signal=KILL', 204),
    post('/containers/stopping/stop?t=0', 204),
    post('/containers/again/restart?t=0', 204),
    post('/containers/limited/update', 200, { Memory: 50_000_000, MemorySwap: -1 }),
    call('DELETE forced', 204, () => lab.api('DELETE', '/containers/forced?force=1')),
    call('DELETE removed', 204, () => lab.api('DELETE', '/containers/removed')),
    post('/images/busybox/tag?repo=other', 201),
    get('/containers/listed/top'),
    get('/containers/looked/changes'),
    get('/containers/looked/archive?path=/etc'),
    get('/images/busybox/get'),
  ]
}

const states = async (lab: Lab): Promise<Record<string, string>> =>
  Object.fromEntries((await lab.ok('ps', '-a', '--format', '{{.Names}} {{.State}}')).split('\n').sort().map((line) => {
    const [name = '', state = ''] = line.split(' ')
    return [name, state]
  }))

const done = {
  made: 'created', idle: 'running', busy: 'running', pausing: 'paused', thawing: 'running', signalled: 'exited',
  stopping: 'exited', again: 'running', limited: 'running', listed: 'running', looked: 'running',
}

async function expectDone(lab: Lab, answers: readonly Answer[], calls: readonly Call[]): Promise<void> {
  const wrong = answers.flatMap(({ status, text }, at) => {
    const { what, wanted } = calls[at] ?? { what: '', wanted: 0 }
    return status === wanted ? [] : [`${what}: ${status} ${text.slice(0, 300)}`]
  })
  assert.deepEqual(wrong, [], lab.log().slice(-4000))
  assert.deepEqual(await states(lab), done)
  assert.equal(await lab.ok('logs', 'idle'), 'started')
  await lab.must('for i in $(seq 50); do [ "$(docker logs busy)" = once ] && exit; sleep 0.1; done; docker logs busy; exit 1')
  await lab.ok('rm', '-f', 'pausing', 'thawing')
  await lab.expectNoLeaks()
}

test('calls that come while containerd is being started again wait for it', async (t) => {
  const lab = await Lab.start(t)
  const calls = await callsOn(lab)
  process.kill(pidOf(lab, 'containerd.toml') ?? assert.fail('no containerd'), 'SIGKILL')
  await expectDone(lab, await Promise.all(calls.map(({ ask }) => ask())), calls)
})

test('calls that containerd breaks off in the middle are done, once', async (t) => {
  const lab = await Lab.start(t)
  const calls = await callsOn(lab)
  const pid = pidOf(lab, 'containerd.toml') ?? assert.fail('no containerd')
  process.kill(pid, 'SIGSTOP')
  const answers = Promise.all(calls.map(({ ask }) => ask()))
  await sleep(inFlightMs)
  process.kill(pid, 'SIGKILL')
  await expectDone(lab, await answers, calls)
})

test('a containerd that does not come back is named in a sentence, and nothing is half made', async (t) => {
  const folder = mkdtempSync('/tmp/away-')
  const at = (name: string) => join(folder, name)
  const files: ContainerdFiles = {
    root: at('root'), state: at('state'), socket: at('c.sock'), logPath: at('log'), pidPath: at('pid'), configPath: at('toml'),
  }
  let containerd = launch(files)
  let lab: Lab | undefined
  t.after(async () => {
    await lab?.stop()
    await end(containerd)
    rmSync(folder, { recursive: true, force: true })
  })
  const ready = async () => {
    const client = connectContainerd(files.socket, 'probe')
    await waitReady(client, 30_000)
    client.close()
  }
  await ready()
  lab = await Lab.start(undefined, { flags: ['--containerd', files.socket] })
  const calls = await callsOn(lab)
  const before = await states(lab)
  await end(containerd)
  const others: readonly Call[] = [
    { what: 'commit', wanted: 0, ask: () => lab.api('POST', '/commit?container=looked') },
    { what: 'export', wanted: 0, ask: () => lab.api('GET', '/containers/idle/export') },
    { what: 'load', wanted: 0, ask: () => lab.api('POST', '/images/load', new PassThrough().end('x')) },
    { what: 'df', wanted: 0, ask: () => lab.api('GET', '/system/df') },
  ]
  const all = [...calls, ...others].filter(({ what }) => !what.includes('looked/archive'))
  const answers = await Promise.all(all.map(({ ask }) => ask()))
  const sentence = `containerd at ${files.socket} does not answer (`
  answers.forEach(({ status, text, json }, index) => {
    const what = `${all[index]?.what}: ${status} ${text.slice(0, 300)}`
    assert.equal(status, 503, what)
    const message = field(json, 'message')
    assert.ok(message.includes(sentence) && /so nothing was done: try again when it runs$/.test(message), what)
  })
  // What runs goes on, and what needs no containerd is answered.
  assert.equal((await lab.api('GET', '/containers/looked/archive?path=/etc')).status, 200)
  assert.deepEqual(await states(lab), before)
  assert.equal((await lab.api('GET', '/containers/listed/stats?stream=false&one-shot=1')).status, 200)
  await lab.ok('rename', 'listed', 'still')
  await lab.ok('rename', 'still', 'listed')

  containerd = launch(files)
  await ready()
  assert.equal(await lab.ok('inspect', '-f', '{{.RestartCount}} {{.HostConfig.Memory}}', 'limited'), '0 0')
  const later = await Promise.all(calls.map(({ ask }) => ask()))
  await expectDone(lab, later, calls)
})
