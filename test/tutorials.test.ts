/**
 * Walks through every single-host command of the five tutorials with the stock docker command, on
 * Portolan and, where Debian's dockerd is there, on it too: the same outcome must show on both.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import test from 'node:test'
import { Lab, dockerdPath, sleep, type EngineOptions } from './lab/lab.ts'
import { bipSteps, bridgeSteps, firewallSteps, modeSteps, userNetworkSteps, type Step } from './tutorials/steps.ts'

const chapters: readonly { title: string; steps: readonly Step[]; flags?: readonly string[] }[] = [
  { title: 'the default bridge', steps: bridgeSteps },
  { title: 'host, none and container modes', steps: modeSteps },
  { title: 'networks of one\'s own', steps: userNetworkSteps },
  { title: 'the firewall', steps: firewallSteps },
  { title: 'docker0 at 172.17.42.1', steps: bipSteps, flags: ['--bip', '172.17.42.1/16'] },
]

const page = 'mkdir -p /www && echo "Welcome to nginx!" >/www/index.html && exec httpd -f -p 80 -h /www'
const mysql = 'mkdir -p /www && echo "mysql" >/www/index.html && exec httpd -f -p 3306 -h /www'

async function prepare(options: EngineOptions): Promise<Lab> {
  const lab = await Lab.start(undefined, options)
  await lab.loadBusybox(['alpine:latest', 'base:latest'])
  await lab.loadBusybox(['nginx:latest', 'nginx:alpine'], ['sh', '-c', page], ['80/tcp'])
  await lab.loadBusybox(['mysql:5.7'], ['sh', '-c', mysql], ['3306/tcp'])
  await lab.neighbour()
  return lab
}

/** Takes the steps in order; answers what went wrong, one sentence each. */
async function walk(lab: Lab, steps: readonly Step[]): Promise<string[]> {
  const wrong: string[] = []
  for (const step of steps) {
    const attempt = async () => {
      const ran = await lab.sh(step.typed)
      // A terminal adds carriage returns.
      const text = (ran.err + ran.out).replaceAll('\r', '')
      return { ran, text, right: step.expect.test(text) && (ran.code !== 0) === (step.refused === true) }
    }
    let outcome = await attempt()
    // A person types slower than a server in a container starts to listen.
    for (let tries = 0; tries < 20 && !outcome.right && /^(sleep [\d.]+; )?curl/.test(step.typed); tries++) {
      await sleep(100)
      outcome = await attempt()
    }
    const { ran, text } = outcome
    if (!outcome.right) wrong.push(`${step.about}\n$ ${step.typed}\n(exit ${ran.code}) ${text}\nexpected ${step.expect}`)
  }
  return wrong
}

for (const { title, steps, flags = [] } of chapters) {
  test(`every command works as shown: ${title}`, async () => {
    const lab = await prepare({ flags })
    try {
      assert.deepEqual(await walk(lab, steps), [])
      await lab.expectNoLeaks()
    } finally {
      await lab.stop()
      forgetFirewall()
    }
  })
}

for (const { title, steps, flags = [] } of chapters) {
  const skip = dockerdPath() === undefined ? 'no dockerd here to compare with' : false
  test(`a real dockerd shows the same: ${title}`, { skip }, async (t) => {
    const lab = await prepare({ engine: 'dockerd', flags })
    try {
      const compared = steps.filter((step) => step.differs === undefined)
      assert.deepEqual(await walk(lab, compared), [])
      t.diagnostic(`${compared.length} of ${steps.length} outcomes compared, the others differ by a newer engine's rules`)
    } finally {
      await lab.stop()
      forgetFirewall()
      for (const link of ['docker0', 'A']) spawnSync('ip', ['link', 'del', link])
    }
  })
}

/** Private namespaces: whatever an engine wrote goes, so that the next one starts as on a new machine. */
function forgetFirewall(): void {
  for (const table of ['raw', 'filter', 'nat']) {
    for (const verb of ['-F', '-X']) spawnSync('iptables', ['-t', table, verb])
    for (const verb of ['-F', '-X']) spawnSync('ip6tables', ['-t', table, verb])
  }
  for (const chain of ['INPUT', 'FORWARD', 'OUTPUT']) spawnSync('iptables', ['-P', chain, 'ACCEPT'])
}
