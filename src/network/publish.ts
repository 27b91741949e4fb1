/**
 * Published ports of a sandbox: which endpoint carries them, which host ports they get, what the
 * keeper holds and what the firewall translates. Keeper and firewall know them under the id of
 * the sandbox, so that moving them to another endpoint is one replacement in each.
 */
import { parseContainerPort } from '../address/ports.ts'
import { messageOf, Refusal } from '../base/refusal.ts'
import type { PortIntent } from '../firewall/intent.ts'
import type { PortHold } from '../keeper/client.ts'
import { homeNetns } from '../kernel/netns.ts'
import { readSysctl } from '../kernel/sysctl.ts'
import { driverNamed } from './drivers/drivers.ts'
import type { Publishing } from './drivers/driver.ts'
import { chooseGateways } from './gateway.ts'
import { kernelHasIpv6 } from './host.ts'
import type { Endpoint, Publication, PublicationSpec, Sandbox, SandboxSpec } from './model.ts'
import {
  parsePortSpan,
  parseReservedPorts,
  portTriesMax,
  type PortContext,
} from './ports.ts'
import type { Room } from './room.ts'

/** The endpoint that carries the published ports of a sandbox. */
export interface Carrier {
  readonly endpoint: Endpoint
  readonly publishing: Publishing
}

/** undefined when every network of the sandbox is internal or cannot publish. */
export function carrierOf(room: Room, endpoints: readonly Endpoint[]): Carrier | undefined {
  const candidates = endpoints.flatMap((endpoint) => {
    const network = room.state.network(endpoint.networkId)
    return network === undefined ? [] : [{ endpoint, internal: network.spec.internal }]
  })
  const { ipv4, ipv6 } = chooseGateways(candidates)
  for (const endpoint of [ipv4, ipv6]) {
    const network = endpoint && room.state.network(endpoint.networkId)
    if (endpoint === undefined || network === undefined) continue
    const publishing = driverNamed(network.spec.driver).publishing(network)
    if (publishing !== undefined) return { endpoint, publishing }
  }
  return undefined
}

/** What is to be published: as asked for, and with -P every exposed port without a binding. */
export function wantedPublications(spec: SandboxSpec): readonly PublicationSpec[] {
  if (!spec.publishAll) return spec.publications
  const bound = new Set(
    spec.publications.map(({ protocol, containerPort }) => `${containerPort}/${protocol}`),
  )
  const more: PublicationSpec[] = []
  for (const text of spec.exposed) {
    const parsed = parseContainerPort(text)
    if (parsed === undefined || bound.has(text)) continue
    const { protocol, range } = parsed
    const automatic = { protocol, hostIp: '', hostPortFirst: 0, hostPortLast: 0 }
    for (let port = range.first; port <= range.last; port++) {
      more.push({ ...automatic, containerPort: port })
    }
  }
  more.sort((a, b) => a.containerPort - b.containerPort)
  return [...spec.publications, ...more]
}

/**
 * Chooses host ports and has the keeper take them. Ports that may be chosen freely are chosen
 * again when the system refuses one.
 */
export async function takePorts(
  room: Room,
  sandbox: Sandbox,
  carrier: Carrier,
): Promise<readonly Publication[]> {
  const specs = wantedPublications(sandbox.spec)
  if (specs.length === 0) return []
  const busy = new Set<string>()
  try {
    for (let tries = 1; ; tries++) {
      const context = portContext(room, carrier, specs, busy)
      const publications = room.ports.reserve(sandbox.id, specs, context)
      try {
        await room.keeper.holdPorts(sandbox.id, portHolds(room, carrier, publications))
        return publications
      } catch (error) {
        room.ports.release(sandbox.id, publications)
        const refused = refusedPort(error, publications)
        const free = refused !== undefined && isFree(specs, refused)
        if (!free || tries >= portTriesMax) throw error
        busy.add(`${refused.protocol}/${refused.hostPort}`)
      }
    }
  } catch (error) {
    throw connectivityError(sandbox, carrier, error)
  }
}

/** Docker's wrapper around whatever goes wrong with published ports. */
export function connectivityError(sandbox: Sandbox, carrier: Carrier, error: unknown): Refusal {
  const name = sandbox.spec.containerName
  const where = `endpoint ${name} (${carrier.endpoint.id})`
  const sentence = `driver failed programming external connectivity on ${where}`
  return new Refusal('internal', `${sentence}: ${messageOf(error)}`, { cause: error })
}

