/**
 * Address management beside dockerd 28.2: which pools and addresses are given out, in which order, and
 * what is refused. Where the two differ, the row says what each of them says; the reasons are on the
 * page of differences.
 */
import test from 'node:test'
import { noDockerd, saying, Two, type Engine, type Said } from './lab/two.ts'

interface Pool {
  readonly Subnet?: string
  readonly IPRange?: string
  readonly Gateway?: string
  readonly AuxiliaryAddresses?: Readonly<Record<string, string>>
}

/** `N` in a row is a number of its own: dockerd does not give back what it has refused. */
interface Row {
  readonly pools: readonly Pool[]
  readonly more?: Readonly<Record<string, unknown>>
  readonly said?: Said
}

const six = { EnableIPv6: true }
const v6only = { EnableIPv4: false, EnableIPv6: true }
const of = (...pools: readonly Pool[]): Row => ({ pools })
const ofSix = (...pools: readonly Pool[]): Row => ({ pools, more: six })
const net = '10.N.0.0/24'

const rows: readonly Row[] = [
  of(), ofSix(), { pools: [], more: v6only },
  ...['10.N.0.0/16', '10.N.0.0/29', '10.N.0.0/30', '10.N.0.0/31', '10.N.0.0/32', '10.N.0.0/33',
    '10.N.0.0/-1', '10.N.0.0', ' 10.N.0.0/24', '010.N.0.0/24', '10.N.0.1/24', '224.0.N.0/24',
    '127.N.0.0/24'].map((Subnet) => of({ Subnet })),
  of({ Subnet: '10.N.0.0/31', Gateway: '10.N.0.1' }), of({ Subnet: '10.N.0.0/31', Gateway: '10.N.0.0' }),
  of({ Subnet: '10.N.0.7/32', Gateway: '10.N.0.7' }),
  ...['10.N.0.1', '10.N.0.0', '10.N.0.255', '10.N.0.200', '10.4.0.1', '10.N.0.1/24', '', 'zz', '::1',
    '10.N.0.01', '::ffff:10.N.0.1'].map((Gateway) => of({ Subnet: net, Gateway })),
  ...['10.N.0.0/25', '10.N.0.128/25', '10.N.0.128/32', '10.N.0.0/32', '10.N.0.255/32', '10.N.0.0/24',
    '10.N.0.0/23', '10.N.0.1/25', '10.4.0.0/25', 'zz', 'fd00::/64', '10.N.0.254/31',
    '10.0.0.1/8'].flatMap((IPRange) => [
    of({ Subnet: net, IPRange }), of({ Subnet: net, IPRange, Gateway: '10.N.0.1' }),
  ]),
  of({ IPRange: '10.N.0.0/25' }), of({ Gateway: '10.N.0.1' }), of({}),
  of({ AuxiliaryAddresses: { a: '10.N.0.1' } }),
  ...['10.N.0.1', '10.N.0.2', '10.N.0.0', '10.N.0.255', '10.4.0.1', 'zz', '', 'fd00::1'].flatMap((k) => [
    of({ Subnet: net, AuxiliaryAddresses: { k } }),
    of({ Subnet: net, IPRange: '10.N.0.128/25', AuxiliaryAddresses: { k } }),
  ]),
  of({ Subnet: net, AuxiliaryAddresses: { DefaultGatewayIPv4: '10.N.0.9' } }),
  of({ Subnet: net }, { Subnet: '10.4.N.0/24' }), of({ Subnet: net }, { Subnet: net }),
  of({ Subnet: net }, { Subnet: 'fd00:N::/64' }),
  of({ Subnet: net }, { Subnet: 'fd00:N::1/64', Gateway: 'zz' }),
  of({ Subnet: net }, { Subnet: 'fd00:N::/640' }),
  of({ Subnet: '10.N.0.1/24', IPRange: '10.4.0.1/8', Gateway: 'zz', AuxiliaryAddresses: { a: 'qq' } }),
  { pools: [{ Subnet: net }], more: v6only }, { pools: [{ Subnet: '10.N.0.1/24' }], more: v6only },
  ...['fd00:N::/64', 'fd00:N::/80', 'fd00:N::/120', 'fd00:N::/126', 'fd00:N::/127', 'fd00:N::/128',
    'fe80::/64', 'fe80::/80', 'ff00:N::/64', 'fd00:N::1/64'].map((Subnet) => ofSix({ Subnet })),
  ...['fd00:N::', 'fd00:N::1', 'fd00:N::ffff', 'fd00:2::1', 'fe80::1', '10.0.0.1',
    'fd00:N::1%eth0'].map((Gateway) => ofSix({ Subnet: 'fd00:N::/64', Gateway })),
  ofSix({ Subnet: 'fd00:N::/64', IPRange: 'fd00:N::100/120' }),
  ofSix({ Subnet: 'fd00:N::/64', AuxiliaryAddresses: { a: 'fd00:N::5' } }),
  ofSix({ Subnet: 'fd00:N::/64', AuxiliaryAddresses: { b: 'fd00:N::' } }),
  { pools: [{ Subnet: net }], more: { IPAM: { Driver: 'null' } } },
  { pools: [], more: { IPAM: { Driver: 'null' } } },
  { pools: [{ Subnet: net }], more: { IPAM: { Driver: 'default', Options: { foo: 'bar' } } } },
]

