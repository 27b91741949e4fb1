/** /networks: list, inspect, create, connect, disconnect, prune, remove. */
import { log } from '../base/log.ts'
import { Refusal } from '../base/refusal.ts'
import { endpointSettingsOf, type EndpointSettings } from '../containers/config.ts'
import { endpointSpec } from '../containers/networking.ts'
import type { NetworkEngine } from '../network/engine.ts'
import type { EndpointSpec, IpamPoolSpec, Network } from '../network/model.ts'
import { parseGoBool } from '../network/problems.ts'
import { unknownEndpointOptions, unknownNetworkOptions } from '../network/unknown-options.ts'
import { isMac } from '../network/validate-endpoint.ts'
import type { NetworkRequest } from '../network/validate.ts'
import * as d from './decode.ts'
import { listFilter, pruneFilter } from './network-filters.ts'
import { networkView } from './network-view.ts'
import type { ApiRequest, ApiVersion, Reply, Route } from './route.ts'

/** What the container room does when one of its containers is attached or detached. */
export interface NetworkAttachments {
  /** `spec` says what is wanted; `settings` is the same as it was sent, to be shown again. */
  connectNetwork(
    containerIdOrName: string,
    spec: EndpointSpec,
    settings: EndpointSettings,
  ): Promise<unknown>
  disconnectNetwork(containerIdOrName: string, network: string, force: boolean): Promise<unknown>
}

/** API versions from which on a request or answer changes. */
const since = {
  containersOnlyInInspect: 128,
  enableIpv4: 148,
  gwPriority: 148,
  status: 152,
  connectMac: 154,
} as const

export function networkRoutes(
  networks: NetworkEngine,
  containers: NetworkAttachments,
): readonly Route[] {
  return [
    { method: 'GET', pattern: '/networks', handle: (request) => list(networks, request) },
    { method: 'GET', pattern: '/networks/', handle: (request) => list(networks, request) },
    { method: 'GET', pattern: '/networks/{id…}', handle: (request) => inspect(networks, request) },
    { method: 'POST', pattern: '/networks/create', handle: (request) => create(networks, request) },
    { method: 'POST', pattern: '/networks/prune', handle: (request) => prune(networks, request) },
    {
      method: 'POST',
      pattern: '/networks/{id…}/connect',
      handle: (request) => connect(networks, containers, request),
    },
    {
      method: 'POST',
      pattern: '/networks/{id…}/disconnect',
      handle: (request) => disconnect(containers, request),
    },
    { method: 'DELETE', pattern: '/networks/{id…}', handle: (request) => remove(networks, request) },
  ]
}

async function list(networks: NetworkEngine, { query, version }: ApiRequest): Promise<Reply> {
  const inUse = ({ id }: Network) => networks.endpointsOf(id).length > 0
  const passes = listFilter(query.filters(), inUse)
  const withContainers = version < since.containersOnlyInInspect
  const found = networks.list().filter(passes)
  const json = found.map((network) => {
    const endpoints = withContainers ? networks.endpointsOf(network.id) : []
    return networkView(network, { endpoints, usage: undefined })
  })
  return { status: 200, json }
}

async function inspect(networks: NetworkEngine, request: ApiRequest): Promise<Reply> {
  const { params, query, version } = request
  const verbose = query.get('verbose') ?? ''
  if (verbose !== '' && parseGoBool(verbose) === undefined) {
    const why = `strconv.ParseBool: parsing ${JSON.stringify(verbose)}: invalid syntax`
    throw new Refusal('invalid', `invalid value for verbose: ${verbose}: ${why}`)
  }
  const id = params['id'] ?? ''
  const scope = query.get('scope') ?? ''
  const network = networks.find(id)
  if (scope !== '' && scope !== network.spec.scope) {
    throw new Refusal('notFound', `network ${id} not found`)
  }
  const usage = version >= since.status ? networks.usage(network.id) : undefined
  const endpoints = networks.endpointsOf(network.id)
  return { status: 200, json: networkView(network, { endpoints, usage }) }
}

const poolDecoder = d.struct('network.IPAMConfig', {
  Subnet: d.string,
  IPRange: d.string,
  Gateway: d.string,
  AuxiliaryAddresses: d.map(d.string),
})

const createOptions = {
  Driver: d.string,
  Scope: d.string,
  EnableIPv4: d.optional(d.bool),
  EnableIPv6: d.optional(d.bool),
  IPAM: d.struct('network.IPAM', {
    Driver: d.string,
    Options: d.optional(d.map(d.string)),
    Config: d.list(poolDecoder, '[]network.IPAMConfig'),
  }),
  Internal: d.bool,
  Attachable: d.bool,
  Ingress: d.bool,
  ConfigOnly: d.bool,
  ConfigFrom: d.struct('network.ConfigReference', { Network: d.string }),
  Options: d.map(d.string),
  Labels: d.map(d.string),
}
const createDecoder = d.struct(
  'network.CreateRequest',
  { Name: d.string, ...createOptions },
  { CreateOptions: createOptions },
)

