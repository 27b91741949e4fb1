/** Legacy links of the default bridge: the parent's hosts lines, and its way through icc=false. */
import { parseContainerPort } from '../address/ports.ts'
import type { LinkIntent } from '../firewall/intent.ts'
import { parseBridgeOptions } from './drivers/options.ts'
import { changeLinkHosts } from './files.ts'
import type { Endpoint, Network, Sandbox } from './model.ts'
import { carrierOf, portIntents, publicationsOf } from './publish.ts'
import type { Room } from './room.ts'

function onDefaultBridge(sandbox: Sandbox | undefined): Endpoint | undefined {
  return sandbox?.endpoints.find(({ networkName }) => networkName === 'bridge')
}

/** Under icc=false: the exposed ports of the children that this sandbox may open. */
export function linkIntents(room: Room, sandbox: Sandbox): readonly LinkIntent[] {
  const parent = onDefaultBridge(sandbox)
  const network = parent === undefined ? undefined : room.state.network(parent.networkId)
  if (parent === undefined || network === undefined || sandbox.spec.links.length === 0) return []
  const options = parseBridgeOptions(network.spec.options)
  if (options.icc) return []
  return sandbox.spec.links.flatMap(({ containerId, exposed }) => {
    const child = onDefaultBridge(room.state.sandbox(containerId))
    if (child === undefined) return []
    return endsOf(parent, child).flatMap((ends) =>
      exposed.flatMap((text): LinkIntent[] => {
        const parsed = parseContainerPort(text)
        if (parsed === undefined) return []
        const { protocol, range } = parsed
        const count = range.last - range.first + 1
        return Array.from({ length: count }, (_, step) => {
          return { ...ends, bridge: options.bridge, protocol, port: range.first + step }
        })
      }),
    )
  })
}

/** The addresses of both, for each family that both have. */
function endsOf(parent: Endpoint, child: Endpoint) {
  const bare = (address: string) => address.split('/')[0] ?? ''
  return [
    { parentIp: bare(parent.ipv4), childIp: bare(child.ipv4) },
    { parentIp: bare(parent.ipv6), childIp: bare(child.ipv6) },
  ].filter(({ parentIp, childIp }) => parentIp !== '' && childIp !== '')
}

/** Everything that the firewall should know about a sandbox, stated anew. */
export async function stateFirewall(room: Room, sandbox: Sandbox): Promise<void> {
  const carrier = carrierOf(room, sandbox.endpoints)
  const publications = publicationsOf(sandbox)
  const ports = carrier === undefined ? [] : portIntents(carrier, publications)
  await room.firewall.setEndpoint(sandbox.id, ports, linkIntents(room, sandbox))
}

export interface ParentBefore {
  readonly parent: Sandbox
  /** Firewall rules opened the child to it. */
  readonly opened: boolean
}

/** The containers that link to this one, as they are before it changes. */
export function parentsOf(room: Room, childId: string): readonly ParentBefore[] {
  const found: ParentBefore[] = []
  for (const { record, ready } of room.state.sandboxes.values()) {
    const parent = record.sandbox
    if (!ready || !parent.spec.links.some(({ containerId }) => containerId === childId)) continue
    const opened = linkIntents(room, parent).length > 0
    found.push({ parent, opened })
  }
  return found
}

/** The same when it joins or leaves a network: links are of the default bridge alone. */
export function parentsOn(room: Room, { spec }: Network, childId: string): readonly ParentBefore[] {
  return spec.name === 'bridge' ? parentsOf(room, childId) : []
}

/** Brings hosts files and firewall of the parents up to date after the child has changed. */
export async function refreshParents(
  room: Room,
  parents: readonly ParentBefore[],
): Promise<void> {
  for (const { parent, opened } of parents) {
    changeLinkHosts(parent, room)
    const opens = linkIntents(room, parent).length > 0
    if (opened || opens) await stateFirewall(room, parent)
  }
}