/** Networks are made with what stands in a row, looked at, and removed. */
async function life({ api, sh }: Engine, { pools, more = {} }: Row, number: number): Promise<unknown> {
  const { IPAM = {}, ...other } = more
  const body = { Name: `n${number}`, IPAM: { ...Object(IPAM), Config: pools }, ...other }
  const text = JSON.stringify(body).replaceAll(/(?<=[:.])N\b/g, String(number))
  const created = await api('POST', '/networks/create', JSON.parse(text))
  if (created.status !== 201) return saying(created)
  const { json } = await api('GET', `/networks/n${number}`)
  const { IPAM: shown } = Object(json)
  const bridge = `br-${String(Object(json).Id).slice(0, 12)}`
  const addresses = await sh(`ip -o addr show dev ${bridge} scope global | sed "s/.*inet/inet/;s/ scope.*//;s/ brd.*//"`)
  return { shown, addresses, removed: saying(await api('DELETE', `/networks/n${number}`)) }
}

async function pools(two: Two): Promise<void> {
  for (const [index, row] of rows.entries()) {
    const number = index + 20
    const what = JSON.stringify(row).replaceAll(/(?<=[:.])N\b/g, String(number))
    await two.same(what, (engine) => life(engine, row, number), row.said)
  }
}

async function run(
  { api }: Engine, name: string, network: string, ipam?: Readonly<Record<string, string>>,
): Promise<string> {
  const settings = ipam === undefined ? {} : { IPAMConfig: ipam }
  const created = await api('POST', `/containers/create?name=${name}`, {
    Image: 'busybox', Cmd: ['sleep', '600'], StopSignal: 'SIGKILL', HostConfig: { NetworkMode: network },
    NetworkingConfig: { EndpointsConfig: { [network]: settings } },
  })
  if (created.status !== 201) return saying(created)
  const started = await api('POST', `/containers/${name}/start`)
  if (started.status !== 204) {
    await api('DELETE', `/containers/${name}`)
    return saying(started)
  }
  const { json } = await api('GET', `/containers/${name}/json`)
  const shown = Object(Object(json).NetworkSettings).Networks[network]
  const keys = ['IPAddress', 'IPPrefixLen', 'Gateway', 'GlobalIPv6Address', 'GlobalIPv6PrefixLen', 'IPv6Gateway']
  return keys.map((key) => shown[key]).join(' ')
}

