/**
 * Names as containers see them: the resolver of user-defined networks, what goes upstream and from
 * where, legacy links, and the files that every container has.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createSocket, type Socket } from 'node:dgram'
import { writeFileSync } from 'node:fs'
import test, { after, before } from 'node:test'
import { decode, encode } from 'dns-packet'
import { Lab } from './lab/lab.ts'

let lab: Lab
let upstream: Socket
/** What the upstream server was asked: `A name from ADDRESS`. */
const asked: string[] = []

/** A server of the host that knows every name with a dot. */
function startUpstream(): Promise<Socket> {
  const socket = createSocket('udp4')
  socket.on('message', (message, from) => {
    const { id, questions = [] } = decode(message)
    const [question] = questions
    if (id === undefined || question === undefined) return
    asked.push(`${question.type} ${question.name} from ${from.address}`)
    const known = question.type === 'A' && question.name.includes('.')
    // One name is said to be an address of a container's.
    const data = question.name === 'claims.one' ? '10.1.0.2' : '192.0.2.1'
    const answers = known ? [{ type: 'A' as const, name: question.name, ttl: 1, data }] : []
    const flags = known ? 0 : 3
    const reply = encode({ type: 'response', id, flags, questions, answers })
    socket.send(reply, from.port, from.address)
  })
  return new Promise((ready) => socket.bind(53, '0.0.0.0', () => ready(socket)))
}

const hostResolvConf = 'nameserver 127.0.0.1\nsearch host.test\noptions edns0\n'

before(async () => {
  const mine = '/run/names-resolv.conf'
  writeFileSync(mine, hostResolvConf)
  // Seen by this test only: it runs with mounts of its own.
  execFileSync('mount', ['--bind', mine, '/etc/resolv.conf'])
  upstream = await startUpstream()
  lab = await Lab.start(undefined)
  await lab.ok('network', 'create', '--subnet', '10.1.0.0/24', 'aa')
  await lab.ok('network', 'create', '--subnet', '10.2.0.0/24', 'bb')
  await lab.ok('network', 'create', '--internal', '--subnet', '10.3.0.0/24', 'closed')
  await start('w1', '--network', 'aa', '--network-alias', 'web', '-h', 'host1')
  await start('w2', '--network', 'aa', '--network-alias', 'web', '--network-alias', 'we.b')
  await lab.ok('network', 'connect', '--alias', 'other', 'bb', 'w2')
  await start('asker', '--network', 'aa', '--link', 'w1:db', '--link', 'absent:gone')
  await lab.ok('network', 'connect', 'bb', 'asker')
})

after(async () => {
  upstream.close()
  await lab.expectNoLeaks()
  await lab.stop()
  execFileSync('umount', ['/etc/resolv.conf'])
})

function start(name: string, ...options: readonly string[]): Promise<string> {
  return lab.ok('run', '-d', '--name', name, ...options, 'busybox', 'sleep', '600')
}

/** A command of the machine in a container's network namespace. */
async function within(container: string, command: string): Promise<string> {
  const pid = await lab.ok('inspect', '-f', '{{.State.Pid}}', container)
  return lab.must(`nsenter -t ${pid} -n ${command}`)
}

/** `NOERROR 10.1.0.2` : the answer of the resolver, addresses in order of their numbers. */
async function dig(container: string, question: string): Promise<string> {
  const out = await within(container, `dig +tries=1 +time=5 @127.0.0.11 ${question}`)
  const status = /status: (\w+)/.exec(out)?.[1] ?? 'none'
  const section = out.split(';; ANSWER SECTION:\n')[1]?.split('\n\n')[0] ?? ''
  const data = section.split('\n').map((line) => line.split(/\s+/).slice(4).join(' '))
  return [status, ...data.filter((text) => text !== '').sort()].join(' ')
}

const file = (container: string, name: string): Promise<string> =>
  lab.ok('exec', container, 'cat', `/etc/${name}`)

