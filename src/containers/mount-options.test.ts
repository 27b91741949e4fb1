import assert from 'node:assert/strict'
import test from 'node:test'
import { parseBind, tmpfsOptions } from './mount-options.ts'

test('-v knows folders, names, modes and propagation', () => {
  assert.deepEqual(parseBind('/src:/dst/:ro,rshared'), {
    source: '/src',
    destination: '/dst',
    mode: 'ro,rshared',
    readOnly: true,
    propagation: 'rshared',
    noCopy: false,
  })
  assert.equal(parseBind('name:/dst').source, 'name')
  assert.equal(parseBind('name:/dst:nocopy').noCopy, true)
})

for (const [text, sentence] of [
  ['/a:/b:ro:x', "invalid volume specification: '/a:/b:ro:x'"],
  ['/a:', "invalid volume specification: '/a:'"],
  [
    '/a:/',
    'invalid volume specification: \'/a:/\': invalid mount config for type "bind": ' +
      "invalid specification: destination can't be '/'",
  ],
  [
    '/a:b',
    'invalid volume specification: \'/a:b\': invalid mount config for type "bind": ' +
      "invalid mount path: 'b' mount path must be absolute",
  ],
  ['/a:/b:zz', 'invalid mode: zz'],
  ['/a:/b:ro,rw', 'invalid mode: ro,rw'],
] as const) {
  test(`-v ${text} is refused`, () => {
    assert.throws(() => parseBind(text), { message: sentence })
  })
}

test("--tmpfs lays the user's options over the safe ones", () => {
  assert.deepEqual(tmpfsOptions(''), ['noexec', 'nosuid', 'nodev'])
  assert.deepEqual(tmpfsOptions('exec,size=1m'), ['nosuid', 'nodev', 'exec', 'size=1m'])
  assert.deepEqual(tmpfsOptions('size=1m,size=2m'), ['noexec', 'nosuid', 'nodev', 'size=2m'])
  assert.throws(() => tmpfsOptions('zz'), /invalid tmpfs option \["zz"\]/)
})