async function removeAll({ api }: Engine, ...networks: readonly string[]): Promise<void> {
  const { json } = await api('GET', '/containers/json?all=1')
  const ids = Array.isArray(json) ? json.map(({ Id }) => String(Id)) : []
  for (const id of ids) await api('DELETE', `/containers/${id}?force=1`)
  for (const name of networks) await api('DELETE', `/networks/${name}`)
}

async function addresses(two: Two): Promise<void> {
  const create = (name: string, pools: readonly Pool[], more = {}) =>
    two.same(`create ${name}`, async ({ api }) =>
      saying(await api('POST', '/networks/create', { Name: name, IPAM: { Config: pools }, ...more })))
  const runs = (name: string, network: string, ipam?: Readonly<Record<string, string>>) =>
    two.same(`${name} on ${network} ${JSON.stringify(ipam)}`, (engine) => run(engine, name, network, ipam))

  await create('aa', [{ Subnet: '10.50.0.0/29' }])
  for (const name of ['c1', 'c2', 'c3']) await runs(name, 'aa')
  await two.both(({ api }) => api('DELETE', '/containers/c2?force=1'))
  for (const name of ['c4', 'c5']) await runs(name, 'aa')
  for (const IPv4Address of ['10.50.0.1', '10.50.0.0', '10.50.0.7', '10.50.0.8', '10.50.0.3', 'zz',
    '10.50.0.6/29', '::1', '10.50.0.6']) {
    await runs('static', 'aa', { IPv4Address })
  }
  await runs('full', 'aa')
  await two.both((engine) => removeAll(engine, 'aa'))

  const ranged = { Subnet: '10.51.0.0/24', IPRange: '10.51.0.128/30', Gateway: '10.51.0.129' }
  await create('rr', [{ ...ranged, AuxiliaryAddresses: { x: '10.51.0.130', y: '10.51.0.5' } }])
  for (const name of ['r1', 'r2', 'r3']) await runs(name, 'rr')
  for (const IPv4Address of ['10.51.0.7', '10.51.0.5', '10.51.0.130']) await runs('r4', 'rr', { IPv4Address })
  await two.both((engine) => removeAll(engine, 'rr'))

  for (const [pool, static6] of [
    [{ Subnet: '10.52.0.0/30' }], [{ Subnet: '10.52.0.0/31' }],
    [{ Subnet: '10.52.0.0/31', Gateway: '10.52.0.1' }], [{ Subnet: '10.52.0.0/32' }],
    [{ Subnet: 'fd00:9::/126' }, 'fd00:9::3'], [{ Subnet: 'fd00:9::/127' }, 'fd00:9::'],
    [{ Subnet: 'fd00:9::/64' }, 'fd00:9::ffff:ffff:ffff:ffff'],
  ] as const) {
    await create('ss', [pool], static6 === undefined ? {} : six)
    for (const name of ['s1', 's2', 's3']) await runs(name, 'ss')
    if (static6 !== undefined) await runs('s4', 'ss', { IPv6Address: static6 })
    await two.both((engine) => removeAll(engine, 'ss'))
  }
}

