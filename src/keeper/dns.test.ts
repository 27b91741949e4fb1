import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type TestContext } from 'node:test'
import { promisify } from 'node:util'
import { decode, encode } from 'dns-packet'
import { createNetns, inNetnsAt, openNetns, removeNetns, warmThreads } from '../kernel/netns.ts'
import { nft } from '../kernel/nftables.ts'
import { listenIn } from '../kernel/socket.ts'
import type { ResolverSpec, ZoneRecord } from './client.ts'
import { startKeeper, type KeeperConnection } from './connection.ts'
import { readMark, type KeeperPaths } from './launch.ts'

const run = promisify(execFile)
await warmThreads()

const web: ZoneRecord = {
  endpointId: 'e1',
  names: ['web', '0123456789ab'],
  ipv4: '172.18.0.2',
  ipv6: '',
}

interface Lab {
  readonly keeper: KeeperConnection
  readonly paths: KeeperPaths
  readonly netns: string
  readonly spec: ResolverSpec
  /** Runs dig in the container's namespace; answers its short output, or the status. */
  dig(...args: readonly string[]): Promise<string>
}

async function lab(t: TestContext): Promise<Lab> {
  const folder = mkdtempSync(join(tmpdir(), 'names-'))
  const paths = {
    socketPath: join(folder, 'k.sock'),
    logPath: join(folder, 'k.log'),
    pidPath: join(folder, 'k.pid'),
  }
  const netns = join(folder, 'ns')
  createNetns(netns)
  const keeper = await startKeeper(paths)
  t.after(async () => {
    await keeper.stop()
    removeNetns(netns)
    rmSync(folder, { recursive: true, force: true })
  })
  const spec: ResolverSpec = {
    sandboxId: 'box',
    netnsPath: netns,
    networks: [{ networkId: 'n1', name: 'front' }],
    linkAliases: [],
    upstreams: [],
    keepSingleLabels: false,
    hostUpstreamsAllowed: true,
  }
  const dig = async (...args: readonly string[]) => {
    const line = ['dig', '@127.0.0.11', '+tries=1', '+time=9', ...args]
    const { stdout } = await run('nsenter', [`--net=${netns}`, ...line])
    const status = /status: (\w+)/.exec(stdout)?.[1]
    return (status === undefined || status === 'NOERROR' ? stdout : status).trim()
  }
  return { keeper, paths, netns, spec, dig }
}

/** A name server that answers every A question with `address`, or with an error code. */
async function upstream(t: TestContext, address: string, code = 0, netns = ''): Promise<void> {
  const answer = (message: Buffer) => {
    const query = decode(message)
    const answers = code === 0 ? [{ type: 'A', name: 'x', ttl: 5, data: address } as const] : []
    const questions = query.questions ?? []
    return encode({ type: 'response', id: query.id ?? 0, flags: code, questions, answers })
  }
  const ns = openNetns(netns)
  const options = { address: code === 0 ? '127.0.0.8' : '127.0.0.7', port: 53 }
  const { fd: udpFd } = listenIn(ns, { protocol: 'udp', ...options })
  const { fd: tcpFd } = listenIn(ns, { protocol: 'tcp', ...options })
  const udp = createSocket('udp4', (message, from) => {
    udp.send(answer(message), from.port, from.address)
  })
  udp.bind({ fd: udpFd })
  const tcp = createServer((connection) => {
    connection.once('data', (chunk) => {
      const reply = answer(chunk.subarray(2))
      connection.end(Buffer.concat([Buffer.of(reply.length >> 8, reply.length & 255), reply]))
    })
  })
  tcp.listen({ fd: tcpFd })
  await new Promise((resolve) => tcp.once('listening', resolve))
  t.after(() => {
    udp.close()
    tcp.close()
    ns.close()
  })
}

test('a container resolves names of its networks by UDP and TCP', async (t) => {
  const { keeper, spec, dig } = await lab(t)
  await keeper.setZone('n1', 'front', [web])
  await keeper.setResolver(spec)
  assert.equal(await dig('+short', 'web'), '172.18.0.2')
  assert.equal(await dig('+short', '+tcp', 'WEB.front'), '172.18.0.2')
  assert.equal(await dig('+short', '-x', '172.18.0.2'), 'web.front.')
  assert.match(await dig('web', 'AAAA'), /flags: qr rd ra.*ANSWER: 0/)
  assert.equal(await dig('elsewhere.test'), 'SERVFAIL')
  await keeper.setZone('n1', 'front', [web, { ...web, endpointId: 'e2', ipv4: '172.18.0.3' }])
  assert.deepEqual((await dig('+short', 'web')).split('\n').sort(), ['172.18.0.2', '172.18.0.3'])
})

