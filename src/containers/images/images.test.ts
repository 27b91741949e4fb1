import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import test from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { pack, type Pack } from 'tar-stream'
import { Refusal } from '../../base/refusal.ts'
import { busyboxImageTar } from '../../cli/demo/busybox-image.ts'
import { startImageLab } from '../../../test/lab/containerd.ts'
import { snapshotter } from '../containerd/client.ts'

const none = new Map<string, readonly string[]>()

async function bytesOf(stream: AsyncIterable<unknown>): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const piece of stream) if (piece instanceof Uint8Array) pieces.push(piece)
  return Buffer.concat(pieces)
}

function tarOf(
  files: Readonly<Record<string, string | Buffer | { readonly link: string }>>,
): Promise<Buffer> {
  const tar: Pack = pack()
  for (const [name, content] of Object.entries(files)) {
    if (typeof content === 'object' && 'link' in content) {
      tar.entry({ name, type: 'symlink', linkname: content.link })
    } else {
      tar.entry({ name }, content)
    }
  }
  tar.finalize()
  return bytesOf(tar)
}

const sha256 = (data: string | Buffer): string => createHash('sha256').update(data).digest('hex')

test('an image is loaded, found by every name, saved and loaded again', async (t) => {
  const { images, events, reopen, containerd } = await startImageLab(t)
  const [loaded] = await images.load(await busyboxImageTar('/bin/busybox'))
  const image = loaded?.image
  assert.ok(image)
  assert.deepEqual(loaded?.names, ['busybox:latest'])
  assert.deepEqual(image.repoTags, ['busybox:latest'])
  assert.ok(image.size > 1_000_000)
  for (const name of [
    'busybox',
    'busybox:latest',
    'docker.io/library/busybox',
    'index.docker.io/busybox:latest',
    image.id,
    image.id.slice(7),
    image.id.slice(7, 19),
    image.id.slice(7, 9),
  ]) {
    assert.equal(images.find(name).id, image.id, name)
  }
  assert.throws(() => images.find('nope:1'), /^Refusal: No such image: nope:1$/)
  assert.throws(() => images.find('nope'), /^Refusal: No such image: nope:latest$/)
  assert.throws(() => images.find(`sha256:${'0'.repeat(64)}`), /No such image: sha256:0/)
  assert.throws(() => images.find('UPPER'), /repository name \(library\/UPPER\) must be lowercase/)

  await images.tag('busybox', 'localhost:5000/a/b:v1')
  const saved = await bytesOf(await images.save(['busybox', 'localhost:5000/a/b:v1']))
  assert.deepEqual((await reopen()).find('busybox').repoTags, [
    'busybox:latest',
    'localhost:5000/a/b:v1',
  ])

  assert.deepEqual(await images.remove('localhost:5000/a/b:v1', false), [
    { Untagged: 'localhost:5000/a/b:v1' },
  ])
  assert.deepEqual(await images.remove('busybox', false), [
    { Untagged: 'busybox:latest' },
    { Deleted: image.id },
    { Deleted: image.topChainId },
  ])
  assert.deepEqual(images.list(none), [])
  const gone = containerd.snapshots.stat({ snapshotter, key: image.topChainId })
  await assert.rejects(gone, 'its snapshot is collected')

  const again = await images.load(Readable.from([saved]))
  assert.deepEqual(
    again.map(({ image: { id } }) => id),
    [image.id],
  )
  assert.deepEqual(images.find('busybox').repoTags, ['busybox:latest', 'localhost:5000/a/b:v1'])
  const actions = events.map(({ type, action }) => `${type} ${action}`)
  for (const action of ['load', 'tag', 'save', 'untag', 'delete'])
    assert.ok(actions.includes(`image ${action}`), action)
})

