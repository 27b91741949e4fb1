/**
 * Settings of endpoints: every field by itself, in pairs, and wrong; given at create and at
 * connect, to what runs and what does not, looked at in inspect and in the kernel.
 */
import type { Part } from './container-options.ts'
import { networkState, networkStateByAddress, state, stateInside } from './kernel.ts'
import type { Panel } from './panel.ts'
import { pairwise, type Levels } from './pairwise.ts'
import { sampled } from './sample.ts'

const ipam = (...values: readonly (Part | null)[]): readonly Part[] =>
  [{}, ...values.map((IPAMConfig) => ({ IPAMConfig }))]
const field = (key: string, ...values: readonly unknown[]): readonly Part[] =>
  [{}, ...values.map((value) => ({ [key]: value }))]

const settings: Levels<Part> = {
  ipam: ipam({}, null, { IPv4Address: '10.75.0.77' }, { IPv6Address: 'fd00:75::77' },
    { IPv4Address: '10.75.0.78', IPv6Address: 'fd00:75::78' }, { LinkLocalIPs: ['169.254.9.9'] },
    { IPv4Address: '', IPv6Address: '' }, { LinkLocalIPs: [] }),
  links: field('Links', [], ['peer:p'], ['peer', 'peer:q'], ['absent:a']),
  aliases: field('Aliases', [], ['db', 'store'], ['db', 'db'], ['x_y', 'UPPER.case'], ['point']),
  driverOpts: field('DriverOpts', {}, { a: 'b' }, { 'com.docker.network.endpoint.ifname': 'net7' },
    { 'com.docker.network.endpoint.sysctls': 'net.ipv4.conf.IFNAME.log_martians=1' },
    { 'com.docker.network.endpoint.sysctls':
      'net.ipv4.conf.IFNAME.rp_filter=2,net.ipv6.conf.IFNAME.hop_limit=63' },
    { 'com.docker.network.portmap': 'x' }),
  gwPriority: field('GwPriority', 0, 5, -3),
  mac: field('MacAddress', '02:42:aa:bb:00:01', '', '02-42-AA-BB-00-02'),
}

/** Fields of answers, sent in a request. */
const ofAnswers: readonly Part[] = [
  { DNSNames: ['given'] }, { EndpointID: 'yy', Gateway: '1.2.3.4', IPAddress: '10.75.0.99', IPPrefixLen: 7 }, { NetworkID: 'zz' },
  { IPv6Gateway: 'fd00::1', GlobalIPv6Address: 'fd00:75::99', GlobalIPv6PrefixLen: 9 },
]

const wrong: readonly Part[] = [
  { IPAMConfig: { IPv4Address: '10.9.9.9' } }, { IPAMConfig: { IPv4Address: '10.77.0.1' } },
  { IPAMConfig: { IPv4Address: '10.77.0.0' } }, { IPAMConfig: { IPv4Address: '10.77.255.255' } },
  { IPAMConfig: { IPv4Address: '10.77.0.2' } }, { IPAMConfig: { IPv4Address: 'fd00:77::5' } },
  { IPAMConfig: { IPv4Address: '10.77.0.5/16' } }, { IPAMConfig: { IPv4Address: '::ffff:10.77.0.5' } },
  { IPAMConfig: { IPv4Address: ' 10.77.0.5' } }, { IPAMConfig: { IPv4Address: '10.77.0.05' } },
  { IPAMConfig: { IPv6Address: '10.77.0.5' } }, { IPAMConfig: { IPv6Address: 'fd00:76::5' } },
  { IPAMConfig: { IPv6Address: 'fd00:77::1' } }, { IPAMConfig: { IPv6Address: 'fd00:77::5%eth0' } },
  { IPAMConfig: { IPv4Address: 'zz', IPv6Address: 'yy', LinkLocalIPs: ['xx'] } },
  { IPAMConfig: { LinkLocalIPs: ['10.0.0.1'] } }, { IPAMConfig: { LinkLocalIPs: ['zz', ''] } },
  { IPAMConfig: { IPv4Address: '0.0.0.0' } }, { IPAMConfig: { IPv6Address: '::' } },
  { MacAddress: 'zz' }, { MacAddress: '02:42' }, { MacAddress: '01:00:5e:00:00:01' },
  { MacAddress: '02:42:aa:bb:cc:dd:ee:ff' }, { MacAddress: '00:00:00:00:00:00' },
  { Links: [':'] }, { Links: ['peer:'] }, { Links: [''] }, { Links: ['a:b:c'] },
  { Aliases: [''] }, { Aliases: ['a b'] }, { Aliases: ['peer'] }, { GwPriority: 'x' }, { GwPriority: 1.5 },
  { Aliases: 'db' }, { IPAMConfig: 'x' }, { IPAMConfig: [] }, { Links: {} }, { DriverOpts: [] },
  { DriverOpts: { a: 1 } }, { MacAddress: 5 }, { Unknown: 'field' }, { IPAMConfig: { Unknown: 'x' } },
  { DriverOpts: { 'com.docker.network.endpoint.ifname': 'name-that-is-too-long' } },
  { DriverOpts: { 'com.docker.network.endpoint.ifname': 'a/b' } },
  { DriverOpts: { 'com.docker.network.endpoint.ifname': 'lo' } },
  { DriverOpts: { 'com.docker.network.endpoint.ifname': '' } },
  { DriverOpts: { 'com.docker.network.endpoint.sysctls': 'net.ipv4.conf.eth0.log_martians=1' } },
  { DriverOpts: { 'com.docker.network.endpoint.sysctls': 'net.core.somaxconn=5' } },
  { DriverOpts: { 'com.docker.network.endpoint.sysctls': 'zz' } },
  { DriverOpts: { 'com.docker.network.endpoint.sysctls': 'net.ipv4.conf.IFNAME.nosuch=1' } },
]

