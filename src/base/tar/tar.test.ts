import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import test from 'node:test'
import fc from 'fast-check'
import { Refusal } from '../refusal.ts'
import { encodeEntry, endOfArchive, paddingOf, type TarEntry, type TarKind } from './header.ts'
import { readTar } from './read.ts'

interface Item {
  readonly entry: TarEntry
  readonly content: Buffer
}

const plain: TarEntry = {
  kind: 'file', name: Buffer.from('f'), mode: 0o644, uid: 0, gid: 0, bytes: 0, mtime: 0,
  target: Buffer.alloc(0), major: 0, minor: 0, xattrs: new Map(),
}

const packed = (items: readonly Item[]): Buffer =>
  Buffer.concat([
    ...items.flatMap(({ entry, content }) => [encodeEntry(entry), content, Buffer.alloc(paddingOf(content.length))]),
    endOfArchive,
  ])

async function* pieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function unpacked(bytes: Buffer, size = 10_000): Promise<readonly Item[]> {
  const items: Item[] = []
  for await (const { entry, content } of readTar(pieces(bytes, size))) {
    const parts: Buffer[] = []
    for await (const part of content) parts.push(part)
    items.push({ entry, content: Buffer.concat(parts) })
  }
  return items
}

const named = fc.uint8Array({ minLength: 1, maxLength: 300 }).map((bytes) => Buffer.from(bytes.map((byte) => byte || 1)))
const numbers = fc.oneof(fc.nat(), fc.constantFrom(0o7777777, 0o10000000, 1_000_660_000, 2 ** 32 - 2))
const kinds: readonly TarKind[] = ['file', 'link', 'symlink', 'character', 'block', 'folder', 'fifo']

const item = fc.record({
  kind: fc.constantFrom(...kinds),
  name: named,
  mode: fc.nat(0o7777),
  uid: numbers,
  gid: numbers,
  mtime: fc.oneof(fc.integer(), fc.constantFrom(0o77777777777, 0o100000000000, -1)),
  target: named,
  major: fc.nat(0o7777777),
  minor: fc.nat(0o7777777),
  xattrs: fc.dictionary(fc.stringMatching(/^(user|security)\.[a-z]{1,40}$/), fc.uint8Array({ maxLength: 600 })),
  content: fc.uint8Array({ maxLength: 3000 }),
}).map(({ content, xattrs, ...entry }): Item => {
  const data = Buffer.from(entry.kind === 'file' ? content : [])
  const attributes = new Map(Object.entries(xattrs).map(([key, value]) => [key, Buffer.from(value)]))
  return { entry: { ...entry, bytes: data.length, xattrs: attributes }, content: data }
})

test('what is written is read, whatever the bytes and in whatever pieces they come', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(item, { maxLength: 6 }), fc.integer({ min: 1, max: 2000 }), async (items, size) => {
      assert.deepEqual(await unpacked(packed(items), size), items)
    }),
    { numRuns: 150 },
  )
})

test('GNU tar reads what is written, and what it writes is read', async () => {
  const long = `${'long/'.repeat(60)}grüße`
  const mine = packed([
    { entry: { ...plain, name: Buffer.from(long), uid: 1_000_660_000, mode: 0o4755, mtime: 86_400, bytes: 2 }, content: Buffer.from('hi') },
    { entry: { ...plain, kind: 'character', name: Buffer.from('null'), major: 1, minor: 3 }, content: Buffer.alloc(0) },
  ])
  const env = { ...process.env, TZ: 'UTC', LC_ALL: 'C.UTF-8' }
  const listed = spawnSync('tar', ['--numeric-owner', '-tvf', '-'], { input: mine, encoding: 'utf8', env }).stdout.split('\n')
  assert.match(listed[0] ?? '', new RegExp(`^-rwsr-xr-x 1000660000/0 +2 1970-01-02 00:00 ${long}$`))
  assert.match(listed[1] ?? '', /^crw-r--r-- 0\/0 +1,3 .* null$/)
  for (const format of ['gnu', 'pax', 'ustar', 'v7', 'oldgnu']) {
    const name = format === 'gnu' || format === 'pax' ? `.${'/deep-and-far'.repeat(15)}` : './near'
    const script = `cd $(mktemp -d) && mkdir -p $(dirname ${name}) && printf hello >${name} && ln -s ${name} lnk && ` +
      `tar --format=${format} --numeric-owner -cf - ${name} lnk; rm -r "$PWD"`
    const [file, link] = await unpacked(spawnSync('sh', ['-c', script], { env }).stdout)
    assert.equal(file?.entry.name.toString(), name, format)
    assert.equal(file?.content.toString(), 'hello')
    assert.equal(link?.entry.target.toString(), name)
  }
})

test('damaged, endless and odd archives are refused', async () => {
  const whole = packed([{ entry: { ...plain, bytes: 700 }, content: Buffer.alloc(700, 'x') }])
  const flipped = Buffer.from(whole)
  flipped[3] = 7
  const huge = encodeEntry({ ...plain, name: Buffer.alloc(200, 'x') })
  huge.write('77777777777', 124, 'latin1') // a pax header that claims eight gigabytes
  const sum = [...huge.subarray(0, 512)].reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 32 : byte), 0)
  huge.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  const sparse = spawnSync('sh', ['-c', 'cd $(mktemp -d) && truncate -s 1M s && tar -S -cf - s; rm -r "$PWD"']).stdout
  const cases: readonly (readonly [string, Buffer, RegExp])[] = [
    ['cut in the content', whole.subarray(0, 800), /it ends too early/],
    ['cut in a header', whole.subarray(0, 300), /it ends too early/],
    ['a flipped bit', flipped, /a header is damaged/],
    ['noise', Buffer.from('hello\n'), /it ends too early/],
    ['a header beyond all measure', huge, /a header is too long/],
    ['a sparse file', sparse, /cannot copy s: sparse files are not offered/],
  ]
  for (const [what, bytes, message] of cases) {
    await assert.rejects(unpacked(bytes), (error) => error instanceof Refusal && message.test(error.message), what)
  }
  assert.deepEqual(await unpacked(Buffer.alloc(0)), [])
  assert.deepEqual(await unpacked(endOfArchive), [])
})

test('content that nobody reads is passed over', async () => {
  const bytes = packed([
    { entry: { ...plain, name: Buffer.from('a'), bytes: 5000 }, content: Buffer.alloc(5000, 'x') },
    { entry: { ...plain, name: Buffer.from('b'), bytes: 3 }, content: Buffer.from('end') },
  ])
  const names: string[] = []
  for await (const { entry, content } of readTar(pieces(bytes, 100))) {
    names.push(entry.name.toString())
    if (names.length > 1) continue
    for await (const piece of content) if (piece.length > 0) break
  }
  assert.deepEqual(names, ['a', 'b'])
})
