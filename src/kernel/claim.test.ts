import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { holderOfClaim, takeClaim } from './claim.ts'
import { createNetns, homeNetns, openNetns, removeNetns } from './netns.ts'

test('a claim has one holder per namespace, is named, and ends with its process', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'claim-'))
  createNetns(join(folder, 'ns'))
  const other = openNetns(join(folder, 'ns'))
  t.after(() => {
    other.close()
    removeNetns(join(folder, 'ns'))
    rmSync(folder, { recursive: true })
  })
  const home = homeNetns()
  assert.equal(holderOfClaim(home, 'portolan-test'), undefined)
  const mine = takeClaim(home, 'portolan-test')
  assert.ok(mine !== undefined)
  assert.equal(takeClaim(home, 'portolan-test'), undefined)
  // More often than anybody could wait in line.
  for (let n = 0; n < 600; n++) assert.ok(holderOfClaim(home, 'portolan-test') !== undefined)
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(holderOfClaim(other, 'portolan-test'), undefined, 'each namespace has its own')
  takeClaim(other, 'portolan-test')?.release()

  const script = `
    import { takeClaim } from ${JSON.stringify(join(import.meta.dirname, 'claim.ts'))}
    import { homeNetns } from ${JSON.stringify(join(import.meta.dirname, 'netns.ts'))}
    console.log(takeClaim(homeNetns(), 'portolan-theirs') !== undefined)
    setInterval(() => undefined, 1000)`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.after(() => child.kill('SIGKILL'))
  const [said] = await once(child.stdout, 'data')
  assert.equal(String(said), 'true\n')
  assert.deepEqual(holderOfClaim(home, 'portolan-theirs'), { pid: child.pid, uid: 0 })
  assert.equal(takeClaim(home, 'portolan-theirs'), undefined)
  child.kill('SIGKILL')
  await once(child, 'exit')
  const after = takeClaim(home, 'portolan-theirs')
  assert.ok(after !== undefined)
  after.release()
  mine.release()
  await new Promise((resolve) => setImmediate(resolve))
  assert.equal(holderOfClaim(home, 'portolan-test'), undefined)
})
