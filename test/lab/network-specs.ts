/** Specs for tests: everything at its default but what a test names. */
import type { EndpointSpec, NetworkSpec, SandboxSpec } from '../../src/network/model.ts'

export function networkSpec(part: Partial<NetworkSpec> = {}): NetworkSpec {
  return {
    name: 'u1',
    driver: 'bridge',
    scope: '',
    enableIpv4: true,
    enableIpv6: false,
    internal: false,
    attachable: false,
    ingress: false,
    configOnly: false,
    configFrom: '',
    ipam: { driver: 'default', options: null, pools: [] },
    options: {},
    labels: {},
    ...part,
  }
}

export function endpointSpec(network: string, part: Partial<EndpointSpec> = {}): EndpointSpec {
  return {
    network,
    linkLocalIps: [],
    aliases: [],
    links: [],
    driverOpts: {},
    gwPriority: 0,
    ...part,
  }
}

export function sandboxSpec(
  part: Partial<SandboxSpec> & Pick<SandboxSpec, 'containerId' | 'filesDir'>,
): SandboxSpec {
  return {
    containerName: `name-${part.containerId.slice(0, 4)}`,
    hostname: part.containerId.slice(0, 12),
    domainname: '',
    mode: { kind: 'networks' },
    endpoints: [],
    publications: [],
    exposed: [],
    publishAll: false,
    dns: [],
    dnsSearch: [],
    dnsOptions: [],
    extraHosts: [],
    links: [],
    sysctls: {},
    ...part,
  }
}