test('layers may be gzip or zstd, linked to each other, and the whole tar compressed', async (t) => {
  const { images } = await startImageLab(t)
  const [one, two] = [await tarOf({ 'etc/a': 'a' }), await tarOf({ 'etc/b': 'b' })]
  const diffIds = [one, two, one].map((layer) => `sha256:${sha256(layer)}`)
  const config = JSON.stringify({
    os: 'linux',
    architecture: 'amd64',
    config: { Cmd: ['x'] },
    rootfs: { type: 'layers', diff_ids: diffIds },
  })
  const tar = await tarOf({
    'c.json': config,
    'l1/layer.tar': gzipSync(one),
    'l1/VERSION': '1.0',
    'l2/layer.tar': zstdCompressSync(two),
    'l3/layer.tar': { link: '../l1/layer.tar' },
    'manifest.json': JSON.stringify([
      {
        Config: 'c.json',
        RepoTags: null,
        Layers: ['l1/layer.tar', 'l2/layer.tar', 'l3/layer.tar'],
      },
    ]),
  })
  const [loaded] = await images.load(Readable.from([gzipSync(tar)]))
  assert.equal(loaded?.image.id, `sha256:${sha256(config)}`)
  assert.deepEqual(loaded?.names, [])
  assert.equal(loaded?.image.layers.length, 3)
  assert.equal(images.list(new Map([['dangling', ['true']]])).length, 1)
  const pruned = await images.prune(none)
  assert.deepEqual(pruned.removed[0], { Deleted: loaded?.image.id })
  assert.equal(images.list(none).length, 0)
})

test('what is no image is refused and leaves nothing', async (t) => {
  const { images, containerd } = await startImageLab(t)
  const load = async (files: Record<string, string>) =>
    images.load(Readable.from([await tarOf(files)]))
  await assert.rejects(load({ x: 'y' }), /does not contain a manifest.json/)
  await assert.rejects(load({ 'manifest.json': '{' }), /manifest.json is not JSON/)
  await assert.rejects(
    load({ 'manifest.json': '[{"Config":"../../etc/passwd","Layers":[]}]' }),
    /has no file/,
  )
  await assert.rejects(
    load({
      'manifest.json': '[{"Config":"c","Layers":["l"]}]',
      c: '{"rootfs":{"diff_ids":[]}}',
      l: '',
    }),
    /1 layers, but 0 layer ids/,
  )
  await assert.rejects(images.load(Readable.from([Buffer.alloc(2000, 'x')])), /not a tar archive: a number in a header is damaged/)
  await assert.rejects(
    images.load(Readable.from([Buffer.from('BZh91AY')])),
    /^Refusal: bzip2/,
  )
  const whole = await bytesOf(await busyboxImageTar('/bin/busybox'))
  for (const [packer, ...args] of [['gzip', '-c'], ['xz', '-1', '-c'], ['bzip2', '-c'], ['zstd', '-q', '-c']]) {
    const packed = spawnSync(packer ?? '', args, { input: whole, maxBuffer: 2 ** 28 })
    if (packed.error !== undefined) continue
    const damaged = Buffer.from(packed.stdout)
    damaged.fill(0x55, damaged.length >> 1)
    await assert.rejects(images.load(Readable.from([damaged])), Refusal, packer)
  }
  const lie = JSON.stringify({ rootfs: { diff_ids: [`sha256:${'1'.repeat(64)}`] } })
  await assert.rejects(
    load({ 'manifest.json': '[{"Config":"c","Layers":["l"]}]', c: lie, l: 'not a tar at all' }),
  )
  assert.equal(images.list(none).length, 0)
  const { leases } = await containerd.leases.list({ filters: [] })
  assert.deepEqual(leases, [])
})

test('an image in use is not removed, and Docker says why', async (t) => {
  const { images, users } = await startImageLab(t)
  const [loaded] = await images.load(await busyboxImageTar('/bin/busybox'))
  const id = loaded?.image.id ?? ''
  const short = id.slice(7, 19)
  const containerId = 'c0ffee'.padEnd(64, '0')
  users.set(id, [{ containerId, running: true }])
  await assert.rejects(images.remove('busybox', false), (error: Error) => {
    assert.equal(
      error.message,
      'conflict: unable to remove repository reference "busybox" (must force) - ' +
        `container c0ffee000000 is using its referenced image ${short}`,
    )
    return true
  })
  await assert.rejects(images.remove(short, true), (error: Error) => {
    assert.equal(
      error.message,
      `conflict: unable to delete ${short} (cannot be forced) - image is being used by running container c0ffee000000`,
    )
    return true
  })
  assert.deepEqual(await images.remove('busybox', true), [{ Untagged: 'busybox:latest' }])
  assert.equal(images.find(short).repoTags.length, 0, 'it stays, nameless')
  users.set(id, [{ containerId, running: false }])
  await assert.rejects(
    images.remove(short, false),
    /\(must be forced\) - image is being used by stopped container/,
  )
  assert.equal((await images.remove(short, true)).length, 2)

  await images.load(await busyboxImageTar('/bin/busybox', ['a/x:1', 'b/y:1']))
  users.clear()
  await assert.rejects(
    images.remove(short, false),
    /\(must be forced\) - image is referenced in multiple repositories/,
  )
  assert.equal((await images.remove(short, true)).length, 4)
})

