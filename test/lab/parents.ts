/**
 * What dockerd and Portolan say of macvlan and ipvlan networks, and the links that they make, as far
 * as a kernel goes: asked on the test's own kernel (macvlan) and in a guest (ipvlan, 802.1q, dummy).
 */
import { saying, type Engine, type Said, type Two } from './two.ts'

/** A line for the shell of each host: cables lan and down, a bridge, a port of it. */
export const parentLinks = [
  'ip link add lan0 type veth peer name lan1', 'ip link set lan0 up', 'ip link set lan1 up',
  'ip link add down0 type veth peer name down1', 'ip link add br9 type bridge', 'ip link set br9 up',
  'ip link add port0 type veth peer name port1', 'ip link set port0 master br9', 'ip link set port0 up',
].join(' && ')

type Options = Readonly<Record<string, string>>
export type Driver = 'macvlan' | 'ipvlan'
type Kind = 'vlan' | 'dummy'

interface Row {
  readonly options: Options
  readonly more?: Readonly<Record<string, unknown>>
  /** Kinds of links that the kernel must have for this to be the same. */
  readonly needs?: Kind
  readonly said?: Said
}

const on = (parent: string, options: Options = {}): Row => ({ options: { parent, ...options } })
const mtuKey = 'com.docker.network.driver.mtu'
const refusedMtu = (sentence: string): Said => ['201', `400 ${sentence}`]

/** Of the parent, and of what both drivers take. */
const common: readonly Row[] = [
  on('lan0'), { options: {}, needs: 'dummy' }, { options: {}, more: { Internal: true }, needs: 'dummy' },
  ...['nope', 'nope.10', 'lan0.0', 'lan0.4095', 'lan0.zz', 'lan0.1.2', 'lan0.-1', 'lan0.', '.10', 'lo',
    'abcdefghijklmnopq', 'a/b', 'lan 0', 'br9', 'port0', 'down0'].map((parent) => on(parent)),
  ...['lan0.10', 'lan0.4094', 'lan0.0000000000001'].map((parent) => ({ ...on(parent), needs: 'vlan' as const })),
  { ...on('lo.10'), needs: 'vlan', said: ['500 failed to create lo.10 vlan link: operation not supported',
    '500 failed to create lo.10 vlan link: 8021q: VLANs not supported on device (EOPNOTSUPP)'] },
  { options: { parent: 'lan0' }, more: { Internal: true } },
  { options: { parent: 'lan0' }, more: { Attachable: true } },
  { options: { parent: 'lan0' }, more: { Ingress: true } },
  { options: { parent: 'lan0' }, more: { Scope: 'swarm' } },
  on('lan0', { foo: 'bar' }), on('lan0', { 'com.docker.network.bridge.name': 'x' }),
  on('lan0', { 'com.docker.network.container_iface_prefix': 'foo' }),
  on('lan0', { 'com.docker.network.enable_ipv6': 'zz' }), on('lan0', { [mtuKey]: '1400' }),
  { ...on('lan0', { [mtuKey]: 'zz' }),
    said: refusedMtu(`failed to parse ${mtuKey} value: zz (strconv.Atoi: parsing "zz": invalid syntax)`) },
  { ...on('lan0', { [mtuKey]: '-1' }), said: refusedMtu('invalid MTU number: -1') },
  { ...on('lan0', { [mtuKey]: '9000' }), said: refusedMtu('invalid MTU number: 9000: parent interface lan0 has 1500') },
]

const own: Readonly<Record<Driver, readonly Row[]>> = {
  macvlan: [
    ...['bridge', 'private', 'vepa', 'passthru', 'zz', '', 'BRIDGE'].map((mode) => on('lan0', { macvlan_mode: mode })),
    on('lo', { macvlan_mode: 'zz' }), on('lan0', { ipvlan_mode: 'zz' }), { options: { macvlan_mode: 'zz' } },
  ],
  ipvlan: [
    ...['l2', 'l3', 'l3s', 'zz', '', 'L2'].map((mode) => on('lan0', { ipvlan_mode: mode })),
    ...['bridge', 'private', 'vepa', 'zz', ''].map((flag) => on('lan0', { ipvlan_flag: flag })),
    on('lo', { ipvlan_mode: 'zz' }), on('lan0', { macvlan_mode: 'zz' }), { options: { ipvlan_flag: 'zz' } },
    on('lan0', { ipvlan_mode: 'zz', ipvlan_flag: 'yy' }),
  ],
}

