import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { connectContainerd, ensureNamespace, isNotFound } from './client.ts'
import { containerdConfig, majorVersion } from './config-file.ts'
import { identify } from './process.ts'
import { startContainerd, waitReady } from './supervisor.ts'

function files(folder: string) {
  return {
    root: join(folder, 'root'),
    state: join(folder, 'state'),
    socket: join(folder, 'c.sock'),
    logPath: join(folder, 'c.log'),
    pidPath: join(folder, 'c.pid'),
    configPath: join(folder, 'c.toml'),
  }
}

test('containerd is started, adopted by a second daemon, restarted after a kill, and ended', async (t) => {
  const folder = mkdtempSync('/tmp/ctd-')
  const paths = files(folder)
  const first = await startContainerd(paths)
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  assert.equal(first.adopted, false)
  assert.equal(Number(readFileSync(paths.pidPath, 'utf8')), first.pid)
  const client = connectContainerd(paths.socket, 'test')
  await ensureNamespace(client)
  await ensureNamespace(client)
  await assert.rejects(client.images.get({ name: 'none' }), isNotFound)
  first.release()

  const second = await startContainerd(paths)
  assert.equal(second.adopted, true)
  assert.equal(second.pid, first.pid)
  const back = new Promise<void>((done) => second.onBack(done))
  const died = performance.now()
  process.kill(second.pid, 'SIGKILL')
  await back
  t.diagnostic(`answers again after ${Math.round(performance.now() - died)} ms`)
  assert.notEqual(second.pid, first.pid)
  await waitReady(client, 1000) // the same client object goes on

  const { pid } = second
  await second.stop()
  client.close()
  assert.equal(identify(pid), undefined)
  assert.equal(existsSync(paths.pidPath), false)
  assert.equal(existsSync(paths.socket), false)
})

test('a containerd that cannot start is refused with the end of its log', async (t) => {
  const folder = mkdtempSync('/tmp/ctd-')
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  const paths = files(folder)
  writeFileSync(paths.socket, '')
  mkdirSync(join(paths.root, 'io.containerd.metadata.v1.bolt/meta.db'), { recursive: true })
  await assert.rejects(
    startContainerd(paths),
    /could not open its database; the end of its log:[^]*meta.db/,
  )
  await assert.rejects(
    startContainerd({ ...files(folder), root: 'relative' }),
    /absolute paths: relative/,
  )
  await assert.rejects(
    startContainerd({ ...files(folder), socket: `/tmp/${'x'.repeat(120)}` }),
    /longer than 100 bytes/,
  )
})

test('the configuration follows the version that is installed', () => {
  assert.equal(
    majorVersion('containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1'),
    1,
  )
  assert.equal(majorVersion('containerd github.com/containerd/containerd/v2 v2.0.4 1a43cb6a'), 2)
  const paths = { root: '/r', state: '/s', socket: '/c.sock' }
  assert.match(containerdConfig(paths, 1), /^version = 2$/m)
  assert.match(containerdConfig(paths, 2), /^version = 3$/m)
})
