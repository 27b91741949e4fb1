/** What this kernel may lack is tested in a second one: see test/uml/guest.ts. */
import assert from 'node:assert/strict'
import test from 'node:test'
import { guestKernel, runInGuest } from './uml/guest.ts'

const kernel = guestKernel()
const skip = kernel === undefined
  ? 'the Debian package user-mode-linux could not be had: ipvlan and VLANs are not tested here'
  : false

test('ipvlan and 802.1q sub-interfaces, in a user-mode-linux guest', { skip }, async (t) => {
  assert.ok(kernel)
  const { tests, output } = await runInGuest(kernel, 'test/uml/children.ts')
  for (const { name, passed, skipped } of tests) {
    await t.test(name, (inner) => {
      if (skipped !== '') inner.skip(skipped)
      assert.ok(passed, output.slice(-20_000))
    })
  }
  assert.ok(tests.length >= 8 && output.includes('# guest ends'), output.slice(-20_000))
})
