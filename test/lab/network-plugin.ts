/**
 * A network and IPAM plugin as a third party would write one, in a process of its own: a bridge per
 * network, a veth pair per endpoint, addresses counted up. It forgets everything when it ends.
 *
 *   network-plugin.ts SOCKET-OR-PORT CALLS-FILE WISHES-FILE
 *
 * Every call is a line of CALLS-FILE. Each line of WISHES-FILE changes one method: it fails
 * (`fail NetworkDriver.Join`), ends the process before it is done (`die …`) or after it (`after …`),
 * never answers (`hang …`, `mute …` when it has done it), answers a megabyte too much (`huge …`), or these very words, be they
 * JSON or not (`answer NetworkDriver.GetCapabilities {"Scope":"global"}`).
 */
import { execFileSync } from 'node:child_process'
import { appendFileSync, existsSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'

type Fields = Record<string, unknown>

const [where = '', callsFile = '', wishesFile = ''] = process.argv.slice(2)
const ip = (line: string) => execFileSync('ip', line.split(' '), { stdio: 'pipe' })
const short = (id: unknown) => String(id).slice(0, 8)
/** Bridged packets pass the host's FORWARD chain, whose policy engines set to DROP. */
function rule(verb: '-I' | '-D', networkId: unknown): void {
  const bridge = `fab-${short(networkId)}`
  const words = ['-w', verb, 'FORWARD', '-i', bridge, '-o', bridge, '-j', 'ACCEPT']
  execFileSync('iptables', words, { stdio: 'pipe' })
}
const gateways = new Map<string, string>()
const taken = new Map<string, Set<string>>()
let pools = 0

const methods: Readonly<Record<string, (asked: Fields) => unknown>> = {
  'Plugin.Activate': () => ({ Implements: ['NetworkDriver', 'IpamDriver'] }),
  'NetworkDriver.GetCapabilities': () => ({ Scope: 'local', ConnectivityScope: 'local' }),
  'NetworkDriver.CreateNetwork': ({ NetworkID, IPv4Data }) => {
    const [first] = Array.isArray(IPv4Data) ? IPv4Data : []
    gateways.set(String(NetworkID), String(first?.Gateway ?? ''))
    ip(`link add fab-${short(NetworkID)} type bridge`)
    if (first?.Gateway) ip(`addr add ${first.Gateway} dev fab-${short(NetworkID)}`)
    ip(`link set fab-${short(NetworkID)} up`)
    rule('-I', NetworkID)
    return {}
  },
  'NetworkDriver.DeleteNetwork': ({ NetworkID }) => {
    rule('-D', NetworkID)
    ip(`link del fab-${short(NetworkID)}`)
  },
  'NetworkDriver.CreateEndpoint': ({ NetworkID, EndpointID }) => {
    ip(`link add fh-${short(EndpointID)} type veth peer name fc-${short(EndpointID)}`)
    ip(`link set fh-${short(EndpointID)} master fab-${short(NetworkID)} up`)
    return { Interface: {} }
  },
  'NetworkDriver.Join': ({ NetworkID, EndpointID }) => {
    const gateway = bridgeAddress(String(NetworkID))
    const route = { Destination: '198.18.7.0/24', RouteType: 0, NextHop: gateway }
    return {
      InterfaceName: { SrcName: `fc-${short(EndpointID)}`, DstPrefix: 'eth' },
      Gateway: gateway,
      StaticRoutes: gateway === '' ? [] : [route],
    }
  },
  'NetworkDriver.EndpointOperInfo': () => ({ Value: { color: 'blue' } }),
  'NetworkDriver.Leave': () => ({}),
  'NetworkDriver.DeleteEndpoint': ({ EndpointID }) => void ip(`link del fh-${short(EndpointID)}`),
  'NetworkDriver.ProgramExternalConnectivity': () => ({}),
  'NetworkDriver.RevokeExternalConnectivity': () => ({}),
  'IpamDriver.GetCapabilities': () => ({ RequiresRequestReplay: true }),
  'IpamDriver.GetDefaultAddressSpaces': () => {
    return { LocalDefaultAddressSpace: 'here', GlobalDefaultAddressSpace: 'everywhere' }
  },
  'IpamDriver.RequestPool': ({ Pool }) => {
    const pool = Pool === '' ? `10.77.${pools++}.0/24` : String(Pool)
    taken.set(`id ${pool}`, new Set())
    return { PoolID: `id ${pool}`, Pool: pool }
  },
  'IpamDriver.ReleasePool': ({ PoolID }) => void taken.delete(String(PoolID)),
  'IpamDriver.RequestAddress': ({ PoolID, Address }) => {
    const [, net = '', length = ''] = /^id (.*)\.\d+\/(\d+)$/.exec(String(PoolID)) ?? []
    const used = taken.get(String(PoolID)) ?? new Set()
    let last = 1
    while (used.has(`${net}.${last}`)) last++
    const address = Address === '' ? `${net}.${last}` : String(Address)
    if (used.has(address)) return { Error: `${address} is taken` }
    taken.set(String(PoolID), used.add(address))
    return { Address: `${address}/${length}` }
  },
  'IpamDriver.ReleaseAddress': ({ PoolID, Address }) => {
    taken.get(String(PoolID))?.delete(String(Address))
  },
}

/** After a restart the bridge itself still knows. */
function bridgeAddress(networkId: string): string {
  const known = gateways.get(networkId)
  if (known !== undefined) return known.split('/')[0] ?? ''
  const line = execFileSync('ip', ['-4', '-o', 'addr', 'show', `fab-${short(networkId)}`], { encoding: 'utf8' })
  return /inet ([\d.]+)/.exec(line)?.[1] ?? ''
}

/** What is wished of a method, and the words behind it. */
function wished(method: string): readonly [verb: string, words: string] {
  const text = existsSync(wishesFile) ? readFileSync(wishesFile, 'utf8') : ''
  for (const line of text.split('\n')) {
    const [verb = '', wanted = '', ...words] = line.split(' ')
    if (wanted === method) return [verb, words.join(' ')]
  }
  return ['', '']
}

const hugeBytes = 3 << 20

/** What is answered to a method, done or not, as wished; undefined: nothing, ever. */
function answerTo(method: string, asked: Fields): string | undefined {
  const [verb, words] = wished(method)
  switch (verb) {
    case 'fail':
      return JSON.stringify({ Err: `no ${method} today` })
    case 'die':
      process.exit(1)
    case 'hang':
      return undefined
    case 'huge':
      return JSON.stringify({ Scope: 'local', Filler: 'x'.repeat(hugeBytes) })
    case 'answer':
      return words
    default: {
      const answer = JSON.stringify(methods[method]?.(asked) ?? {})
      if (verb === 'after') process.exit(1)
      return verb === 'mute' ? undefined : answer
    }
  }
}

const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    const method = (request.url ?? '').slice(1)
    const text = Buffer.concat(chunks).toString()
    const asked: Fields = text === '' ? {} : JSON.parse(text)
    appendFileSync(callsFile, `${method} ${text}\n`)
    const known = methods[method] !== undefined || wished(method)[0] === 'answer'
    response.statusCode = known ? 200 : 404
    try {
      const answer = answerTo(method, asked)
      if (answer !== undefined) response.end(answer)
    } catch (error) {
      response.end(JSON.stringify({ Err: String(error) }))
    }
  })
})
if (/^\d+$/.test(where)) server.listen(Number(where), '127.0.0.1')
else {
  rmSync(where, { force: true })
  server.listen(where)
}
