/**
 * The networks that the daemon itself makes: bridge, host and none. Which subnet `bridge` gets:
 * `bip`; else the address that its interface has; else what it had at the last run; else
 * `fixed-cidr`; else the first free pool. The same for IPv6, where `ipv6` is on.
 */
import { formatAddress, parseAddress } from '../address/ip.ts'
import {
  contains,
  containsPrefix,
  formatPrefix,
  overlaps,
  parsePrefix,
  type ParsedPrefix,
  type Prefix,
} from '../address/prefix.ts'
import { newId } from '../base/id.ts'
import { log } from '../base/log.ts'
import { Refusal, wrap } from '../base/refusal.ts'
import { deleteAddress, listAddresses } from '../kernel/address.ts'
import { findLink } from '../kernel/link.ts'
import { homeNetns } from '../kernel/netns.ts'
import { aliasPrefix } from './drivers/bridge.ts'
import { optionKeys } from './drivers/options.ts'
import { driverNamed } from './drivers/drivers.ts'
import { kernelHasIpv6 } from './host.ts'
import { anySubnet } from './ipam/ipam.ts'
import type { AllocatedPool, IpamPoolSpec, Network, NetworkSpec } from './model.ts'
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
  const families = bridgeFamilies(room)
  const pools = families.map((family) => bridgePool(room, family, stored?.network))
  const spec = bridgeSpec(room, pools)
  if (stored !== undefined && samePools(stored.network, pools)) {
    const { ipam } = stored.network.spec
    const network: Network = { ...stored.network, spec: { ...spec, ipam } }
    const record: NetworkRecord = { ...stored, network }
    room.ipam.restore(network)
    room.state.addNetwork(record)
    const change = { collection: collections.networks, id: network.id, document: record }
    await room.store.write([change])
    return
  }
  const id = stored?.network.id ?? newId()
  if (stored !== undefined) dropOldAddresses(bridge, stored.network, pools)
  await makeNetwork(room, driverNamed('bridge'), id, spec)
}

function bridgeFamilies({ config }: Room): readonly (4 | 6)[] {
  const { ipv6, bip6, fixedCidr6, defaultGateway6 } = config
  if (ipv6 && kernelHasIpv6()) return [4, 6]
  if (ipv6) log.warn('this kernel has no IPv6: the default bridge goes without')
  else if (bip6 + fixedCidr6 + defaultGateway6 !== '') {
    log.warn('bip6, fixed-cidr-v6 and default-gateway-v6 have no effect without ipv6')
  }
  return [4]
}

/** The subnets changed: what the last run put on our own bridge goes. */
function dropOldAddresses(
  bridge: string,
  { id, pools }: Network,
  wanted: readonly IpamPoolSpec[],
): void {
  if (findLink(homeNetns(), bridge)?.alias !== aliasPrefix + id) return
  for (const { gateway, subnet } of pools) {
    const stays = wanted.some((pool) => pool.subnet === subnet && pool.gateway === gateway)
    const length = subnet.slice(subnet.indexOf('/'))
    if (gateway !== null && !stays) deleteAddress(homeNetns(), bridge, gateway + length)
  }
}

function samePools({ pools }: Network, wanted: readonly IpamPoolSpec[]): boolean {
  return (
    pools.length === wanted.length &&
    wanted.every((pool, index) => {
      const old = pools[index]
      return old !== undefined && samePool(old, pool)
    })
  )
}

function samePool(old: AllocatedPool, pool: IpamPoolSpec): boolean {
  const gateway = pool.gateway === undefined || pool.gateway === old.gateway
  const range = (pool.ipRange ?? '') === (old.ipRange ?? '')
  const auxiliary = JSON.stringify(pool.auxiliary ?? {}) === JSON.stringify(old.auxiliary)
  return pool.subnet === old.subnet && gateway && range && auxiliary
}

/** The keys of one family, by their names in the configuration. */
function keysOf({ config }: Room, family: 4 | 6) {
  const { bip, fixedCidr, defaultGateway, bip6, fixedCidr6, defaultGateway6 } = config
  return family === 4
    ? {
        bip,
        fixedCidr,
        defaultGateway,
        bipKey: 'bip',
        cidrKey: 'fixed-cidr',
        gatewayKey: 'default-gateway',
      }
    : {
        bip: bip6,
        fixedCidr: fixedCidr6,
        defaultGateway: defaultGateway6,
        bipKey: 'bip6',
        cidrKey: 'fixed-cidr-v6',
        gatewayKey: 'default-gateway-v6',
      }
}

