import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import type { Socket } from 'node:net'
import { after, before, test } from 'node:test'
import { Refusal } from '../base/refusal.ts'
import { homeNetns } from '../kernel/netns.ts'
import { listPolicyRules } from '../kernel/policy-rule.ts'
import type { PortHold } from './client.ts'
import { PortHolder } from './ports.ts'

const shell = (command: string) => execFileSync('sh', ['-ec', command], { encoding: 'utf8' })

// The home namespace is the host; `peer` is both a container (behind br-…) and a host on the LAN.
before(() => shell(`ip netns add peer
  ip link add br-0123456789ab type bridge
  ip addr add 172.18.0.1/16 dev br-0123456789ab && ip link set br-0123456789ab up
  ip link add v0 type veth peer name eth0 netns peer && ip link set v0 master br-0123456789ab up
  ip -n peer addr add 172.18.0.2/16 dev eth0 && ip -n peer link set eth0 up
  ip link add lan0 type veth peer name lan netns peer && ip addr add 192.0.2.1/24 dev lan0
  ip link set lan0 up && ip -n peer addr add 192.0.2.2/24 dev lan && ip -n peer link set lan up`))
after(() => shell('ip link del br-0123456789ab; ip link del lan0; ip netns del peer'))

function hold(change: Partial<PortHold> = {}): PortHold {
  return {
    protocol: 'tcp', hostIp: '0.0.0.0', hostPort: 8080, containerIp: '127.0.0.1',
    containerPort: 9000, relay: true, ...change,
  }
}

/** Sends `text`, ends its half, answers all that comes back. */
async function talk(port: number, text: string, host = '127.0.0.1'): Promise<string> {
  const socket = connect({ host, port, allowHalfOpen: true })
  socket.end(text)
  let answer = ''
  for await (const chunk of socket) answer += String(chunk)
  return answer
}

type OnClient = (socket: Socket) => void

async function withServer<T>(onClient: OnClient, task: () => Promise<T>): Promise<T> {
  const server = createServer({ allowHalfOpen: true }, onClient)
  server.listen(9000, '127.0.0.1')
  await once(server, 'listening')
  try {
    return await task()
  } finally {
    server.close()
  }
}

