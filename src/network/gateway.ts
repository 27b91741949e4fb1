/**
 * Which of a container's endpoints gives the default route and carries the published ports.
 * Pure; Docker's order: GwPriority, then not internal, then more gateways, then name.
 */
import type { Endpoint } from './model.ts'

export interface GatewayCandidate {
  readonly endpoint: Endpoint
  readonly internal: boolean
  /** Its link itself is a way out, for want of a gateway. */
  readonly routesOnLink?: boolean
}

/** The endpoints in gateway order, best first. */
export function inGatewayOrder<T extends GatewayCandidate>(candidates: readonly T[]): T[] {
  return [...candidates].sort((a, b) => compare(a, b))
}

function compare(a: GatewayCandidate, b: GatewayCandidate): number {
  const priority = b.endpoint.spec.gwPriority - a.endpoint.spec.gwPriority
  if (priority !== 0) return priority
  if (a.internal !== b.internal) return a.internal ? 1 : -1
  const families = gateways(b.endpoint) - gateways(a.endpoint)
  if (families !== 0) return families
  return Buffer.compare(Buffer.from(a.endpoint.networkName), Buffer.from(b.endpoint.networkName))
}

const gateways = ({ gateway4, gateway6 }: Endpoint): number =>
  Number(gateway4 !== '') + Number(gateway6 !== '')

/**
 * The endpoints that become the default routes: by their gateway, else by their link alone;
 * undefined where none offers either.
 */
export function chooseGateways(candidates: readonly GatewayCandidate[]): {
  readonly ipv4: Endpoint | undefined
  readonly ipv6: Endpoint | undefined
} {
  const order = inGatewayOrder(candidates)
  const first = (offers: (candidate: GatewayCandidate) => boolean) => order.find(offers)?.endpoint
  const onLink = (one: GatewayCandidate) => one.routesOnLink === true
  return {
    ipv4:
      first(({ endpoint }) => endpoint.gateway4 !== '') ??
      first((one) => onLink(one) && one.endpoint.ipv4 !== ''),
    ipv6:
      first(({ endpoint }) => endpoint.gateway6 !== '') ??
      first((one) => onLink(one) && one.endpoint.ipv6 !== ''),
  }
}