const ipam = (subnet: string) => ({ IPAM: { Config: [{ Subnet: subnet }] } })

const ofTest = /^(lo|bonding_masters|docker0|br9|(lan|down|port)[01])$/
/** Links beyond those of the test, as names; with what a sub-interface is. */
async function links({ sh }: Engine): Promise<string> {
  const names = (await sh('ls /sys/class/net')).split('\n').filter((name) => !ofTest.test(name))
  const lines = names.map((name) => sh(`ip -o -d link show ${name} | sed "s/.*\\(${name}[^:]*\\).*/\\1/" ; ip -o -d link show ${name} | grep -o "vlan protocol [^ ]* id [0-9]*" || true`))
  return (await Promise.all(lines)).join('\n')
}

function create({ api }: Engine, name: string, driver: Driver, { options, more = {} }: Row, number: number) {
  const body = { Name: name, Driver: driver, Options: options, ...ipam(`10.${number}.0.0/24`), ...more }
  return api('POST', '/networks/create', body)
}

/** @param alone only what needs one of these kinds of links */
export async function refusals(
  two: Two, driver: Driver, lacks: readonly Kind[], alone = false,
): Promise<void> {
  let number = driver === 'macvlan' ? 20 : 120
  for (const row of [...common, ...own[driver]]) {
    number++
    if (row.needs === undefined ? alone : lacks.includes(row.needs)) continue
    const what = `${driver} ${JSON.stringify(row.options)} ${JSON.stringify(row.more)}`
    await two.same(what, async (engine) => saying(await create(engine, 'n', driver, row, number)), row.said)
    if (row.needs !== undefined) await two.same(`links of ${what}`, links)
    if (row.said === undefined) await two.same(`inspect ${what}`, (engine) => shown(engine, 'n'))
    await two.both(({ api }) => api('DELETE', '/networks/n'))
  }
  await two.same('links afterwards', links)
}

async function shown({ api }: Engine, name: string): Promise<unknown> {
  const { status, json } = await api('GET', `/networks/${name}`)
  if (status !== 200) return status
  const { IPAM, Options, Internal, Scope, Attachable } = Object(json)
  return { IPAM, Options, Internal, Scope, Attachable }
}

interface Neighbours {
  readonly what: string
  readonly networks: readonly (readonly [driver: Driver, options: Options, said?: Said])[]
}

const passthru = { parent: 'lan0', macvlan_mode: 'passthru' }
const taken = (how: string): Said => [
  '500 network di-<12> is already using parent interface lan0', how,
]
const neighbours: readonly Neighbours[] = [
  { what: 'macvlan networks share a parent', networks: [
    ['macvlan', { parent: 'lan0' }], ['macvlan', { parent: 'lan0', macvlan_mode: 'private' }], ['macvlan', passthru]] },
  { what: 'nobody beside passthru', networks: [
    ['macvlan', passthru], ['macvlan', { parent: 'lan0' }], ['macvlan', passthru]] },
]
const ofBoth: readonly Neighbours[] = [
  { what: 'both drivers on a parent', networks: [['macvlan', { parent: 'lan0' }], ['ipvlan', { parent: 'lan0' }]] },
  { what: 'ipvlan networks on a parent', networks: [
    ['ipvlan', { parent: 'lan0' }], ['ipvlan', { parent: 'lan0' }, taken('201')],
    ['ipvlan', { parent: 'lan0', ipvlan_mode: 'l3' },
      taken('500 network di-<12> is already using parent interface lan0 in mode l2 with flag bridge')]] },
  { what: 'a sub-interface for two', networks: [
    ['macvlan', { parent: 'lan0.50' }], ['macvlan', { parent: 'lan0.50' }], ['macvlan', { parent: 'lan0.51' }]] },
]

export async function sharing(two: Two, lacksOther: boolean): Promise<void> {
  for (const { what, networks } of lacksOther ? neighbours : [...neighbours, ...ofBoth]) {
    for (const [index, [driver, options, said]] of networks.entries()) {
      const step = `${what}: ${index} ${JSON.stringify(options)}`
      await two.same(step, async (engine) => saying(await create(engine, `n${index}`, driver, { options }, 220 + index)), said)
      await two.same(`links at ${step}`, links)
    }
    for (const index of networks.keys()) {
      await two.both(({ api }) => api('DELETE', `/networks/n${index}`))
      await two.same(`links at ${what} without ${index}`, links)
    }
  }
}

