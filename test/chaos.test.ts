/**
 * SIGKILL of daemon, keeper and containerd at random moments while operations of every kind run.
 * Afterwards what says that it runs does run and answers by port and name, everything can be
 * removed, and nothing is left anywhere.
 *
 *     CHAOS_SECONDS=300 CHAOS_SEED=7 scripts/test test/chaos.test.ts     longer, or again
 */
import assert from 'node:assert/strict'
import test from 'node:test'
import { Chaos, firstPort, pidOf } from './lab/chaos.ts'
import { descriptorsMore, descriptorsOf, inventoryOf, type Inventory } from './lab/inventory.ts'
import { Lab, sleep } from './lab/lab.ts'

const seconds = Number(process.env['CHAOS_SECONDS'] ?? '15')
const seed = Number(process.env['CHAOS_SEED'] ?? Date.now() % 1_000_000)
const quietMs = 15_000

interface Listed {
  readonly id: string
  readonly name: string
  readonly status: string
  readonly networks: readonly string[]
}

async function listed(lab: Lab): Promise<readonly Listed[]> {
  const text = await lab.ok('ps', '-a', '--no-trunc', '--format', '{{.ID}} {{.Names}} {{.State}} {{.Networks}}')
  return text.split('\n').filter((line) => line !== '').map((line) => {
    const [id = '', name = '', status = '', networks = ''] = line.split(' ')
    return { id, name, status, networks: networks.split(',') }
  })
}

/** Whatever runs is a server that answers by its port and, to its neighbours, by its name. */
async function expectWhole(lab: Lab): Promise<void> {
  const all = await listed(lab)
  const paused = all.filter(({ status }) => status === 'paused')
  if (paused.length > 0) await lab.ok('unpause', ...paused.map(({ id }) => id))
  const running = all.filter(({ status }) => status === 'running' || status === 'paused')
  const states = ['created', 'running', 'paused', 'exited', 'restarting']
  assert.deepEqual(all.filter(({ status }) => !states.includes(status)), [])
  for (const { id, name, networks } of running) {
    await lab.ok('exec', id, 'true')
    const command = await lab.ok('inspect', '-f', '{{json .Config.Cmd}} {{len .NetworkSettings.Networks}}', id)
    if (!command.includes('httpd') || command.endsWith(' 0')) continue
    const port = firstPort + Number(name.slice(1))
    if (!(await lab.ok('port', id)).includes('80/tcp')) {
      assert.fail(`${name} is on ${networks.join(' and ')} and has no port`)
    }
    for (const line of [
      `curl -s -m 5 --retry 2 --retry-connrefused 127.0.0.1:${port}`,
      `ip netns exec neighbour curl -s -m 5 --retry 2 --retry-connrefused 198.51.100.1:${port}`,
    ]) {
      assert.equal(await lab.must(line), name)
    }
    for (const network of networks.filter((one) => one !== 'bridge' && one !== '')) {
      const other = running.find((one) => one.id !== id && one.networks.includes(network))
      if (other === undefined) continue
      assert.equal(await lab.ok('exec', other.id, 'timeout', '5', 'wget', '-qO-', `http://${name}`), name)
    }
  }
}

async function removeAll(lab: Lab): Promise<void> {
  const ids = (await listed(lab)).map(({ id }) => id)
  if (ids.length > 0) await lab.ok('rm', '-f', '-v', ...ids)
  const networks = (await lab.ok('network', 'ls', '-q', '--filter', 'type=custom')).split('\n').filter((id) => id !== '')
  if (networks.length > 0) await lab.ok('network', 'rm', ...networks)
}

/** Links leave behind the answer, within a bound. */
async function expectSame(before: Inventory, take: () => Inventory): Promise<void> {
  const deadlineMs = performance.now() + quietMs
  for (;;) {
    const now = take()
    try {
      assert.deepEqual(now, before)
      return
    } catch (error) {
      if (performance.now() > deadlineMs) throw error
    }
    await sleep(250)
  }
}

test('killed in the middle of anything, the engine adopts or cleans everything', async (t) => {
  t.diagnostic(`seed ${seed}`)
  const lab = await Lab.start(t, { flags: ['--live-restore'] })
  await lab.neighbour()
  await lab.ok('network', 'create', 'warm')
  await lab.ok('run', '--rm', '--network', 'warm', '-p', '6999:80', 'busybox', 'true')
  await lab.ok('network', 'rm', 'warm')
  await sleep(500)
  const before = inventoryOf(lab, new Set())
  const descriptors = (word: string) => descriptorsOf(pidOf(lab, word) ?? 0)
  const total = (counts: ReadonlyMap<string, number>) => [...counts.values()].reduce((sum, n) => sum + n, 0)
  const keeperBefore = total(descriptors('keeper'))
  const daemonBefore = total(descriptorsOf(lab.daemonPid))

  const chaos = new Chaos(lab, seed)
  await chaos.run(seconds * 1000)
  t.diagnostic(`${chaos.operations} operations, ${chaos.kills.length} kills`)
  await sleep(2000)
  assert.deepEqual(chaos.faults, [])
  await expectWhole(lab)
  await removeAll(lab)
  await expectSame(before, () => inventoryOf(lab, chaos.ids))
  const [keeper, daemon] = [descriptors('keeper'), descriptorsOf(lab.daemonPid)]
  assert.ok(total(keeper) <= keeperBefore + descriptorsMore, `keeper holds ${[...keeper].join(' ')}`)
  assert.ok(total(daemon) <= daemonBefore + descriptorsMore, `daemon holds ${[...daemon].join(' ')}`)
})