test('a program in the container can still bind port 53 on every address', async (t) => {
  const { keeper, spec, netns, dig } = await lab(t)
  await keeper.setZone('n1', 'front', [web])
  await keeper.setResolver(spec)
  const ns = openNetns(netns)
  const own = listenIn(ns, { protocol: 'udp', address: '0.0.0.0', port: 53 })
  const socket = createSocket('udp4').bind({ fd: own.fd })
  t.after(() => {
    socket.close()
    ns.close()
  })
  assert.equal(await dig('+short', 'web'), '172.18.0.2')
})

test('unknown names go upstream, past servers that fail, from the right namespace', async (t) => {
  const { keeper, spec, netns, dig } = await lab(t)
  await upstream(t, '192.0.2.1')
  await upstream(t, '', 2)
  await upstream(t, '192.0.2.2', 0, netns)
  const fromHost = { address: '127.0.0.8', fromHost: true }
  const failing = { address: '127.0.0.7', fromHost: true }
  const dead = { address: '127.0.0.9', fromHost: true }
  await keeper.setResolver({ ...spec, upstreams: [dead, failing, fromHost] })
  assert.equal(await dig('+short', 'a.test'), '192.0.2.1')
  assert.equal(await dig('+short', '+tcp', 'a.test'), '192.0.2.1')
  await keeper.setResolver({ ...spec, upstreams: [failing] })
  assert.equal(await dig('a.test'), 'SERVFAIL')
  await keeper.setResolver({ ...spec, upstreams: [{ ...fromHost, fromHost: false }] })
  assert.equal(await dig('+short', 'a.test'), '192.0.2.2')
  assert.equal(await dig('+short', '+tcp', 'a.test'), '192.0.2.2')
  await keeper.setResolver({ ...spec, upstreams: [fromHost], hostUpstreamsAllowed: false })
  assert.equal(await dig('a.test'), 'SERVFAIL')
})

test('names are answered again within moments after the keeper was killed', async (t) => {
  const { keeper, spec, dig, paths } = await lab(t)
  await keeper.setZone('n1', 'front', [web])
  await keeper.setResolver(spec)
  const before = readMark(paths.pidPath)
  process.kill(before?.pid ?? -1, 'SIGKILL')
  // Any call waits for the next keeper; this one changes nothing.
  await keeper.releasePorts('none')
  assert.equal(await dig('+short', 'web'), '172.18.0.2')
  assert.notEqual(readMark(paths.pidPath)?.pid, before?.pid)
})

test('names are answered while the daemon is away, and what it forgot is closed', async (t) => {
  const { keeper, spec, dig, paths, netns } = await lab(t)
  await keeper.setZone('n1', 'front', [web])
  await keeper.setResolver(spec)
  keeper.disconnect()
  assert.equal(await dig('+short', 'web'), '172.18.0.2')
  const next = await startKeeper(paths)
  assert.equal(await dig('+short', 'web'), '172.18.0.2')
  await next.restored()
  const sockets = inNetnsAt(netns, () => openSockets())
  assert.equal(sockets, 0)
  await next.stop()
})

test('a removed resolver leaves no socket, no rule and no hold on the namespace', async (t) => {
  const { keeper, spec, netns, paths } = await lab(t)
  await keeper.setResolver(spec)
  const ns = openNetns(netns)
  const inode = ns.inode
  assert.match(nft(ns, 'list ruleset'), /table ip docker-dns/)
  await keeper.removeResolver('box')
  assert.equal(nft(ns, 'list ruleset').trim(), '')
  ns.close()
  const pid = readMark(paths.pidPath)?.pid ?? -1
  const { stdout } = await run('ls', ['-lL', '--inode', `/proc/${pid}/fd`])
  assert.ok(!stdout.includes(String(inode)))
})

/** UDP and TCP sockets of the namespace that this thread is in. */
function openSockets(): number {
  const linesOf = (kind: string) => readLines(`/proc/thread-self/net/${kind}`).slice(1)
  return [...linesOf('udp'), ...linesOf('tcp')].length
}

function readLines(path: string): readonly string[] {
  return readFileSync(path, 'utf8').trim().split('\n')
}
