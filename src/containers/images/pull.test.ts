import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import {
  createServer,
  request,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import test, { type TestContext } from 'node:test'
import { busyboxImageTar } from '../../cli/demo/busybox-image.ts'
import { startImageLab, type ImageLab } from '../../../test/lab/containerd.ts'
import type { Progress } from './progress.ts'
import { parseReference, referenceOf } from './reference.ts'

const registryPort = 5000
const unpacked = resolve(import.meta.dirname, '../../../.cache/debian/usr/bin/docker-registry')
const program = ['/usr/bin/docker-registry', unpacked].find((path) => existsSync(path))
const skip = program === undefined ? 'no docker-registry here' : false
const { signal } = new AbortController()

/** Debian's registry on loopback; `auth` asks for alice and her password. */
async function startRegistry(t: TestContext, folder: string, auth = false): Promise<void> {
  const config = {
    version: '0.1',
    log: { level: 'error' },
    storage: { filesystem: { rootdirectory: join(folder, 'registry') } },
    http: { addr: `127.0.0.1:${registryPort}` },
    ...(auth ? { auth: { htpasswd: { realm: 'lab', path: join(folder, 'htpasswd') } } } : {}),
  }
  // The password is «secret».
  writeFileSync(join(folder, 'htpasswd'), `alice:${passwordHash}\n`)
  writeFileSync(join(folder, 'registry.yml'), JSON.stringify(config))
  const child = spawn(program ?? '', ['serve', join(folder, 'registry.yml')], { stdio: 'ignore' })
  t.after(() => child.kill('SIGKILL'))
  for (let tries = 0; tries < 500; tries++) {
    const up = await new Promise<boolean>((done) => {
      const socket = connect(registryPort, '127.0.0.1', () => {
        socket.destroy()
        done(true)
      })
      socket.on('error', () => done(false))
    })
    if (up) return
    await new Promise((wake) => setTimeout(wake, 10))
  }
  throw new Error('the registry did not start')
}

const passwordHash = '$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a'

async function pushBusybox({ images }: ImageLab, credentials = {}): Promise<string> {
  const name = `localhost:${registryPort}/lab/busybox:v1`
  await images.load(await busyboxImageTar('/bin/busybox', [name]))
  const { id } = images.find(name)
  await images.push({
    reference: parseReference(name),
    credentials,
    signal,
    report: () => undefined,
  })
  await images.remove(id, true)
  assert.equal(images.list().length, 0)
  return id
}

async function pull({ images }: ImageLab, name: string, credentials = {}): Promise<Progress[]> {
  const lines: Progress[] = []
  const reference = referenceOf(name, '')
  await images.pull({ reference, credentials, signal, report: (line) => lines.push(line) })
  return lines
}

test(
  "an image is pushed to a registry and pulled from it, in Docker's words",
  { skip },
  async (t) => {
    const lab = await startImageLab(t)
    await startRegistry(t, lab.folder)
    const id = await pushBusybox(lab)
    const name = `localhost:${registryPort}/lab/busybox:v1`
    const words = (await pull(lab, name)).map(({ status }) => status)
    const image = lab.images.find(name)
    assert.equal(image.id, id)
    const digest = image.repoDigests[0]?.split('@')[1]
    assert.equal(words[0], 'Pulling from lab/busybox')
    for (const word of ['Pulling fs layer', 'Download complete', 'Extracting', 'Pull complete']) {
      assert.ok(words.includes(word), word)
    }
    assert.deepEqual(words.slice(-2), [
      `Digest: ${digest}`,
      `Status: Downloaded newer image for ${name}`,
    ])
    const again = (await pull(lab, name)).map(({ status }) => status)
    assert.ok(again.includes('Already exists'))
    assert.equal(again.at(-1), `Status: Image is up to date for ${name}`)
    assert.equal(lab.images.find(`localhost:${registryPort}/lab/busybox@${digest}`).id, id)
    assert.deepEqual((await lab.reopen()).find(name).repoDigests, image.repoDigests)

    await pull(lab, `localhost:${registryPort}/lab/busybox`) // every tag
    const known = await lab.images.distribution({
      reference: parseReference(name),
      credentials: {},
      signal,
    })
    assert.equal(known.descriptor.digest, digest)
    await assert.rejects(
      pull(lab, `localhost:${registryPort}/lab/busybox:v2`),
      new RegExp(
        `manifest for localhost:${registryPort}/lab/busybox:v2 not found: manifest unknown`,
      ),
    )
    await assert.rejects(pull(lab, `localhost:${registryPort}/lab/other:v1`), { kind: 'notFound' })
    await assert.rejects(pull(lab, 'localhost:5001/x:1'), {
      message:
        'Get "http://localhost:5001/v2/": dial tcp 127.0.0.1:5001: connect: connection refused',
    })

    const removed = await lab.images.remove(name, false)
    assert.equal(
      removed.filter((entry) => 'Untagged' in entry).length,
      2,
      'the digest name goes along',
    )
  },
)

test(
  'a registry that asks for a password gets it, and a wrong one is told',
  { skip },
  async (t) => {
    const lab = await startImageLab(t)
    await startRegistry(t, lab.folder, true)
    const good = { username: 'alice', password: 'secret' }
    const id = await pushBusybox(lab, good)
    const name = `localhost:${registryPort}/lab/busybox:v1`
    await assert.rejects(
      pull(lab, name),
      /pull access denied for localhost:5000\/lab\/busybox, repository does not exist or may require 'docker login'/,
    )
    await assert.rejects(pull(lab, name, { username: 'alice', password: 'wrong' }), {
      kind: 'notFound',
    })
    await pull(lab, name, good)
    assert.equal(lab.images.find(name).id, id)
    await lab.images.login(`localhost:${registryPort}`, good, signal)
    await assert.rejects(
      lab.images.login(`localhost:${registryPort}`, { username: 'alice', password: 'no' }, signal),
      { kind: 'unauthorized' },
    )
  },
)

/** Something between us and the registry. */
async function startServer(
  t: TestContext,
  handle: (incoming: IncomingMessage, answer: ServerResponse) => void,
): Promise<number> {
  const server: Server = createServer(handle)
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  t.after(() => {
    server.close()
    server.closeAllConnections()
  })
  const address: AddressInfo | string | null = server.address()
  assert.ok(typeof address === 'object' && address !== null)
  return address.port
}

/** Hands the request to the registry; `cutAt` breaks the connection after so many bytes. */
function forward(incoming: IncomingMessage, answer: ServerResponse, cutAt = Infinity): void {
  const { authorization: _kept, ...headers } = incoming.headers
  const onward = request(
    {
      port: registryPort,
      host: '127.0.0.1',
      method: incoming.method,
      path: incoming.url,
      headers,
    },
    (from) => {
      answer.writeHead(from.statusCode ?? 500, from.headers)
      let bytes = 0
      from.on('data', (piece: Buffer) => {
        bytes += piece.length
        answer.write(piece, () => {
          if (bytes > cutAt) answer.destroy()
        })
      })
      from.on('end', () => answer.end())
      from.on('error', () => answer.destroy())
    },
  )
  incoming.pipe(onward)
}

test('tokens, redirects to another origin, an index and a broken download', { skip }, async (t) => {
  const lab = await startImageLab(t)
  await startRegistry(t, lab.folder)
  const id = await pushBusybox(lab)
  const ranges: string[] = []
  let cuts = 2
  const storage = await startServer(t, (incoming, answer) => {
    assert.equal(incoming.headers.authorization, undefined, 'credentials stay with the registry')
    ranges.push(incoming.headers.range ?? '')
    forward(incoming, answer, cuts-- > 0 ? 1_500_000 : Infinity)
  })
  let scope = ''
  const front = await startServer(t, (incoming, answer) => {
    const url = new URL(incoming.url ?? '', 'http://front')
    if (url.pathname === '/token') {
      scope = url.searchParams.get('scope') ?? ''
      const isAlice =
        incoming.headers.authorization === `Basic ${Buffer.from('a:b').toString('base64')}`
      if (!isAlice) answer.writeHead(401).end()
      else answer.end(JSON.stringify({ access_token: 'sesame' }))
    } else if (incoming.headers.authorization !== 'Bearer sesame') {
      const challenge = `Bearer realm="http://127.0.0.1:${front}/token",service="lab"`
      answer.writeHead(401, { 'WWW-Authenticate': challenge }).end('{}')
    } else if (url.pathname.includes('/blobs/')) {
      answer.writeHead(307, { Location: `http://127.0.0.1:${storage}${incoming.url}` }).end()
    } else if (url.pathname.endsWith('/manifests/multi')) {
      answer
        .writeHead(200, { 'Content-Type': 'application/vnd.oci.image.index.v1+json' })
        .end(index)
    } else {
      forward(incoming, answer)
    }
  })
  const { descriptor } = await lab.images.distribution({
    reference: parseReference(`localhost:${registryPort}/lab/busybox:v1`),
    credentials: {},
    signal,
  })
  const entry = (architecture: string, digest: string) => ({
    ...descriptor,
    digest,
    platform: { os: 'linux', architecture },
  })
  const index = JSON.stringify({
    schemaVersion: 2,
    manifests: [
      entry('s390x', `sha256:${'0'.repeat(64)}`),
      entry('amd64', descriptor.digest),
      entry('arm64', descriptor.digest),
    ],
  })
  const lines = await pull(lab, `127.0.0.1:${front}/lab/busybox:multi`, {
    username: 'a',
    password: 'b',
  })
  assert.equal(
    lines.at(-1)?.status,
    `Status: Downloaded newer image for 127.0.0.1:${front}/lab/busybox:multi`,
  )
  assert.equal(lab.images.find(`127.0.0.1:${front}/lab/busybox:multi`).id, id)
  assert.equal(scope, 'repository:lab/busybox:pull')
  assert.ok(
    ranges.some((range) => /^bytes=[1-9]\d*-$/.test(range)),
    `resumed: ${ranges.join(' ')}`,
  )
  await assert.rejects(pull(lab, `127.0.0.1:${front}/lab/busybox:multi`, {}), {
    kind: 'unauthorized',
  })
})