const answers: readonly (readonly [what: string, question: string, answer: string])[] = [
  ['the container’s name', 'w1', 'NOERROR 10.1.0.2'],
  ['letter case does not count', 'W1', 'NOERROR 10.1.0.2'],
  ['a final dot does not count', 'w1.', 'NOERROR 10.1.0.2'],
  ['by TCP', '+tcp w1', 'NOERROR 10.1.0.2'],
  ['its hostname', 'host1', 'NOERROR 10.1.0.2'],
  ['one’s own name', 'asker', 'NOERROR 10.1.0.4'],
  ['an alias of several containers', 'web', 'NOERROR 10.1.0.2 10.1.0.3'],
  ['an alias with a dot', 'we.b', 'NOERROR 10.1.0.3'],
  ['an alias with a dot and the network', 'we.b.aa', 'NOERROR 10.1.0.3'],
  ['name.network', 'w1.aa', 'NOERROR 10.1.0.2'],
  ['name.network of the other one', 'w2.bb', 'NOERROR 10.2.0.2'],
  ['an alias of the other network', 'other', 'NOERROR 10.2.0.2'],
  ['a link is a private alias', 'db', 'NOERROR 10.1.0.2'],
  ['AAAA of a known name is empty', 'w1 AAAA', 'NOERROR'],
  ['MX of a known name is empty', 'w1 MX', 'NOERROR'],
  ['an address', '-x 10.1.0.3', 'NOERROR w2.aa.'],
  ['an address of the other network', '-x 10.2.0.2', 'NOERROR w2.bb.'],
  ['a name that somebody gives to an address of ours', 'claims.one', 'NOERROR 10.1.0.2'],
  ['which stays ours', '-x 10.1.0.2', 'NOERROR w1.aa.'],
  ['a name of the wrong network', 'w1.bb', 'NOERROR 192.0.2.1'],
  ['an unknown name', 'example.com', 'NOERROR 192.0.2.1'],
  ['an unknown single label goes upstream', 'nobody', 'NXDOMAIN'],
  ['a link to nobody goes upstream', 'gone', 'NXDOMAIN'],
  ['other types go upstream', 'w1 TXT', 'NXDOMAIN'],
  ['an address of nobody', '-x 10.9.9.9', 'NXDOMAIN'],
]

test('the resolver answers what Docker’s answers', async (t) => {
  for (const [what, question, answer] of answers) {
    await t.test(what, async () => assert.equal(await dig('asker', question), answer))
  }
  const out = await within('asker', 'dig @127.0.0.11 w1')
  assert.match(out, /flags: qr rd ra;/)
  assert.match(out, /^w1\.\s+600\s+IN\s+A\s+10\.1\.0\.2$/m)
  const id = await lab.ok('inspect', '-f', '{{slice .Id 0 12}}', 'w1')
  assert.equal(await dig('asker', id), 'NOERROR 10.1.0.2')
})

test('every holder of an alias comes first at times', async () => {
  const script = 'for i in $(seq 24); do dig +short @127.0.0.11 web | head -1; done | sort -u'
  assert.equal(await within('asker', `sh -c '${script}'`), '10.1.0.2\n10.1.0.3')
})

test('the host asks its own servers upstream, the container those of --dns', async () => {
  const gateway = '10.1.0.1'
  await start('own', '--network', 'aa', '--dns', gateway, '--dns-search', 'corp.test')
  const [address] = (await lab.ok('exec', 'own', 'hostname', '-i')).split(' ')
  asked.length = 0
  await dig('asker', 'from.host')
  await dig('own', 'from.container')
  assert.deepEqual(asked, ['A from.host from 127.0.0.1', `A from.container from ${address}`])
  await lab.ok('rm', '-f', 'own')
})

test('a set ndots keeps single labels, an internal network the host’s servers away', async () => {
  await start('dots', '--network', 'aa', '--dns-option', 'ndots:2')
  await start('inner', '--network', 'closed')
  asked.length = 0
  assert.equal(await dig('dots', 'nobody'), 'NOERROR')
  assert.equal(await dig('dots', 'w1'), 'NOERROR 10.1.0.2')
  assert.equal(await dig('inner', 'example.com'), 'SERVFAIL')
  assert.equal(await dig('inner', 'inner'), 'NOERROR 10.3.0.2')
  assert.deepEqual(asked, [])
  assert.equal(await dig('dots', 'example.com'), 'NOERROR 192.0.2.1')
  await lab.ok('rm', '-f', 'dots', 'inner')
})

test('a rename is seen at once, a stop takes the name away', async () => {
  await start('before', '--network', 'aa')
  await lab.ok('rename', 'before', 'behind')
  assert.equal(await dig('asker', 'behind'), 'NOERROR 10.1.0.5')
  assert.equal(await dig('asker', '-x 10.1.0.5'), 'NOERROR behind.aa.')
  assert.equal(await dig('asker', 'before'), 'NXDOMAIN')
  const names = '{{index .NetworkSettings.Networks.aa.DNSNames 0}}'
  assert.equal(await lab.ok('inspect', '-f', names, 'behind'), 'behind')
  await lab.ok('stop', '-t', '0', 'behind')
  assert.equal(await dig('asker', 'behind'), 'NXDOMAIN')
  await lab.ok('rm', 'behind')
})

