import assert from 'node:assert/strict'
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import { isKernelError } from './error.ts'
import { makeFifo, openFifo } from './fifo.ts'
import {
  isMountPoint,
  listMounts,
  makeShared,
  mount,
  mountAll,
  parseMountinfo,
  parseMountOptions,
  unmount,
  unmountAll,
} from './mount.ts'
import { createNetns, homeNetns, openNetns, removeNetns } from './netns.ts'
import { readSysctl, sysctlKey, writeSysctl } from './sysctl.ts'

let dir = ''
before(() => {
  dir = mkdtempSync(join(tmpdir(), 'files-'))
  // Overlay does not take another overlay's upper layer: a tmpfs below serves everywhere.
  mount({ type: 'tmpfs', source: 'tmpfs', target: dir, options: ['size=8m', 'mode=700'] })
})
after(() => {
  assert.deepEqual(
    listMounts()
      .map((entry) => entry.target)
      .filter((target) => target.startsWith(`${dir}/`)),
    [],
  )
  assert.ok(unmount(dir))
  assert.ok(!unmount(dir))
  rmSync(dir, { recursive: true })
})

const folder = (...names: readonly string[]) => {
  const path = join(dir, ...names)
  mkdirSync(path, { recursive: true })
  return path
}

test('an overlay from containerd mount options shows both layers and writes to the upper', () => {
  const [lower, upper, work, merged] = ['ov/l', 'ov/u', 'ov/w', 'ov/m'].map((name) => folder(name))
  writeFileSync(`${lower}/a`, 'lower')
  const options = [`workdir=${work}`, `upperdir=${upper}`, `lowerdir=${lower}`]
  mount({ type: 'overlay', source: 'overlay', target: `${merged}`, options })
  assert.equal(readFileSync(`${merged}/a`, 'utf8'), 'lower')
  writeFileSync(`${merged}/b`, 'new')
  assert.equal(readFileSync(`${upper}/b`, 'utf8'), 'new')
  assert.ok(unmount(`${merged}`))
})

test('an overlay of more layers than fit on one page is mounted all the same', () => {
  const layers: string[] = []
  for (let index = 0; index < 120; index++) {
    layers.push(folder('a-folder-with-a-long-name-for-snapshots', String(index), 'fs'))
  }
  writeFileSync(`${layers[119]}/deepest`, 'x')
  const target = folder('deep')
  const cwd = process.cwd()
  const options = [`lowerdir=${layers.join(':')}`]
  assert.ok(options.join().length > 4096)
  mount({ type: 'overlay', source: 'overlay', target, options })
  assert.equal(process.cwd(), cwd)
  assert.deepEqual(readdirSync(target), ['deepest'])
  unmount(target)
})

test('a read-only bind is read-only while its source is not', () => {
  const source = folder('bind/source')
  const target = folder('bind/target')
  mount({ type: 'bind', source, target, options: ['rbind', 'ro', 'rprivate'] })
  assert.throws(() => writeFileSync(`${target}/x`, ''), /EROFS/)
  writeFileSync(`${source}/x`, '')
  assert.ok(isMountPoint(target))
  unmount(target)
})

test('a list of mounts is mounted wholly or not at all', () => {
  const first = folder('list/first')
  const good = { type: 'tmpfs', source: 'tmpfs', target: first, options: [] }
  const bad = { type: 'nosuchfs', source: 'x', target: folder('list/second'), options: [] }
  assert.throws(
    () => mountAll([good, bad]),
    (error) => isKernelError(error, 'ENODEV') && error.message.startsWith('mount nosuchfs x on '),
  )
  assert.ok(!isMountPoint(first))
})

test('a folder becomes a shared mount once, however often it is asked', () => {
  const path = folder('shared')
  makeShared(path)
  makeShared(path)
  const entries = listMounts().filter((entry) => entry.target === path)
  assert.equal(entries.length, 1)
  assert.match(entries[0]?.propagation.join() ?? '', /shared:/)
  mount({ type: 'tmpfs', source: 'tmpfs', target: path, options: [] })
  unmountAll(path)
  assert.ok(!isMountPoint(path))
})

