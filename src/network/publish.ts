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

/** An endpoint that carries published ports. */
export interface CarrierEnd {
  readonly endpoint: Endpoint
  readonly publishing: Publishing
}

/** The endpoints that carry the published ports of a sandbox: one for each family of hosts. */
export interface Carrier {
  readonly ipv4: CarrierEnd | undefined
  readonly ipv6: CarrierEnd | undefined
  /** Whichever there is, IPv4 first: for what is said about both. */
  readonly first: CarrierEnd
}

/** undefined when every network of the sandbox is internal or cannot publish. */
export function carrierOf(room: Room, endpoints: readonly Endpoint[]): Carrier | undefined {
  const candidates = endpoints.flatMap((endpoint) => {
    const network = room.state.network(endpoint.networkId)
    return network === undefined ? [] : [{ endpoint, internal: network.spec.internal }]
  })
  const gateways = chooseGateways(candidates)
  const end = (endpoint: Endpoint | undefined): CarrierEnd | undefined => {
    const network = endpoint && room.state.network(endpoint.networkId)
    if (endpoint === undefined || network === undefined) return undefined
    const publishing = driverNamed(network.spec.driver).publishing(network)
    return publishing === undefined ? undefined : { endpoint, publishing }
  }
  const [ipv4, ipv6] = [end(gateways.ipv4), end(gateways.ipv6)]
  const first = ipv4 ?? ipv6
  return first === undefined ? undefined : { ipv4, ipv6, first }
}

/** Whether ports stay where they are when one takes the place of the other. */
export function sameCarrier(a: Carrier | undefined, b: Carrier | undefined): boolean {
  const idOf = (end: CarrierEnd | undefined) => end?.endpoint.id
  return idOf(a?.ipv4) === idOf(b?.ipv4) && idOf(a?.ipv6) === idOf(b?.ipv6)
}

/** Whether the same ports can be published by both; else they are taken anew. */
export function samePublishing(room: Room, a: Carrier, b: Carrier): boolean {
  const shape = ({ ipv4, ipv6 }: Carrier) => [
    ipv4 !== undefined,
    ipv6 !== undefined || room.config.userlandProxy,
    ipv4?.publishing.mode4 === 'routed',
    ipv6?.publishing.mode6 === 'routed',
  ]
  return shape(a).join() === shape(b).join()
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
 *
 * @param before what is published now: automatic ports stay what they are
 */
export async function takePorts(
  room: Room,
  sandbox: Sandbox,
  carrier: Carrier,
  before: readonly Publication[] = [],
): Promise<readonly Publication[]> {
  const specs = wantedPublications(sandbox.spec).map((spec) => withPortOf(spec, before))
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

function withPortOf(
  spec: PublicationSpec,
  before: readonly Publication[],
): PublicationSpec {
  const { protocol, containerPort, hostPortFirst, hostPortLast } = spec
  if (hostPortFirst !== 0 && hostPortFirst === hostPortLast) return spec
  const same = before.find(
    (one) =>
      one.hostPort !== 0 && one.protocol === protocol && one.containerPort === containerPort,
  )
  if (same === undefined) return spec
  return { ...spec, hostPortFirst: same.hostPort, hostPortLast: same.hostPort }
}

/** Docker's wrapper around whatever goes wrong with published ports. */
export function connectivityError(sandbox: Sandbox, carrier: Carrier, error: unknown): Refusal {
  const name = sandbox.spec.containerName
  const where = `endpoint ${name} (${carrier.first.endpoint.id})`
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
  { ipv4, ipv6, first }: Carrier,
  specs: readonly PublicationSpec[],
  busy: ReadonlySet<string>,
): PortContext {
  // Two files of the kernel, read only when somebody asks for any free port.
  const automatic = specs.some(({ hostPortFirst }) => hostPortFirst === 0)
  const read = (key: string) =>
    automatic ? (readSysctl(homeNetns(), `net/ipv4/${key}`) ?? '') : ''
  return {
    containerIpv4: ipv4?.endpoint.ipv4 ?? '',
    containerIpv6: ipv6?.endpoint.ipv6 ?? '',
    defaultHostIp: first.publishing.hostBinding || room.config.hostIp,
    alsoIpv6: room.config.userlandProxy && kernelHasIpv6(),
    routed4: ipv4?.publishing.mode4 === 'routed',
    routed6: ipv6?.publishing.mode6 === 'routed',
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
  { ipv4, ipv6 }: Carrier,
  publications: readonly Publication[],
): readonly PortHold[] {
  const address4 = bare(ipv4?.endpoint.ipv4 ?? '')
  const address6 = bare(ipv6?.endpoint.ipv6 ?? '')
  return publications
    .filter(({ hostPort }) => hostPort !== 0)
    .map(({ protocol, hostIp, hostPort, containerPort }) => {
      const containerIp = !isIpv4(hostIp) && address6 !== '' ? address6 : address4
      const { userlandProxy: relay, iptables, ip6tables } = room.config
      const translated = isIpv4(hostIp) ? iptables : iptables && ip6tables
      const hold = { protocol, hostIp, hostPort, containerIp, containerPort, relay }
      return translated ? hold : { ...hold, untranslated: true }
    })
}

/** What the firewall shall translate: consecutive ports become one range. */
export function portIntents(
  { ipv4, ipv6 }: Carrier,
  publications: readonly Publication[],
): readonly PortIntent[] {
  const intents: PortIntent[] = []
  /** By family, protocol and host address: the range that may still grow. */
  const open = new Map<string, number>()
  for (const { protocol, hostIp, hostPort, containerPort } of publications) {
    const family = isIpv4(hostIp) ? 4 : 6
    const end = family === 4 ? ipv4 : ipv6
    // IPv6 host address, IPv4 container: the keeper relays it, no rule does.
    if (end === undefined) continue
    const { endpoint, publishing } = end
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
    const containerIp = bare(family === 4 ? endpoint.ipv4 : endpoint.ipv6)
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
