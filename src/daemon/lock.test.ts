import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { lockFile } from './lock.ts'

test('a lock is held against live processes only', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'portolan-lock-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'pid')
  const own = lockFile(path, 'test')
  assert.equal(readFileSync(path, 'utf8'), String(process.pid))
  own.release()
  assert.equal(existsSync(path), false)

  const other = spawn('sleep', ['60'])
  t.after(() => other.kill('SIGKILL'))
  writeFileSync(path, `${other.pid}\n`)
  assert.throws(
    () => lockFile(path, 'another daemon'),
    new RegExp(`process with PID ${other.pid} is still running`),
  )
  // The same number, started at another time: the writer is gone and its number was used again.
  writeFileSync(`${path}.mark`, `${other.pid} 1\n`)
  lockFile(path, 'test').release()

  writeFileSync(path, `${other.pid}\n`)
  const gone = new Promise((resolve) => other.once('exit', resolve))
  other.kill('SIGKILL')
  await gone
  lockFile(path, 'test').release()
  writeFileSync(path, 'no number')
  lockFile(path, 'test').release()
})
