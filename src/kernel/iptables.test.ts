import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'node:test'
import { isKernelError } from './error.ts'
import { runCommand } from './command.ts'
import { iptablesVersion, isIptablesAvailable, restoreTable, saveTable } from './iptables.ts'
import { createNetns, removeNetns } from './netns.ts'

for (const family of [4, 6] as const) {
  test(`family ${family}: a chain and its rule are restored, saved and taken back`, async () => {
    assert.ok(await isIptablesAvailable(family))
    const rule = '-A TESTCHAIN -p tcp -m tcp --dport 80 -m comment --comment "a b" -j ACCEPT'
    await restoreTable(family, 'filter', [':TESTCHAIN - [0:0]', rule, '-A FORWARD -j TESTCHAIN'])
    const saved = await saveTable(family, 'filter')
    assert.ok(saved.includes(rule))
    assert.ok(saved.includes(':TESTCHAIN - [0:0]'))
    const back = ['-D FORWARD -j TESTCHAIN', '-F TESTCHAIN', '-X TESTCHAIN']
    await restoreTable(family, 'filter', back)
    assert.ok(!(await saveTable(family, 'filter')).join('\n').includes('TESTCHAIN'))
  })
}

test('a restore that fails leaves its table as it was and says what iptables said', async () => {
  const lines = ['-A INPUT -p tcp -m tcp --dport 81 -j ACCEPT', '-D INPUT -p udp -j DROP']
  await assert.rejects(restoreTable(4, 'filter', lines), (error) => {
    return isKernelError(error) && error.message.includes('iptables-restore')
  })
  assert.ok(!(await saveTable(4, 'filter')).join('\n').includes('dport 81'))
})

test('rules of another namespace are separate', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'iptables-'))
  const netns = join(dir, 'ns')
  createNetns(netns)
  await restoreTable(4, 'nat', [':INSIDE - [0:0]'], netns)
  assert.ok((await saveTable(4, 'nat', netns)).includes(':INSIDE - [0:0]'))
  assert.ok(!(await saveTable(4, 'nat')).includes(':INSIDE - [0:0]'))
  removeNetns(netns)
  rmSync(dir, { recursive: true })
})

test('a missing program, a hanging one and a failing one are told apart', async () => {
  await assert.rejects(runCommand('no-such-program', []), (error) => isKernelError(error, 'ENOENT'))
  await assert.rejects(runCommand('sleep', ['9'], { timeoutMs: 20 }), /killed by SIGKILL/)
  await assert.rejects(runCommand('ls', ['/proc/0']), /ls \/proc\/0: .*No such file/)
  assert.equal((await runCommand('false', [], { tolerate: true })).exitCode, 1)
  assert.match(await iptablesVersion(4), /^iptables v1/)
})
