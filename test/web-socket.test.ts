/**
 * Attaching by WebSocket: with Node's own client, which nobody here wrote, and with frames that no
 * good client sends. What is expected is what a dockerd 28.2.2 sends, but that it obeys frames
 * with reserved bits and codes; here they end the connection, as RFC 6455 wants it.
 */
import assert from 'node:assert/strict'
import { connect, createServer, type Socket } from 'node:net'
import test, { after, before } from 'node:test'
import { Lab } from './lab/lab.ts'

const all = 'stream=1&stdin=1&stdout=1&stderr=1'
const messageBytesMax = 4 * 1024 * 1024

let lab: Lab
/** The engine's socket as a TCP port of lo: Node's client knows no unix sockets. */
const relay = createServer((client: Socket) => {
  const engine = connect(lab.socket)
  for (const [one, other] of [[engine, client], [client, engine]] as const) {
    one.on('error', () => other.destroySoon())
    one.on('close', () => other.destroySoon())
  }
  client.pipe(engine).pipe(client)
})

before(async () => {
  lab = await Lab.start(undefined)
  await new Promise<void>((done) => relay.listen(0, '127.0.0.1', done))
})

after(async () => {
  relay.close()
  await lab.expectNoLeaks()
  await lab.stop()
})

class Client {
  readonly socket: WebSocket
  readonly closed: Promise<CloseEvent>
  readonly kinds = new Set<string>()
  text = ''
  #arrived = Promise.withResolvers<void>()

