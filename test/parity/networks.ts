/** Networks: options by themselves and in pairs, and the verbs connect, disconnect, prune, rm. */
import type { Part } from './container-options.ts'
import { merged } from './container-options.ts'
import { addresses, natRules } from './kernel.ts'
import type { Pair } from './pair.ts'
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

export async function networkTopic(pair: Pair): Promise<void> {
  await pair.ask('list of predefined networks', 'GET', '/networks', undefined, { pick: byName })
  for (const name of ['bridge', 'host', 'none']) {
    await pair.ask(`inspect ${name}`, 'GET', `/networks/${name}`)
  }
  let index = 0
  for (const row of pairwise(networkOptions)) {
    await lifeOf(pair, `pairs ${++index}`, Object.values(row), true)
  }
  await lifeOf(pair, 'an empty IPAM', [{ IPAM: {} }])
  await lifeOf(pair, 'options for IPAM', [{ IPAM: { Driver: 'default', Options: { k: 'v' } } }])
  await lifeOf(pair, 'empty options', [option({})])
  await sixth(pair)
  await configNetworks(pair)
  await lookups(pair)
}

async function lifeOf(
  pair: Pair, what: string, parts: readonly Part[], kernel = false,
): Promise<void> {
  const body = merged([{ Name: 'made' }, ...parts])
  await pair.ask(`create network: ${what}`, 'POST', '/networks/create', body, { keep: 'made' })
  await pair.ask(`inspect network: ${what}`, 'GET', '/networks/made')
  if (kernel) {
    await pair.observe(`addresses of network: ${what}`, 'ip -j addr', addresses)
    await pair.observe(`nat rules of network: ${what}`, 'iptables-save -t nat', natRules)
  }
  await pair.ask(`remove network: ${what}`, 'DELETE', '/networks/made')
}

async function sixth(pair: Pair): Promise<void> {
  await lifeOf(pair, 'IPv6 with its subnet',
    [{ EnableIPv6: true }, ipam({ Subnet: 'fd00:70::/64' })], true)
  await lifeOf(pair, 'two families',
    [{ EnableIPv6: true }, ipam({ Subnet: 'fd00:70::/64' }, { Subnet: '10.70.0.0/24' })], true)
  await lifeOf(pair, 'IPv6 with a gateway',
    [{ EnableIPv6: true }, ipam({ Subnet: 'fd00:70::/64', Gateway: 'fd00:70::ff' })], true)
  await lifeOf(pair, 'an IPv6 subnet without IPv6', [ipam({ Subnet: 'fd00:70::/64' })])
}

async function configNetworks(pair: Pair): Promise<void> {
  await pair.ask('create a template', 'POST', '/networks/create', {
    Name: 'template', ConfigOnly: true, Labels: { a: 'b' },
    IPAM: { Config: [{ Subnet: '10.71.0.0/24' }] },
    Options: { 'com.docker.network.driver.mtu': '1400' },
  }, { keep: 'template' })
  await pair.ask('inspect the template', 'GET', '/networks/template')
  await lifeOf(pair, 'from a template', [{ ConfigFrom: { Network: 'template' } }], true)
  await lifeOf(pair, 'from a missing template', [{ ConfigFrom: { Network: 'nope' } }])
  await lifeOf(pair, 'from a template, with labels',
    [{ ConfigFrom: { Network: 'template' }, Labels: { x: 'y' } }])
  await lifeOf(pair, 'from a template, with options',
    [{ ConfigFrom: { Network: 'template' }, Options: { x: 'y' } }])
  await pair.ask('remove the template', 'DELETE', '/networks/template')
}

const filters = (filter: object): string => encodeURIComponent(JSON.stringify(filter))

async function lookups(pair: Pair): Promise<void> {
  await pair.do('POST', '/networks/create', { Name: 'alpha', Labels: { color: 'red' } })
  await pair.do('POST', '/networks/create', { Name: 'alphabet', Internal: true })
  await pair.do('POST', '/networks/create', { Name: 'a/b c' })
  await pair.ask('inspect by a name with a slash', 'GET', '/networks/a%2Fb%20c')
  const wanted: readonly object[] = [
    { name: ['alpha'] }, { name: ['^alpha$'] }, { label: ['color'] }, { label: ['color=red'] },
    { label: ['color=blue'] }, { driver: ['bridge'] }, { driver: ['brid'] }, { driver: ['null'] },
    { type: ['custom'] }, { type: ['builtin'] }, { type: ['zz'] }, { scope: ['local'] },
    { scope: ['swarm'] }, { dangling: ['true'] }, { dangling: ['false'] }, { dangling: ['zz'] },
    { name: ['alpha'], label: ['color'] }, { foo: ['x'] }, { name: { alphabet: true } }, {},
    { id: ['{{made}}'] },
  ]
  for (const filter of wanted) {
    await pair.ask(`networks ${JSON.stringify(filter)}`, 'GET',
      `/networks?filters=${filters(filter)}`, undefined, { pick: names })
  }
  for (const text of ['zz', '[]', '', '{"name":"x"}']) {
    await pair.ask(`networks with filters «${text}»`, 'GET',
      `/networks?filters=${encodeURIComponent(text)}`, undefined, { pick: names })
  }
  for (const query of ['verbose=true', 'verbose=zz', 'scope=local', 'scope=swarm', 'scope=zz']) {
    await pair.ask(`inspect with ${query}`, 'GET', `/networks/alpha?${query}`)
  }
  await pair.ask('prune by a label', 'POST', `/networks/prune?filters=${filters({ label: ['color'] })}`)
  await pair.ask('prune by until', 'POST', `/networks/prune?filters=${filters({ until: ['24h'] })}`)
  await pair.ask('prune by nonsense', 'POST', `/networks/prune?filters=${filters({ foo: ['x'] })}`)
  await pair.ask('prune by a bad time', 'POST', `/networks/prune?filters=${filters({ until: ['zz'] })}`)
  await pair.ask('prune', 'POST', '/networks/prune', undefined, { pick: sortedNames })
  await pair.ask('prune nothing', 'POST', '/networks/prune')
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
