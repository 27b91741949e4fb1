import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Refusal } from '../base/refusal.ts'
import * as d from './decode.ts'
import { listen } from './listen.ts'
import type { Route } from './route.ts'
import { createApi } from './server.ts'
import { openJsonStream } from './stream.ts'

const folder = mkdtempSync(join(tmpdir(), 'portolan-api-'))
const path = join(folder, 'api.sock')
let aborted: (() => void) | undefined
const gone = new Promise<void>((resolve) => {
  aborted = resolve
})

const echoBody = d.struct('ExecStart', { Tty: d.bool, Word: d.string })
const routes: readonly Route[] = [
  {
    method: 'GET',
    pattern: '/info',
    handle: async () => ({ status: 200, json: { big: 2n ** 60n } }),
  },
  { method: 'GET', pattern: '/quiet', handle: async () => ({ status: 204 }) },
  {
    method: 'HEAD',
    pattern: '/_ping',
    handle: async () => ({ status: 200, headers: { Swarm: 'inactive' } }),
  },
  {
    method: 'POST',
    pattern: '/echo',
    handle: async (request) => ({ status: 201, json: await request.json(echoBody) }),
  },
  {
    method: 'GET',
    pattern: '/networks/{id…}',
    handle: async ({ params, query, version }) => ({
      status: 200,
      json: { params, version, filters: [...query.filters()] },
    }),
  },
  {
    method: 'GET',
    pattern: '/fault',
    handle: async () => {
      throw new Error('disk on fire')
    },
  },
  {
    method: 'GET',
    pattern: '/same',
    handle: async () => {
      throw new Refusal('notModified', 'is so')
    },
  },
  {
    method: 'GET',
    pattern: '/endless',
    async handle(request) {
      const stream = openJsonStream(request)
      stream.write({ n: 1 })
      request.signal.addEventListener('abort', () => aborted?.())
      return undefined
    },
  },
  {
    method: 'POST',
    pattern: '/containers/{id}/attach',
    async handle(request) {
      const stream = request.hijack('application/vnd.docker.raw-stream')
      stream.write('(')
      for await (const chunk of stream) stream.write(chunk)
      stream.end(')')
      return undefined
    },
  },
  {
    method: 'POST',
    pattern: '/exec/{id}/start',
    async handle(request) {
      const body = await request.json(echoBody)
      if (body.Word === 'refuse') throw new Refusal('conflict', 'container is paused')
      const stream = request.hijack('application/vnd.docker.raw-stream')
      stream.write(`[${body.Word}]`)
      for await (const chunk of stream) stream.write(chunk)
      stream.end('[end]')
      return undefined
    },
  },
]

const api = createApi(routes, { experimental: false })
await listen(api, { kind: 'unix', path }, { group: 'docker' })
after(async () => {
  await api.close()
  rmSync(folder, { recursive: true })
})

/** Sends the pieces one by one, then half-closes; answers everything that came back. */
async function raw(pieces: readonly string[], halfClose = true): Promise<string> {
  const socket: Socket = connect({ path, allowHalfOpen: true })
  let text = ''
  socket.on('data', (chunk) => {
    text += chunk.toString()
  })
  socket.once('end', () => socket.end())
  const closed = new Promise((resolve) => socket.once('close', resolve))
  for (const [index, piece] of pieces.entries()) {
    if (index > 0) await sleep(30)
    socket.write(piece)
  }
  if (halfClose) {
    await sleep(30)
    socket.end()
  }
  await closed
  return text
}

const get = (target: string, extra = '') =>
  raw([`GET ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${extra}\r\n`], false)
const post = (target: string, body: string, type = 'application/json') => {
  const header = type === '' ? '' : `Content-Type: ${type}\r\n`
  const length = Buffer.byteLength(body)
  return raw(
    [
      `POST ${target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${header}` +
        `Content-Length: ${length}\r\n\r\n${body}`,
    ],
    false,
  )
}

test('the socket is for root and the group only', () => {
  assert.equal(statSync(path).mode & 0o777, 0o660)
})

test('every answer carries the headers of the engine', async () => {
  for (const target of ['/info', '/nowhere', '/fault', '/v1.99/info']) {
    const text = await get(target)
    for (const header of [
      'Api-Version: 1.51',
      'Docker-Experimental: false',
      'Ostype: linux',
      'Server: ',
    ]) {
      assert.ok(text.includes(`\r\n${header}`), `${target} lacks ${header}: ${text}`)
    }
  }
})

test('paths: versions, slashes in ids, escapes, unknown paths and methods', async () => {
  assert.match(
    await get('/v1.41/networks/a%2Fb/c.d%20e?filters=%7B%22name%22%3A%5B%22x%22%5D%7D'),
    /\{"params":\{"id":"a\/b\/c\.d e"\},"version":141,"filters":\[\["name",\["x"\]\]\]\}/,
  )
  assert.match(
    await get('/networks/n?filters={"a":{"b":true}}'),
    /"version":151,"filters":\[\["a",\["b"\]\]\]/,
  )
  assert.match(await get('/networks/n?filters={'), / 400 [^]*\{"message":"invalid filter"\}/)
  assert.match(
    await get('/v1.99/info'),
    / 400 [^]*client version 1\.99 is too new\. Maximum supported API version is 1\.51"/,
  )
  assert.match(
    await get('/v1.12/info'),
    / 400 [^]*client version 1\.12 is too old\. Minimum supported API version is 1\.24,/,
  )
  assert.match(await get('/nowhere'), / 404 [^]*\{"message":"page not found"\}/)
  assert.match(await post('/info', '{}'), / 404 [^]*\{"message":"page not found"\}/)
  assert.match(await get('/networks/%zz'), / 400 [^]*\r\n400 Bad Request/)
  assert.match(await get('/networks//a/../b?x=1'), / 301 [^]*\r\nLocation: \/networks\/b\?x=1\r\n/)
})

