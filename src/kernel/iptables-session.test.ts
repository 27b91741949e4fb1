import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import test from 'node:test'
import { isKernelError } from './error.ts'
import { IptablesSession } from './iptables-session.ts'

const shell = (command: string) => execFileSync('sh', ['-ec', command], { encoding: 'utf8' })

for (const family of [4, 6] as const) {
  const program = family === 4 ? 'iptables' : 'ip6tables'

  test(`${program}: changes one after another, a refused one in between`, async () => {
    const session = new IptablesSession(family)
    const rule = '-A ONE -p tcp -m tcp --dport 1 -j ACCEPT'
    await session.restore(`*filter\n:ONE - [0:0]\n${rule}\nCOMMIT\n`)
    assert.match(shell(`${program} -S ONE`), /--dport 1 /)
    await session.restore('*filter\n-D ONE -p tcp -m tcp --dport 1 -j ACCEPT\nCOMMIT\n' +
      '*nat\n:TWO - [0:0]\nCOMMIT\n')
    assert.doesNotMatch(shell(`${program} -S ONE; ${program} -t nat -S TWO`), /--dport/)
    const refused = session.restore('*filter\n-A ONE -j ACCEPT\n-D ONE -j DROP\nCOMMIT\n')
    await assert.rejects(refused, (error) =>
      isKernelError(error) && /restore.*failed.*exit status/s.test(error.message))
    assert.doesNotMatch(shell(`${program} -S ONE`), /ACCEPT/)
    await session.restore('*filter\n-A ONE -j RETURN\nCOMMIT\n')
    // What others do meanwhile is seen.
    shell(`${program} -F ONE; ${program} -A ONE -j DROP`)
    await session.restore('*filter\n-I ONE 2 -j ACCEPT\nCOMMIT\n')
    assert.match(shell(`${program} -S ONE`), /-A ONE -j DROP\n-A ONE -j ACCEPT/)
    session.close()
  })
}

test('a deletion does not wait for the grace period, and ten thousand lines pass', async () => {
  const session = new IptablesSession(4)
  const lines = Array.from({ length: 10_000 }, (_, i) => `-A MANY -s 10.0.${i >> 8}.${i & 255}/32`)
  await session.restore(`*filter\n:MANY - [0:0]\n${lines.join('\n')}\nCOMMIT\n`)
  assert.equal(shell('iptables -S MANY').trim().split('\n').length, 10_001)
  await session.restore('*filter\n-F MANY\nCOMMIT\n')
  await session.restore('*filter\n-A MANY -j DROP\nCOMMIT\n')
  const started = performance.now()
  await session.restore('*filter\n-D MANY -j DROP\nCOMMIT\n')
  assert.ok(performance.now() - started < 100)
  session.close()
})