test('a program in the container has port 53 for itself', async () => {
  const pid = await lab.ok('inspect', '-f', '{{.State.Pid}}', 'asker')
  const listen = (kind: string) => `timeout 1 socat ${kind}:53 /dev/null >/dev/null 2>&1 &`
  const count = 'sleep 0.4; ss -Hlntu "sport = 53" | wc -l'
  const script = `${listen('UDP4-LISTEN')} ${listen('TCP4-LISTEN')} ${count}`
  assert.equal(await lab.must(`nsenter -t ${pid} -n sh -c '${script}'`), '2')
  assert.equal(await dig('asker', 'w1'), 'NOERROR 10.1.0.2')
})

test('what a user writes into the files survives a connect, not a restart', async () => {
  await start('edited', '--network', 'aa')
  const edit = 'echo 1.2.3.4 mine >>/etc/hosts; echo "# mine" >>/etc/resolv.conf'
  await lab.ok('exec', 'edited', 'sh', '-c', edit)
  await lab.ok('network', 'connect', 'bb', 'edited')
  const both = /\n10\.1\.0\.\d\t\w{12}\n1\.2\.3\.4 mine\n10\.2\.0\.\d\t\w{12}$/
  assert.match(await file('edited', 'hosts'), both)
  assert.match(await file('edited', 'resolv.conf'), /# mine$/)
  await lab.ok('network', 'disconnect', 'bb', 'edited')
  assert.match(await file('edited', 'hosts'), /\n10\.1\.0\.\d\t\w{12}\n1\.2\.3\.4 mine$/)
  await lab.ok('restart', '-t', '0', 'edited')
  assert.doesNotMatch(await file('edited', 'hosts'), /mine/)
  assert.doesNotMatch(await file('edited', 'resolv.conf'), /mine/)
  await lab.ok('rm', '-f', 'edited')
})

const fixedHosts = `127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters`

const resolvHead = `# Generated by Docker Engine.
# This file can be edited; Docker Engine will not make further changes once it
# has been modified.
`

/** Options of a run, and the two files in it. */
const files: readonly (readonly [string, readonly string[], RegExp | string, string])[] = [
  ['a user network', ['--network', 'aa', '-h', 'app'], `${fixedHosts}\n10.1.0.5\tapp`, `
nameserver 127.0.0.11
search host.test
options edns0 ndots:0

# Based on host file: '/etc/resolv.conf' (internal resolver)
# ExtServers: [host(127.0.0.1)]
# Overrides: []
# Option ndots from: internal`],
  ['overrides', ['--network', 'aa', '-h', 'app', '--domainname', 'corp.test', '--dns', '192.0.2.53',
    '--dns-search', '.', '--dns-option', 'ndots:3', '--add-host', 'x:1.2.3.4',
    '--add-host', 'y:::1'],
  `${fixedHosts}\n1.2.3.4\tx\n::1\ty\n10.1.0.5\tapp.corp.test app`, `
nameserver 127.0.0.11
options ndots:3

# Based on host file: '/etc/resolv.conf' (internal resolver)
# ExtServers: [192.0.2.53]
# Overrides: [nameservers search options]
# Option ndots from: override`],
  ['the default bridge', ['-h', 'app', '--add-host', 'gw:host-gateway'],
    `${fixedHosts}\n172.17.0.1\tgw\n172.17.0.2\tapp`, `
nameserver 8.8.8.8
nameserver 8.8.4.4
search host.test
options edns0

# Based on host file: '/etc/resolv.conf' (legacy)
# Used default nameservers.
# Overrides: []`],
  ['none', ['--network', 'none', '-h', 'app'], fixedHosts, `
nameserver 8.8.8.8
nameserver 8.8.4.4
search host.test
options edns0

# Based on host file: '/etc/resolv.conf' (legacy)
# Used default nameservers.
# Overrides: []`],
  ['the host with --add-host', ['--network', 'host', '--add-host', 'x:1.2.3.4'],
    `${fixedHosts}\n1.2.3.4\tx`, `
nameserver 127.0.0.1
search host.test
options edns0

# Based on host file: '/etc/resolv.conf'
# Overrides: []`],
]

test('hosts and resolv.conf are what Docker writes, letter by letter', async (t) => {
  for (const [what, options, hosts, resolvConf] of files) {
    await t.test(what, async () => {
      const split = ['sh', '-c', 'cat /etc/hosts; echo %%; cat /etc/resolv.conf']
      const out = await lab.ok('run', '--rm', ...options, 'busybox', ...split)
      const [first = '', second = ''] = out.split('\n%%\n')
      assert.equal(first, hosts)
      assert.equal(second, resolvHead + resolvConf)
    })
  }
  const own = await lab.must('cat /etc/hosts')
  const copy = await lab.ok('run', '--rm', '--network', 'host', 'busybox', 'cat', '/etc/hosts')
  assert.equal(copy, own)
  const off = ['--sysctl', 'net.ipv6.conf.all.disable_ipv6=1']
  const hosts = await lab.ok('run', '--rm', '-h', 'app', ...off, 'busybox', 'cat', '/etc/hosts')
  assert.equal(hosts, '127.0.0.1\tlocalhost\n172.17.0.2\tapp')
})

test('legacy links: hosts lines and variables, which follow restart and rename', async () => {
  const ports = ['53/udp', '80-82', '90', '91'].flatMap((port) => ['--expose', port])
  await start('child', '-e', 'HOME=/x', '-e', 'COLOUR=blue', ...ports)
  await start('parent', '--link', 'child:my-db', '--link', 'child')
  const short = await lab.ok('inspect', '-f', '{{slice .Id 0 12}}', 'child')
  const own = await lab.ok('inspect', '-f', '{{slice .Id 0 12}}', 'parent')
  const tail = async () => (await file('parent', 'hosts')).split('\n').slice(6).join('\n')
  const lines = (address: string, names: readonly string[]) =>
    [...names.map((each) => `${address}\t${each}`), `172.17.0.3\t${own}`].join('\n')
  assert.equal(await tail(), lines('172.17.0.2', [`my-db ${short} child`, `child ${short}`]))
  const links = () => lab.ok('inspect', '-f', '{{json .HostConfig.Links}}', 'parent')
  assert.equal(await links(), '["/child:/parent/my-db","/child:/parent/child"]')
  const all = (await lab.ok('exec', 'parent', 'env')).split('\n')
  const env = all.filter((line) => line.startsWith('MY_DB'))
  const about = (port: number, protocol: string) => {
    const prefix = `MY_DB_PORT_${port}_${protocol.toUpperCase()}`
    return [`${prefix}=${protocol}://172.17.0.2:${port}`, `${prefix}_ADDR=172.17.0.2`,
      `${prefix}_PORT=${port}`, `${prefix}_PROTO=${protocol}`]
  }
  const range = 'MY_DB_PORT_80_TCP'
  assert.deepEqual(env.sort(), [
    'MY_DB_NAME=/parent/my-db', 'MY_DB_ENV_COLOUR=blue', 'MY_DB_PORT=tcp://172.17.0.2:80',
    ...about(53, 'udp'), ...[80, 81, 82, 90, 91].flatMap((port) => about(port, 'tcp')),
    `${range}_START=tcp://172.17.0.2:80`, `${range}_END=tcp://172.17.0.2:82`,
    `${range}_PORT_START=80`, `${range}_PORT_END=82`,
  ].sort())
  await lab.ok('stop', '-t', '0', 'child')
  await start('squatter')
  await lab.ok('rename', 'child', 'offspring')
  await lab.ok('start', 'offspring')
  const renamed = [`my-db ${short} offspring`, `child ${short} offspring`]
  assert.equal(await tail(), lines('172.17.0.4', renamed))
  assert.equal(await links(), '["/offspring:/parent/my-db","/offspring:/parent/child"]')
  await lab.ok('rm', '--link', 'parent/child')
  assert.equal(await links(), '["/offspring:/parent/my-db"]')
  await lab.ok('rm', '-f', 'offspring', 'squatter')
  await lab.ok('restart', '-t', '0', 'parent')
  assert.equal(await links(), 'null')
  await lab.ok('rm', '-f', 'parent')
})

test('links that cannot be: unknown, stopped, on another network', async () => {
  const unknown = await lab.docker('create', '--link', 'nope:x', 'busybox')
  assert.match(unknown.err, /could not get container for nope: No such container: nope/)
  await lab.ok('create', '--name', 'still', 'busybox')
  await lab.ok('create', '--name', 'p1', '--link', 'still:x', 'busybox')
  await lab.ok('create', '--name', 'p2', '--link', 'w1:x', 'busybox')
  const [stopped, elsewhere] = [await lab.docker('start', 'p1'), await lab.docker('start', 'p2')]
  assert.match(stopped.err, /Cannot link to a non running container: \/still AS \/p1\/x/)
  assert.match(elsewhere.err, /container \w{64} not attached to default bridge network/)
  await lab.ok('rm', 'still', 'p1', 'p2')
})