async function withHolder(task: (holder: PortHolder) => Promise<void>): Promise<void> {
  // The route socket of this namespace, once open, stays.
  listPolicyRules(homeNetns())
  const holder = new PortHolder()
  const descriptors = readdirSync('/proc/self/fd').length
  try {
    await task(holder)
    holder.releaseAll()
    const deadline = Date.now() + 2000
    while (readdirSync('/proc/self/fd').length > descriptors && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    assert.ok(readdirSync('/proc/self/fd').length <= descriptors, 'descriptors are left')
  } finally {
    holder.close()
  }
}

const refuses = (sentence: string) => (error: unknown) => {
  assert.ok(error instanceof Refusal)
  assert.equal(error.message, sentence)
  assert.equal(error.kind, 'internal')
  return true
}

test('the end of one direction is passed on while the other goes on', async () => {
  await withServer((socket) => {
    let seen = ''
    socket.on('data', (chunk) => { seen += String(chunk) })
    socket.on('end', () => socket.end(`echo ${seen}`))
  }, () => withHolder(async (holder) => {
    await holder.hold('e1', [hold()])
    assert.equal(await talk(8080, 'hello'), 'echo hello')
    assert.equal(await talk(8080, 'x'.repeat(1_000_000)), `echo ${'x'.repeat(1_000_000)}`)
  }))
})

test('IPv6 is relayed to a container that has only IPv4', async () => {
  await withServer((socket) => socket.end('four'), () => withHolder(async (holder) => {
    await holder.hold('e1', [hold({ hostIp: '::' }), hold()])
    assert.equal(await talk(8080, '', '::1'), 'four')
  }))
})

test('one socket serves both families; what each needs is still told apart', async () => {
  await withServer((socket) => socket.end('served'), () => withHolder(async (holder) => {
    const sockets = () => shell('ss -Hltn sport = :8080').trim().split('\n').length
    await holder.hold('e1', [hold(), hold({ hostIp: '::' })])
    assert.equal(sockets(), 1)
    assert.equal(holder.snapshot.get('e1')?.length, 2)
    assert.equal(await talk(8080, ''), 'served')
    assert.equal(await talk(8080, '', '::1'), 'served')
    // Only one of them from now on: the other family is not served any more, but comes back.
    await holder.hold('e1', [hold()])
    assert.equal(await talk(8080, ''), 'served')
    await assert.rejects(talk(8080, 'x', '::1'), /ECONNRESET|EPIPE/)
    const server = createServer().listen({ port: 8081, host: '::', ipv6Only: true })
    await once(server, 'listening')
    const hostPort = 8081
    const taken = holder.hold('e2', [hold({ hostPort }), hold({ hostPort, hostIp: '::' })])
    await assert.rejects(taken, refuses('failed to bind host port for ' +
      '[::]:8081:127.0.0.1:9000/tcp: address already in use'))
    server.close()
  }))
})

test('a container that refuses is refused to the client', async () => {
  await withHolder(async (holder) => {
    await holder.hold('e1', [hold({ containerPort: 9 })])
    await assert.rejects(talk(8080, 'x'), /ECONNRESET|EPIPE/)
  })
})

test('what a container sent before it broke off reaches the client', async () => {
  const answer = 'x'.repeat(100_000)
  const { promise: brokenOff, resolve: tell } = Promise.withResolvers<void>()
  await withServer((socket) => {
    socket.on('data', () => socket.write(answer))
    socket.on('end', () => {
      socket.resetAndDestroy()
      setTimeout(tell, 100)
    })
  }, () => withHolder(async (holder) => {
    await holder.hold('e1', [hold()])
    const client = connect({ host: '127.0.0.1', port: 8080, allowHalfOpen: true })
    client.write('x')
    await once(client, 'readable')
    // Nothing more is read here until the container has broken off.
    client.end()
    await brokenOff
    let seen = ''
    for await (const chunk of client) seen += String(chunk)
    assert.equal(seen.length, answer.length)
  }))
})

test('conflicts are told in Docker\'s words and leave everything as it was', async () => {
  await withHolder(async (holder) => {
    const server = createServer().listen(8081, '0.0.0.0')
    await once(server, 'listening')
    await holder.hold('e1', [hold()])
    const before = holder.snapshot
    const taken = holder.hold('e1', [hold({ hostPort: 8082 }), hold({ hostPort: 8081 })])
    await assert.rejects(taken, refuses('failed to bind host port for ' +
      '0.0.0.0:8081:127.0.0.1:9000/tcp: address already in use'))
    assert.deepEqual(holder.snapshot, before)
    await holder.hold('e2', [hold({ hostPort: 8082 })])
    await assert.rejects(holder.hold('e3', [hold({ hostIp: '198.51.100.7' })]), refuses(
      'failed to bind host port for 198.51.100.7:8080:127.0.0.1:9000/tcp: ' +
      'cannot assign requested address'))
    const twice = refuses('failed to listen on TCP socket: address already in use')
    await assert.rejects(holder.hold('e4', [hold({ hostPort: 90 }), hold({ hostPort: 90 })]), twice)
    const loopback = hold({ hostPort: 90, hostIp: '127.0.0.1' })
    await assert.rejects(holder.hold('e4', [hold({ hostPort: 90 }), loopback]), twice)
    server.close()
  })
})

test('a host program cannot take a port that is held, whether it is relayed or not', async () => {
  await withHolder(async (holder) => {
    await holder.hold('e1', [hold({ relay: false }), hold({ protocol: 'udp', relay: false })])
    const server = createServer().listen(8080, '0.0.0.0')
    const [error]: { code?: string }[] = await once(server, 'error')
    assert.equal(error?.code, 'EADDRINUSE')
    const udp = createSocket('udp4')
    udp.bind(8080)
    const [udpError]: { code?: string }[] = await once(udp, 'error')
    assert.equal(udpError?.code, 'EADDRINUSE')
    udp.close()
    await assert.rejects(talk(8080, 'x'), /ECONNRESET|EPIPE/)
  })
})

test('on loopback, and from the LAN: only who the rules would let in is served', async () => {
  await withServer((socket) => socket.end('served'), () => withHolder(async (holder) => {
    await holder.hold('e1', [hold(), hold({ hostPort: 81, hostIp: '127.0.0.1' })])
    // The server is this process, so the child must not block it.
    const ask = async (from: string, to: string): Promise<string> => {
      const child = spawn('ip', ['netns', 'exec', 'peer', 'socat', '-T2', '-t2', '-',
        `TCP:${to},bind=${from},connect-timeout=2`], { stdio: ['ignore', 'pipe', 'ignore'] })
      let answer = ''
      child.stdout.on('data', (chunk) => { answer += String(chunk) })
      await once(child, 'close')
      return answer
    }
    assert.equal(await ask('172.18.0.2', '172.18.0.1:8080'), 'served')
    assert.equal(await ask('172.18.0.2', '192.0.2.1:8080'), 'served')
    assert.equal(await ask('192.0.2.2', '192.0.2.1:8080'), '')
    assert.equal(await ask('192.0.2.2', '192.0.2.1:81'), '')
    assert.equal(await talk(8080, '', '192.0.2.1'), 'served')
    assert.equal(await talk(81, ''), 'served')
  }))
})

test('datagrams go and come, each client gets its own answers, flows end', async () => {
  const server = createSocket('udp4').bind(9000, '127.0.0.1')
  await once(server, 'listening')
  server.on('message', (data, from) => server.send(`re ${data}`, from.port, from.address))
  await withHolder(async (holder) => {
    await holder.hold('e1', [hold({ protocol: 'udp' })])
    for (const text of ['a', 'b']) {
      const client = createSocket('udp4')
      client.send(text, 8080, '127.0.0.1')
      const [answer]: Buffer[] = await once(client, 'message')
      assert.equal(String(answer), `re ${text}`)
      client.close()
    }
  })
  server.close()
})

test('a port that moves to another container takes no flow or connection along', async () => {
  const [one, two] = [createSocket('udp4').bind(9000, '127.0.0.1'), createSocket('udp4')]
  two.bind(9000, '127.0.0.2')
  await Promise.all([once(one, 'listening'), once(two, 'listening')])
  one.on('message', (_, from) => one.send('one', from.port, from.address))
  two.on('message', (_, from) => two.send('two', from.port, from.address))
  await withHolder(async (holder) => {
    const client = createSocket('udp4')
    for (const [containerIp, name] of [['127.0.0.1', 'one'], ['127.0.0.2', 'two']] as const) {
      await holder.hold('e1', [hold({ protocol: 'udp', containerIp })])
      client.send('x', 8080, '127.0.0.1')
      const [answer]: Buffer[] = await once(client, 'message')
      assert.equal(String(answer), name)
    }
    client.close()
  })
  one.close()
  two.close()
})

test('SCTP is held, or refused where the kernel does not have it', async () => {
  await withHolder(async (holder) => {
    const sentence = 'error starting userland proxy: failed to listen on 0.0.0.0:8080: ' +
      'protocol not supported'
    try {
      await holder.hold('e1', [hold({ protocol: 'sctp' })])
    } catch (error) {
      refuses(sentence)(error)
    }
  })
})

test('two thousand ports are held and given back in a moment', async () => {
  await withHolder(async (holder) => {
    const before = process.memoryUsage().rss
    const started = performance.now()
    const ports = Array.from({ length: 2000 }, (_, i) => hold({ hostPort: 20_000 + i }))
    await holder.hold('e1', ports)
    const tookMs = performance.now() - started
    assert.ok(tookMs < 2000, `${tookMs} ms`)
    assert.ok(process.memoryUsage().rss - before < 40 << 20)
  })
})
