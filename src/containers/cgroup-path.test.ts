import assert from 'node:assert/strict'
import test from 'node:test'
import { cgroupsPathOf, checkCgroupParent, runtimeCgroupsPath } from './cgroup-path.ts'

const container = (CgroupParent = '') => ({ id: 'c0ffee', hostConfig: { CgroupParent } })
const cgroupfs = { cgroupParent: '', systemdCgroup: false }
const systemd = { cgroupParent: '', systemdCgroup: true }

test('the cgroupfs driver makes a folder below docker, the parent of the daemon, or the container’s', () => {
  assert.equal(cgroupsPathOf(container(), cgroupfs), '/docker/c0ffee')
  assert.equal(cgroupsPathOf(container(), { ...cgroupfs, cgroupParent: '/all//' }), '/all/c0ffee')
  assert.equal(cgroupsPathOf(container('/a/b'), cgroupfs), '/a/b/c0ffee')
  assert.equal(runtimeCgroupsPath(container('a'), cgroupfs), '/a/c0ffee')
})

test('the systemd driver makes a scope; a slice lies in those that its name begins with', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['', '/system.slice'],
    ['foo.slice', '/foo.slice'],
    ['foo-bar-baz.slice', '/foo.slice/foo-bar.slice/foo-bar-baz.slice'],
    ['-.slice', ''],
  ]
  for (const [parent, folder] of cases) {
    assert.equal(cgroupsPathOf(container(parent), systemd), `${folder}/docker-c0ffee.scope`)
  }
  assert.equal(runtimeCgroupsPath(container(), systemd), 'system.slice:docker:c0ffee')
  assert.equal(runtimeCgroupsPath(container('a-b.slice'), systemd), 'a-b.slice:docker:c0ffee')
})

test('systemd’s parents are slices; a path is refused in Docker’s words', () => {
  const message = 'cgroup-parent for systemd cgroup should be a valid slice named as "xxx.slice"'
  for (const parent of ['/foo/bar', 'foo', '.slice']) {
    assert.throws(() => checkCgroupParent(parent, true), { kind: 'invalid', message })
    checkCgroupParent(parent, false)
  }
  for (const parent of ['', 'a.slice', 'a-b.slice']) checkCgroupParent(parent, true)
})