test('answers without a body, and integers beyond 2^53', async () => {
  assert.match(await get('/quiet'), /^HTTP\/1.1 204 [^]*\r\n\r\n$/)
  assert.match(await get('/same'), /^HTTP\/1.1 304 [^]*\r\n\r\n$/)
  assert.match(
    await raw(['HEAD /v1.41/_ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'], false),
    /^HTTP\/1.1 200 [^]*Swarm: inactive[^]*\r\n\r\n$/,
  )
  assert.match(await get('/info'), /\{"big":1152921504606846976\}\n$/)
  assert.match(await get('/fault'), / 500 [^]*\{"message":"disk on fire"\}/)
})

test('bodies are checked in the words of Docker', async () => {
  const message = async (body: string, type?: string) =>
    /\{"message":"(.*)"\}/.exec(await post('/echo', body, type))?.[1]
  assert.match(
    await post('/echo', '{"word":"w"}', 'application/json; charset=utf-8'),
    / 201 [^]*"Word":"w"/,
  )
  assert.match(await post('/echo', '', ''), / 201 [^]*"Word":""/)
  assert.equal(
    await message('{}', 'text/plain'),
    "unsupported Content-Type header (text/plain): must be 'application/json'",
  )
  assert.equal(await message('{}', ''), 'malformed Content-Type header (): mime: no media type')
  assert.equal(await message('{"Word":'), 'invalid JSON: unexpected EOF')
  assert.equal(await message('  '), 'invalid JSON: got EOF while reading request body')
  assert.equal(await message('{} {}'), 'unexpected content after JSON')
})

test('a body beyond the bound is refused without being read', async () => {
  const head = 'POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n'
  assert.match(
    await raw([`${head}Content-Length: 99999999999\r\n\r\n{`], false),
    / 413 [^]*too large/,
  )
})

test('what is no HTTP is refused', async () => {
  assert.match(await raw(['hello\r\n\r\n'], false), /^HTTP\/1.1 400 /)
  assert.match(await get('/info', `X-Long: ${'x'.repeat(300_000)}\r\n`), /^HTTP\/1.1 431 /)
})

const upgrade = 'Connection: Upgrade\r\nUpgrade: tcp\r\n'
const start = (body: string, extra: string) =>
  `POST /v1.50/exec/1/start HTTP/1.1\r\nHost: x\r\n${extra}` +
  `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n`

test('a connection is taken over wherever the body is', async () => {
  const body = '{"Word":"hi"}'
  const glued = await raw([`${start(body, upgrade)}${body}one`, 'two'])
  const later = await raw([start(body, upgrade), body.slice(0, 4), body.slice(4), 'onetwo'])
  for (const text of [glued, later]) {
    assert.match(text, /^HTTP\/1.1 101 UPGRADED\r\n/)
    assert.match(text, /\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n/)
    assert.match(text, /\r\nApi-Version: 1.51\r\n/)
    assert.doesNotMatch(text, /Transfer-Encoding/i)
    assert.match(text, /\r\n\r\n\[hi\]onetwo\[end\]$/)
  }
})

test('a body that the handler does not read is no part of the stream', async () => {
  const head = `POST /containers/c/attach HTTP/1.1\r\nHost: x\r\n${upgrade}`
  const text = await raw([`${head}Content-Length: 9\r\n\r\n{"a":`, '"b"}stdin'])
  assert.match(text, /\r\n\r\n\(stdin\)$/)
})

test('without upgrade headers the stream follows a 200', async () => {
  const body = '{"Word":"hi"}'
  for (const pieces of [
    [`${start(body, '')}${body}GET / HTTP/1.1`],
    [start(body, ''), body, 'GET / HTTP/1.1'],
  ]) {
    const text = await raw(pieces)
    assert.match(text, /^HTTP\/1.1 200 OK\r\nContent-Type: application\/vnd.docker.raw-stream\r\n/)
    assert.match(text, /\r\n\r\n\[hi\]GET \/ HTTP\/1.1\[end\]$/)
  }
})

test('an error before the switch is an ordinary one', async () => {
  const body = '{"Word":"refuse"}'
  for (const extra of [upgrade, '']) {
    const text = await raw([start(body, extra) + body, 'stdin that nobody reads'], false)
    assert.match(text, /^HTTP\/1.1 409 [^]*\{"message":"container is paused"\}\n$/)
  }
})

test('upgrade headers on an ordinary path change nothing', async () => {
  const h2c = 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n'
  assert.match(
    await raw([`GET /info HTTP/1.1\r\nHost: x\r\n${h2c}\r\n`], false),
    /^HTTP\/1.1 200 [^]*"big"/,
  )
  assert.match(
    await raw([`POST /session HTTP/1.1\r\nHost: x\r\n${h2c}\r\n`], false),
    /^HTTP\/1.1 404 /,
  )
  const body = '{"Word":"w"}'
  assert.match(
    await raw(
      [
        `POST /echo HTTP/1.1\r\nHost: x\r\n${upgrade}Content-Type: application/json\r\n` +
          `Content-Length: ${body.length}\r\n\r\n`,
        body,
      ],
      false,
    ),
    / 201 [^]*"Word":"w"/,
  )
})

test('a stream starts at once and its handler hears when the client goes', async () => {
  const socket = connect(path)
  socket.write('GET /endless HTTP/1.1\r\nHost: x\r\n\r\n')
  let text = ''
  for await (const chunk of socket) {
    text += String(chunk)
    if (text.includes('{"n":1}')) break // leaving the loop destroys the socket
  }
  await gone
})