const gateways = { IPAM: { Config: [{ Subnet: '10.9.0.0/24', Gateway: '10.9.0.1' }] } }
const dual = { EnableIPv6: true, IPAM: { Config: [
  { Subnet: '10.9.0.0/24', Gateway: '10.9.0.1' }, { Subnet: 'fd00:9::/64', Gateway: 'fd00:9::1' },
] } }
const several = { IPAM: { Config: [
  { Subnet: '10.9.0.0/30', Gateway: '10.9.0.1' }, { Subnet: '10.9.1.0/24', Gateway: '10.9.1.1' },
] } }

interface Inside {
  readonly options: Options
  readonly more: Readonly<Record<string, unknown>>
  /** Of the second container. */
  readonly second?: Said
}

const insides: Readonly<Record<Driver, readonly Inside[]>> = {
  macvlan: [
    { options: { parent: 'lan0' }, more: gateways },
    { options: { parent: 'lan0', macvlan_mode: 'private' }, more: dual },
    { options: { parent: 'lan0', macvlan_mode: 'vepa' }, more: several },
    { options: passthru, more: gateways, second: [
      '500 failed to set up container networking: failed to create the macvlan port: invalid argument',
      '403 failed to set up container networking: network nn passes lan0 through to one container, which is there already: disconnect that one first',
    ] },
    { options: { parent: 'lan0' }, more: { Internal: true, ...gateways } },
    { options: { parent: 'br9' }, more: gateways },
    { options: { parent: 'down0' }, more: gateways },
  ],
  ipvlan: [
    { options: { parent: 'lan0' }, more: dual },
    { options: { parent: 'lan0', ipvlan_mode: 'l3' }, more: dual },
    { options: { parent: 'lan0', ipvlan_mode: 'l3s', ipvlan_flag: 'private' }, more: several },
  ],
}

async function run({ api, sh }: Engine, name: string, settings = {}): Promise<unknown> {
  const created = await api('POST', `/containers/create?name=${name}`, {
    Image: 'busybox', Cmd: ['sleep', '600'], StopSignal: 'SIGKILL', ExposedPorts: { '80/tcp': {} },
    HostConfig: { NetworkMode: 'nn', PortBindings: { '80/tcp': [{ HostPort: '8080' }] } },
    NetworkingConfig: { EndpointsConfig: { nn: settings } },
  })
  const answer = created.status === 201 ? await api('POST', `/containers/${name}/start`) : created
  if (answer.status >= 300) {
    await api('DELETE', `/containers/${name}?force=1`)
    return saying(answer)
  }
  const { json } = await api('GET', `/containers/${name}/json`)
  const { NetworkSettings: { Ports, Networks }, State: { Pid } } = Object(json)
  const { IPAddress, Gateway, GlobalIPv6Address, IPv6Gateway } = Networks.nn
  const enter = `nsenter --net=/proc/${Pid}/ns/net`
  const kind = await sh(`${enter} ip -o -d link show eth0 | grep -oE "mtu [0-9]+|UP|(macvlan|ipvlan) +mode [a-z0-9]+( (bridge|private|vepa))?"`)
  const addresses = await sh(`${enter} ip -o addr show dev eth0 scope global | sed "s/.*inet/inet/;s/ scope.*//;s/ brd.*//"`)
  const routes = await sh(`${enter} ip route; ${enter} ip -6 route | grep -vE "fe80|proto kernel"; true`)
  return { Ports, shown: [IPAddress, Gateway, GlobalIPv6Address, IPv6Gateway], kind, addresses, routes }
}

/** What containers see, and what they are refused. */
export async function containers(two: Two, driver: Driver): Promise<void> {
  for (const { options, more, second } of insides[driver]) {
    const what = `${driver} ${JSON.stringify(options)} ${JSON.stringify(more)}`
    const body = { Name: 'nn', Driver: driver, Options: options, ...more }
    await two.same(what, async ({ api }) => saying(await api('POST', '/networks/create', body)))
    await two.same(`first on ${what}`, (engine) => run(engine, 'c1'))
    await two.same(`second on ${what}`, (engine) => run(engine, 'c2', { MacAddress: '02:11:22:33:44:55' }), second)
    await two.both(async ({ api }) => {
      for (const name of ['c1', 'c2']) await api('DELETE', `/containers/${name}?force=1`)
    })
    await two.same(`removal of ${what}`, async ({ api }) => saying(await api('DELETE', '/networks/nn')))
    await two.same(`links after ${what}`, links)
  }
}
