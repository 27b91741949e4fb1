/**
 * The life of containers as clients see it: order of events, waits, attached streams, copies that
 * try to get out, and what a restart of the engine keeps.
 */
import assert from 'node:assert/strict'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import { Lab, sleep } from './lab/lab.ts'

let lab: Lab

before(async () => {
  lab = await Lab.start(undefined)
})

after(async () => {
  await lab.expectNoLeaks()
  await lab.stop()
})

/** Actions since a moment, without the long ids. */
async function eventsSince(start: string): Promise<string[]> {
  const until = String(Math.ceil(Date.now() / 1000) + 1)
  const format = '{{.Type}} {{.Action}} {{.Actor.Attributes.signal}}{{.Actor.Attributes.exitCode}}'
  const out = await lab.ok('events', '--since', start, '--until', until, '--format', format)
  return out
    .split('\n')
    .map((line) => line.replace(/<no value>/g, '').trim())
    .filter((line) => /^(container|network)/.test(line))
}

const now = () => (Date.now() / 1000).toFixed(3)

test("events come in the engine's order: run, stop, kill, restart, rm", async () => {
  const start = now()
  await lab.ok('run', '-d', '--name', 'ev', 'busybox', 'sleep', '100')
  await lab.ok('stop', '-t', '0', 'ev')
  await lab.ok('start', 'ev')
  await lab.ok('restart', '-t', '0', 'ev')
  await lab.ok('rm', '-f', 'ev')
  const ended = ['network disconnect', 'container stop', 'container die 137']
  const begun = ['network connect', 'container start']
  assert.deepEqual(await eventsSince(start), [
    'container create',
    ...begun,
    'container kill 15',
    'container kill 9',
    ...ended,
    ...begun,
    'container kill 15',
    'container kill 9',
    ...ended,
    ...begun,
    'container restart',
    'container kill 9',
    'network disconnect',
    'container die 137',
    'container destroy',
  ])
})

test('run --rm attaches before it starts, and is gone when the command returns', async () => {
  const start = now()
  assert.equal(
    (await lab.docker('run', '--rm', '--name', 'once', 'busybox', 'sh', '-c', 'exit 4')).code,
    4,
  )
  assert.deepEqual(await eventsSince(start), [
    'container create',
    'container attach',
    'network connect',
    'container start',
    'network disconnect',
    'container die 4',
    'container destroy',
  ])
  assert.equal(await lab.ok('ps', '-aq'), '')
})

test('wait answers for each condition, and for a container that vanishes', async () => {
  await lab.ok('create', '--name', 'waiter', 'busybox', 'sh', '-c', 'exit 6')
  assert.equal(await lab.ok('wait', 'waiter'), '0')
  const next = lab.api('POST', '/containers/waiter/wait?condition=next-exit')
  const removed = lab.api('POST', '/containers/waiter/wait?condition=removed')
  await sleep(100)
  await lab.ok('start', 'waiter')
  assert.deepEqual((await next).json, { StatusCode: 6 })
  await lab.ok('rm', 'waiter')
  assert.deepEqual((await removed).json, { StatusCode: 6 })
  assert.equal((await lab.api('POST', '/containers/waiter/wait')).status, 404)
})

test('a policy restarts a container that fails, counts, and gives way to stop', async () => {
  await lab.ok('run', '-d', '--name', 'again', '--restart', 'on-failure:2', 'busybox', 'false')
  for (let tries = 0; tries < 50; tries++) {
    if (
      (await lab.ok('inspect', '-f', '{{.State.Status}} {{.RestartCount}}', 'again')) === 'exited 2'
    )
      break
    await sleep(100)
  }
  assert.equal(
    await lab.ok(
      'inspect',
      '-f',
      '{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}',
      'again',
    ),
    'exited 2 1',
  )
  await lab.ok('update', '--restart', 'always', 'again')
  await lab.ok('start', 'again')
  await sleep(200)
  await lab.ok('stop', 'again')
  assert.equal(await lab.ok('inspect', '-f', '{{.State.Status}}', 'again'), 'exited')
  await lab.ok('rm', 'again')
})

