import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import test from 'node:test'
import { cleanMappings } from './resident.ts'

test('only read-only mappings of files that nobody wrote to are given back', () => {
  const area = (range: string, rights: string, path: string, anonymousKiB: number) =>
    `${range} ${rights} 00000000 08:01 1234                       ${path}\n` +
    `Size:                  8 kB\nRss:                   8 kB\n` +
    `Anonymous:             ${anonymousKiB} kB\nVmFlags: rd mr mw me\n`
  const smaps = [
    area('00400000-00402000', 'r-xp', '/usr/bin/node', 0),
    area('00402000-00404000', 'r--p', '/usr/bin/node', 4),
    area('00404000-00406000', 'rw-p', '/usr/bin/node', 0),
    area('00406000-00408000', 'r--s', '/var/lib/shared', 0),
    area('00408000-0040a000', 'r-xp', '', 0),
    area('7f0000000000-7f0000003000', 'r--p', '/usr/lib/with space.so', 0),
  ].join('')
  assert.deepEqual(cleanMappings(smaps), [
    { start: 0x400000n, bytes: 0x2000 },
    { start: 0x7f0000000000n, bytes: 0x3000 },
  ])
})

test('a process that gives back is smaller and goes on', () => {
  const module = new URL('./resident.ts', import.meta.url).href
  const script = `
    const { giveBack } = await import(${JSON.stringify(module)})
    const before = process.memoryUsage.rss()
    giveBack()
    const after = process.memoryUsage.rss()
    const sum = [1, 2, 3].map((each) => each * 2).join()
    console.log(JSON.stringify({ before, after, sum }))`
  const flags = ['--disable-warning=ExperimentalWarning', '--expose-gc', '--input-type=module']
  const options = { encoding: 'utf8', timeout: 20_000 } as const
  const { stdout, stderr } = spawnSync(process.execPath, [...flags, '-e', script], options)
  const { before, after, sum }: { before: number; after: number; sum: string } = JSON.parse(stdout)
  assert.equal(sum, '2,4,6', stderr)
  assert.ok(after < before * 0.8, `${before} bytes became ${after}`)
})
