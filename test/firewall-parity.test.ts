/**
 * dockerd 28.2.2 and Portolan make the same networks and publish the same ports; their rules of
 * raw, filter and nat, for IPv4 and IPv6, are compared line by line and in order. What is meant to
 * differ is in `parity/firewall.ts`, and every row there has to be seen.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import test, { type TestContext } from 'node:test'
import { dockerdPath, Lab } from './lab/lab.ts'
import { compare, differences, listingOf, withoutRanges, type Listing } from './parity/firewall.ts'

const dockerd = dockerdPath('28.2.2')
const skip = dockerd === undefined && 'dockerd 28.2.2 is not here: scripts/engines fetches it'
const used = new Set<(typeof differences)[number]>()

const one = 'network create --subnet 10.1.0.0/24 --ipv6 --subnet fd01::/64'
const option = (name: string, value: string) => `-o com.docker.network.bridge.${name}=${value}`
const run = 'run -d --stop-signal KILL'
const web = (more: string, name = 'web', net = 'one') => `${run} --name ${name} --network ${net} ${more} busybox sleep 1d`
const published = '-p 8080:80 -p 8053:53/udp'

/** Commands for both engines, after each of which the rules are compared. */
type SetUp = readonly [name: string, ...steps: string[]]

const setUps: readonly SetUp[] = [
  ['a daemon, and its default bridge'],
  ['a user bridge, a container, and it stops and starts', `${one} one`, web(''), web(published, 'two'), 'stop two', 'start two', 'rm -f two web'],
  ['the default bridge', `${run} --name web -p 8080:80 -p 127.0.0.1:8081:81 -P --expose 90 busybox sleep 1d`, 'rm -f web'],
  ['ports of every kind', `${one} one`,
    web('-p 8080:80 -p 127.0.0.1:8081:81 -p [::1]:8082:82 -p 8053:53/udp -p 8100-8102:9000-9002 -p 127.0.0.1:8200-8203:8200-8203/udp'),
    web('-p 192.0.2.1:8080:80 -p [2001:db8::1]:8080:80 -p 192.0.2.1:8083:80 -p 192.0.2.1:8400-8401:8400-8401', 'two').replaceAll('8080', '8090')],
  ['internal networks', `${one} --internal one`, web(published), `network create --internal --subnet 10.2.0.0/24 ${option('enable_icc', 'false')} two`, web('', 'other', 'two')],
  ['isolated', `${one} --internal ${option('gateway_mode_ipv4', 'isolated')} ${option('gateway_mode_ipv6', 'isolated')} one`, web('')],
  ['icc=false', `${one} ${option('enable_icc', 'false')} one`, web(published)],
  ['routed', `${one} ${option('gateway_mode_ipv4', 'routed')} ${option('gateway_mode_ipv6', 'routed')} one`, web(published)],
  ['IPv6 routed, IPv4 translated', `${one} ${option('gateway_mode_ipv6', 'routed')} one`, web(published)],
  ['nat-unprotected', `${one} ${option('gateway_mode_ipv4', 'nat-unprotected')} ${option('gateway_mode_ipv6', 'nat-unprotected')} one`, web(published)],
  ['a source address of its own', `${one} -o com.docker.network.host_ipv4=192.0.2.1 -o com.docker.network.host_ipv6=2001:db8::1 one`, web(published)],
  ['trusted interfaces', `${one} ${option('trusted_host_interfaces', 'ext:lo')} one`, web(published)],
  ['without masquerading', `${one} ${option('enable_ip_masquerade', 'false')} ${option('trusted_host_interfaces', 'ext')} one`, web(published)],
  ['an address of the host for all ports', `${one} ${option('host_binding_ipv4', '192.0.2.1')} one`, web('-p 8080:80')],
  ['IPv6 alone', 'network create --ipv4=false --ipv6 --subnet fd01::/64 one', web(published)],
  ['a routed network beside an internal one', 'network create --internal --subnet 10.2.0.0/24 two',
    `${one} ${option('gateway_mode_ipv4', 'routed')} one`, 'network create --subnet 10.3.0.0/24 three', web(published)],
  ['several networks', `${one} one`, 'network create --subnet 10.2.0.0/24 --internal two', 'network create --subnet 10.3.0.0/24 three',
    web(published, 'web', 'two'), 'network connect three web', 'network connect one web', 'network disconnect one web', web('-p 81:80', 'other', 'three'), 'network rm one'],
]

