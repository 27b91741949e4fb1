/**
 * The networks that the daemon itself makes: bridge, host and none. Which subnet `bridge` gets:
 * `bip`; else the address that its interface has; else what it had at the last run; else
 * `fixed-cidr`; else the first free pool.
 */
import { formatAddress } from '../address/ip.ts'
import { formatPrefix, parsePrefix } from '../address/prefix.ts'
import { newId } from '../base/id.ts'
import { Refusal, wrap } from '../base/refusal.ts'
import { deleteAddress, listAddresses } from '../kernel/address.ts'
import { findLink } from '../kernel/link.ts'
import { homeNetns } from '../kernel/netns.ts'
import { aliasPrefix } from './drivers/bridge.ts'
import { optionKeys } from './drivers/options.ts'
import { driverNamed } from './drivers/drivers.ts'
import type { IpamPoolSpec, Network, NetworkSpec } from './model.ts'
import { makeNetwork } from './network-verbs.ts'
import { collections, type NetworkRecord } from './records.ts'
import type { Room } from './room.ts'

const emptySpec: NetworkSpec = {
  name: '',
  driver: '',
  scope: 'local',
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
}

/** Makes the predefined networks that are missing, and `bridge` anew where it changed. */
export async function ensurePredefined(
  room: Room,
  stored: ReadonlyMap<string, NetworkRecord>,
): Promise<void> {
  for (const [name, driver] of [['host', 'host'], ['none', 'null']] as const) {
    const record = stored.get(name)
    if (record !== undefined) room.state.addNetwork(record)
    else await makeNetwork(room, driverNamed(driver), newId(), { ...emptySpec, name, driver })
  }
  try {
    await ensureBridge(room, stored.get('bridge'))
  } catch (error) {
    const failed = 'Error initializing network controller: error creating default "bridge" network'
    throw wrap(`${failed}: `, error)
  }
}

async function ensureBridge(room: Room, stored: NetworkRecord | undefined): Promise<void> {
  const { bridge } = room.config
  if (bridge === 'none') {
    if (stored === undefined) return
    const { id } = stored.network
    await room.store.write([{ collection: collections.networks, id, document: null }])
    return
  }
  if (room.config.bridgeGiven && findLink(homeNetns(), bridge) === undefined) {
    const sentence = `bridge device with non default name ${bridge} must be created manually`
    throw new Refusal('forbidden', sentence)
  }
  const pool = bridgePool(room, stored?.network)
  const spec = bridgeSpec(room, pool)
  if (stored !== undefined && samePool(stored.network, pool)) {
    const network: Network = { ...stored.network, spec: { ...spec, ipam: stored.network.spec.ipam } }
    const record: NetworkRecord = { ...stored, network }
    room.ipam.restore(network)
    room.state.addNetwork(record)
    const change = { collection: collections.networks, id: network.id, document: record }
    await room.store.write([change])
    return
  }
  const id = stored?.network.id ?? newId()
  if (stored !== undefined) dropOldAddresses(bridge, stored.network)
  await makeNetwork(room, driverNamed('bridge'), id, spec)
}

/** The subnet changed: what the last run put on our own bridge goes. */
function dropOldAddresses(bridge: string, { id, pools }: Network): void {
  if (findLink(homeNetns(), bridge)?.alias !== aliasPrefix + id) return
  for (const { gateway, subnet } of pools) {
    const length = subnet.slice(subnet.indexOf('/'))
    if (gateway !== null) deleteAddress(homeNetns(), bridge, gateway + length)
  }
}

function samePool({ pools }: Network, pool: IpamPoolSpec | undefined): boolean {
  const [old] = pools
  if (old === undefined || pool === undefined) return false
  const gateway = pool.gateway === undefined || pool.gateway === old.gateway
  const range = (pool.ipRange ?? '') === (old.ipRange ?? '')
  const auxiliary = JSON.stringify(pool.auxiliary ?? {}) === JSON.stringify(old.auxiliary)
  return pool.subnet === old.subnet && gateway && range && auxiliary
}

/** undefined: wholly automatic. */
function bridgePool(room: Room, stored: Network | undefined): IpamPoolSpec | undefined {
  const { bip, fixedCidr, defaultGateway, bridge } = room.config
  const range = fixedCidr === '' ? {} : { ipRange: maskedCidr('fixed-cidr', fixedCidr) }
  const auxiliary =
    defaultGateway === '' ? {} : { auxiliary: { DefaultGatewayIPv4: defaultGateway } }
  const given = bip === '' ? addressOnLink(bridge) : bip
  if (given !== undefined) {
    const parsed = parsePrefix(given)
    if (parsed === undefined) throw new Refusal('invalid', `invalid bip ${given}`)
    const gateway = formatAddress(parsed.address)
    return { subnet: formatPrefix(parsed.prefix), gateway, ...range, ...auxiliary }
  }
  const [old] = stored?.pools ?? []
  if (old !== undefined) {
    const gateway = old.gateway === null ? {} : { gateway: old.gateway }
    return { subnet: old.subnet, ...gateway, ...range, ...auxiliary }
  }
  if (fixedCidr === '') return undefined
  return { subnet: maskedCidr('fixed-cidr', fixedCidr), ...range, ...auxiliary }
}

function maskedCidr(option: string, text: string): string {
  const parsed = parsePrefix(text)
  if (parsed === undefined) {
    throw new Refusal('invalid', `invalid ${option} ${text}: invalid CIDR block notation`)
  }
  return formatPrefix(parsed.prefix)
}

/** The first IPv4 address that the bridge has already. */
function addressOnLink(link: string): string | undefined {
  return listAddresses(homeNetns(), link).find(({ family }) => family === 4)?.address
}

function bridgeSpec(room: Room, pool: IpamPoolSpec | undefined): NetworkSpec {
  const { bridge, icc, ipMasq, hostIp, mtu } = room.config
  return {
    ...emptySpec,
    name: 'bridge',
    driver: 'bridge',
    ipam: { ...emptySpec.ipam, pools: pool === undefined ? [] : [pool] },
    options: {
      [optionKeys.defaultBridge]: 'true',
      [optionKeys.icc]: String(icc),
      [optionKeys.masquerade]: String(ipMasq),
      [optionKeys.hostBinding]: hostIp,
      [optionKeys.name]: bridge,
      [optionKeys.mtu]: String(mtu),
    },
  }
}