async function overlaps(two: Two): Promise<void> {
  const wide = '10.60.0.0/16'
  const within = '10.60.5.0/24'
  const half = (subnet: string) => `${subnet.split('/')[0]}/26`
  const macvlan = { Driver: 'macvlan', Options: { parent: 'lan0' } }
  let number = 0
  const create = (pool: Pool, more = {}) => two.same(JSON.stringify([pool, more]), async ({ api }) =>
    saying(await api('POST', '/networks/create', { Name: `n${number}`, IPAM: { Config: [pool] }, ...more })))
  for (const [first, second] of [[wide, within], [within, wide], [wide, wide]] as const) {
    for (const [one, other] of [[{}, {}], [{}, macvlan], [macvlan, macvlan]] as const) {
      number = 1
      await create({ Subnet: first }, one)
      number = 2
      await create({ Subnet: second }, other)
      number = 3
      await create({ Subnet: second, IPRange: half(second) }, other)
      number = 4
      await create({ Subnet: second, IPRange: half(second) }, other)
      await two.both((engine) => removeAll(engine, 'n1', 'n2', 'n3', 'n4'))
    }
  }
  const shared = { Subnet: within, Gateway: '10.60.5.1' }
  number = 1
  await create({ ...shared, IPRange: '10.60.5.0/25' }, macvlan)
  number = 2
  await create({ ...shared, IPRange: '10.60.5.128/25' }, macvlan)
  number = 3
  await create({ Subnet: within, IPRange: '10.60.5.128/25' }, macvlan)
  await two.same('one', (engine) => run(engine, 'one', 'n1', { IPv4Address: '10.60.5.200' }))
  await two.same('the same on the other', (engine) => run(engine, 'other', 'n3', { IPv4Address: '10.60.5.200' }))
  const gateways = ['10.60.5.129 24 10.60.5.128  0 ', '10.60.5.128 24   0 '] as const
  await two.same('next', (engine) => run(engine, 'next', 'n3'), gateways)
  await two.both((engine) => removeAll(engine, 'n1', 'n3'))
}

test('the same pools and addresses as of dockerd', { skip: noDockerd }, async (t) => {
  const two = await Two.start(t, [], 'ip link add lan0 type veth peer name lan1')
  await t.test('pools: what is taken, shown and refused', () => pools(two))
  await t.test('addresses: in which order, and which can be asked for', () => addresses(two))
  await t.test('pools that overlap, and subnets that are shared by ranges', () => overlaps(two))
})

const links = [
  'ip link add lan0 type veth peer name lan1', 'ip link set lan0 up', 'ip link set lan1 up',
  'ip addr add 172.18.5.1/24 dev lan0', 'ip route add 172.21.0.0/16 dev lan0',
  'ip route add 172.24.0.9/32 dev lan0', 'ip route add 172.25.0.0/16 dev lan0 table 77',
  'ip addr add 172.26.0.1/32 dev lan0', 'ip route add 192.168.0.0/24 dev lan0 metric 5000',
].join(' && ')
const automatic = async ({ api }: Engine, name: string, more = {}): Promise<unknown> => {
  const created = await api('POST', '/networks/create', { Name: name, ...more })
  if (created.status !== 201) return saying(created)
  return Object(Object((await api('GET', `/networks/${name}`)).json).IPAM).Config
}

test('automatic pools: Docker’s order, clear of the host’s own routes', { skip: noDockerd }, async (t) => {
  const two = await Two.start(t, [], links)
  for (let number = 0; number < 26; number++) {
    await two.same(`network ${number}`, (engine) => automatic(engine, `n${number}`))
  }
  await two.both(async ({ api }) => {
    for (const name of ['n3', 'n20']) await api('DELETE', `/networks/${name}`)
  })
  await two.same('what was given back', (engine) => automatic(engine, 'again'))
  await two.same('over a route', async ({ api }) =>
    saying(await api('POST', '/networks/create', { Name: 'x', IPAM: { Config: [{ Subnet: '172.18.5.0/24' }] } })))
})

test('pools of the configuration, both families', { skip: noDockerd }, async (t) => {
  const sources = ['base=10.80.0.0/16,size=24', 'base=10.79.0.0/24,size=25', 'base=10.80.4.0/22,size=26',
    'base=10.90.0.1/24,size=25', 'base=fd00:88::/62,size=64']
  const two = await Two.start(t, sources.flatMap((pool) => ['--default-address-pool', pool]))
  await two.same('bridge', async ({ api }) => Object((await api('GET', '/networks/bridge')).json).IPAM)
  for (let number = 0; number < 4; number++) {
    await two.same(`network ${number}`, (engine) => automatic(engine, `n${number}`))
  }
  for (let number = 4; number < 9; number++) {
    await two.same(`network ${number}`, (engine) => automatic(engine, `n${number}`, six))
  }
})
