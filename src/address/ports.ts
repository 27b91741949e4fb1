/** Ports and port ranges as Docker writes them: `80/tcp`, `8080`, `8080-8082`. */

export type Protocol = 'tcp' | 'udp' | 'sctp'

export interface PortRange {
  readonly first: number
  readonly last: number
}

/** Highest port number. */
export const portMax = 65_535

export function isProtocol(text: string): text is Protocol {
  return text === 'tcp' || text === 'udp' || text === 'sctp'
}

/** `n` or `a-b` with a ≤ b; '' is 0-0, which stands for "any". */
export function parsePortRange(text: string): PortRange | undefined {
  if (text === '') return { first: 0, last: 0 }
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text)
  if (match === null) return undefined
  const first = Number(match[1])
  const last = match[2] === undefined ? first : Number(match[2])
  return first <= last && last <= portMax ? { first, last } : undefined
}

/** `80`, `80/tcp` or `80-82/udp`; the protocol in any case, tcp when left out. */
export function parseContainerPort(
  text: string,
): { readonly protocol: Protocol; readonly range: PortRange } | undefined {
  const [ports = '', name = 'tcp', ...rest] = text.split('/')
  const protocol = name.toLowerCase()
  const range = ports === '' ? undefined : parsePortRange(ports)
  if (range === undefined || !isProtocol(protocol) || rest.length > 0) return undefined
  return { protocol, range }
}
