/**
 * The options of a bridge network, each with what the kernel shows of it: addresses, sysctls,
 * rules, and the ports and routes of a container.
 */
import assert from 'node:assert/strict'
import test, { after, before } from 'node:test'
import { Lab } from './lab/lab.ts'

let lab: Lab

before(async () => {
  lab = await Lab.start(undefined)
  await lab.neighbour('lan')
})

after(async () => {
  await lab.expectNoLeaks()
  await lab.stop()
})

const bridge = 'com.docker.network.bridge'

interface Case {
  readonly flags: readonly string[]
  /** Rules that are there, BR for the bridge; a line with `!` in front is not there. */
  readonly rules: readonly string[]
  readonly address?: string
  readonly ports?: string
  readonly inside?: string
}

const plainPorts = '0.0.0.0:9000 :::9000 '
const plainInside = 'default via 10.60.0.1 dev eth0 eth0 lo 1500'
const protect = '-A PREROUTING -d 10.60.0.0/24 ! -i BR -m addrtype ! --dst-type LOCAL'
const masquerade = '-A POSTROUTING -s 10.60.0.0/24 ! -o BR -j MASQUERADE'
const translate =
  '-A DOCKER ! -i BR -p tcp -m tcp --dport 9000 -j DNAT --to-destination 10.60.0.2:80'
const accept = '-A DOCKER -d 10.60.0.2/32 ! -i BR -o BR -p tcp -m tcp --dport 80 -j ACCEPT'
const refuse = '-A DOCKER ! -i BR -o BR -j DROP'

const cases: readonly Case[] = [
  { flags: [], rules: [`${protect} -j DROP`, masquerade, translate, accept, refuse] },
  {
    flags: ['-o', `${bridge}.inhibit_ipv4=true`], address: '',
    rules: [`${protect} -j DROP`, masquerade, translate, accept],
  },
  {
    flags: ['-o', `${bridge}.gateway_mode_ipv4=routed`], ports: '0.0.0.0: :::9000 ',
    rules: [
      accept, '-A DOCKER -o BR -p icmp -j ACCEPT', refuse,
      '-A DOCKER-ISOLATION-STAGE-1 -o BR -j RETURN', `!${masquerade}`, `!${translate}`,
      `!${protect} -j DROP`,
    ],
  },
  {
    flags: ['-o', `${bridge}.gateway_mode_ipv4=nat-unprotected`],
    rules: [
      '-A DOCKER ! -i BR -o BR -j ACCEPT', masquerade, translate, `!${accept}`, `!${refuse}`,
      `!${protect} -j DROP`,
    ],
  },
  {
    flags: ['--internal', '-o', `${bridge}.gateway_mode_ipv4=isolated`],
    address: '', ports: '', inside: 'eth0 lo 1500',
    rules: ['-A DOCKER-FORWARD -i BR -o BR -j ACCEPT', `!${masquerade}`, `!${protect} -j DROP`],
  },
  {
    flags: ['--internal', '-o', `${bridge}.enable_icc=false`], ports: '', inside: 'eth0 lo 1500',
    rules: ['-A DOCKER-FORWARD -i BR -o BR -j DROP'],
  },
  {
    flags: ['-o', `${bridge}.enable_icc=false`],
    rules: [
      '-A DOCKER-FORWARD -i BR -o BR -j DROP', '-A DOCKER-FORWARD -i BR ! -o BR -j ACCEPT',
      masquerade, translate,
    ],
  },
  {
    flags: ['-o', `${bridge}.enable_ip_masquerade=false`],
    rules: [translate, accept, `!${masquerade}`, '!-A DOCKER -i BR -j RETURN'],
  },
  {
    flags: ['-o', `${bridge}.trusted_host_interfaces=lanlan:other`],
    rules: [
      '-A PREROUTING -d 10.60.0.0/24 -i lanlan -m comment --comment portolan -j ACCEPT',
      `${protect} -j DROP`,
    ],
  },
  {
    flags: ['-o', 'com.docker.network.host_ipv4=198.51.100.1'],
    rules: ['-A POSTROUTING -s 10.60.0.0/24 ! -o BR -j SNAT --to-source 198.51.100.1'],
  },
  {
    flags: ['-o', 'com.docker.network.container_iface_prefix=foo',
      '-o', 'com.docker.network.driver.mtu=1400'],
    rules: [masquerade], inside: 'default via 10.60.0.1 dev foo0 foo0 lo 1400',
  },
  {
    flags: ['-o', `${bridge}.host_binding_ipv4=198.51.100.1`], ports: '198.51.100.1:9000 ',
    rules: [translate.replace('-A DOCKER ', '-A DOCKER -d 198.51.100.1/32 ')],
  },
]

interface Found {
  readonly rules: readonly string[]
  readonly address: string
  readonly ports: string
  readonly inside: string
}

