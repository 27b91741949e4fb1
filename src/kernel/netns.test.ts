import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import { isKernelError } from './error.ts'
import {
  createNetns,
  homeNetns,
  inNetns,
  inNetnsAt,
  openNetns,
  removeNetns,
  warmThreads,
} from './netns.ts'

let dir = ''
before(async () => {
  await warmThreads()
  dir = mkdtempSync(join(tmpdir(), 'netns-'))
})
after(() => rmSync(dir, { recursive: true }))

const openFds = () => readdirSync('/proc/self/fd').length

test('a namespace is made with lo up, entered, left and removed without a trace', () => {
  const fds = openFds()
  const path = join(dir, 'a')
  createNetns(path)
  const ns = openNetns(path)
  assert.notEqual(ns.inode, homeNetns().inode)
  const seen = inNetns(ns, () => ({
    inode: statSync('/proc/thread-self/ns/net').ino,
    lo: readFileSync('/proc/thread-self/net/if_inet6', 'latin1'),
  }))
  assert.equal(seen.inode, ns.inode)
  assert.match(seen.lo, /00000001 01 80 10 80\s+lo/)
  assert.equal(statSync('/proc/thread-self/ns/net').ino, homeNetns().inode)
  ns.close()
  ns.close()
  removeNetns(path)
  removeNetns(path)
  assert.equal(openFds(), fds)
  assert.ok(!readFileSync('/proc/self/mountinfo', 'latin1').includes(dir))
})

test('inside a section only this thread has moved', () => {
  const path = join(dir, 'b')
  createNetns(path)
  const home = readlinkSync('/proc/thread-self/ns/net')
  const others = inNetnsAt(path, () =>
    readdirSync('/proc/self/task').filter((task) => {
      return readlinkSync(`/proc/self/task/${task}/ns/net`) !== home
    }),
  )
  assert.deepEqual(others, [String(process.pid)])
  removeNetns(path)
})

test('a section that throws, nests or returns a promise still comes home', () => {
  const a = join(dir, 'c')
  const b = join(dir, 'd')
  createNetns(a)
  createNetns(b)
  const fail = () =>
    inNetnsAt(a, () => {
      throw new Error('inside')
    })
  assert.throws(fail, /inside/)
  assert.throws(() => inNetnsAt(a, () => Promise.resolve()), /synchronous/)
  const inner = inNetnsAt(a, () => {
    const there = inNetnsAt(b, () => statSync('/proc/thread-self/ns/net').ino)
    return [there, statSync('/proc/thread-self/ns/net').ino]
  })
  const inodeOf = (path: string) => inNetnsAt(path, () => statSync('/proc/thread-self/ns/net').ino)
  assert.deepEqual(inner, [inodeOf(b), inodeOf(a)])
  assert.equal(statSync('/proc/thread-self/ns/net').ino, homeNetns().inode)
  removeNetns(a)
  removeNetns(b)
})

test('entering what is no namespace is refused with number, name and a sentence', () => {
  const notNs = openNetns('/etc/hostname')
  assert.throws(
    () => inNetns(notNs, () => undefined),
    (error) =>
      isKernelError(error, 'EINVAL') &&
      error.call === 'setns' &&
      error.message === 'enter network namespace /etc/hostname: invalid argument (EINVAL)',
  )
  notNs.close()
})

test('an existing file is not taken over', () => {
  const path = join(dir, 'e')
  createNetns(path)
  const inode = statSync(path).ino
  assert.throws(() => createNetns(path), /EEXIST/)
  assert.equal(statSync(path).ino, inode)
  removeNetns(path)
})
