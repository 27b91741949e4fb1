/** Images and volumes with the stock command: what people type, and what they see. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { createReadStream, existsSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { Lab, root, sleep } from './lab/lab.ts'

const registryPort = 5000
const registryProgram = [
  '/usr/bin/docker-registry',
  join(root, '.cache/debian/usr/bin/docker-registry'),
].find((path) => existsSync(path))

async function startRegistry(t: TestContext, folder: string): Promise<void> {
  const config = join(folder, 'registry.yml')
  writeFileSync(
    config,
    JSON.stringify({
      version: '0.1',
      log: { level: 'error' },
      storage: { filesystem: { rootdirectory: join(folder, 'registry') } },
      http: { addr: `127.0.0.1:${registryPort}` },
    }),
  )
  const child = spawn(registryProgram ?? '', ['serve', config], { stdio: 'ignore' })
  t.after(() => child.kill('SIGKILL'))
  for (let tries = 0; tries < 500; tries++) {
    const isUp = await new Promise<boolean>((done) => {
      const socket = connect(registryPort, '127.0.0.1', () => {
        socket.destroy()
        done(true)
      })
      socket.on('error', () => done(false))
    })
    if (isUp) return
    await sleep(10)
  }
  throw new Error('the registry did not start')
}

test('images: tag, save, load, inspect, history, commit, import, rmi, prune', async (t) => {
  const lab = await Lab.start(t)
  const saved = join(lab.folder, 'saved.tar')
  assert.match(await lab.ok('images'), /^busybox\s+latest\s+[0-9a-f]{12}\s/m)
  await lab.ok('tag', 'busybox', 'shop/web:v1')
  assert.equal(
    await lab.ok('images', '-q', '--filter', 'reference=shop/*'),
    await lab.ok('images', '-q', 'busybox'),
  )
  await lab.ok('save', '-o', saved, 'busybox', 'shop/web:v1')
  assert.equal(await lab.ok('rmi', 'shop/web:v1'), 'Untagged: shop/web:v1')
  const id = await lab.ok('inspect', '-f', '{{.Id}}', 'busybox')
  assert.match(
    await lab.ok('rmi', 'busybox'),
    new RegExp(`Untagged: busybox:latest\nDeleted: ${id}\nDeleted: sha256:`),
  )
  assert.equal(
    await lab.ok('load', '-i', saved),
    'Loaded image: busybox:latest\nLoaded image: shop/web:v1',
  )
  assert.equal(
    await lab.ok('inspect', '-f', '{{json .RepoTags}} {{.Os}} {{json .Config.Cmd}}', id),
    '["busybox:latest","shop/web:v1"] linux ["sh"]',
  )
  assert.match(await lab.ok('history', 'busybox'), /busybox-static/)

  await lab.ok('run', '-d', '--name', 'c1', 'busybox', 'sh', '-c', 'echo made >/made; sleep 60')
  const used = await lab.docker('rmi', 'busybox', 'shop/web:v1')
  assert.match(used.out + used.err, /Untagged: busybox:latest/)
  assert.match(
    used.err,
    /conflict: unable to remove repository reference "shop\/web:v1" \(must force\) - container [0-9a-f]{12} is using its referenced image/,
  )
  await lab.ok(
    'commit',
    '-m',
    'why',
    '-a',
    'me',
    '-c',
    'CMD cat /made',
    '-c',
    'ENV A=b',
    'c1',
    'made:1',
  )
  assert.equal(await lab.ok('run', '--rm', 'made:1'), 'made')
  assert.equal(
    await lab.ok('inspect', '-f', '{{.State.Status}}', 'c1'),
    'running',
    'and no longer paused',
  )
  assert.equal(
    await lab.ok('inspect', '-f', '{{.Author}} {{.Comment}} {{len .RootFS.Layers}}', 'made:1'),
    'me why 2',
  )
  await lab.must(`docker export c1 | docker import -c 'CMD ["cat","/made"]' - flat:1`)
  assert.equal(await lab.ok('run', '--rm', 'flat:1'), 'made')
  const server = createServer((asked, answer) => {
    if (asked.url === '/flat.tar') createReadStream(join(lab.folder, 'flat.tar')).pipe(answer)
    else answer.writeHead(404).end('nothing of that name')
  })
  t.after(() => server.close())
  await new Promise<void>((listening) => server.listen(8099, '127.0.0.1', listening))
  await lab.must(`docker export c1 >${join(lab.folder, 'flat.tar')}`)
  const imported = await lab.ok('import', '-c', 'CMD ["cat","/made"]', 'http://127.0.0.1:8099/flat.tar', 'far:1')
  assert.match(imported, /^Downloading from http:\/\/127\.0\.0\.1:8099\/flat\.tar\n[^]*sha256:[0-9a-f]{64}$/)
  assert.equal(await lab.ok('run', '--rm', 'far:1'), 'made')
  const wrong = await lab.docker('import', 'http://127.0.0.1:8099/other.tar')
  assert.match(wrong.err, /failed to GET http:\/\/127\.0\.0\.1:8099\/other\.tar with status 404 Not Found: nothing of that name/)
  const nobody = await lab.docker('import', 'http://127.0.0.1:8098/x')
  assert.match(nobody.err, /Get "http:\/\/127\.0\.0\.1:8098\/x": dial tcp 127\.0\.0\.1:8098: connect: connection refused/)
  await lab.ok('rmi', 'far:1')
  assert.match(await lab.ok('system', 'df'), /^Images\s+3\s+1\s/m)

  await lab.ok('rm', '-f', 'c1')
  const pruned = await lab.ok('image', 'prune', '-af')
  assert.match(pruned, /untagged: flat:1[^]*Total reclaimed space: [\d.]+MB/)
  assert.equal(await lab.ok('images', '-aq'), '')
  await lab.expectNoLeaks()
})

const skip = registryProgram === undefined ? 'no docker-registry here' : false

test('push and pull, and run pulls what is missing', { skip }, async (t) => {
  const lab = await Lab.start(t)
  await startRegistry(t, lab.folder)
  const name = `localhost:${registryPort}/busybox`
  await lab.ok('tag', 'busybox', name)
  const pushed = await lab.ok('push', name)
  assert.match(
    pushed,
    /The push refers to repository \[localhost:5000\/busybox\][^]*Pushed[^]*latest: digest: sha256:[0-9a-f]{64} size: \d+/,
  )
  await lab.ok('rmi', '-f', await lab.ok('images', '-q', 'busybox'))
  const ran = await lab.docker('run', '--rm', name, 'echo', 'works')
  assert.equal(ran.out, 'works\n')
  assert.match(
    ran.err,
    /^Unable to find image 'localhost:5000\/busybox:latest' locally\nlatest: Pulling from busybox\n/,
  )
  assert.match(
    ran.err,
    /: Pull complete\nDigest: sha256:[0-9a-f]{64}\nStatus: Downloaded newer image for localhost:5000\/busybox:latest\n$/,
  )
  assert.match(
    await lab.ok('pull', name),
    /Status: Image is up to date for localhost:5000\/busybox:latest/,
  )
  const digest = await lab.ok('inspect', '-f', '{{index .RepoDigests 0}}', name)
  assert.match(await lab.ok('run', '--rm', digest, 'echo', 'by digest'), /by digest/)
  const missing = await lab.docker('pull', `${name}:nope`)
  assert.equal(
    missing.err,
    'Error response from daemon: manifest for localhost:5000/busybox:nope not found: ' +
      'manifest unknown: manifest unknown\n',
  )
})

test('volumes: named, anonymous, on devices; in use, pruned, gone with --rm', async (t) => {
  const lab = await Lab.start(t)
  assert.equal(await lab.ok('volume', 'create', 'data'), 'data')
  await lab.ok('run', '--rm', '-v', 'data:/etc', 'busybox', 'sh', '-c', 'echo kept >/etc/kept')
  assert.match(
    await lab.ok('run', '--rm', '-v', 'data:/x', 'busybox', 'cat', '/x/kept', '/x/passwd'),
    /^kept\nroot:/,
    "the image's files were copied at first use",
  )
  const id = await lab.ok(
    'run',
    '-d',
    '--name',
    'c1',
    '-v',
    'data:/d',
    '-v',
    '/anonymous',
    'busybox',
    'sleep',
    '60',
  )
  const refused = await lab.docker('volume', 'rm', 'data')
  assert.equal(refused.err, `Error response from daemon: remove data: volume is in use - [${id}]\n`)
  assert.equal((await lab.ok('volume', 'ls', '-q')).split('\n').length, 2)
  assert.equal(await lab.ok('volume', 'ls', '-q', '--filter', 'dangling=true'), '')
  await lab.ok('rm', '-f', '-v', 'c1')
  assert.equal(await lab.ok('volume', 'ls', '-q'), 'data')

  await lab.ok(
    'volume',
    'create',
    '-o',
    'type=tmpfs',
    '-o',
    'device=tmpfs',
    '-o',
    'o=size=1m',
    'memory',
  )
  assert.match(
    await lab.ok('run', '--rm', '-v', 'memory:/m', 'busybox', 'df', '/m'),
    /tmpfs\s+1024\s/,
  )
  await lab.must(`! grep -q volumes/memory /proc/self/mountinfo`)
  await lab.api('POST', `/volumes/prune?filters=${encodeURIComponent('{"all":["true"]}')}`)
  assert.equal(await lab.ok('volume', 'ls', '-q'), '')
  const gone = await lab.docker('volume', 'rm', 'data')
  assert.equal(gone.err, 'Error response from daemon: get data: no such volume\n')
  await lab.expectNoLeaks()
})