async function look(): Promise<Found> {
  const id = await lab.ok('network', 'inspect', '-f', '{{slice .Id 0 12}}', 'subject')
  const saved = (await lab.must('iptables-save')).replaceAll(`br-${id}`, 'BR')
  const link = `/proc/sys/net/ipv6/conf/br-${id}`
  assert.equal(await lab.must(`cat ${link}/accept_ra ${link}/disable_ipv6`), '0\n1')
  assert.equal(await lab.must(`cat /proc/sys/net/ipv4/conf/br-${id}/route_localnet`), '0')
  assert.equal(await lab.must(`cat /sys/class/net/br-${id}/brif/*/hairpin_mode`), '0')
  const port = '{{range .NetworkSettings.Ports}}{{range .}}{{.HostIp}}:{{.HostPort}} {{end}}{{end}}'
  const seen = 'ip route | grep default; ls /sys/class/net; cat /sys/class/net/[ef]*/mtu'
  const inside = await lab.ok('exec', 'one', 'sh', '-c', `echo $(${seen})`)
  return {
    rules: saved.split('\n'),
    address: await lab.must(`ip -4 -o addr show br-${id} | awk '{print $4}'`),
    ports: await lab.ok('inspect', '-f', port, 'one'),
    inside: inside.trim(),
  }
}

for (const wanted of cases) {
  const what = wanted.flags.filter((flag) => flag !== '-o').join(' ') || 'no option'
  test(`a network with ${what}`, async () => {
    await lab.ok('network', 'create', '--subnet', '10.60.0.0/24', ...wanted.flags, 'subject')
    const run = ['run', '-d', '--name', 'one', '--network', 'subject', '-p', '9000:80']
    await lab.ok(...run, 'busybox', 'sleep', '60')
    const found = await look()
    await lab.ok('rm', '-f', 'one')
    await lab.ok('network', 'rm', 'subject')
    for (const rule of wanted.rules) {
      const absent = rule.startsWith('!')
      const text = absent ? rule.slice(1) : rule
      assert.equal(found.rules.includes(text), !absent, `${rule}\n${found.rules.join('\n')}`)
    }
    assert.equal(found.address, wanted.address ?? '10.60.0.1/24')
    assert.equal(found.ports, wanted.ports ?? plainPorts)
    assert.equal(found.inside, wanted.inside ?? plainInside)
  })
}

const heard = `table netdev told {
  chain heard {
    type filter hook ingress device brtold priority 0;
    arp operation request arp saddr ip 10.60.0.2 arp daddr ip 10.60.0.2 counter
  }
}`

/** Announcements of 10.60.0.2 that its bridge sees: waits for so many, and whether more come. */
async function announced(count: number, ...options: readonly string[]): Promise<number> {
  const flags = options.flatMap((one) => ['-o', `com.docker.network.${one}`])
  const name = ['-o', `${bridge}.name=brtold`]
  await lab.ok('network', 'create', '--subnet', '10.60.0.0/24', ...name, ...flags, 'subject')
  await lab.must(`nft -f - <<'END'\n${heard}\nEND`)
  const mac = ['--mac-address', '02:00:00:00:00:60']
  await lab.ok('run', '-d', '--name', 'one', '--network', 'subject', ...mac, 'busybox', 'sleep', '60')
  const read = 'nft list chain netdev told heard'
  const until = `for i in $(seq 50); do ${read} | grep -q "packets ${count} " && break; sleep 0.05; done`
  const out = await lab.must(`${until}; sleep 0.4; ${read}; nft delete table netdev told`)
  await lab.ok('rm', '-f', 'one')
  await lab.ok('network', 'rm', 'subject')
  return Number(/packets (\d+)/.exec(out)?.[1])
}

test('how often the addresses of a new endpoint are announced can be said', async () => {
  assert.equal(await announced(0, 'advertise_addr_nmsgs=0'), 0)
  assert.equal(await announced(1, 'advertise_addr_nmsgs=1'), 1)
  assert.equal(await announced(3, 'advertise_addr_nmsgs=3', 'advertise_addr_ms=100'), 3)
})

test('an MTU that is too small for IPv6 is one without', async () => {
  const mtu = ['-o', 'com.docker.network.driver.mtu=600', '-o', `${bridge}.name=brsmall`]
  await lab.ok('network', 'create', '--subnet', '10.60.0.0/24', ...mtu, 'subject')
  const run = ['run', '--rm', '--network', 'subject', 'busybox']
  const seen = await lab.ok(...run, 'sh', '-c', 'cat /sys/class/net/eth0/mtu; ip -4 -o addr show eth0')
  assert.match(seen, /^600\n.* 10\.60\.0\.2\/24 /)
  assert.equal(await lab.must('cat /sys/class/net/brsmall/mtu'), '600')
  await lab.ok('network', 'rm', 'subject')
})

test('without a default bridge its containers have nothing but lo', async () => {
  await lab.endDaemon()
  await lab.startDaemon(['--bridge', 'none'])
  assert.doesNotMatch(await lab.ok('network', 'ls'), / bridge /)
  const seen = ['run', '--rm', '-p', '80:80', 'busybox', 'ls', '/sys/class/net']
  assert.equal(await lab.ok(...seen), 'lo')
})
