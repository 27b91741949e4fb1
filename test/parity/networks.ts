/** Networks: options by themselves and in pairs, and the verbs connect, disconnect, prune, rm. */
import type { Part } from './container-options.ts'
import { merged } from './container-options.ts'
import { natRules, networkState, state } from './kernel.ts'
import type { Panel } from './panel.ts'
import { pairwise } from './pairwise.ts'

const ipam = (...pools: readonly Part[]): Part => ({ IPAM: { Config: pools } })
const option = (options: Part): Part => ({ Options: options })

const networkOptions: Readonly<Record<string, readonly Part[]>> = {
  driver: [{}, { Driver: 'bridge' }],
  internal: [{}, { Internal: true }],
  attachable: [{}, { Attachable: true }],
  labels: [{}, { Labels: { a: 'b', c: '' } }, { Labels: {} }],
  scope: [{}, { Scope: 'local' }],
  duplicate: [{}, { CheckDuplicate: true }],
  ipam: [
    {}, { IPAM: { Driver: 'default', Options: {}, Config: [] } },
    ipam({ Subnet: '10.70.0.0/24' }),
    ipam({ Subnet: '10.70.0.0/24', Gateway: '10.70.0.254' }),
    ipam({ Subnet: '10.70.0.0/16', IPRange: '10.70.5.0/24' }),
    ipam({ Subnet: '10.70.0.0/16', IPRange: '10.70.5.0/24', Gateway: '10.70.5.1',
      AuxiliaryAddresses: { router: '10.70.5.2' } }),
  ],
  options: [
    {}, option({ 'com.docker.network.bridge.enable_icc': 'false' }),
    option({ 'com.docker.network.bridge.enable_ip_masquerade': 'false' }),
    option({ 'com.docker.network.driver.mtu': '1400', 'com.docker.network.bridge.name': 'named0' }),
    option({ 'com.docker.network.bridge.host_binding_ipv4': '127.0.0.1', unknown: 'kept' }),
  ],
}

export async function networkTopic(panel: Panel): Promise<void> {
  await panel.ask('list of predefined networks', 'GET', '/networks', undefined, { pick: byName })
  for (const name of ['bridge', 'host', 'none']) {
    await panel.ask(`inspect ${name}`, 'GET', `/networks/${name}`)
  }
  let index = 0
  for (const row of pairwise(networkOptions)) {
    await lifeOf(panel, `pairs ${++index}`, Object.values(row), true)
  }
  await lifeOf(panel, 'an empty IPAM', [{ IPAM: {} }])
  await lifeOf(panel, 'options for IPAM', [{ IPAM: { Driver: 'default', Options: { k: 'v' } } }])
  await lifeOf(panel, 'empty options', [option({})])
  await sixth(panel)
  await configNetworks(panel)
  await lookups(panel)
}

async function lifeOf(
  panel: Panel, what: string, parts: readonly Part[], kernel = false,
): Promise<void> {
  const body = merged([{ Name: 'made' }, ...parts])
  await panel.ask(`create network: ${what}`, 'POST', '/networks/create', body, { keep: 'made' })
  await panel.ask(`inspect network: ${what}`, 'GET', '/networks/made')
  if (kernel) {
    await panel.observe(`kernel with network: ${what}`, state, networkState)
    await panel.observe(`nat rules of network: ${what}`, 'iptables-save -t nat', natRules)
  }
  await panel.ask(`remove network: ${what}`, 'DELETE', '/networks/made')
}

async function sixth(panel: Panel): Promise<void> {
  await lifeOf(panel, 'IPv6 with its subnet',
    [{ EnableIPv6: true }, ipam({ Subnet: 'fd00:70::/64' })], true)
  await lifeOf(panel, 'two families',
    [{ EnableIPv6: true }, ipam({ Subnet: 'fd00:70::/64' }, { Subnet: '10.70.0.0/24' })], true)
  await lifeOf(panel, 'IPv6 with a gateway',
    [{ EnableIPv6: true }, ipam({ Subnet: 'fd00:70::/64', Gateway: 'fd00:70::ff' })], true)
  await lifeOf(panel, 'an IPv6 subnet without IPv6', [ipam({ Subnet: 'fd00:70::/64' })])
}