async function create(networks: NetworkEngine, request: ApiRequest): Promise<Reply> {
  const body = await request.json(createDecoder)
  const spec = networks.specOf(networkRequest(body, request.version))
  const { id } = await networks.create(spec)
  const warnings = unknownNetworkOptions(spec)
  for (const warning of warnings) log.warn(warning, { network: spec.name })
  return { status: 201, json: { Id: id, Warning: warnings.join('\n') } }
}

function networkRequest(
  body: d.Decoded<typeof createDecoder>,
  version: ApiVersion,
): NetworkRequest {
  return {
    name: body.Name,
    driver: body.Driver,
    scope: body.Scope,
    enableIpv4: version >= since.enableIpv4 ? body.EnableIPv4 : undefined,
    enableIpv6: body.EnableIPv6,
    internal: body.Internal,
    attachable: body.Attachable,
    ingress: body.Ingress,
    configOnly: body.ConfigOnly,
    configFrom: body.ConfigFrom.Network,
    ipam: {
      driver: body.IPAM.Driver === '' ? 'default' : body.IPAM.Driver,
      options: body.IPAM.Options ?? null,
      pools: body.IPAM.Config.map(poolSpec),
    },
    options: body.Options,
    labels: body.Labels,
  }
}

/** Fields that were left out stay left out: inspect shows just what was given. */
function poolSpec(config: d.Decoded<typeof poolDecoder>): IpamPoolSpec {
  const { Subnet, IPRange, Gateway, AuxiliaryAddresses } = config
  return {
    subnet: Subnet,
    ...(IPRange === '' ? {} : { ipRange: IPRange }),
    ...(Gateway === '' ? {} : { gateway: Gateway }),
    ...(Object.keys(AuxiliaryAddresses).length === 0 ? {} : { auxiliary: AuxiliaryAddresses }),
  }
}

const connectDecoder = d.struct('network.ConnectOptions', {
  Container: d.string,
  EndpointConfig: d.into(d.raw, endpointSettingsOf),
})

async function connect(
  networks: NetworkEngine,
  containers: NetworkAttachments,
  request: ApiRequest,
): Promise<Reply> {
  const { Container, EndpointConfig } = await request.json(connectDecoder)
  const id = request.params['id'] ?? ''
  const { MacAddress, NetworkID } = EndpointConfig
  requireSame(networks, id, NetworkID)
  // One that is none is refused at every version.
  const macCounts = request.version >= since.connectMac || !isMac(MacAddress)
  const settings: EndpointSettings = {
    ...EndpointConfig,
    ...(macCounts ? {} : { MacAddress: '' }),
    ...(request.version >= since.gwPriority ? {} : { GwPriority: 0 }),
  }
  const spec = endpointSpec(id, settings)
  await containers.connectNetwork(Container, spec, settings)
  // The answer has no place for warnings.
  if (MacAddress !== '' && !macCounts) {
    const sentence = 'the MAC address of a connect counts from API version 1.54 on'
    log.warn(sentence, { network: id, container: Container })
  }
  const named = ({ id, spec: { name } }: Network) => [id, name].includes(spec.network)
  const driver = networks.list().find(named)?.spec.driver ?? ''
  for (const warning of unknownEndpointOptions(spec, driver)) {
    log.warn(warning, { network: spec.network, container: Container })
  }
  return { status: 200 }
}

/** Refuses an id beside the name that is not the id of that network. */
function requireSame(networks: NetworkEngine, idOrName: string, id: string): void {
  if (id === '' || networks.find(id).id === networks.find(idOrName).id) return
  throw new Refusal('invalid', `NetworkID ${id} is not that of network ${idOrName}`)
}

const disconnectDecoder = d.struct('network.DisconnectOptions', {
  Container: d.string,
  Force: d.bool,
})

async function disconnect(containers: NetworkAttachments, request: ApiRequest): Promise<Reply> {
  const { Container, Force } = await request.json(disconnectDecoder)
  await containers.disconnectNetwork(Container, request.params['id'] ?? '', Force)
  return { status: 200 }
}

async function prune(networks: NetworkEngine, { query }: ApiRequest): Promise<Reply> {
  const names = await networks.prune(pruneFilter(query.filters()))
  return { status: 200, json: { NetworksDeleted: names.length > 0 ? names : null } }
}

async function remove(networks: NetworkEngine, { params }: ApiRequest): Promise<Reply> {
  await networks.remove(params['id'] ?? '')
  return { status: 204 }
}
