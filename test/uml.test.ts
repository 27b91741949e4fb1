/** What this kernel may lack is tested in a second one: see test/uml/guest.ts. */
import assert from 'node:assert/strict'
import test, { type TestContext } from 'node:test'
import { guestKernel, runInGuest } from './uml/guest.ts'

const kernel = guestKernel()
const skip = kernel === undefined
  ? 'the Debian package user-mode-linux could not be had: what needs its kernel is not tested here'
  : false

async function passInGuest(t: TestContext, file: string, atLeast: number): Promise<void> {
  assert.ok(kernel)
  const { tests, output } = await runInGuest(kernel, file)
  for (const { name, passed, skipped } of tests) {
    await t.test(name, (inner) => {
      if (skipped !== '') inner.skip(skipped)
      assert.ok(passed, output.slice(-20_000))
    })
  }
  assert.ok(tests.length >= atLeast && output.includes('# guest ends'), output.slice(-20_000))
}

test('ipvlan and 802.1q sub-interfaces, in a user-mode-linux guest', { skip }, (t) =>
  passInGuest(t, 'test/uml/children.ts', 8))

test('cgroup v2 and AppArmor, in a user-mode-linux guest', { skip }, (t) =>
  passInGuest(t, 'test/uml/limits.ts', 10))

test('macvlan and ipvlan beside dockerd, in a user-mode-linux guest', { skip }, (t) =>
  passInGuest(t, 'test/uml/parents.ts', 1))
