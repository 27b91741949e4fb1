/**
 * A machine without libnftables, or a kernel without nftables: names are served all the same, only
 * port 53 is not a container's own.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import test from 'node:test'
import { pidOf } from './lab/chaos.ts'
import { Lab } from './lab/lab.ts'

test('without libnftables containers find each other by name, also through a new keeper', async (t) => {
  const found = spawnSync('sh', ['-c', "ldconfig -p | grep -o '/.*/libnftables.so.1$' | xargs readlink -f"], { encoding: 'utf8' })
  for (const library of new Set(found.stdout.split('\n').filter((path) => path !== ''))) {
    // The namespace of mounts is this test's own.
    assert.equal(spawnSync('mount', ['--bind', '/dev/null', library]).status, 0)
  }
  const lab = await Lab.start(t)
  await lab.ok('network', 'create', 'net')
  await lab.ok('run', '-d', '--name', 'one', '--network', 'net', '--network-alias', 'uno', 'busybox', 'sleep', '600')
  await lab.ok('run', '-d', '--name', 'two', '--network', 'net', 'busybox', 'sleep', '600')
  const address = await lab.ok('inspect', '-f', '{{.NetworkSettings.Networks.net.IPAddress}}', 'one')
  const named = async () => {
    for (const name of ['one', 'uno', 'one.net']) assert.match(await lab.ok('exec', 'two', 'nslookup', name), new RegExp(`Address: ${address}`))
    assert.match(await lab.ok('exec', 'two', 'nslookup', address), /name = one\.net/)
    assert.equal(await lab.must(`nsenter --net=$(docker inspect -f '{{.NetworkSettings.SandboxKey}}' two) dig +tcp +short +timeout=3 @127.0.0.11 one`), address)
  }
  await named()
  process.kill(pidOf(lab, 'keeper') ?? assert.fail('no keeper'), 'SIGKILL')
  await named()
  await lab.ok('restart', '-t', '0', 'two')
  await named()
  const bind = 'timeout 1 nc -l -p 53 2>&1; true'
  assert.match(await lab.ok('run', '--rm', '--network', 'net', 'busybox', 'sh', '-c', bind), /Address already in use/)
  assert.doesNotMatch(await lab.ok('run', '--rm', 'busybox', 'sh', '-c', bind), /in use/)
  await lab.expectNoLeaks()
})
