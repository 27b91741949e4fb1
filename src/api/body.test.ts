import assert from 'node:assert/strict'
import { PassThrough } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import test from 'node:test'
import { readJson } from './body.ts'

const headers = { 'content-type': 'application/json', 'transfer-encoding': 'chunked' }
const asIs = { decode: (value: unknown) => value }

test('a body in pieces is read whole', async () => {
  const body = new PassThrough()
  const read = readJson(body, headers, asIs)
  body.write('{"Na')
  await turn()
  body.end('me":"n"}')
  assert.deepEqual(JSON.parse(JSON.stringify(await read)), { Name: 'n' })
})

test('a body that is cut off is refused, also when it was before anybody read it', async () => {
  const late = new PassThrough()
  const read = readJson(late, headers, asIs)
  late.write('{"Na')
  await turn()
  late.destroy()
  await assert.rejects(read, /the request was cut off/)
  const early = new PassThrough()
  early.destroy()
  await turn()
  await assert.rejects(readJson(early, headers, asIs), /the request was cut off/)
})