/** Where a container can be attached besides a network that has everything. */
const elsewhere: readonly string[] = ['bridge', 'host', 'none', 'ends', 'endauto', 'endint', 'nosuch']

export async function endpointTopic(panel: Panel): Promise<void> {
  const pools = [{ Subnet: '10.75.0.0/16' }, { Subnet: 'fd00:75::/64' }]
  await panel.ask('create ends', 'POST', '/networks/create',
    { Name: 'ends', EnableIPv6: true, IPAM: { Config: pools } }, { keep: 'ends' })
  await panel.do('POST', '/networks/create', { Name: 'endauto' })
  await panel.do('POST', '/networks/create',
    { Name: 'endint', Internal: true, IPAM: { Config: [{ Subnet: '10.76.0.0/16' }] } })
  await panel.ask('inspect endauto', 'GET', '/networks/endauto', undefined, { keep: 'endauto' })
  await panel.ask('inspect endint', 'GET', '/networks/endint', undefined, { keep: 'endint' })
  await panel.do('POST', '/networks/create', { Name: 'endwrong', EnableIPv6: true,
    IPAM: { Config: [{ Subnet: '10.77.0.0/16' }, { Subnet: 'fd00:77::/64' }] } })
  await panel.ask('create peer', 'POST', '/containers/create?name=peer',
    { Image: 'busybox', Cmd: ['sleep', '600'], HostConfig: { NetworkMode: 'ends' } }, { keep: 'peer' })
  await panel.do('POST', '/containers/peer/start')
  const singles = Object.values(settings).flatMap((values) => values.slice(1))
  const rows = sampled(pairwise(settings).map((row) => Object.assign({}, ...Object.values(row)) as Part), 12)
  for (const part of [...sampled(singles, 10), ...sampled(rows, 4)]) await givenAtCreate(panel, part)
  for (const part of ofAnswers) await givenAtCreate(panel, part)
  await connecting(panel, [...sampled(singles, 10), ...sampled(rows, 3)])
  await wrongSettings(panel)
  await settingsElsewhere(panel)
  await severalNetworks(panel)
  await refusedCombinations(panel)
  await panel.do('DELETE', '/containers/peer?force=1')
  for (const name of ['ends', 'endauto', 'endint', 'endwrong']) await panel.do('DELETE', `/networks/${name}`)
}

const command = { Image: 'busybox', Cmd: ['sleep', '600'], StopSignal: 'SIGKILL' }

async function givenAtCreate(panel: Panel, part: Part): Promise<void> {
  const what = JSON.stringify(part)
  await panel.ask(`create with endpoint ${what}`, 'POST', '/containers/create?name=point', {
    ...command, HostConfig: { NetworkMode: 'ends' }, NetworkingConfig: { EndpointsConfig: { ends: part } },
  }, { keep: 'point' })
  await panel.ask(`created with endpoint ${what}`, 'GET', '/containers/point/json', undefined, { pick: networks })
  const started = await panel.ask(`start with endpoint ${what}`, 'POST', '/containers/point/start')
  if (started) {
    await panel.ask(`running with endpoint ${what}`, 'GET', '/containers/point/json', undefined, { pick: networks })
    await panel.observe(`kernel inside with endpoint ${what}`, stateInside, networkState, 'point')
    await panel.ask(`network with endpoint ${what}`, 'GET', '/networks/ends')
  }
  await panel.do('DELETE', '/containers/point?force=1')
}

