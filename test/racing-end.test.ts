/**
 * Whatever is asked of a container in the very moment in which its process ends is answered as if
 * it had been asked just before or just after: never in the words of the runtime underneath.
 */
import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { Lab, sleep, type Answer } from './lab/lab.ts'

const rounds = 10

let lab: Lab

before(async () => {
  lab = await Lab.start(undefined)
})

after(async () => {
  await lab.expectNoLeaks()
  await lab.stop()
})

const field = (json: unknown, ...names: readonly string[]): string =>
  String(names.reduce((at, name) => (typeof at === 'object' && at !== null ? Reflect.get(at, name) : undefined), json) ?? '')

async function running(name: string): Promise<number> {
  const body = { Image: 'busybox', Cmd: ['sleep', '600'], Tty: true, HostConfig: { NetworkMode: 'none' } }
  await lab.api('POST', `/containers/create?name=${name}`, body)
  assert.equal((await lab.api('POST', `/containers/${name}/start`)).status, 204)
  return Number(field((await lab.api('GET', `/containers/${name}/json`)).json, 'State', 'Pid'))
}

async function execId(name: string): Promise<string> {
  const answer = await lab.api('POST', `/containers/${name}/exec`, { Cmd: ['true'], AttachStdout: true })
  assert.equal(answer.status, 201, answer.text)
  return field(answer.json, 'Id')
}

const refusals: readonly RegExp[] = [
  /^(cannot kill container: \w+: )?container [0-9a-f]{64} is not running$/,
  /^[Cc]ontainer [0-9a-f]{64} is (not|already) paused$/,
  /^Container [0-9a-f]{64} is paused, unpause the container before exec$/,
]

function judge(what: string, { status, json, text }: Answer, faults: string[]): void {
  const message = field(json, 'message')
  const isRefused = status === 409 || (status === 500 && /is not paused$/.test(message))
  const isFine = status < 400
  if (isFine || (isRefused && refusals.some((one) => one.test(message)))) return
  faults.push(`${what}: ${status} ${text.slice(0, 500)}`)
}

test('a container that ends at the same moment is running, or is not running', async () => {
  const faults: string[] = []
  for (let round = 0; round < rounds; round++) {
    const name = `end${round}`
    const pid = await running(name)
    const execs = await Promise.all([execId(name), execId(name), execId(name)])
    const asks: readonly (readonly [string, string, string, object?])[] = [
      ...execs.map((id) => ['exec', 'POST', `/exec/${id}/start`, { Detach: true }] as const),
      ['exec create', 'POST', `/containers/${name}/exec`, { Cmd: ['true'], User: 'root' }],
      ['pause', 'POST', `/containers/${name}/pause`],
      ['unpause', 'POST', `/containers/${name}/unpause`],
      ['top', 'GET', `/containers/${name}/top`],
      ['stats', 'GET', `/containers/${name}/stats?stream=false&one-shot=1`],
      ['update', 'POST', `/containers/${name}/update`, { CpuShares: 200 + round }],
      ['resize', 'POST', `/containers/${name}/resize?h=20&w=20`],
      ['signal', 'POST', `/containers/${name}/kill?signal=USR1`],
      ['kill', 'POST', `/containers/${name}/kill`],
      ['stop', 'POST', `/containers/${name}/stop?t=5`],
      ['stat', 'HEAD', `/containers/${name}/archive?path=/etc/passwd`],
      ['copy', 'GET', `/containers/${name}/archive?path=/etc/passwd`],
      ['changes', 'GET', `/containers/${name}/changes`],
      ['inspect', 'GET', `/containers/${name}/json?size=1`],
      ['list', 'GET', '/containers/json?size=1'],
      ['commit', 'POST', `/commit?container=${name}`],
    ]
    // Each round begins elsewhere, and the end comes a little later than in the one before.
    const order = [...asks.slice(round), ...asks.slice(0, round)]
    const answers = order.map(async ([what, method, path, body]) => judge(what, await lab.api(method, path, body), faults))
    await sleep(round % 8)
    process.kill(pid, 'SIGKILL')
    await Promise.all(answers)
    assert.equal(await lab.ok('wait', name), '137')
    const again = await lab.api('POST', `/containers/${name}/start`)
    assert.equal(again.status, 204, again.text)
    assert.equal((await lab.api('DELETE', `/containers/${name}?force=1`)).status, 204)
  }
  assert.deepEqual(faults, [])
})
