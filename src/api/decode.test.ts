import assert from 'node:assert/strict'
import test from 'node:test'
import { renderExact } from '../base/json.ts'
import * as d from './decode.ts'
import { parseJson } from './json.ts'

const hostConfig = d.struct('container.HostConfig', {
  Memory: d.int64,
  Binds: d.optional(d.list(d.string)),
  Sysctls: d.map(d.string),
})
const config = { Internal: d.bool, Cmd: d.strSlice }
const createRequest = d.struct(
  'container.CreateRequest',
  {
    Name: d.string,
    ...config,
    HostConfig: d.optional(hostConfig),
    NanoCpus: d.exactInt64,
  },
  { Config: config },
)

const decode = (text: string) => createRequest.decode(parseJson(text), '')
const refusal = (text: string) => {
  try {
    decode(text)
  } catch (error) {
    return error instanceof Error ? error.message : ''
  }
  return 'accepted'
}

test('keys match in any case, unknown ones are ignored, null is the zero value', () => {
  const body = decode('{"nAmE":"n","Internal":null,"Other":[1],"hostconfig":{"memory":5}}')
  assert.equal(body.Name, 'n')
  assert.equal(body.Internal, false)
  assert.deepEqual(body.HostConfig, { Memory: 5, Binds: undefined, Sysctls: {} })
  assert.equal(decode('{"Name":"a","name":null}').Name, 'a')
  assert.equal(decode('null').HostConfig, undefined)
})

test('one string counts as a list of one', () => {
  assert.deepEqual(decode('{"Cmd":"sh"}').Cmd, ['sh'])
  assert.deepEqual(decode('{"Cmd":["sh","-c"]}').Cmd, ['sh', '-c'])
  assert.equal(decode('{"Cmd":null}').Cmd, undefined)
})

test('hostile keys stay data', () => {
  const body = decode(
    '{"HostConfig":{"Sysctls":{"__proto__":"x","toString":"y"}},"__proto__":{"Name":"z"}}',
  )
  assert.deepEqual(Object.keys(body.HostConfig?.Sysctls ?? {}), ['__proto__', 'toString'])
  assert.equal(body.Name, '')
})

test('integers beyond 2^53 survive the way in and out', () => {
  assert.equal(decode('{"NanoCpus":9223372036854775807}').NanoCpus, 9223372036854775807n)
  assert.equal(renderExact({ a: [18446744073709551615n, 1] }), '{"a":[18446744073709551615,1]}')
  assert.equal(renderExact(undefined), 'null')
})

const wrong: readonly [string, string][] = [
  [
    '{"Name":5}',
    'json: cannot unmarshal number into Go struct field CreateRequest.Name of type string',
  ],
  [
    '{"name":{}}',
    'json: cannot unmarshal object into Go struct field CreateRequest.Name of type string',
  ],
  [
    '{"Internal":"x"}',
    'json: cannot unmarshal string into Go struct field CreateRequest.Config.Internal of type bool',
  ],
  [
    '{"HostConfig":{"Memory":1.5}}',
    'json: cannot unmarshal number 1.5 into Go struct field HostConfig.HostConfig.Memory of type int64',
  ],
  [
    '{"HostConfig":{"Memory":99999999999999999999}}',
    'json: cannot unmarshal number ' +
      '99999999999999999999 into Go struct field HostConfig.HostConfig.Memory of type int64',
  ],
  [
    '{"HostConfig":{"Binds":"x"}}',
    'json: cannot unmarshal string into Go struct field HostConfig.HostConfig.Binds of type []string',
  ],
  [
    '{"HostConfig":{"Sysctls":[true]}}',
    'json: cannot unmarshal array into Go struct field ' +
      'HostConfig.HostConfig.Sysctls of type map[string]string',
  ],
  ['{"Cmd":[5]}', 'json: cannot unmarshal array into Go struct field CreateRequest.Config.Cmd of type string'],
  ['[]', 'json: cannot unmarshal array into Go value of type container.CreateRequest'],
  ['{"a":', 'unexpected EOF'],
  ['{"a":"b', 'unexpected EOF'],
  ['  \n', 'got EOF while reading request body'],
  ['{a:1}', "invalid character 'a' looking for beginning of object key string"],
  ['{"a":1,}', "invalid character '}' looking for beginning of object key string"],
  ['{"a" 1}', "invalid character '1' after object key"],
  ['{"a":1 "b"}', "invalid character '\"' after object key:value pair"],
  ['[1 2]', "invalid character '2' after array element"],
  ['x', "invalid character 'x' looking for beginning of value"],
  ['['.repeat(5000), 'exceeded max depth'],
]

test('what is wrong is said in the words of Go', () => {
  for (const [text, sentence] of wrong) assert.equal(refusal(text), `invalid JSON: ${sentence}`)
  assert.equal(refusal('{} {}'), 'unexpected content after JSON')
})

test('brackets inside strings are not nesting', () => {
  assert.equal(decode(JSON.stringify({ Name: '[{\\"'.repeat(2000) })).Name.length, 8000)
})
