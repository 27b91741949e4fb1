/**
 * `npm run bench -- memory`: resident memory of daemon and keeper with 100 containers, each with a
 * published port, and how many processes of ours there are.
 */
import assert from 'node:assert/strict'
import { readFileSync, readdirSync } from 'node:fs'
import { Lab, sleep } from '../test/lab/lab.ts'

const containers = 100
/** Long enough for one comparison of everything with the kernel, and for what follows it. */
const settleMs = 40_000

interface Process {
  readonly what: string
  readonly rssMiB: number
}

function ours(lab: Lab): Process[] {
  const found: Process[] = []
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      if (!command.includes(lab.folder)) continue
      const kiB = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0)
      const what = /main\.ts daemon/.test(command) ? 'daemon' : /keeper/.test(command) ? 'keeper' : 'other'
      found.push({ what, rssMiB: kiB / 1024 })
    } catch (error) {
      assert.ok(error instanceof Error) // ended while we looked
    }
  }
  return found
}

export async function main(): Promise<void> {
  const lab = await Lab.start(undefined)
  try {
    const show = (when: string) => {
      const processes = ours(lab).filter((process) => process.what !== 'other')
      const sum = processes.reduce((total, process) => total + process.rssMiB, 0)
      const each = processes.map((process) => `${process.what} ${process.rssMiB.toFixed(0)}`).join(', ')
      const others = ours(lab).length - processes.length
      console.log(`${when}: ${sum.toFixed(0)} MiB resident (${each}); ${others} of containerd`)
    }
    await sleep(3_000)
    show('no container')
    for (let i = 0; i < containers; i++) await lab.ok('run', '-d', '-p', `${30000 + i}:80`, 'busybox', 'sleep', '1d')
    show(`${containers} containers, a port each, right after`)
    await sleep(settleMs)
    show(`${containers} containers, ${settleMs / 1000} s later`)
    await lab.ok('ps')
    show(`${containers} containers, after a docker ps`)
  } finally {
    const ids = (await lab.docker('ps', '-aq')).out.split('\n').filter((id) => id !== '')
    if (ids.length > 0) await lab.docker('rm', '-f', ...ids)
    await lab.stop()
  }
}