  constructor(path: string) {
    const address = relay.address()
    const port = typeof address === 'object' ? address?.port : undefined
    this.socket = new WebSocket(`ws://127.0.0.1:${port}${path}`)
    this.socket.binaryType = 'arraybuffer'
    this.closed = new Promise((done) => this.socket.addEventListener('close', done))
    this.socket.addEventListener('message', ({ data }: { readonly data: unknown }) => {
      this.kinds.add(data instanceof ArrayBuffer ? 'binary' : typeof data)
      this.text += data instanceof ArrayBuffer ? Buffer.from(data).toString() : String(data)
      this.#arrived.resolve()
    })
    void this.closed.then(() => this.#arrived.resolve())
  }

  /** True; false when it closed without this text. */
  async opened(): Promise<boolean> {
    const open = new Promise<boolean>((done) => this.socket.addEventListener('open', () => done(true)))
    return Promise.race([open, this.closed.then(() => false)])
  }

  async until(pattern: RegExp): Promise<string> {
    while (!pattern.test(this.text)) {
      assert.equal(this.socket.readyState, WebSocket.OPEN, `closed, with ${JSON.stringify(this.text)}`)
      await this.#arrived.promise
      this.#arrived = Promise.withResolvers()
    }
    return this.text
  }
}

async function attached(container: string, query = all, version = 'v1.50'): Promise<Client> {
  const client = new Client(`/${version}/containers/${container}/attach/ws?${query}`)
  assert.ok(await client.opened(), 'the engine takes the WebSocket')
  return client
}

const upgrade = {
  Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
}
const handshake = (container: string) =>
  `GET /containers/${container}/attach/ws?${all} HTTP/1.1\r\nHost: x\r\n` +
  `${Object.entries(upgrade).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`

/** Sends bytes behind a handshake and collects the frames until the engine ends the connection. */
function frames(container: string, ...sent: readonly Buffer[]): Promise<readonly Buffer[]> {
  return new Promise((done) => {
    const socket = connect(lab.socket)
    const chunks: Buffer[] = []
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('end', () => socket.end())
    socket.on('close', () => done(framesIn(Buffer.concat(chunks))))
    socket.write(handshake(container))
    for (const bytes of sent) socket.write(bytes)
  })
}

function framesIn(bytes: Buffer): readonly Buffer[] {
  const head = bytes.indexOf('\r\n\r\n') + 4
  assert.match(bytes.subarray(0, head).toString(), /^HTTP\/1.1 101 /)
  const found: Buffer[] = []
  for (let at = head; at < bytes.length;) {
    const length = bytes[at + 1] ?? 0
    assert.ok(length < 126, 'short frames only')
    found.push(bytes.subarray(at, at + 2 + length))
    at += 2 + length
  }
  return found
}

/** A frame as a client sends it, or as it must not. */
function frameOf(first: number, payload: string, masked = true): Buffer {
  const data = Buffer.from(payload)
  assert.ok(data.length < 126, 'short frames only')
  const key = Buffer.from([7, 77, 177, 27])
  const hidden = data.map((byte, at) => byte ^ (key[at % 4] ?? 0))
  return masked
    ? Buffer.concat([Buffer.from([first, 128 + data.length]), key, hidden])
    : Buffer.concat([Buffer.from([first, data.length]), data])
}

const closing = (code: number) => [Buffer.from([0x88, 2, code >> 8, code & 255])]
const loop = 'while read x; do echo "got $x"; echo "err $x" >&2; done; echo over'

test('input and output go by messages: output and errors together, without frames of Docker', async () => {
  await lab.ok('run', '-d', '-i', '--name', 'both', 'busybox', 'sh', '-c', loop)
  const client = await attached('both')
  client.socket.send('one\n')
  await client.until(/got one\n[^]*err one\n|err one\n[^]*got one\n/)
  client.socket.send(Buffer.from('two\nthr'))
  client.socket.send('ee\n')
  await client.until(/got three\n/)
  await client.until(/err three\n/)
  assert.deepEqual([...client.kinds], ['binary'])

  const old = await attached('both', 'stream=1', 'v1.27')
  old.socket.send('four\n')
  await old.until(/got four\n[^]*err four\n|err four\n[^]*got four\n/)
  assert.deepEqual([...old.kinds], ['string'])

  const chosen = await attached('both', 'stream=1&stdin=1&stdout=1')
  chosen.socket.send('five\n')
  await client.until(/err five\n/)
  assert.equal(await chosen.until(/got five\n/), 'got five\n')

  const none = await attached('both', 'stream=1')
  assert.equal((await none.closed).code, 1000)

  const before = await attached('both', 'logs=1&stdout=1&stderr=1')
  assert.equal((await before.closed).code, 1000)
  const words = ['one', 'two', 'three', 'four', 'five'].flatMap((word) => [`err ${word}`, `got ${word}`])
  assert.deepEqual(before.text.trimEnd().split('\n').sort(), words.sort())

  await lab.ok('kill', 'both')
  for (const ended of [client, old, chosen]) assert.equal((await ended.closed).code, 1000)
})

test('a container that is started after the attach, and whose input ends with the client', async () => {
  const body = { Image: 'busybox', Cmd: ['sh', '-c', loop], OpenStdin: true, StdinOnce: true, AttachStdin: true }
  const made = await lab.api('POST', '/containers/create?name=later', body)
  assert.equal(made.status, 201, made.text)
  const client = await attached('later')
  await lab.ok('start', 'later')
  client.socket.send('word\n')
  await client.until(/got word\n/)
  client.socket.close(1000)
  assert.equal((await client.closed).code, 1000)
  assert.equal(await lab.ok('wait', 'later'), '0')
  assert.match(await lab.ok('logs', 'later'), /over$/)
})

test('a terminal: its bytes as they are, and detach keys', async () => {
  await lab.ok('run', '-d', '-i', '-t', '--name', 'screen', 'busybox', 'cat')
  const client = await attached('screen')
  client.socket.send('line\n')
  await client.until(/line\r\nline\r\n/)
  client.socket.send('\x10\x11')
  assert.equal((await client.closed).code, 1000)
  const other = await attached('screen', `${all}&detachKeys=ctrl-a,x`)
  other.socket.send('\x01x')
  assert.equal((await other.closed).code, 1000)
  assert.equal(await lab.ok('inspect', '-f', '{{.State.Status}}', 'screen'), 'running')
})

test('what cannot be attached is refused before the switch, with a sentence', async () => {
  const ask = (path: string, headers: Record<string, string>) => lab.api('GET', `/containers/${path}`, undefined, headers)
  const refusals: readonly (readonly [string, Record<string, string>, number, RegExp])[] = [
    ['none/attach/ws', upgrade, 404, /"No such container: none"/],
    [`screen/attach/ws?${all}&detachKeys=ctrl-9x`, upgrade, 400, /"Invalid detach keys \(ctrl-9x\) provided"/],
    ['screen/attach/ws', {}, 400, /"not websocket protocol: the request asks for no upgrade"/],
    ['screen/attach/ws', { ...upgrade, 'Sec-WebSocket-Key': 'short' }, 400, /not websocket protocol: .*Sec-WebSocket-Key/],
    ['screen/attach/ws', { ...upgrade, 'Sec-WebSocket-Version': '7' }, 400, /not websocket protocol: .*Sec-WebSocket-Version/],
    ['screen/attach/ws', { ...upgrade, Upgrade: 'tcp' }, 400, /not websocket protocol: /],
  ]
  for (const [path, headers, status, message] of refusals) {
    const answer = await ask(path, headers)
    assert.equal(answer.status, status, `${path}: ${answer.text}`)
    assert.match(answer.text, message)
  }
  await lab.ok('pause', 'screen')
  const paused = await ask('screen/attach/ws', upgrade)
  await lab.ok('unpause', 'screen')
  assert.equal(paused.status, 409)
  assert.match(paused.text, /"container screen is paused, unpause the container before attach"/)
})

test('frames that the protocol forbids end the connection, and nothing of them is input', async () => {
  await lab.ok('run', '-d', '-i', '--name', 'wary', 'busybox', 'cat')
  const [text, ping, close] = [0x81, 0x89, 0x88]
  const good = frameOf(text, 'bad\n')
  const tooLong = Buffer.concat([Buffer.from([text, 255, 0, 0, 0, 0]), Buffer.from([1, 0, 0, 0])])
  const hostile: readonly (readonly [string, Buffer, number])[] = [
    ['unmasked', frameOf(text, 'bad\n', false), 1002],
    ['a reserved bit', frameOf(text | 64, 'bad\n'), 1002],
    ['a code that means nothing', frameOf(0x83, 'bad\n'), 1002],
    ['a continuation of nothing', frameOf(0x80, 'bad\n'), 1002],
    ['a ping in pieces', frameOf(ping & 0x7f, 'bad\n'), 1002],
    ['another message within one', Buffer.concat([frameOf(text & 0x7f, 'ba'), good]), 1002],
    ['a message beyond the bound', tooLong, 1009],
    ['a close code that nobody may send', frameOf(close, '\x00\x01'), 1002],
  ]
  for (const [what, bytes, code] of hostile) {
    assert.deepEqual(await frames('wary', bytes), closing(code), what)
  }
  assert.deepEqual(await frames('wary', frameOf(ping, 'hello'), frameOf(close, '')), [
    Buffer.from('\x8a\x05hello', 'latin1'), Buffer.from([0x88, 0]),
  ])
  assert.equal(await lab.ok('logs', 'wary'), '')
  await lab.ok('rm', '-f', 'wary')
})

test('a message up to the bound comes whole, one beyond it does not come at all', async () => {
  const command = `head -c ${messageBytesMax + 1} | wc -c; yes 0123456789 | head -c 8000000; echo end`
  await lab.ok('run', '-d', '-i', '--name', 'wide', 'busybox', 'sh', '-c', command)
  const big = await attached('wide')
  big.socket.send(Buffer.alloc(messageBytesMax + 1, 'x'))
  assert.equal((await big.closed).code, 1009)
  const client = await attached('wide')
  client.socket.send(Buffer.alloc(messageBytesMax, 'x'))
  client.socket.send('!')
  assert.equal((await client.closed).code, 1000)
  const count = `${messageBytesMax + 1}\n`
  assert.ok(client.text.startsWith(`${count}0123456789\n`))
  assert.ok(client.text.endsWith('end\n'))
  assert.equal(client.text.length, count.length + 8_000_000 + 'end\n'.length)
})
