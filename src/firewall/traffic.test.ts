/** Real packets through both backends: one table of cases, each run on iptables and nftables. */
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { formatAddress, parseAddress } from '../address/ip.ts'
import { PortHolder } from '../keeper/ports.ts'
import { watchFirewall } from '../kernel/monitor.ts'
import { homeNetns } from '../kernel/netns.ts'
import { nftAccess, tableAccess } from './access.ts'
import { IptablesBackend } from './iptables.ts'
import type { BridgeIntent, FirewallSettings, LinkIntent, PortIntent } from './intent.ts'
import { NftablesBackend } from './nftables.ts'
import type { WatchFirewall } from './repair.ts'
import { FirewallWriter } from './writer.ts'

const br1 = 'br-000000000001'
const br2 = 'br-000000000002'
const shell = (command: string) => execFileSync('sh', ['-ec', command], { encoding: 'utf8' })
const servers: ChildProcess[] = []

/** c1 and c2 on br1 (172.18), d1 on br2 (172.19), a host on the LAN that routes to both by us. */
before(async () => {
  const guest = (name: string, bridge: string, address: string, v6: string, gateway: string) => `
    ip netns add ${name}; ip -n ${name} link set lo up
    ip link add v-${name} type veth peer name eth0 netns ${name}
    ip link set v-${name} master ${bridge} up; bridge link set dev v-${name} hairpin on
    ip -n ${name} addr add ${address} dev eth0; ip -n ${name} addr add ${v6} dev eth0 nodad
    ip -n ${name} link set eth0 up; ip -n ${name} route add default via ${gateway}
    ip -n ${name} -6 route add default via ${v6.replace(/:\d\/64$/, ':1')}`
  shell(`echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
    for b in ${br1} ${br2}; do ip link add $b type bridge; ip link set $b up; done
    ip addr add 172.18.0.1/16 dev ${br1}; ip addr add fd01::1/64 dev ${br1} nodad
    ip addr add 172.19.0.1/16 dev ${br2}; ip addr add fd02::1/64 dev ${br2} nodad
    ${guest('c1', br1, '172.18.0.2/16', 'fd01::2/64', '172.18.0.1')}
    ${guest('c2', br1, '172.18.0.3/16', 'fd01::3/64', '172.18.0.1')}
    ${guest('d1', br2, '172.19.0.2/16', 'fd02::2/64', '172.19.0.1')}
    ip netns add lan; ip link add lan0 type veth peer name eth0 netns lan
    ip -n lan link set lo up; ip addr add 192.0.2.1/24 dev lan0; ip link set lan0 up
    ip addr add fd09::1/64 dev lan0 nodad; ip -n lan addr add 192.0.2.2/24 dev eth0
    ip -n lan addr add fd09::2/64 dev eth0 nodad; ip -n lan link set eth0 up
    ip -n lan route add 172.16.0.0/12 via 192.0.2.1; ip -n lan -6 route add fd00::/8 via fd09::1`)
  for (const name of ['c1', 'c2', 'd1', 'lan']) {
    for (const port of [80, 81]) serve(name, `TCP4-LISTEN:${port},fork,reuseaddr`)
    serve(name, 'TCP6-LISTEN:80,ipv6only=1,fork,reuseaddr')
    serve(name, 'UDP4-RECVFROM:53,fork')
  }
  for (const name of ['c1', 'c2', 'd1', 'lan']) await listens(name)
})
after(() => {
  for (const server of servers) server.kill('SIGKILL')
  for (const name of ['c1', 'c2', 'd1', 'lan']) shell(`ip netns del ${name}`)
  shell(`nft flush ruleset; ip link del ${br1}; ip link del ${br2}`)
})

/** Answers each client with its address as the server sees it. */
function serve(name: string, listen: string): void {
  const answer = 'SYSTEM:read line; echo $SOCAT_PEERADDR'
  const args = ['netns', 'exec', name, 'socat', listen, answer]
  servers.push(spawn('ip', args, { stdio: 'ignore' }))
}