test('mount options fall into flags, propagation and data', () => {
  assert.deepEqual(parseMountOptions(['rbind', 'ro', 'rw', 'nosuid', 'rshared', 'size=1m', '']), {
    flags: 4096 | 16384 | 2,
    propagation: [(1 << 20) | 16384],
    data: ['size=1m'],
  })
})

test('mountinfo is read with its optional fields and escapes', () => {
  const line =
    '36 35 98:0 /mnt1 /mnt\\0402 rw,noatime shared:1 master:2 - ext3 /dev/root rw,errors=continue'
  assert.deepEqual(parseMountinfo(`${line}\n\n`), [
    {
      id: 36,
      parentId: 35,
      root: '/mnt1',
      target: '/mnt 2',
      options: ['rw', 'noatime'],
      propagation: ['shared:1', 'master:2'],
      type: 'ext3',
      source: '/dev/root',
      superOptions: ['rw', 'errors=continue'],
    },
  ])
})

test('a FIFO opens without its other end, carries bytes and shows end-of-file', () => {
  const path = join(dir, 'fifo')
  makeFifo(path, 0o622)
  assert.equal(statSync(path).mode & 0o7777, 0o622)
  const reader = openFifo(path, 'read')
  const holder = openFifo(path, 'readWrite')
  writeSync(holder, 'hello')
  const buffer = Buffer.alloc(16)
  assert.equal(readSync(reader, buffer), 5)
  assert.throws(() => readSync(reader, buffer), /EAGAIN/)
  closeSync(holder)
  assert.equal(readSync(reader, buffer), 0)
  closeSync(reader)
  assert.throws(() => makeFifo(path), /EEXIST/)
})

test('a sysctl of another namespace is set there and not here', () => {
  const path = join(dir, 'netns')
  createNetns(path)
  const ns = openNetns(path)
  const key = 'net/ipv4/ip_forward'
  writeSysctl(ns, key, '1')
  assert.equal(readSysctl(ns, key), '1')
  assert.equal(readSysctl(homeNetns(), key), '0')
  assert.equal(readSysctl(ns, 'net/ipv4/conf/none0/forwarding'), undefined)
  const unknown = () => writeSysctl(ns, 'net/no/such', '1')
  assert.throws(unknown, /set sysctl net\/no\/such to "1": .*ENOENT/)
  assert.throws(() => writeSysctl(ns, key, 'many'), /EINVAL/)
  assert.throws(() => readSysctl(ns, '../../etc/passwd'), /not a key/)
  ns.close()
  removeNetns(path)
})

test('sysctls of many namespaces are kept apart, and no descriptor stays', () => {
  const key = 'net/ipv4/ip_default_ttl'
  const spaces = Array.from({ length: 40 }, (_, index) => {
    const path = join(dir, `netns${index}`)
    createNetns(path)
    return openNetns(path)
  })
  const open = () => readdirSync('/proc/self/fd').length
  const before = open()
  for (const [index, ns] of spaces.entries()) writeSysctl(ns, key, String(100 + index))
  for (const [index, ns] of spaces.entries()) assert.equal(readSysctl(ns, key), String(100 + index))
  assert.equal(readSysctl(homeNetns(), key), readFileSync('/proc/sys/net/ipv4/ip_default_ttl', 'utf8').trim())
  assert.ok(open() <= before + 1)
  for (const ns of spaces) {
    ns.close()
    removeNetns(ns.path)
  }
})

test('dotted sysctl names become paths', () => {
  assert.equal(sysctlKey('net.ipv4.ip_forward'), 'net/ipv4/ip_forward')
  assert.equal(sysctlKey('net/ipv4/conf/eth0.1/x'), 'net/ipv4/conf/eth0.1/x')
  assert.equal(sysctlKey('net.ipv4.conf.eth0/1.x'), 'net/ipv4/conf/eth0.1/x')
})