const groups: readonly (readonly [flags: string, setUps: readonly SetUp[]])[] = [
  ['', setUps],
  ['--userland-proxy=false', setUps.filter(([name]) => /every kind|masquerading|IPv6 routed|beside/.test(name))],
  ['--allow-direct-routing --ip6tables=false --icc=false --ip-masq=false', [
    ...setUps.filter(([name]) => name === 'icc=false'),
    ['a legacy link', `${run} --name child -p 8080:80 busybox sleep 1d`, `${run} --name parent --link child busybox sleep 1d`, 'rm -f parent'],
  ]],
]

/** Two hosts of the same kind, an engine on each. */
async function twoHosts(t: TestContext, flags: readonly string[]): Promise<Readonly<Record<'theirs' | 'ours', Lab>>> {
  for (const host of ['theirs', 'ours']) {
    const made = spawnSync('sh', ['-ec', `ip netns add ${host}; i="ip -n ${host}"; $i link set lo up; $i link add ext type bridge
      $i addr add 192.0.2.1/24 dev ext; $i addr add 2001:db8::1/64 dev ext nodad; $i link set ext up`])
    assert.equal(made.status, 0, String(made.stderr))
  }
  const [theirs, ours] = await Promise.all([
    Lab.start(t, { engine: 'dockerd', version: '28.2.2', netns: 'theirs', flags }),
    Lab.start(t, { netns: 'ours', flags }),
  ])
  return { theirs, ours }
}

async function rulesOf(lab: Lab, host: string): Promise<Listing> {
  const networks = (await lab.ok('network', 'ls', '--no-trunc', '--format', '{{.ID}} {{.Name}}')).split('\n')
  const names = new Map(networks.map((line) => [line.slice(0, 12), line.slice(65)] as const))
  return listingOf(await lab.must(`ip netns exec ${host} sh -c 'iptables-save; echo ---; ip6tables-save'`), names)
}

for (const [flags, cases] of groups) {
  test(`the rules are those of dockerd 28.2.2 ${flags === '' ? '' : `with ${flags}`}`, { skip }, async (t) => {
    const hosts = await twoHosts(t, flags.split(' ').filter((flag) => flag !== ''))
    const both = Object.entries(hosts)
    const each = async <T>(task: (lab: Lab, host: string) => Promise<T>): Promise<readonly T[]> =>
      Promise.all(both.map(([host, lab]) => task(lab, host)))
    const differ = async () => {
      const [theirs = [], ours = []] = await each(rulesOf)
      return compare(theirs, withoutRanges(ours), used)
    }
    for (const [name, ...steps] of cases) {
      await t.test(name, async () => {
        assert.deepEqual(await differ(), [], 'before')
        for (const step of steps) {
          await each((lab) => lab.ok(...step.split(' ').filter((word) => word !== '')))
          assert.deepEqual(await differ(), [], step)
        }
      })
      await each(async (lab) => {
        const ids = (await lab.ok('ps', '-aq')).split('\n').filter((id) => id !== '')
        if (ids.length > 0) await lab.ok('rm', '-f', ...ids)
        await lab.ok('network', 'prune', '-f')
      })
    }
    if (flags.includes('userland-proxy')) await t.test('by [::1] neither is reached, by other addresses both are', () => reached(hosts))
  })
}

/** The kernel translates no packet to ::1 into one that may leave the host. */
async function reached(hosts: Readonly<Record<string, Lab>>): Promise<void> {
  const answers = await Promise.all(Object.entries(hosts).map(async ([host, lab]) => {
    await lab.ok(...`${one} one`.split(' '))
    const serve = ['busybox', 'sh', '-c', 'mkdir /w; echo here >/w/index.html; exec httpd -f -p 80 -h /w']
    await lab.ok(...`${run} --name web --network one -p 8080:80 -p 127.0.0.1:8081:80 -p [::1]:8082:80`.split(' '), ...serve)
    await lab.must(`ip netns exec ${host} curl -s -m 5 --retry 20 --retry-connrefused 192.0.2.1:8080`)
    const urls = ['192.0.2.1:8080', '[2001:db8::1]:8080', '127.0.0.1:8080', '127.0.0.1:8081', '[::1]:8080', '[::1]:8082']
    const ask = async (url: string) => `${url} ${(await lab.sh(`ip netns exec ${host} curl -gs -m 1 ${url}`)).out.trim()}`
    return Promise.all(urls.map(ask))
  }))
  assert.deepEqual(answers[0], [
    '192.0.2.1:8080 here', '[2001:db8::1]:8080 here', '127.0.0.1:8080 here', '127.0.0.1:8081 here', '[::1]:8080 ', '[::1]:8082 ',
  ])
  assert.deepEqual(answers[1], answers[0])
}

test('every row of the table of differences was seen', { skip }, () => {
  assert.deepEqual(differences.filter((row) => !used.has(row)).map(({ why }) => why), [])
})