/** The same by connect, to one that runs and one that does not, and taken away again. */
async function connecting(panel: Panel, parts: readonly Part[]): Promise<void> {
  for (const name of ['runs', 'waits']) {
    await panel.ask(`create ${name}`, 'POST', `/containers/create?name=${name}`, command, { keep: name })
  }
  await panel.do('POST', '/containers/runs/start')
  for (const part of parts) {
    for (const name of ['runs', 'waits']) {
      const what = `${name} ${JSON.stringify(part)}`
      await panel.ask(`connect ${what}`, 'POST', '/networks/ends/connect', { Container: name, EndpointConfig: part })
      await panel.ask(`connected ${what}`, 'GET', `/containers/${name}/json`, undefined, { pick: networks })
      if (name === 'runs') await panel.observe(`kernel inside connected ${what}`, stateInside, networkState, 'runs')
      await panel.ask(`disconnect ${what}`, 'POST', '/networks/ends/disconnect', { Container: name })
    }
  }
  await panel.ask('runs after all', 'GET', '/containers/runs/json', undefined, { pick: networks })
  await panel.observe('kernel inside after all', stateInside, networkState, 'runs')
  await panel.observe('kernel after all', state, networkState)
  for (const name of ['runs', 'waits']) await panel.do('DELETE', `/containers/${name}?force=1`)
}

async function wrongSettings(panel: Panel): Promise<void> {
  await panel.do('POST', '/containers/create?name=runs', command)
  await panel.do('POST', '/containers/create?name=waits', command)
  await panel.do('POST', '/containers/runs/start')
  await panel.do('POST', '/containers/create?name=taker', { ...command, HostConfig: { NetworkMode: 'endwrong' } })
  await panel.do('POST', '/containers/taker/start')
  await panel.ask('inspect runs', 'GET', '/containers/runs/json', undefined, { keep: 'runs', pick: networks })
  await panel.ask('inspect waits', 'GET', '/containers/waits/json', undefined, { keep: 'waits', pick: networks })
  for (const part of sampled(wrong, 26)) {
    const what = JSON.stringify(part)
    const made = await panel.ask(`wrong at create: ${what}`, 'POST', '/containers/create?name=point', {
      ...command, HostConfig: { NetworkMode: 'endwrong' }, NetworkingConfig: { EndpointsConfig: { endwrong: part } },
    }, { keep: 'point', line: true })
    if (made) await panel.ask(`wrong at start: ${what}`, 'POST', '/containers/point/start', undefined, { line: true })
    await panel.do('DELETE', '/containers/point?force=1')
    for (const name of ['runs', 'waits']) {
      await panel.ask(`wrong at connect: ${name} ${what}`, 'POST', '/networks/endwrong/connect',
        { Container: name, EndpointConfig: part }, { line: true })
      await panel.do('POST', '/networks/endwrong/disconnect', { Container: name, Force: true })
    }
  }
  // What could not be connected stays among the networks of dockerd's container: on with new ones.
  for (const name of ['runs', 'waits', 'taker']) await panel.do('DELETE', `/containers/${name}?force=1`)
}

async function settingsElsewhere(panel: Panel): Promise<void> {
  for (const name of ['runs', 'waits']) await panel.do('POST', `/containers/create?name=${name}`, command)
  await panel.do('POST', '/containers/runs/start')
  for (const network of elsewhere) {
    for (const part of [{}, { Aliases: ['a'] }, { IPAMConfig: { IPv4Address: '10.76.0.9' } }, { MacAddress: '02:42:aa:bb:00:03' },
      { Links: ['peer:p'] }, { DriverOpts: { 'com.docker.network.endpoint.ifname': 'net8' } }]) {
      const what = `«${network}» ${JSON.stringify(part)}`
      const made = await panel.ask(`elsewhere at create: ${what}`, 'POST', '/containers/create?name=point', {
        ...command, HostConfig: { NetworkMode: network }, NetworkingConfig: { EndpointsConfig: { [network]: part } },
      }, { keep: 'point', line: true })
      if (made) await panel.ask(`elsewhere created: ${what}`, 'GET', '/containers/point/json', undefined, { pick: networks })
      if (made && Object.keys(part).length === 0) await panel.ask(`elsewhere at start: ${what}`, 'POST', '/containers/point/start', undefined, { line: true })
      await panel.do('DELETE', '/containers/point?force=1')
      for (const name of ['runs', 'waits']) {
        await panel.ask(`elsewhere at connect: ${name} ${what}`, 'POST', `/networks/${network}/connect`,
          { Container: name, EndpointConfig: part }, { line: true })
        await panel.do('POST', `/networks/${network}/disconnect`, { Container: name, Force: true })
      }
    }
  }
  for (const name of ['runs', 'waits']) await panel.do('DELETE', `/containers/${name}?force=1`)
}

