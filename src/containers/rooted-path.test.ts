import assert from 'node:assert/strict'
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import test, { after, before } from 'node:test'
import { makeFolders, readInside, withPlace } from './rooted-path.ts'
import type { Root } from './rooted-path.ts'

let outside: string
let root: Root

before(() => {
  outside = mkdtempSync('/tmp/rooted-')
  const path = join(outside, 'root')
  root = { path, mounts: new Map([['/data', join(outside, 'volume')]]) }
  mkdirSync(join(path, 'etc'), { recursive: true })
  mkdirSync(join(path, 'data'))
  mkdirSync(join(outside, 'volume'))
  writeFileSync(join(outside, 'secret'), 'outside')
  writeFileSync(join(path, 'secret'), 'inside')
  writeFileSync(join(path, 'etc/passwd'), 'root:x:0:0')
  writeFileSync(join(outside, 'volume/file'), 'of the volume')
  symlinkSync('../../../secret', join(path, 'etc/up'))
  symlinkSync('/secret', join(path, 'etc/absolute'))
  symlinkSync('/etc', join(path, 'elsewhere'))
  symlinkSync('loop', join(path, 'loop'))
  symlinkSync('/data/file', join(path, 'into'))
})

after(() => rmSync(outside, { recursive: true }))

for (const path of [
  '/secret',
  'secret',
  '/../../secret',
  '/etc/up',
  '/etc/absolute',
  '/elsewhere/up',
]) {
  test(`${path} leads to the file inside`, () => {
    assert.equal(readInside(root, path), 'inside')
  })
}

test('a volume is seen at its place, by links too', () => {
  assert.equal(readInside(root, '/data/file'), 'of the volume')
  assert.equal(readInside(root, '/into'), 'of the volume')
  assert.equal(readInside(root, '/data/../secret'), 'inside')
})

test('the last link is followed only when asked', () => {
  const isLink = (follow: boolean) =>
    withPlace(root, '/etc/up', follow, (place) => lstatSync(place.path).isSymbolicLink())
  assert.equal(isLink(false), true)
  assert.equal(isLink(true), false)
})

test('a missing end is fine, a missing way is not, a loop ends', () => {
  withPlace(root, '/etc/new', true, (place) => assert.equal(place.exists, false))
  assert.throws(() => withPlace(root, '/nope/new', true, () => undefined), /no such file/)
  assert.throws(() => withPlace(root, '/loop', true, () => undefined), /symbolic links/)
  assert.throws(() => withPlace(root, '/etc/passwd/x', true, () => undefined), /not a directory/)
})

test('folders are made inside, through links as well', () => {
  makeFolders(root, '/elsewhere/a/b')
  assert.ok(lstatSync(join(root.path, 'etc/a/b')).isDirectory())
  assert.throws(() => makeFolders(root, '/etc/passwd/x'), /not a directory/)
  assert.equal(readFileSync(join(outside, 'secret'), 'utf8'), 'outside')
})
