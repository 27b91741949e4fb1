import assert from 'node:assert/strict'
import test from 'node:test'
import { configShape, createShape } from './config.ts'
import { commandOf, logMaxBytes, mergeImageConfig } from './defaults.ts'

const config = (fields: object) => configShape.decode(fields, 'Config')
const image = {
  Env: ['PATH=/bin', 'A=image'],
  Cmd: ['serve'],
  Entrypoint: ['/entry'],
  WorkingDir: '/srv',
  ExposedPorts: { '80/tcp': {} },
  Labels: { a: '1', b: '1' },
  Volumes: { '/data': {} },
}

test('what the request leaves open comes from the image', () => {
  const merged = mergeImageConfig(config({ Env: ['A=own'], Labels: { b: '2' } }), image)
  assert.deepEqual(merged.Env, ['A=own', 'PATH=/bin'])
  assert.deepEqual(merged.Labels, { a: '1', b: '2' })
  assert.deepEqual(commandOf(merged), { path: '/entry', args: ['serve'] })
  assert.equal(merged.WorkingDir, '/srv')
})

test("a command or entrypoint of the request replaces the image's", () => {
  const command = (fields: object) => commandOf(mergeImageConfig(config(fields), image))
  assert.deepEqual(command({ Cmd: ['x'] }), { path: '/entry', args: ['x'] })
  assert.deepEqual(command({ Entrypoint: ['sh'] }), { path: 'sh', args: [] })
  assert.deepEqual(command({ Entrypoint: [''], Cmd: ['x'] }), { path: 'x', args: [] })
  assert.deepEqual(command({ Entrypoint: 'sh', Cmd: 'x' }), { path: 'sh', args: ['x'] })
  assert.throws(() => commandOf(config({})), { message: 'no command specified' })
})

test('a request is read as Go reads it: names in each case, null as zero, others ignored', () => {
  const request = createShape.decode(
    { image: 'x', CMD: null, hostconfig: { binds: ['a:/b'] }, Zzz: 1 },
    'CreateRequest',
  )
  assert.equal(request.Image, 'x')
  assert.equal(request.Cmd, null)
  assert.deepEqual(request.HostConfig?.Binds, ['a:/b'])
  assert.throws(() => createShape.decode({ Hostname: 1 }, 'CreateRequest'), {
    message:
      'invalid JSON: json: cannot unmarshal number into Go struct field ' +
      'CreateRequest.Config.Hostname of type string',
  })
})

test('an inspected configuration leaves out what Go leaves out', () => {
  const shown = JSON.stringify(configShape.show(config({ Image: 'x', StopTimeout: 0 })))
  assert.ok(!shown.includes('Healthcheck') && !shown.includes('MacAddress'))
  assert.ok(shown.includes('"Cmd":null') && shown.includes('"StopTimeout":0'))
})

test('sizes of logs are read with their units', () => {
  assert.deepEqual(
    ['', '-1', '10', '10k', '1.5m', '2g'].map(logMaxBytes),
    [0, 0, 10, 10_240, 1_572_864, 2_147_483_648],
  )
  assert.throws(() => logMaxBytes('zz'), /invalid size: 'zz'/)
})