test('a name that moves to another image leaves the old one nameless', async (t) => {
  const { images, reopen } = await startImageLab(t)
  const [first] = await images.load(await busyboxImageTar('/bin/busybox'))
  const [second] = await images.load(
    await busyboxImageTar('/bin/busybox', ['busybox:latest'], ['httpd']),
  )
  assert.notEqual(first?.image.id, second?.image.id)
  for (const room of [images, await reopen()]) {
    assert.equal(room.find('busybox').id, second?.image.id)
    assert.deepEqual(
      room.list(new Map([['dangling', ['1']]])).map(({ id }) => id),
      [first?.image.id],
    )
    assert.deepEqual(
      room.list(new Map([['reference', ['busy*']]])).map(({ id }) => id),
      [second?.image.id],
    )
  }
  assert.equal(
    images.usage().images.every(({ sharedBytes }) => sharedBytes > 0),
    true,
  )
})

test('a root file system is imported, changed and committed', async (t) => {
  const { images, containerd } = await startImageLab(t)
  const rootfs = await tarOf({ 'etc/hostname': 'x\n', old: 'gone soon' })
  const image = await images.import(Readable.from([gzipSync(rootfs)]), {
    name: 'docker.io/library/imported:1',
    message: 'why',
    changes: ['CMD ["sh"]', 'ENV A=1 B="2 3"', 'expose 80'],
  })
  assert.deepEqual(image.repoTags, ['imported:1'])
  assert.deepEqual(image.document.config, {
    Cmd: ['sh'],
    Env: ['A=1', 'B=2 3'],
    ExposedPorts: { '80/tcp': {} },
  })
  await assert.rejects(
    images.import(Readable.from([rootfs]), { name: '', message: '', changes: ['RUN x'] }),
    /RUN is not a valid change command/,
  )

  const key = 'container1'
  const labels = { 'containerd.io/gc.root': 'yes' }
  await containerd.snapshots.prepare({ snapshotter, key, parent: image.topChainId, labels })
  const committed = await images.commit({
    snapshotKey: key,
    imageId: image.id,
    config: { Cmd: ['top'] },
    name: 'docker.io/library/c:latest',
    author: 'me',
    comment: 'done',
    createdBy: 'sh',
  })
  assert.equal(committed.layers.length, 2)
  assert.equal(committed.document.history.length, 2)
  assert.deepEqual(committed.config, { Cmd: ['top'] })
  await containerd.snapshots.remove({ snapshotter, key })
})

test('an upload that breaks off, and a containerd that dies, leave nothing behind', async (t) => {
  const { images, containerd, supervised } = await startImageLab(t)
  const tar = await bytesOf(await busyboxImageTar('/bin/busybox'))
  const broken = Readable.from(
    (async function* () {
      yield tar.subarray(0, 1_200_000)
      throw new Error('the client has gone')
    })(),
  )
  await assert.rejects(images.load(broken), /the client has gone/)
  await assert.rejects(
    images.load(Readable.from([tar.subarray(0, 1_200_000)])),
    /not a tar archive: it ends too early/,
  )
  assert.deepEqual((await containerd.leases.list({ filters: [] })).leases, [])

  const back = new Promise<void>((done) => supervised.onBack(done))
  const killing = Readable.from(
    (async function* () {
      yield tar.subarray(0, 1_200_000)
      process.kill(supervised.pid, 'SIGKILL')
      await back
      yield tar.subarray(1_200_000)
    })(),
  )
  await assert.rejects(images.load(killing))
  const [loaded] = await images.load(Readable.from([tar]))
  assert.deepEqual(loaded?.names, ['busybox:latest'])
  const both = await Promise.all([
    images.load(Readable.from([tar])),
    images.load(Readable.from([tar])),
  ])
  assert.equal(new Set(both.flat().map(({ image }) => image.id)).size, 1)
})
