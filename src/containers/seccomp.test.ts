import assert from 'node:assert/strict'
import test from 'node:test'
import { capabilitiesOf, defaultCapabilities } from './capabilities.ts'
import { defaultSeccomp, parseSeccomp } from './seccomp.ts'

const plain = { add: null, drop: null, privileged: false }
const allowed = (capabilities: readonly string[]) =>
  new Set(
    defaultSeccomp(capabilities)
      .syscalls.filter((rule) => rule.action === 'SCMP_ACT_ALLOW' && rule.args === undefined)
      .flatMap((rule) => rule.names),
  )

test('a container without more rights cannot mount, trace the kernel or load modules', () => {
  const names = allowed(defaultCapabilities)
  for (const name of [
    'mount',
    'umount2',
    'bpf',
    'init_module',
    'reboot',
    'setns',
    'keyctl',
    'clone3',
  ]) {
    assert.ok(!names.has(name), name)
  }
  for (const name of ['read', 'execve', 'chroot', 'openat2', 'socket', 'close_range']) {
    assert.ok(names.has(name), name)
  }
})

test('an added capability opens the calls that it stands for', () => {
  assert.ok(allowed(capabilitiesOf({ ...plain, add: ['SYS_ADMIN'] })).has('mount'))
  assert.ok(allowed(capabilitiesOf({ ...plain, add: ['sys_module'] })).has('init_module'))
  assert.ok(!allowed(capabilitiesOf({ ...plain, drop: ['SYS_CHROOT'] })).has('chroot'))
})

test('a refused clone3 says that there is none, so that libraries fall back', () => {
  const rule = defaultSeccomp(defaultCapabilities).syscalls.find((call) =>
    call.names.includes('clone3'),
  )
  assert.deepEqual([rule?.action, rule?.errnoRet], ['SCMP_ACT_ERRNO', 38])
})

test('a profile of the user is resolved in the same way', () => {
  const text = JSON.stringify({
    defaultAction: 'SCMP_ACT_ALLOW',
    syscalls: [
      { names: ['chmod'], action: 'SCMP_ACT_ERRNO' },
      { names: ['chown'], action: 'SCMP_ACT_ERRNO', includes: { caps: ['CAP_SYS_ADMIN'] } },
    ],
  })
  assert.deepEqual(parseSeccomp(text, defaultCapabilities).syscalls, [
    { names: ['chmod'], action: 'SCMP_ACT_ERRNO' },
  ])
  assert.throws(() => parseSeccomp('{', []), /Decoding seccomp profile failed/)
})

test('capabilities are added, dropped and refused by name', () => {
  assert.deepEqual(capabilitiesOf({ ...plain, drop: ['ALL'], add: ['net_admin'] }), [
    'CAP_NET_ADMIN',
  ])
  assert.equal(capabilitiesOf({ ...plain, drop: ['CAP_MKNOD'] }).length, 13)
  assert.throws(() => capabilitiesOf({ ...plain, add: ['zz'] }), {
    message: 'invalid CapAdd: unknown capability: "CAP_ZZ"',
  })
})