/** The keeper's refusal names the address and port: `…for 0.0.0.0:8080:172.17.0.2:80/tcp: …`. */
function refusedPort(
  error: unknown,
  publications: readonly Publication[],
): Publication | undefined {
  const message = messageOf(error)
  return publications.find(
    ({ hostIp, hostPort }) =>
      message.includes(` ${hostIp}:${hostPort}`) || message.includes(` [${hostIp}]:${hostPort}`),
  )
}

function isFree(specs: readonly PublicationSpec[], refused: Publication): boolean {
  return specs.some(
    (spec) =>
      spec.containerPort === refused.containerPort &&
      spec.protocol === refused.protocol &&
      (spec.hostPortFirst === 0 || spec.hostPortFirst !== spec.hostPortLast),
  )
}

function portContext(
  room: Room,
  { endpoint, publishing }: Carrier,
  specs: readonly PublicationSpec[],
  busy: ReadonlySet<string>,
): PortContext {
  // Two files of the kernel, read only when somebody asks for any free port.
  const automatic = specs.some(({ hostPortFirst }) => hostPortFirst === 0)
  const read = (key: string) =>
    automatic ? (readSysctl(homeNetns(), `net/ipv4/${key}`) ?? '') : ''
  return {
    containerIpv4: endpoint.ipv4,
    containerIpv6: endpoint.ipv6,
    defaultHostIp: publishing.hostBinding || room.config.hostIp,
    alsoIpv6: room.config.userlandProxy && kernelHasIpv6(),
    routed4: publishing.mode4 === 'routed',
    ephemeral: parsePortSpan(read('ip_local_port_range')),
    reserved: parseReservedPorts(read('ip_local_reserved_ports')),
    busy,
  }
}

const isIpv4 = (address: string): boolean => !address.includes(':')
const bare = (address: string): string => address.split('/')[0] ?? ''

/** What the keeper shall hold for these publications. */
export function portHolds(
  room: Room,
  { endpoint }: Carrier,
  publications: readonly Publication[],
): readonly PortHold[] {
  return publications
    .filter(({ hostPort }) => hostPort !== 0)
    .map(({ protocol, hostIp, hostPort, containerPort }) => {
      const ipv6 = !isIpv4(hostIp) && endpoint.ipv6 !== ''
      const containerIp = bare(ipv6 ? endpoint.ipv6 : endpoint.ipv4)
      const relay = room.config.userlandProxy
      return { protocol, hostIp, hostPort, containerIp, containerPort, relay }
    })
}

/** What the firewall shall translate: consecutive ports become one range. */
export function portIntents(
  { endpoint, publishing }: Carrier,
  publications: readonly Publication[],
): readonly PortIntent[] {
  const intents: PortIntent[] = []
  /** By family, protocol and host address: the range that may still grow. */
  const open = new Map<string, number>()
  for (const { protocol, hostIp, hostPort, containerPort } of publications) {
    const family = isIpv4(hostIp) ? 4 : 6
    const address = family === 4 ? endpoint.ipv4 : endpoint.ipv6
    // IPv6 host address, IPv4 container: the keeper relays it, no rule does.
    if (address === '') continue
    const key = `${protocol} ${hostIp}`
    const index = open.get(key)
    const last = index === undefined ? undefined : intents[index]
    const follows =
      last !== undefined &&
      last.containerPort + last.count === containerPort &&
      (hostPort === 0 ? last.hostPort === 0 : last.hostPort + last.count === hostPort)
    if (index !== undefined && follows) {
      intents[index] = { ...last, count: last.count + 1 }
      continue
    }
    const mode = family === 4 ? publishing.mode4 : publishing.mode6
    const containerIp = bare(address)
    open.set(key, intents.length)
    intents.push({
      bridge: publishing.bridge, family, mode, protocol,
      hostIp, hostPort, containerIp, containerPort, count: 1,
    })
  }
  return intents
}

/** NetworkSettings.Ports: published ones with their bindings, the merely exposed with null. */
export function portsView(
  spec: SandboxSpec,
  carrier: Carrier | undefined,
  publications: readonly Publication[],
): Readonly<Record<string, readonly Publication[] | null>> {
  if (carrier === undefined) return {}
  const view = new Map<string, Publication[] | null>()
  for (const text of spec.exposed) view.set(text, null)
  for (const one of publications) {
    const key = `${one.containerPort}/${one.protocol}`
    const list = view.get(key)
    if (list) list.push(one)
    else view.set(key, [one])
  }
  return Object.fromEntries([...view].sort(([a], [b]) => (a < b ? -1 : 1)))
}

/** The publications of a sandbox that exists. */
export function publicationsOf(sandbox: Sandbox): readonly Publication[] {
  return Object.values(sandbox.ports).flatMap((list) => list ?? [])
}
