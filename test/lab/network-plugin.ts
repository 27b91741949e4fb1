/**
 * A network and IPAM plugin as a third party would write one, in a process of its own: a bridge per
 * network, a veth pair per endpoint, addresses counted up. It forgets everything when it ends.
 *
 *   network-plugin.ts SOCKET-OR-PORT CALLS-FILE WISHES-FILE
 *
 * Every call is a line of CALLS-FILE. Methods named in WISHES-FILE fail (`fail NetworkDriver.Join`),
 * or end the process before (`die …`) they are done.
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
    return {
      InterfaceName: { SrcName: `fc-${short(EndpointID)}`, DstPrefix: 'eth' },
      Gateway: gateway,
      StaticRoutes: [{ Destination: '198.18.7.0/24', RouteType: 0, NextHop: gateway }],
    }
  },
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

function wished(method: string): string {
  const text = existsSync(wishesFile) ? readFileSync(wishesFile, 'utf8') : ''
  return text.split('\n').find((line) => line.endsWith(` ${method}`))?.split(' ')[0] ?? ''
}

const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk: Buffer) => chunks.push(chunk))
  request.on('end', () => {
    const method = (request.url ?? '').slice(1)
    const text = Buffer.concat(chunks).toString()
    const asked: Fields = text === '' ? {} : JSON.parse(text)
    appendFileSync(callsFile, `${method} ${text}\n`)
    const wish = wished(method)
    if (wish === 'die') process.exit(1)
    const run = methods[method]
    response.statusCode = run === undefined ? 404 : 200
    try {
      const wrong = wish === 'fail' ? { Err: `no ${method} today` } : undefined
      response.end(JSON.stringify(wrong ?? run?.(asked) ?? {}))
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
