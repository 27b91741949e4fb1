import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import type { EngineEvent } from '../../base/event.ts'
import { isMountPoint } from '../../kernel/mount.ts'
import { openStore, type Store } from '../../store/store.ts'
import { openVolumes, type VolumeRequest, type Volumes } from './volumes.ts'

const none = new Map<string, readonly string[]>()

interface Room {
  readonly folder: string
  readonly store: Store
  readonly volumes: Volumes
  readonly events: EngineEvent[]
}

async function openRoom(t: TestContext): Promise<Room> {
  const folder = mkdtempSync('/tmp/vol-')
  const store = openStore(join(folder, 'db'))
  const events: EngineEvent[] = []
  const volumes = await openVolumes(join(folder, 'volumes'), store, (event) => events.push(event))
  t.after(() => {
    volumes.unmountAll()
    store.close()
    rmSync(folder, { recursive: true, force: true })
  })
  return { folder, store, volumes, events }
}

const ask = (name: string, rest: Partial<VolumeRequest> = {}): VolumeRequest => ({
  name,
  driver: '',
  options: null,
  labels: null,
  ...rest,
})

test('a volume is made once, found, listed by every filter, and removed with its data', async (t) => {
  const { volumes, folder, events } = await openRoom(t)
  const made = await volumes.create(ask('data', { labels: { tier: 'db' } }))
  assert.equal(made.mountpoint, join(folder, 'volumes/data/_data'))
  assert.deepEqual(
    await volumes.create(ask('data', { labels: { other: 'x' } })),
    made,
    'the first one stays',
  )
  writeFileSync(join(made.mountpoint, 'f'), 'x'.repeat(1000))
  await volumes.create(ask('', {}))
  volumes.acquire('data', 'c1')
  const names = (name: string, value: string) =>
    volumes.list(new Map([[name, [value]]])).map((volume) => volume.name)
  assert.deepEqual(names('name', 'dat'), ['data'])
  assert.deepEqual(names('label', 'tier=db'), ['data'])
  assert.deepEqual(names('label', 'tier=web'), [])
  assert.deepEqual(names('driver', 'other'), [])
  assert.deepEqual(names('dangling', 'false'), ['data'])
  assert.equal(names('dangling', 'true').length, 1)
  assert.throws(() => names('dangling', 'maybe'), /invalid filter 'dangling=\[maybe\]'/)
  const [usage] = (await volumes.usage()).filter(({ volume }) => volume.name === 'data')
  assert.deepEqual([usage?.bytes, usage?.users], [1000, 1])

  await assert.rejects(volumes.remove('data', true), {
    kind: 'conflict',
    message: 'remove data: volume is in use - [c1]',
  })
  volumes.release('data', 'c1')
  await volumes.remove('data', false)
  assert.equal(existsSync(join(folder, 'volumes/data')), false)
  assert.throws(() => volumes.find('data'), {
    kind: 'notFound',
    message: 'get data: no such volume',
  })
  await assert.rejects(volumes.remove('data', false), { kind: 'notFound' })
  await volumes.remove('data', true)
  assert.deepEqual(
    events.map(({ action }) => action),
    ['create', 'create', 'destroy'],
  )
})

test("requests that cannot be are refused in Docker's words and leave nothing", async (t) => {
  const { volumes } = await openRoom(t)
  const refusals: [VolumeRequest, RegExp][] = [
    [ask('x'), /^create x: volume name is too short, names should be at least two/],
    [
      ask('a/b'),
      /^create a\/b: "a\/b" includes invalid characters for a local volume name, only "\[a-zA-Z0-9\]/,
    ],
    [ask('../../etc'), /includes invalid characters/],
    [ask('n'.repeat(300)), /at most 255 bytes/],
    [
      ask('vv', { driver: 'rexray' }),
      /error looking up volume plugin rexray: plugin "rexray" not found/,
    ],
    [ask('vv', { options: { foo: 'x' } }), /^create vv: invalid option: "foo"$/],
    [ask('vv', { options: { type: 'tmpfs' } }), /^create vv: missing required option: "device"$/],
    [
      ask('vv', { options: { type: 'nfs', device: ':/x', o: 'addr=1.2.3.4' } }),
      /volumes of type nfs are not offered/,
    ],
    [ask('vv', { options: { size: '1g' } }), /quota size requested but no quota support/],
  ]
  for (const [request, sentence] of refusals) {
    await assert.rejects(
      volumes.create(request),
      (error: Error) => sentence.test(error.message),
      String(sentence),
    )
  }
  assert.deepEqual(volumes.list(none), [])
})

test('a volume on a device is mounted while it is in use', async (t) => {
  const { volumes, folder } = await openRoom(t)
  mkdirSync(join(folder, 'source'))
  writeFileSync(join(folder, 'source/f'), '')
  const bind = await volumes.create(
    ask('bind', { options: { type: 'none', o: 'bind', device: join(folder, 'source') } }),
  )
  const memory = await volumes.create(
    ask('memory', { options: { type: 'tmpfs', device: 'tmpfs', o: 'size=1m' } }),
  )
  assert.equal(isMountPoint(bind.mountpoint), false)
  for (const user of ['c1', 'c2'])
    for (const name of ['bind', 'memory']) volumes.acquire(name, user)
  assert.ok(existsSync(join(bind.mountpoint, 'f')))
  assert.ok(isMountPoint(memory.mountpoint))
  volumes.release('memory', 'c1')
  assert.ok(isMountPoint(memory.mountpoint), 'c2 has it still')
  for (const name of ['bind', 'memory']) volumes.release(name, 'c2')
  assert.equal(isMountPoint(memory.mountpoint), false)
  volumes.release('bind', 'c1')
  await volumes.remove('bind', false)
  assert.ok(existsSync(join(folder, 'source/f')), 'what it stood for stays')
  await volumes.create(
    ask('gone', { options: { type: 'none', o: 'bind', device: '/no/such/place' } }),
  )
  assert.throws(
    () => volumes.acquire('gone', 'c1'),
    /failed to mount local volume: mount \/no\/such\/place:/,
  )
  assert.deepEqual(volumes.usedBy('gone'), [])
})

test('prune takes anonymous volumes, all when told, never one in use', async (t) => {
  const { volumes } = await openRoom(t)
  const anonymous = await volumes.create(ask(''))
  await volumes.create(ask('named'))
  await volumes.create(ask('kept', { labels: { keep: '1' } }))
  await volumes.create(ask('used', { containerId: 'c1' }))
  assert.deepEqual((await volumes.prune(none)).names, [anonymous.name])
  const filters = new Map([
    ['all', ['true']],
    ['label!', ['keep']],
  ])
  assert.deepEqual((await volumes.prune(filters)).names, ['named'])
  assert.deepEqual(
    volumes.list(none).map(({ name }) => name),
    ['kept', 'used'],
  )
})

test('volumes outlive the daemon, and a folder that nobody knows is a volume', async (t) => {
  const { volumes, store, folder } = await openRoom(t)
  await volumes.create(ask('known', { labels: { a: 'b' } }))
  mkdirSync(join(folder, 'volumes/found/_data'), { recursive: true })
  store.close()
  const reopened = openStore(join(folder, 'db'))
  t.after(() => reopened.close())
  const again = await openVolumes(join(folder, 'volumes'), reopened, () => undefined)
  assert.deepEqual(
    again.list(none).map(({ name }) => name),
    ['found', 'known'],
  )
  assert.deepEqual(again.find('known').labels, { a: 'b' })
})
