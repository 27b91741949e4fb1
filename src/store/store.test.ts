import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'node:test'
import { openStore } from './store.ts'

const inFolder = (name: string, body: (path: string) => Promise<void> | void) =>
  test(name, async () => {
    const folder = mkdtempSync(join(tmpdir(), 'portolan-store-'))
    try {
      await body(join(folder, 'portolan.db'))
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

const asName = (document: unknown): { readonly name: string } => {
  if (typeof document !== 'object' || document === null) throw new Error('not an object')
  const name: unknown = Reflect.get(document, 'name')
  if (typeof name !== 'string') throw new Error('name is not a string')
  return { name }
}
const put = (id: string, document: unknown) => ({ collection: 'things', id, document })

inFolder('what was written is there after opening again', async (path) => {
  const first = openStore(path)
  const things = first.collection('things', asName)
  await first.write([put('a', { name: 'one' }), put('b', { name: 'two' })])
  assert.deepEqual(things.get('a'), { name: 'one' })
  await first.write([put('a', null)])
  assert.equal(things.get('a'), undefined)
  first.close()
  const second = openStore(path)
  assert.deepEqual(second.collection('things', asName).all(), [{ name: 'two' }])
  second.close()
})

inFolder('a change set with one bad document changes nothing', async (path) => {
  const store = openStore(path)
  const things = store.collection('things', asName)
  await assert.rejects(
    store.write([put('a', { name: 'one' }), put('b', { name: 5 })]),
    /not a string/,
  )
  assert.deepEqual(things.all(), [])
  store.close()
})

inFolder('integers beyond 2^53 are kept', async (path) => {
  const store = openStore(path)
  const numbers = store.collection('numbers', (document) => document)
  await store.write([{ collection: 'numbers', id: 'n', document: { n: 2n ** 63n } }])
  assert.deepEqual(numbers.get('n'), { n: 2n ** 63n })
  store.close()
})

inFolder('writes that wait together share a commit and all survive a kill', async (path) => {
  const script = `
    import { openStore } from ${JSON.stringify(new URL('store.ts', import.meta.url).href)}
    const store = openStore(${JSON.stringify(path)})
    store.collection('things', (document) => document)
    await Promise.all(Array.from({ length: 500 }, (_, n) =>
      store.write([{ collection: 'things', id: String(n), document: { name: String(n) } }])))
    process.kill(process.pid, 'SIGKILL')`
  const run = spawnSync(process.execPath, ['--input-type=module', '-e', script])
  assert.equal(run.signal, 'SIGKILL', run.stderr.toString())
  const store = openStore(path)
  assert.equal(store.collection('things', asName).all().length, 500)
  store.close()
})

inFolder('closing keeps what is being flushed and what still waits for that', async (path) => {
  const store = openStore(path)
  store.collection('things', asName)
  const writes = ['a', 'b', 'c'].map((id) => store.write([put(id, { name: id })]))
  store.close()
  await Promise.all(writes)
  await assert.rejects(store.write([put('d', { name: 'd' })]), /shutting down/)
  const again = openStore(path)
  const things = again.collection('things', asName)
  assert.deepEqual(things.all(), [{ name: 'a' }, { name: 'b' }, { name: 'c' }])
  await again.write([put('b', null), put('a', { name: 'new' })])
  assert.deepEqual(things.all(), [{ name: 'new' }, { name: 'c' }])
  again.close()
})

inFolder('a second opener is refused while the first is there', async (path) => {
  const store = openStore(path)
  store.collection('things', asName)
  await store.write([put('a', { name: 'one' })])
  assert.throws(() => openStore(path), /in use by another daemon/)
  store.close()
  openStore(path).close()
})

inFolder('a foreign, a damaged and a newer file are refused and left alone', (path) => {
  writeFileSync(path, 'this is a letter to somebody else, not a database at all\n'.repeat(40))
  const before = readFileSync(path)
  assert.throws(() => openStore(path), /is damaged \(file is not a database\)/)
  assert.deepEqual(readFileSync(path), before)
  rmSync(path)
  const other = new DatabaseSync(path)
  other.exec('CREATE TABLE music (title TEXT)')
  other.close()
  assert.throws(() => openStore(path), /is not a state file of portolan/)
  rmSync(path)
  openStore(path).close()
  const newer = new DatabaseSync(path)
  newer.exec('PRAGMA user_version = 99')
  newer.close()
  assert.throws(() => openStore(path), /has schema 99, this portolan knows 1/)
})

inFolder('a document that no longer parses is named', async (path) => {
  const store = openStore(path)
  store.collection('things', (document) => document)
  await store.write([put('a', 7)])
  store.close()
  const again = openStore(path)
  assert.throws(() => again.collection('things', asName), /is damaged \(things a: not an object\)/)
  again.close()
})