test('who takes more memory than the limit is killed; inspect and the events say so', async () => {
  const start = now()
  const greedy = 'x=a; while :; do x=$x$x; done'
  const { code } = await lab.docker('run', '--name', 'greedy', '-m', '16m', 'busybox', 'sh', '-c', greedy)
  assert.equal(code, 137)
  assert.equal(await lab.ok('inspect', '-f', '{{.State.OOMKilled}}', 'greedy'), 'true')
  const told = (await eventsSince(start)).filter((line) => /^container (oom|die)/.test(line))
  assert.deepEqual(told, ['container oom', 'container die 137'])
  await lab.ok('rm', 'greedy')
})

test('a health check finds out, and ps says so', async () => {
  await lab.ok(
    'run',
    '-d',
    '--name',
    'ill',
    '--health-cmd',
    'test -e /well',
    '--health-interval',
    '100ms',
    '--health-retries',
    '2',
    'busybox',
    'sleep',
    '100',
  )
  const until = async (status: string) => {
    for (let tries = 0; tries < 50; tries++) {
      if ((await lab.ok('ps', '--filter', `health=${status}`, '--format', '{{.Names}}')) === 'ill')
        return
      await sleep(100)
    }
    assert.fail(`never ${status}`)
  }
  await until('unhealthy')
  await lab.ok('exec', 'ill', 'touch', '/well')
  await until('healthy')
  await lab.ok('rm', '-f', 'ill')
})

test('what is copied in and out never leaves the container', async () => {
  const secret = join(lab.folder, 'secret')
  writeFileSync(secret, 'of the host')
  await lab.ok(
    'run',
    '-d',
    '--name',
    'box',
    'busybox',
    'sh',
    '-c',
    `mkdir -p /d; ln -s ${lab.folder} /out; ln -s /../../../../${secret} /link; sleep 100`,
  )
  await sleep(300)
  for (const state of ['running', 'stopped']) {
    // The link leads to a place inside that is not there, whatever there is outside.
    assert.notEqual((await lab.docker('cp', 'box:/out/secret', join(lab.folder, 'got'))).code, 0)
    assert.notEqual((await lab.docker('cp', '-L', 'box:/link', join(lab.folder, 'got'))).code, 0)
    assert.notEqual((await lab.docker('cp', secret, 'box:/out/written')).code, 0)
    if (state === 'running') await lab.ok('stop', '-t', '0', 'box')
  }
  assert.equal(readFileSync(secret, 'utf8'), 'of the host')
  await lab.ok('rm', 'box')
})

test('a folder goes in and comes out as it was', async () => {
  const from = join(lab.folder, 'tree')
  mkdirSync(join(from, 'deep/er'), { recursive: true })
  writeFileSync(join(from, 'deep/er/file'), 'x'.repeat(100_000), { mode: 0o640 })
  await lab.ok('create', '--name', 'shelf', '-v', 'shelfvol:/vol', 'busybox')
  for (const place of ['/srv', '/vol/inner']) {
    await lab.ok('cp', from, `shelf:${place}`)
    await lab.ok('cp', `shelf:${place}`, join(lab.folder, 'back'))
    await lab.must(
      `diff -r ${from} ${join(lab.folder, 'back')} && test "$(stat -c %a ${join(lab.folder, 'back/deep/er/file')})" = 640`,
    )
    await lab.must(`rm -r ${join(lab.folder, 'back')}`)
  }
  assert.match(await lab.ok('diff', 'shelf'), /A \/srv\/deep\/er\/file/)
  await lab.ok('rm', '-v', 'shelf')
  await lab.ok('volume', 'rm', 'shelfvol')
})

test('restart counters and stopped containers outlive the engine', async () => {
  await lab.ok(
    'run',
    '-d',
    '--name',
    'kept',
    '--restart',
    'on-failure:1',
    'busybox',
    'sh',
    '-c',
    'exit 5',
  )
  await sleep(1500)
  await lab.ok(
    'run',
    '-d',
    '--name',
    'stopped',
    '--restart',
    'unless-stopped',
    'busybox',
    'sleep',
    '100',
  )
  await lab.ok('stop', '-t', '0', 'stopped')
  await lab.endDaemon('SIGKILL')
  await lab.startDaemon()
  const state = (name: string) =>
    lab.ok('inspect', '-f', '{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}', name)
  assert.equal(await state('stopped'), 'exited 0 137')
  // The new daemon may give it one more try, which is over in a moment.
  await lab.must(`for i in $(seq 100); do docker inspect -f '{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}' kept |
    grep -Eqx 'exited [12] 5' && exit 0; sleep 0.05; done; exit 1`)
})

