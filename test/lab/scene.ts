/**
 * A network room with real firewall and keeper, containers in it, and a host beside it: for tests
 * of who reaches what. The containers' subnets are routed to us from there: 10/8 and fd00::/8.
 */
import type { TestContext } from 'node:test'
import { defaultNetworkConfig, type NetworkConfig } from '../../src/network/config.ts'
import { networkSpec } from './network-specs.ts'
import { openLab, run, type Lab } from './network-lab.ts'
import type {
  EndpointSpec,
  Network,
  NetworkSpec,
  Sandbox,
  SandboxSpec,
} from '../../src/network/model.ts'
import { realRooms, type BackendName } from './real-rooms.ts'

export const lan = '/run/netns/lan'
export const hostAddress = '2001:db8:5::1'
export const lanAddress = '2001:db8:5::2'

/** A host beside this one that routes what containers have by way of it. */
export function makeLan(): void {
  for (const line of [
    'ip netns add lan',
    'ip link add cable type veth peer name eth0 netns lan',
    `ip addr add ${hostAddress}/64 dev cable nodad`,
    'ip addr add 198.51.100.1/24 dev cable',
    'ip link set cable up',
    'ip -n lan link set lo up',
    `ip -n lan addr add ${lanAddress}/64 dev eth0 nodad`,
    'ip -n lan addr add 198.51.100.2/24 dev eth0',
    'ip -n lan link set eth0 up',
    `ip -n lan route add fd00::/8 via ${hostAddress}`,
    'ip -n lan route add 10.0.0.0/8 via 198.51.100.1',
  ]) {
    run(line)
  }
}

/** What a web server answers, '' when nothing comes. */
export function tried(host: string, netns = ''): string {
  try {
    return run(`curl -gs --connect-timeout 0.4 -m 2 http://${host}/`, netns).trim()
  } catch {
    return ''
  }
}

export const pools = (...subnets: readonly string[]) => {
  return { driver: 'default', options: null, pools: subnets.map((subnet) => ({ subnet })) }
}
const port8080 = { hostPortFirst: 8080, hostPortLast: 8080, hostIp: '' }
export const published = {
  publications: [{ protocol: 'tcp', containerPort: 80, ...port8080 }],
} as const
export const ipv6Of = (sandbox: Sandbox) => sandbox.endpoints[0]?.ipv6.split('/')[0] ?? ''

export interface Scene {
  readonly lab: Lab
  /** A container of this name. */
  place(name: string, endpoint: EndpointSpec, part?: Partial<SandboxSpec>): Promise<Sandbox>
  network(part: Partial<NetworkSpec>): Promise<Network>
}

/** An engine whose containers and networks end with the test. */
export async function scene(
  t: TestContext,
  backend: BackendName = 'iptables',
  config: Partial<NetworkConfig> = {},
): Promise<Scene> {
  const { userlandProxy, ip6tables } = { ...defaultNetworkConfig, ...config }
  const lab = await openLab(config, realRooms(userlandProxy, backend, ip6tables))
  const made: Sandbox[] = []
  t.after(async () => {
    for (const { spec } of made) await lab.engine.close(spec.containerId)
    for (const { spec, id } of lab.engine.list()) {
      if (!['bridge', 'host', 'none'].includes(spec.name)) await lab.engine.remove(id)
    }
    await lab.end()
    run('ip link del docker0')
    run('nft flush ruleset')
  })
  return {
    lab,
    network: (part) => lab.engine.create(networkSpec({ enableIpv6: true, ...part })),
    place: async (name, endpoint, part = {}) => {
      const spec = lab.spec({ containerName: name, hostname: name, endpoints: [endpoint], ...part })
      const sandbox = await lab.engine.open(spec)
      made.push(sandbox)
      return sandbox
    },
  }
}
