import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import test from 'node:test'
import { nftAccess, tableAccess } from '../firewall/access.ts'
import type { Backend } from '../firewall/backend.ts'
import { IptablesBackend } from '../firewall/iptables.ts'
import { NftablesBackend } from '../firewall/nftables.ts'
import { FirewallWriter } from '../firewall/writer.ts'
import { homeNetns } from '../kernel/netns.ts'
import { endpointSpec, networkSpec } from '../../test/lab/network-specs.ts'
import { openLab } from '../../test/lab/network-lab.ts'
import type { Sandbox } from '../network/model.ts'
import { howContainer, howNetwork } from './how.ts'

const settings = {
  userlandProxy: true, ipv4: true, ipv6: true, allowDirectRouting: false, sharedChains: false,
}
const shell = (command: string) =>
  execFileSync('sh', ['-ec', command], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })

const backends: Readonly<Record<string, () => Backend>> = {
  iptables: () => new IptablesBackend({
    settings, access: tableAccess(), dropForwarding: () => false,
    former: { get: () => undefined, set: async () => undefined },
  }),
  nftables: () => new NftablesBackend({
    settings, access: nftAccess(homeNetns()), dropForwarding: () => false,
  }),
}

/** What a network engineer would look at, without what differs each time. */
function picture(enter: string, bridge: string, veth: string, inner: string): string {
  const links = `ip -o link show ${veth}; ip -d -o link show ${bridge}`
  const look = `ip -o -4 addr show dev ${bridge}; ${links}; ip route; nft -s list ruleset`
  const inside = `ip -o -4 addr; ip route; ip -o link show eth0`
  return (shell(`${enter} sh -c '${look}'`) + shell(`nsenter --net=${inner} sh -c '${inside}'`))
    .replace(/^\d+: /gm, '').replace(/link-netns(id)? \S+/g, '')
    .replace(/^(veth.*link\/ether) \S+/gm, '$1').replace(/\bif\d+/g, 'if')
    .replace(/(hello|topology_change|tcn|gc)_timer +[\d.]+/g, '').replace(/mcast_\w+ \S+/g, '')
    .split('\n').filter((line) => !line.includes('DOCKER-USER')).toSorted().join('\n')
}

for (const [name, make] of Object.entries(backends)) {
  test(`${name}: the lines, pasted into an empty host, make the same network again`, async () => {
    shell('nft flush ruleset')
    const lab = await openLab()
    const { engine } = lab
    const firewall = new FirewallWriter(make())
    await firewall.start()
    await firewall.reconcile()
    const network = await engine.create(networkSpec({ name: 'localnet' }))
    const sandbox: Sandbox = await engine.open(lab.spec({ endpoints: [endpointSpec('localnet')] }))
    const bridge = `br-${network.id.slice(0, 12)}`
    await firewall.setBridge({
      networkId: network.id, bridge, internal: false, icc: true,
      families: [{ family: 4, subnet: '172.18.0.0/16', gateway: '172.18.0.1', mode: 'nat' }],
      masquerade: true, trustedInterfaces: [],
    })
    await firewall.setEndpoint(sandbox.id, [{
      bridge, family: 4, mode: 'nat', protocol: 'tcp', hostIp: '0.0.0.0', hostPort: 8080,
      containerIp: '172.18.0.2', containerPort: 80, count: 1,
    }], [])
    const sources = { networks: engine, firewall }
    const lines = await howContainer(sources, 'web', sandbox)
    assert.ok(lines.some((line) => line.startsWith(`brctl addif ${bridge} veth`)), lines.join('\n'))
    const gateway = `ip addr add 172.18.0.1/16 brd + dev ${bridge}`
    assert.ok((await howNetwork(sources, network)).includes(gateway))

    const veth = sandbox.endpoints[0]?.hostInterface ?? ''
    const wanted = picture('', bridge, veth, sandbox.netnsPath)
    const copy = `${sandbox.netnsPath}-copy`
    shell('ip netns add clean; ip -n clean link set lo up')
    const script = lines.join('\n').replaceAll(sandbox.netnsPath, copy)
    execFileSync('nsenter', ['--net=/run/netns/clean', 'sh', '-e'], { input: script })
    const made = picture('nsenter --net=/run/netns/clean', bridge, veth, copy)
    const alone = (text: string) =>
      text.split('\n').filter((line) => !line.includes('docker0')).join('\n')
    assert.equal(alone(made), alone(wanted))
    shell(`umount ${copy}; ip netns del clean`)

    await firewall.removeAll()
    await engine.close(sandbox.spec.containerId)
    await lab.end()
    assert.ok(!readFileSync('/proc/self/mounts', 'utf8').includes(copy))
  })
}

test('a macvlan network: its parent where it was made, and the link inside', async () => {
  shell('nft flush ruleset; ip link add lan0 type veth peer name lan1; ip link set lan0 up')
  const lab = await openLab()
  const { engine } = lab
  const firewall = new FirewallWriter((backends['iptables'] ?? assert.fail)())
  const sources = { networks: engine, firewall }
  const ipam = { driver: 'default', options: null, pools: [{ subnet: '192.0.2.0/24', gateway: '192.0.2.9' }] }
  const lan = await engine.create(networkSpec({ driver: 'macvlan', ipam, name: 'lan', options: { parent: 'lan0' } }))
  const alone = await engine.create(networkSpec({ driver: 'macvlan', name: 'alone' }))
  const endpoints = [endpointSpec('lan'), endpointSpec('alone')]
  const sandbox = await engine.open(lab.spec({ endpoints }))
  assert.deepEqual(await howNetwork(sources, lan), ['# network lan: its parent lan0 was there before'])
  const [about, made = ''] = await howNetwork(sources, alone)
  assert.equal(about, '# network alone, which leads nowhere')
  assert.match(made, /^ip link add dm-\w{12} type (dummy|ifb)$/)
  const lines = await howContainer(sources, 'web', sandbox)
  const wanted = picturedInside(sandbox.netnsPath)
  const copy = `${sandbox.netnsPath}-copy`
  const script = lines.join('\n').replaceAll(sandbox.netnsPath, copy)
  const parents = lines.filter((line) => / dm-\w+ (type|alias)/.test(line))
  assert.equal(parents.length, 2, lines.join('\n'))
  const inside = script.split('\n').filter((line) => !parents.includes(line)).join('\n')
  // A parent refuses a second link with the same MAC.
  await engine.close(sandbox.spec.containerId)
  await engine.settled()
  execFileSync('sh', ['-e'], { input: inside })
  assert.equal(picturedInside(copy), wanted)
  shell(`umount ${copy}`)
  for (const name of ['lan', 'alone']) await engine.remove(name)
  await lab.end()
  shell('ip link del lan0')
})

/** Links, addresses and routes of a namespace, without numbers. */
function picturedInside(netns: string): string {
  return shell(`nsenter --net=${netns} sh -c 'ip -d -o link; ip -o -4 addr; ip route'`)
    .replace(/^\d+: /gm, '').replace(/link-netns(id)? \S+/g, '').replace(/\bif\d+/g, 'if')
}