test('top, stats and ps filters answer for a running container', async () => {
  await lab.ok(
    'run',
    '-d',
    '--name',
    'busy',
    '--label',
    'a=b',
    '-m',
    '64m',
    'busybox',
    'sleep',
    '100',
  )
  assert.match(await lab.ok('top', 'busy'), /sleep 100/)
  assert.match(
    await lab.ok('stats', '--no-stream', '--format', '{{.MemUsage}}', 'busy'),
    /\/ 64MiB$/,
  )
  for (const filter of [
    'label=a=b',
    'name=^/busy$',
    'status=running',
    'ancestor=busybox',
    'network=bridge',
  ]) {
    assert.match(await lab.ok('ps', '--filter', filter, '--format', '{{.Names}}'), /busy/, filter)
  }
  assert.equal(await lab.ok('ps', '-q', '--filter', 'label=a=c'), '')
  await lab.ok('rm', '-f', 'busy')
})

test('verbs in the wrong state: nothing to do, or a conflict that says so', async () => {
  const id = await lab.ok('create', '--name', 'life', '-p', '8090:80', 'busybox', 'sleep', '600')
  const verb = async (name: string) => {
    const { status, json } = await lab.api('POST', `/containers/life/${name}`)
    const message = typeof json === 'object' && json !== null ? Reflect.get(json, 'message') : undefined
    return message === undefined ? String(status) : `${status} ${String(message)}`
  }
  const table = [
    ['stop', '304'], ['pause', `409 container ${id} is not running`], ['start', '204'], ['start', '304'],
    ['pause', '204'], ['pause', `409 Container ${id} is already paused`],
    ['start', '409 cannot start a paused container, try unpause instead'],
    ['unpause', '204'], ['unpause', `500 Container ${id} is not paused`], ['stop?t=0', '204'], ['stop', '304'],
    ['kill', `409 cannot kill container: life: container ${id} is not running`],
  ] as const
  for (const [name, answer] of table) assert.equal(await verb(name), answer, name)
  await lab.ok('rm', 'life')
})

test('a removal that goes on is not begun again', async () => {
  const id = await lab.ok('run', '-d', 'busybox', 'sleep', '600')
  const asked = [1, 2].map(() => lab.api('DELETE', `/containers/${id}?force=1`))
  const answers = await Promise.all(asked)
  assert.deepEqual(answers.map(({ status }) => status).sort(), [204, 409])
  const refused = answers.find(({ status }) => status === 409)
  assert.deepEqual(refused?.json, { message: `removal of container ${id} is already in progress` })
})

test('limits are updated one by one, and what excludes each other is refused', async () => {
  const id = await lab.ok('create', '-m', '64m', '--memory-swap', '-1', '--cpus', '0.5', 'busybox', 'true')
  const refused = async (...options: readonly string[]) => (await lab.docker('update', ...options, id)).err
  await lab.ok('update', '--cpu-shares', '100', id)
  await lab.ok('update', '--memory-reservation', '32m', '--pids-limit', '50', id)
  const limits = '{{with .HostConfig}}{{.Memory}} {{.MemorySwap}} {{.NanoCpus}} {{.CpuShares}} {{.MemoryReservation}} {{.PidsLimit}}{{end}}'
  assert.equal(await lab.ok('inspect', '-f', limits, id), '67108864 -1 500000000 100 33554432 50')
  const cannot = `Error response from daemon: Cannot update container ${id}: `
  assert.equal(await refused('--cpu-period', '50000'), `${cannot}Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set\n`)
  assert.equal(await refused('-m', '80m'), `${cannot}Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time\n`)
  await lab.ok('rm', id)
})

test('names that are made up, and ports that are new with each start', async () => {
  const id = await lab.ok('create', 'busybox')
  assert.match(await lab.ok('inspect', '-f', '{{.Name}}', id), /^\/[a-z]+_[a-z]+$/)
  await lab.ok('rm', id)
  await lab.ok('run', '-d', '--name', 'ports', '-p', '80', 'busybox', 'sleep', '600')
  const first = await lab.ok('port', 'ports')
  await lab.ok('stop', '-t', '0', 'ports')
  assert.equal(await lab.ok('inspect', '-f', '{{json .NetworkSettings.Ports}}', 'ports'), '{}')
  assert.equal(await lab.ok('port', 'ports'), '')
  await lab.ok('start', 'ports')
  assert.notEqual(await lab.ok('port', 'ports'), first)
  await lab.ok('rm', '-f', 'ports')
})
