import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { startKeeper } from './connection.ts'
import { encodeJson } from './frames.ts'
import { readMark, type KeeperPaths } from './launch.ts'
import { formatMark, isAdoptable, isAlive, markOf } from './process-identity.ts'

function newPaths(t: TestContext): KeeperPaths {
  const folder = mkdtempSync(join(tmpdir(), 'launch-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return {
    socketPath: join(folder, 'k.sock'),
    logPath: join(folder, 'k.log'),
    pidPath: join(folder, 'k.pid'),
  }
}

test('a process that only has the number of a dead keeper is left alone', async (t) => {
  const paths = newPaths(t)
  const stranger = spawn('sleep', ['60'])
  t.after(() => stranger.kill())
  const pid = stranger.pid ?? -1
  writeFileSync(paths.pidPath, formatMark({ pid, startTicks: '1' }))
  const keeper = await startKeeper(paths)
  await keeper.stop()
  assert.notEqual(markOf(pid), undefined)
})

test('a keeper that speaks another protocol is replaced', async (t) => {
  const paths = newPaths(t)
  const greeting = encodeJson({ protocol: 0, pid: 1 }).toString('hex')
  const code = `require('net').createServer((socket) => socket.write('${greeting}', 'hex'))
    .listen(process.argv[1], () => console.log('listening'))`
  const old = spawn(process.execPath, ['-e', code, paths.socketPath])
  await once(old.stdout, 'data')
  const mark = markOf(old.pid ?? -1)
  assert.ok(mark !== undefined)
  writeFileSync(paths.pidPath, formatMark(mark))
  const keeper = await startKeeper(paths)
  assert.equal(isAlive(mark), false)
  assert.notEqual(readMark(paths.pidPath)?.pid, mark.pid)
  await keeper.stop()
})

test('a keeper in another network namespace is not ours', async () => {
  const code = 'console.log(1); setTimeout(() => {}, 60_000)'
  const elsewhere = spawn('unshare', ['--net', process.execPath, '-e', code])
  await once(elsewhere.stdout, 'data')
  const own = markOf(process.pid)
  assert.ok(own !== undefined && isAdoptable(own))
  const theirs = markOf(elsewhere.pid ?? -1)
  assert.ok(theirs !== undefined)
  assert.equal(isAdoptable(theirs), false)
  elsewhere.kill()
})

test('stopping leaves no process, socket or pid file, also right after the keeper died', async (t) => {
  const paths = newPaths(t)
  const keeper = await startKeeper(paths)
  const mark = readMark(paths.pidPath)
  process.kill(mark?.pid ?? -1, 'SIGKILL')
  await new Promise((resolve) => setTimeout(resolve, 30))
  await keeper.stop()
  for (const path of [paths.socketPath, `${paths.socketPath}.io`, paths.pidPath]) {
    assert.equal(existsSync(path), false, path)
  }
})