async function configNetworks(panel: Panel): Promise<void> {
  await panel.ask('create a template', 'POST', '/networks/create', {
    Name: 'template', ConfigOnly: true, Labels: { a: 'b' },
    IPAM: { Config: [{ Subnet: '10.71.0.0/24' }] },
    Options: { 'com.docker.network.driver.mtu': '1400' },
  }, { keep: 'template' })
  await panel.ask('inspect the template', 'GET', '/networks/template')
  await lifeOf(panel, 'from a template', [{ ConfigFrom: { Network: 'template' } }], true)
  await lifeOf(panel, 'from a missing template', [{ ConfigFrom: { Network: 'nope' } }])
  await lifeOf(panel, 'from a template, with labels',
    [{ ConfigFrom: { Network: 'template' }, Labels: { x: 'y' } }])
  await lifeOf(panel, 'from a template, with options',
    [{ ConfigFrom: { Network: 'template' }, Options: { x: 'y' } }])
  await panel.ask('remove the template', 'DELETE', '/networks/template')
}

const filters = (filter: object): string => encodeURIComponent(JSON.stringify(filter))

async function lookups(panel: Panel): Promise<void> {
  await panel.do('POST', '/networks/create', { Name: 'alpha', Labels: { color: 'red' } })
  await panel.do('POST', '/networks/create', { Name: 'alphabet', Internal: true })
  await panel.do('POST', '/networks/create', { Name: 'a/b c' })
  await panel.ask('inspect by a name with a slash', 'GET', '/networks/a%2Fb%20c')
  const wanted: readonly object[] = [
    { name: ['alpha'] }, { name: ['^alpha$'] }, { label: ['color'] }, { label: ['color=red'] },
    { label: ['color=blue'] }, { driver: ['bridge'] }, { driver: ['brid'] }, { driver: ['null'] },
    { type: ['custom'] }, { type: ['builtin'] }, { type: ['zz'] }, { scope: ['local'] },
    { scope: ['swarm'] }, { dangling: ['true'] }, { dangling: ['false'] }, { dangling: ['zz'] },
    { name: ['alpha'], label: ['color'] }, { foo: ['x'] }, { name: { alphabet: true } }, {},
    { id: ['{{made}}'] },
  ]
  for (const filter of wanted) {
    await panel.ask(`networks ${JSON.stringify(filter)}`, 'GET',
      `/networks?filters=${filters(filter)}`, undefined, { pick: names })
  }
  for (const text of ['zz', '[]', '', '{"name":"x"}']) {
    await panel.ask(`networks with filters «${text}»`, 'GET',
      `/networks?filters=${encodeURIComponent(text)}`, undefined, { pick: names })
  }
  for (const query of ['verbose=true', 'verbose=zz', 'scope=local', 'scope=swarm', 'scope=zz']) {
    await panel.ask(`inspect with ${query}`, 'GET', `/networks/alpha?${query}`)
  }
  await panel.ask('prune by a label', 'POST', `/networks/prune?filters=${filters({ label: ['color'] })}`)
  await panel.ask('prune by until', 'POST', `/networks/prune?filters=${filters({ until: ['24h'] })}`)
  await panel.ask('prune by nonsense', 'POST', `/networks/prune?filters=${filters({ foo: ['x'] })}`)
  await panel.ask('prune by a bad time', 'POST', `/networks/prune?filters=${filters({ until: ['zz'] })}`)
  await panel.ask('prune', 'POST', '/networks/prune', undefined, { pick: sortedNames })
  await panel.ask('prune nothing', 'POST', '/networks/prune')
}

/** Engines list networks in the order of a Go map. */
function byName(json: unknown): unknown {
  if (!Array.isArray(json)) return json
  return [...json].sort((a, b) => String(named(a)).localeCompare(String(named(b))))
}

export function names(json: unknown): unknown {
  return Array.isArray(json) ? json.map(named).sort() : json
}

function sortedNames(json: unknown): unknown {
  return JSON.stringify(json).match(/"[^"]*"/g)?.sort()
}

function named(value: unknown): unknown {
  return typeof value === 'object' && value !== null && 'Name' in value ? value.Name : value
}