async function listens(name: string): Promise<void> {
  for (let i = 0; i < 200; i++) {
    const lines = shell(`ip netns exec ${name} ss -Hlntu`).trim().split('\n')
    if (lines.length >= 4) return
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  assert.fail(`the servers in ${name} do not start`)
}

/** The client's address as the server saw it, '' when it was not reached. */
async function ask(from: string, host: string, port: number, protocol = 'TCP'): Promise<string> {
  const to = host.includes(':') ? `[${host}]` : host
  const wait = protocol === 'TCP' ? ',connect-timeout=0.5' : ''
  const socat = ['socat', '-t0.5', '-T0.5', '-', `${protocol}:${to}:${port}${wait}`]
  const argv = from === 'host' ? socat : ['ip', 'netns', 'exec', from, ...socat]
  const child = spawn(argv[0] ?? '', argv.slice(1), { stdio: ['pipe', 'pipe', 'ignore'] })
  let answer = ''
  child.stdout.on('data', (chunk) => { answer += String(chunk) })
  child.stdin.on('error', () => undefined)
  child.stdin.end('x\n')
  await once(child, 'close')
  const address = parseAddress(answer.trim().replace(/^\[|\]$/g, ''))
  return address === undefined ? '' : formatAddress(address)
}

type Check = readonly [from: string, host: string, port: number, seenAs: string, udp?: 'UDP']

/** What is expected of connections; '' = not reached. All at once: failing takes time. */
async function expect(name: string, checks: readonly Check[]): Promise<void> {
  const asked = checks.map(([from, host, port, , udp]) => ask(from, host, port, udp))
  const answers = await Promise.all(asked)
  checks.forEach(([from, host, port, seenAs], i) => {
    const what = `${name}: ${from} → ${host} port ${port}`
    assert.equal(answers[i], seenAs, what)
  })
}

const settings: FirewallSettings = {
  userlandProxy: true, ipv4: true, ipv6: true, allowDirectRouting: false, sharedChains: false,
}

function bridge(name: string, subnet: string, change: Partial<BridgeIntent> = {}): BridgeIntent {
  const v6 = `fd0${name.slice(-1)}::`
  return {
    networkId: name, bridge: name,
    families: [
      { family: 4, subnet: `172.${subnet}.0.0/16`, gateway: `172.${subnet}.0.1`, mode: 'nat' },
      { family: 6, subnet: `${v6}/64`, gateway: `${v6}1`, mode: 'nat' },
    ],
    internal: false, icc: true, masquerade: true, trustedInterfaces: [], ...change,
  }
}

function port(
  hostPort: number, containerPort: number, change: Partial<PortIntent> = {},
): PortIntent {
  return {
    bridge: br1, family: 4, mode: 'nat', protocol: 'tcp', hostIp: '0.0.0.0', hostPort,
    containerIp: '172.18.0.2', containerPort, count: 1, ...change,
  }
}

interface Lab {
  readonly writer: FirewallWriter
  readonly holder: PortHolder
  /** Holds and opens, as an engine does. */
  publish(ports: readonly PortIntent[], links?: readonly LinkIntent[]): Promise<void>
  /** A rule in the user's chain that drops what comes in by a link. */
  dropFor(link: string): void
}


test('what somebody flushes is put back without being asked', async () => {
  shell('nft flush ruleset')
  const backend = new NftablesBackend({
    settings, access: nftAccess(homeNetns()), dropForwarding: () => false,
  })
  const watch: WatchFirewall = (changed) => watchFirewall(homeNetns(), changed)
  const writer = new FirewallWriter(backend, { watch })
  await writer.start()
  await writer.reconcile()
  await writer.setBridge(bridge(br1, '18'))
  await new Promise((resolve) => setTimeout(resolve, 400))
  try {
    for (let i = 0; i < 2; i++) {
      shell('nft flush ruleset')
      const deadline = Date.now() + 3000
      while ((await writer.plan()).length > 0 && Date.now() < deadline) {
        await new Promise((resolve) => setTimeout(resolve, 10))
      }
      assert.deepEqual(await writer.plan(), [])
      assert.ok(shell('nft list ruleset').includes(br1))
    }
  } finally {
    await writer.removeAll()
  }
})

type Case = (lab: Lab) => Promise<void>

function onBoth(name: string, set: Partial<FirewallSettings>, task: Case): void {
  for (const backend of ['iptables', 'nftables']) {
    test(`${backend}: ${name}`, async () => {
      shell('nft flush ruleset')
      const options = { settings: { ...settings, ...set }, dropForwarding: () => true }
      const former = { get: () => undefined, set: async () => undefined }
      const writer = new FirewallWriter(backend === 'iptables'
        ? new IptablesBackend({ ...options, access: tableAccess(), former })
        : new NftablesBackend({ ...options, access: nftAccess(homeNetns()) }))
      const holder = new PortHolder()
      const relay = options.settings.userlandProxy
      const publish = async (ports: readonly PortIntent[], links: readonly LinkIntent[] = []) => {
        const holds = ports.flatMap((p) => Array.from({ length: p.count }, (_, i) => ({
          ...p, hostPort: p.hostPort + i, containerPort: p.containerPort + i, relay,
        })))
        await holder.hold('e1', holds)
        await writer.setEndpoint('e1', ports, links)
      }
      const dropFor = (link: string) => shell(backend === 'iptables'
        ? `iptables -A DOCKER-USER -i ${link} -j DROP`
        : `nft add rule ip docker-bridges DOCKER-USER iifname ${link} drop`)
      try {
        await writer.start()
        await writer.reconcile()
        await task({ writer, holder, publish, dropFor })
        assert.deepEqual(await writer.plan(), [])
        await writer.removeAll()
      } finally {
        holder.close()
      }
      const left = shell('nft list ruleset')
      assert.ok(!/portolan|docker-bridges \{|br-0000/.test(left), left)
    })
  }
}

onBoth('who reaches what with a published port, in the words of the reference', {}, async (lab) => {
  const { writer, publish } = lab
  await Promise.all([writer.setBridge(bridge(br1, '18')), writer.setBridge(bridge(br2, '19'))])
  await publish([
    port(8080, 80), port(8081, 80, { hostIp: '127.0.0.1' }),
    port(8082, 80, { hostIp: '192.0.2.1' }),
    port(9000, 80, { count: 2 }), port(80, 80, { hostIp: '192.0.2.1', count: 2 }),
    port(5353, 53, { protocol: 'udp' }),
    port(8080, 80, { family: 6, hostIp: '::', containerIp: 'fd01::2' }),
  ])
  await expect('nat', [
    ['lan', '192.0.2.1', 8080, '192.0.2.2'], ['lan', '192.0.2.1', 8082, '192.0.2.2'],
    ['lan', '192.0.2.1', 9000, '192.0.2.2'], ['lan', '192.0.2.1', 9001, '192.0.2.2'],
    ['lan', '192.0.2.1', 81, '192.0.2.2'], ['lan', '192.0.2.1', 5353, '192.0.2.2', 'UDP'],
    ['lan', 'fd09::1', 8080, 'fd09::2'],
    ['lan', '192.0.2.1', 8081, ''], ['lan', '192.0.2.1', 9002, ''],
    ['lan', '172.18.0.2', 80, ''], ['lan', '172.18.0.2', 81, ''], ['lan', 'fd01::2', 80, ''],
    ['c2', '172.18.0.2', 81, '172.18.0.3'], ['d1', '172.18.0.2', 80, ''],
    ['d1', '172.18.0.2', 81, ''],
    ['c2', '192.0.2.1', 8080, '172.18.0.1'], ['c1', '192.0.2.1', 8080, '172.18.0.1'],
    ['d1', '192.0.2.1', 8080, '172.18.0.1'], ['d1', '172.18.0.1', 8080, '172.18.0.1'],
    ['d1', '192.0.2.1', 5353, '172.18.0.1', 'UDP'],
    ['host', '127.0.0.1', 8080, '172.18.0.1'], ['host', '127.0.0.1', 8081, '172.18.0.1'],
    ['host', '127.0.0.1', 5353, '172.18.0.1', 'UDP'],
    ['host', '192.0.2.1', 8080, '192.0.2.1'], ['host', '172.18.0.2', 81, '172.18.0.1'],
    ['c1', '192.0.2.2', 80, '192.0.2.1'], ['c1', 'fd09::2', 80, 'fd09::1'],
  ])
  await lab.publish([])
  await expect('unpublished', [
    ['lan', '192.0.2.1', 8080, ''], ['c2', '172.18.0.2', 80, '172.18.0.3'],
  ])
})

onBoth('an internal network has no way in or out but its own host', {}, async (lab) => {
  const { writer, publish } = lab
  await writer.setBridge(bridge(br1, '18'))
  await writer.setBridge(bridge(br2, '19', { internal: true }))
  await publish([port(8080, 80)])
  await expect('internal', [
    ['d1', '192.0.2.2', 80, ''], ['lan', '172.19.0.2', 80, ''], ['c1', '172.19.0.2', 80, ''],
    ['d1', '172.18.0.2', 80, ''], ['d1', '172.19.0.1', 8080, ''], ['d1', 'fd09::2', 80, ''],
    ['host', '172.19.0.2', 80, '172.19.0.1'],
  ])
})

onBoth('without inter-container communication only links are open', {}, async (lab) => {
  const { writer, publish } = lab
  await writer.setBridge(bridge(br1, '18', { icc: false }))
  // Bridged frames pass the firewall only with br_netfilter; a second look is at the rules.
  const links = [{
    bridge: br1, parentIp: '172.18.0.3', childIp: '172.18.0.2', protocol: 'tcp', port: 80,
  }] as const
  await publish([port(8080, 80)], links)
  await expect('icc=false', [
    ['lan', '192.0.2.1', 8080, '192.0.2.2'], ['c1', '192.0.2.2', 80, '192.0.2.1'],
    ['c2', '192.0.2.1', 8080, '172.18.0.1'],
  ])
  const bridged = '/proc/sys/net/bridge/bridge-nf-call-iptables'
  if (shell(`cat ${bridged} 2>/dev/null || true`) === '') return
  shell(`echo 1 > ${bridged}`)
  await expect('icc=false', [
    ['c2', '172.18.0.2', 80, '172.18.0.3'], ['c2', '172.18.0.2', 81, ''],
    ['c1', '172.18.0.3', 80, ''],
  ])
  shell(`echo 0 > ${bridged}`)
})

const proxyOff = { userlandProxy: false }

onBoth('without the proxy loopback and hairpin are translated', proxyOff, async (lab) => {
  shell(`echo 1 > /proc/sys/net/ipv4/conf/${br1}/route_localnet`)
  await lab.writer.setBridge(bridge(br1, '18'))
  await lab.publish([
    port(8080, 80), port(81, 81, { count: 2 }), port(90, 80, { hostIp: '127.0.0.1' }),
  ])
  await expect('proxy off', [
    ['lan', '192.0.2.1', 8080, '192.0.2.2'], ['c1', '192.0.2.1', 8080, '172.18.0.1'],
    ['c1', '192.0.2.1', 81, '172.18.0.1'], ['host', '127.0.0.1', 8080, '172.18.0.1'],
    ['host', '127.0.0.1', 90, '172.18.0.1'], ['lan', '192.0.2.1', 90, ''],
  ])
})

onBoth('gateway modes, trusted interfaces and masquerade off', {}, async (lab) => {
  const { writer, publish } = lab
  const net = (mode: 'nat' | 'routed' | 'nat-unprotected') =>
    ({ family: 4, subnet: '172.18.0.0/16', gateway: '172.18.0.1', mode }) as const
  await writer.setBridge(bridge(br2, '19'))
  await writer.setBridge(bridge(br1, '18', { families: [net('routed')] }))
  await publish([port(8080, 80, { mode: 'routed' })])
  await expect('routed', [
    ['lan', '172.18.0.2', 80, '192.0.2.2'], ['lan', '172.18.0.2', 81, ''],
    ['d1', '172.18.0.2', 80, '172.18.0.1'], ['c1', '192.0.2.2', 80, '172.18.0.2'],
  ])
  await writer.setBridge(bridge(br1, '18', { families: [net('nat-unprotected')] }))
  await publish([port(8080, 80, { mode: 'nat-unprotected' })])
  await expect('nat-unprotected', [
    ['lan', '172.18.0.2', 81, '192.0.2.2'], ['lan', '192.0.2.1', 8080, '192.0.2.2'],
    ['d1', '172.18.0.2', 80, ''],
  ])
  await publish([port(8080, 80)])
  await writer.setBridge(bridge(br1, '18', { trustedInterfaces: ['lan0'] }))
  await expect('trusted', [
    ['lan', '172.18.0.2', 80, '192.0.2.2'], ['lan', '172.18.0.2', 81, ''],
    ['d1', '172.18.0.2', 80, ''],
  ])
  await writer.setBridge(bridge(br1, '18', { masquerade: false }))
  await expect('masquerade off', [
    ['lan', '172.18.0.2', 80, ''], ['lan', '192.0.2.1', 8080, '192.0.2.2'],
    ['c1', '192.0.2.2', 80, '172.18.0.2'],
  ])
})

onBoth('a rule in DOCKER-USER takes effect and outlives every change', {}, async (lab) => {
  const { writer, publish, dropFor } = lab
  await writer.setBridge(bridge(br1, '18'))
  await publish([port(8080, 80)])
  dropFor('lan0')
  await expect('user', [['lan', '192.0.2.1', 8080, '']])
  await publish([port(8083, 80)])
  await writer.setBridge(bridge(br2, '19'))
  await writer.reconcile()
  await expect('user', [['lan', '192.0.2.1', 8083, ''], ['host', '127.0.0.1', 8083, '172.18.0.1']])
  shell(`iptables -F DOCKER-USER 2>/dev/null || nft flush chain ip docker-bridges DOCKER-USER`)
  await expect('user', [['lan', '192.0.2.1', 8083, '192.0.2.2']])
})

onBoth('after a flush nothing opens by the relay, and everything is put back', {}, async (lab) => {
  const { writer, publish } = lab
  await writer.setBridge(bridge(br1, '18'))
  await publish([port(8080, 80), port(8081, 80, { hostIp: '127.0.0.1' })])
  shell('nft flush ruleset')
  await expect('flushed', [['lan', '192.0.2.1', 8080, ''], ['lan', '192.0.2.1', 8081, '']])
  assert.ok((await writer.plan()).length > 0)
  await writer.reconcile()
  await expect('repaired', [['lan', '192.0.2.1', 8080, '192.0.2.2'], ['lan', '172.18.0.2', 80, '']])
  shell('nft flush ruleset')
  await writer.setBridge(bridge(br2, '19'))
  await expect('next change', [
    ['lan', '192.0.2.1', 8080, '192.0.2.2'], ['d1', '192.0.2.2', 80, '192.0.2.1'],
  ])
})
