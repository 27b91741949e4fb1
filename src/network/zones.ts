/** What the keeper answers by name: one zone per user-defined network, one resolver per sandbox. */
import { shortId } from '../base/id.ts'
import type { ZoneRecord } from '../keeper/client.ts'
import { driverNamed } from './drivers/drivers.ts'
import { inGatewayOrder } from './gateway.ts'
import type { Endpoint, EndpointSpec, Network, Sandbox, SandboxSpec } from './model.ts'
import { resolvConfOf } from './files.ts'
import type { Room } from './room.ts'
import { isPredefined } from './validate.ts'

/** Names exist on networks that users define, never on the predefined ones. */
export function hasNames({ spec }: Network): boolean {
  return driverNamed(spec.driver).needsIpam && !isPredefined(spec.name)
}

/** DNSNames of an endpoint, in Docker's order; the first one answers PTR. */
export function dnsNamesOf(
  network: Network,
  container: Pick<SandboxSpec, 'containerId' | 'containerName' | 'hostname'>,
  spec: Pick<EndpointSpec, 'aliases'>,
): readonly string[] {
  if (!hasNames(network)) return []
  const { containerName, containerId, hostname } = container
  return [...new Set([containerName, ...spec.aliases, shortId(containerId), hostname])]
}

/** Whether a sandbox asks the internal resolver. */
export function needsResolver(room: Room, sandbox: Sandbox): boolean {
  return sandbox.endpoints.some(({ networkId }) => {
    const network = room.state.network(networkId)
    return network !== undefined && hasNames(network)
  })
}

/** Adds, replaces or (undefined) takes away the names of one endpoint. */
export async function setNames(
  room: Room,
  networkId: string,
  endpointId: string,
  endpoint: Endpoint | undefined,
): Promise<void> {
  const entry = room.state.networks.get(networkId)
  if (entry === undefined || !hasNames(entry.record.network)) return
  const record = endpoint === undefined ? undefined : recordOf(endpoint)
  if (record === undefined) entry.names.delete(endpointId)
  else entry.names.set(endpointId, record)
  await room.keeper.changeZone(networkId, entry.record.network.spec.name, endpointId, record)
}

/** States the whole zone of a network. */
export async function stateZone(room: Room, networkId: string): Promise<void> {
  const entry = room.state.networks.get(networkId)
  if (entry === undefined) return
  const { name } = entry.record.network.spec
  await room.keeper.setZone(networkId, name, [...entry.names.values()])
}

export function recordOf({ id, dnsNames, ipv4, ipv6 }: Endpoint): ZoneRecord {
  const bare = (address: string) => address.split('/')[0] ?? ''
  return { endpointId: id, names: dnsNames, ipv4: bare(ipv4), ipv6: bare(ipv6) }
}

/** Opens or updates the resolver of a sandbox that needs one, with its resolv.conf if known. */
export async function setResolver(
  room: Room,
  sandbox: Sandbox,
  { upstreams, keepSingleLabels } = resolvConfOf(room, sandbox, true),
): Promise<void> {
  const candidates = sandbox.endpoints.flatMap((endpoint) => {
    const network = room.state.network(endpoint.networkId)
    if (network === undefined) return []
    const internal = driverNamed(network.spec.driver).isInternal(network)
    return [{ endpoint, network, internal }]
  })
  const named = inGatewayOrder(candidates).filter(({ network }) => hasNames(network))
  await room.keeper.setResolver({
    sandboxId: sandbox.id,
    netnsPath: sandbox.netnsPath,
    networks: named.map(({ network }) => ({ networkId: network.id, name: network.spec.name })),
    linkAliases: named.flatMap(({ endpoint }) => linkAliases(endpoint)),
    upstreams,
    keepSingleLabels,
    hostUpstreamsAllowed: candidates.some(({ internal }) => !internal),
  })
}

/** `container:alias`, or `container` alone. */
function linkAliases({ networkId, spec }: Endpoint) {
  return spec.links.map((link) => {
    const [name = '', alias = name] = link.split(':')
    return { networkId, alias, name }
  })
}
