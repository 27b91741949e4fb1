/** Ports in every syntax, at create and at start: what inspect, ps and the nat rules say of them. */
import type { Part } from './container-options.ts'
import { natRules } from './kernel.ts'
import type { Panel } from './panel.ts'
import { pairwise } from './pairwise.ts'
import { sampled } from './sample.ts'

const keys = ['80/tcp', '80', '80/TCP', '80/udp', '80/sctp', '80-82/tcp', '80/', '/tcp', '0/tcp', '65535/udp',
  '65536/tcp', '82-80/tcp', '80-80/tcp', 'http/tcp', '80/tcp/udp', ' 80/tcp', '080/tcp', '-80/tcp', '80-/tcp', '80/icmp']
const hostPorts = ['', '0', '18080', '18080-18080', '18080-18090', '18090-18080', '65535', '65536', 'http', '-1', ' 18080', '018080', '18080/tcp']
const hostIps = ['', '0.0.0.0', '127.0.0.1', '::', '::1', '[::1]', '10.9.9.9', 'localhost', '127.0.0.1/8', '0.0.0.0%lo']

const levels = {
  key: ['80/tcp', '80/udp', '80-82/tcp', '80'],
  port: ['', '18080', '18080-18090', '0'],
  ip: ['', '127.0.0.1', '0.0.0.0', '::', '::1'],
  exposed: ['none', 'same', 'other', 'range'],
  network: ['bridge', 'pnet', 'psix', 'host', 'none', 'pint'],
  all: ['no', 'yes'],
  twice: ['no', 'loopback', 'other port'],
}

const exposures: Readonly<Record<string, Part>> = {
  none: {}, other: { '81/tcp': {}, '53/udp': {} }, range: { '90-92/tcp': {} },
}

export async function portTopic(panel: Panel): Promise<void> {
  await panel.do('POST', '/networks/create', { Name: 'pnet', IPAM: { Config: [{ Subnet: '10.78.0.0/16' }] } })
  await panel.do('POST', '/networks/create', { Name: 'psix', EnableIPv6: true, IPAM: { Config: [{ Subnet: '10.79.0.0/16' }, { Subnet: 'fd00:79::/64' }] } })
  await panel.do('POST', '/networks/create', { Name: 'pint', Internal: true, IPAM: { Config: [{ Subnet: '10.80.0.0/16' }] } })
  for (const key of keys) await publish(panel, { [key]: [{ HostIp: '', HostPort: '18080' }] }, { [key]: {} })
  for (const HostPort of hostPorts) await publish(panel, { '80/tcp': [{ HostIp: '', HostPort }] }, { '80/tcp': {} })
  for (const HostIp of hostIps) await publish(panel, { '80/tcp': [{ HostIp, HostPort: '18080' }] }, { '80/tcp': {} })
  for (const key of sampled(keys, 9)) await publish(panel, {}, { [key]: {} })
  for (const bindings of [null, [], [{}], [{ HostPort: '18080' }, { HostPort: '18080' }], [{ HostPort: '18080' }, { HostPort: '18081' }],
    [{ HostIp: '127.0.0.1', HostPort: '18080' }, { HostIp: '::1', HostPort: '18080' }], {}, 'x', [null]]) {
    await publish(panel, { '80/tcp': bindings }, { '80/tcp': {} })
  }
  await publish(panel, { '80/tcp': [{ HostPort: '18080' }], '81/tcp': [{ HostPort: '18080' }] }, { '80/tcp': {}, '81/tcp': {} })
  await publish(panel, { '80/tcp': [{ HostPort: '18080' }], '80/udp': [{ HostPort: '18080' }] }, { '80/tcp': {}, '80/udp': {} })
  for (const row of sampled(pairwise(levels), 12)) await publishRow(panel, row)
  await taken(panel)
  for (const name of ['pnet', 'psix', 'pint']) await panel.do('DELETE', `/networks/${name}`)
}

async function publish(panel: Panel, PortBindings: Part, ExposedPorts: Part): Promise<void> {
  await life(panel, JSON.stringify([PortBindings, ExposedPorts]), { ExposedPorts, HostConfig: { PortBindings } })
}

async function publishRow(panel: Panel, row: Readonly<Record<string, string>>): Promise<void> {
  const { key = '', port = '', ip = '', exposed = '', network = '', all, twice } = row
  const more = twice === 'loopback' ? [{ HostIp: '127.0.0.1', HostPort: '18099' }]
    : twice === 'other port' ? [{ HostIp: '', HostPort: '18098' }] : []
  const ExposedPorts = exposed === 'same' ? { [key]: {} } : exposures[exposed]
  await life(panel, JSON.stringify(row), {
    ExposedPorts,
    HostConfig: { NetworkMode: network, PublishAllPorts: all === 'yes', PortBindings: { [key]: [{ HostIp: ip, HostPort: port }, ...more] } },
  })
}

async function life(panel: Panel, what: string, body: Part): Promise<void> {
  const made = await panel.ask(`port create: ${what}`, 'POST', '/containers/create?name=ports',
    { Image: 'busybox', Cmd: ['sleep', '600'], StopSignal: 'SIGKILL', ...body }, { keep: 'ports', line: true })
  if (made) await panel.ask(`port created: ${what}`, 'GET', '/containers/ports/json', undefined, { pick: portsOf })
  const started = made && await panel.ask(`port start: ${what}`, 'POST', '/containers/ports/start', undefined, { line: true })
  if (started) {
    await panel.ask(`port running: ${what}`, 'GET', '/containers/ports/json', undefined, { pick: portsOf })
    await panel.ask(`port listed: ${what}`, 'GET', '/containers/json')
    await panel.observe(`port nat: ${what}`, 'iptables-save -t nat; ip6tables-save -t nat', natRules)
  }
  await panel.do('DELETE', '/containers/ports?force=1')
}

/** Host ports that somebody has already: another container, the host itself. */
async function taken(panel: Panel): Promise<void> {
  const holder = (HostIp: string, HostPort: string) => ({
    Image: 'busybox', Cmd: ['sleep', '600'], ExposedPorts: { '80/tcp': {} },
    HostConfig: { PortBindings: { '80/tcp': [{ HostIp, HostPort }] } },
  })
  await panel.do('POST', '/containers/create?name=holder', holder('127.0.0.1', '18080'))
  await panel.do('POST', '/containers/holder/start')
  for (const [ip, port] of [['', '18080'], ['127.0.0.1', '18080'], ['::1', '18080'], ['127.0.0.2', '18080'], ['0.0.0.0', '18080'], ['', '18080-18081']] as const) {
    await life(panel, `taken «${ip}» ${port}`, holder(ip, port))
  }
  await panel.do('DELETE', '/containers/holder?force=1')
}

function portsOf(json: unknown): unknown {
  if (typeof json !== 'object' || json === null || !('NetworkSettings' in json)) return json
  const { Config, HostConfig, NetworkSettings, State }: Record<string, unknown> = { ...json }
  const part = (of: unknown, key: string) =>
    (typeof of === 'object' && of !== null ? Object.entries(of).find(([name]) => name === key)?.[1] : undefined)
  return {
    exposed: part(Config, 'ExposedPorts'), bindings: part(HostConfig, 'PortBindings'),
    ports: part(NetworkSettings, 'Ports'), error: part(State, 'Error'), status: part(State, 'Status'),
  }
}