/** More than one network at create (API 1.44), with and without the mode among them. */
async function severalNetworks(panel: Panel): Promise<void> {
  const several: readonly (readonly [string, Part])[] = [
    ['ends', { ends: {}, endauto: {} }], ['endauto', { ends: {}, endauto: {} }],
    ['ends', { ends: { GwPriority: 1 }, endauto: { GwPriority: 2 } }],
    ['ends', { ends: { GwPriority: 2 }, endauto: { GwPriority: 1 } }],
    ['default', { ends: {} }], ['bridge', { ends: {} }], ['bridge', { bridge: {}, ends: { Aliases: ['b'] } }],
    ['ends', { endauto: {} }], ['endint', { endint: {}, ends: {} }],
    ['none', { ends: {} }], ['none', { none: {}, ends: {} }], ['container:peer', { ends: {} }],
    ['ends', { '{{ends}}': {} }], ['{{ends}}', { ends: { Aliases: ['b'] } }], ['{{ends}}', { '{{ends}}': {} }],
    ['ends', { ends: { MacAddress: '02:42:aa:bb:00:04' }, endint: { MacAddress: '02:42:aa:bb:00:05' } }],
    ['ends', { ends: null }], ['endauto', { endauto: null, ends: {} }], ['ends', { ends: {}, nosuch: {} }],
  ]
  for (const [NetworkMode, EndpointsConfig] of several) {
    const what = `${NetworkMode} ${JSON.stringify(EndpointsConfig)}`
    const made = await panel.ask(`several: ${what}`, 'POST', '/containers/create?name=point',
      { ...command, HostConfig: { NetworkMode }, NetworkingConfig: { EndpointsConfig } }, { keep: 'point' })
    if (made) await panel.ask(`several created: ${what}`, 'GET', '/containers/point/json', undefined, { pick: networks })
    // Which one dockerd joins first is left to chance: of twenty of these one starts there.
    const isMixed = 'none' in EndpointsConfig
    const started = made && !isMixed && await panel.ask(`several started: ${what}`, 'POST', '/containers/point/start')
    if (started) {
      await panel.ask(`several running: ${what}`, 'GET', '/containers/point/json', undefined, { pick: networks })
      await panel.observe(`several inside: ${what}`, stateInside, networkStateByAddress, 'point')
      await panel.ask(`several disconnected: ${what}`, 'POST', '/networks/ends/disconnect', { Container: 'point' })
      await panel.observe(`several inside without: ${what}`, stateInside, networkStateByAddress, 'point')
    }
    await panel.do('DELETE', '/containers/point?force=1')
  }
}

/** Every kind of container to every kind of network, connected and disconnected, plain and by force. */
async function refusedCombinations(panel: Panel): Promise<void> {
  const kinds = ['bridge', 'ends', 'host', 'none', 'container:peer']
  for (const [index, NetworkMode] of kinds.entries()) {
    for (const runs of [true, false]) {
      const name = `kind${index}`
      await panel.ask(`create kind ${NetworkMode}`, 'POST', `/containers/create?name=${name}`, { ...command, HostConfig: { NetworkMode } }, { keep: name })
      if (runs) await panel.do('POST', `/containers/${name}/start`)
      for (const network of ['bridge', 'ends', 'endauto', 'host', 'none', 'nosuch', '{{endauto}}']) {
        const what = `${NetworkMode} ${runs ? 'running' : 'created'} ${network}`
        for (const verb of ['disconnect', 'connect', 'connect', 'disconnect']) {
          await panel.ask(`combination ${verb}: ${what}`, 'POST', `/networks/${network}/${verb}`, { Container: name }, { line: true })
        }
        await panel.ask(`combination force: ${what}`, 'POST', `/networks/${network}/disconnect`, { Container: name, Force: true }, { line: true })
        await panel.ask(`combination after: ${what}`, 'GET', `/containers/${name}/json`, undefined, { pick: networks })
      }
      await panel.do('DELETE', `/containers/${name}?force=1`)
    }
  }
}

/** What an inspect says of networking, and the mode it was asked for. */
function networks(json: unknown): unknown {
  if (typeof json !== 'object' || json === null || !('NetworkSettings' in json)) return json
  const mode = 'HostConfig' in json && typeof json.HostConfig === 'object' && json.HostConfig !== null &&
    'NetworkMode' in json.HostConfig ? json.HostConfig.NetworkMode : undefined
  const state = 'State' in json && typeof json.State === 'object' && json.State !== null &&
    'Error' in json.State ? json.State.Error : undefined
  return { mode, state, settings: json.NetworkSettings }
}