function bridgePool(room: Room, family: 4 | 6, stored: Network | undefined): IpamPoolSpec {
  const { bip, fixedCidr, defaultGateway, bipKey, cidrKey, gatewayKey } = keysOf(room, family)
  const cidr = fixedCidr === '' ? undefined : parseKey(cidrKey, fixedCidr, family).prefix
  const range = cidr === undefined ? {} : { ipRange: formatPrefix(cidr) }
  if (defaultGateway !== '' && parseAddress(defaultGateway)?.family !== family) {
    const why = `not an IPv${family} address`
    throw new Refusal('invalid', `invalid ${gatewayKey} ${defaultGateway}: ${why}`)
  }
  const name = `DefaultGatewayIPv${family}`
  const auxiliary = defaultGateway === '' ? {} : { auxiliary: { [name]: defaultGateway } }
  const given = bip === '' ? addressOnLink(room.config.bridge, family, cidr) : bip
  if (given !== undefined) {
    const { prefix, address } = parseKey(bipKey, given, family)
    refuseGateway(gatewayKey, defaultGateway, prefix)
    if (cidr !== undefined && !containsPrefix(prefix, cidr)) {
      const why = `subnet ${formatPrefix(prefix)} of the default bridge doesn't contain it`
      throw new Refusal('invalid', `invalid ${cidrKey} ${fixedCidr}: ${why}`)
    }
    const gateway = formatAddress(address)
    return { subnet: formatPrefix(prefix), gateway, ...range, ...auxiliary }
  }
  const old = stored?.pools.find((pool) => pool.family === family)
  const oldSubnet = parsePrefix(old?.subnet ?? '')?.prefix
  if (old !== undefined && oldSubnet !== undefined && suits(family, oldSubnet, cidr)) {
    refuseGateway(gatewayKey, defaultGateway, oldSubnet)
    const gateway = old.gateway === null ? {} : { gateway: old.gateway }
    return { subnet: old.subnet, ...gateway, ...range, ...auxiliary }
  }
  if (cidr !== undefined) refuseGateway(gatewayKey, defaultGateway, cidr)
  const subnet = cidr === undefined ? anySubnet[family] : formatPrefix(cidr)
  return { subnet, ...range, ...auxiliary }
}

function parseKey(key: string, text: string, family: 4 | 6): ParsedPrefix {
  const parsed = parsePrefix(text)
  if (parsed?.prefix.family === family) return parsed
  throw new Refusal('invalid', `invalid ${key} ${text}: invalid CIDR block notation`)
}

/** Containers could never reach such a gateway. */
function refuseGateway(key: string, text: string, subnet: Prefix): void {
  const address = parseAddress(text)
  if (text === '' || (address !== undefined && contains(subnet, address))) return
  const why = `subnet ${formatPrefix(subnet)} of the default bridge doesn't contain this address`
  throw new Refusal('invalid', `invalid ${key} ${text}: ${why}`)
}

/**
 * IPv4 stays where it was, as with dockerd; IPv6 goes to `fixed-cidr-v6`, which in most
 * configurations is all that says which subnet is meant.
 */
function suits(family: 4 | 6, subnet: Prefix, cidr: Prefix | undefined): boolean {
  return family === 4 || cidr === undefined || overlaps(subnet, cidr)
}

/** The first address that the bridge has already, but for link-local ones. */
function addressOnLink(link: string, family: 4 | 6, cidr: Prefix | undefined): string | undefined {
  const globalScope = 0
  return listAddresses(homeNetns(), link).find((one) => {
    const subnet = parsePrefix(one.address)?.prefix
    return (
      one.family === family &&
      (family === 4 || (one.scope === globalScope && one.permanent)) &&
      subnet !== undefined &&
      suits(family, subnet, cidr)
    )
  })?.address
}

function bridgeSpec(room: Room, pools: readonly IpamPoolSpec[]): NetworkSpec {
  const { bridge, icc, ipMasq, hostIp, mtu } = room.config
  return {
    ...emptySpec,
    name: 'bridge',
    driver: 'bridge',
    enableIpv6: pools.length > 1,
    ipam: { ...emptySpec.ipam, pools: pools.filter((pool) => !isAutomatic(pool)) },
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

/** Wholly automatic: nothing was asked for. */
function isAutomatic({ subnet, auxiliary }: IpamPoolSpec): boolean {
  return auxiliary === undefined && (subnet === anySubnet[4] || subnet === anySubnet[6])
}
