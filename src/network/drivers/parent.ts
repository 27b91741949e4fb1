/**
 * What macvlan and ipvlan networks share: a parent link of the daemon's namespace. It is one that
 * is there; an 802.1q sub-interface (`parent=eth0.50`) that is made when missing and deleted with
 * the last network on it; or, when none is named, a link that leads nowhere.
 */
import { contains, parsePrefix } from '../../address/prefix.ts'
import { Refusal } from '../../base/refusal.ts'
import type { KernelObject } from '../../kernel/object.ts'
import type { Endpoint, Network, NetworkSpec } from '../model.ts'
import { parseGoInt } from '../problems.ts'
import type { Addresses, HostFacts } from './driver.ts'
import { factsForMtu, insideObjects, refuseIpv6BelowMtu } from './inside.ts'
import { parseAnnouncing, parseInterfacePrefix, parseMtu } from './options.ts'

export type ChildDriver = 'macvlan' | 'ipvlan'

/** Begins the name of a parent that leads nowhere. */
const nowherePrefix: Readonly<Record<ChildDriver, string>> = { macvlan: 'dm-', ipvlan: 'di-' }
/** Mark of sub-interfaces, which several networks may share: `aliasPrefix` and this word. */
const sharedAlias = 'portolan:parent'
const ourAlias = 'portolan:'
const vlanIdMax = 4094
const interfaceNameMax = 15

/** Name of the parent link of a network. */
export function parentOf(driver: ChildDriver, id: string, spec: NetworkSpec): string {
  return isParentless(spec) ? nowherePrefix[driver] + id.slice(0, 12) : parentOption(spec)
}

const parentOption = (spec: NetworkSpec): string => spec.options['parent'] ?? ''

/** Without a parent a network leads nowhere, whether or not it is called internal. */
export function isParentless(spec: NetworkSpec): boolean {
  return parentOption(spec) === ''
}

/** Nothing leads out: asked for, or for want of a parent. */
export function isInternal({ spec }: Network): boolean {
  return spec.internal || isParentless(spec)
}

/** What both drivers refuse about options, before the parent is looked at. */
export function validateCommon(driver: ChildDriver, spec: NetworkSpec): void {
  if (spec.ipam.driver === 'null') {
    throw new Refusal('invalid', `ipv${spec.enableIpv4 ? 4 : 6} pool is empty`)
  }
  refuseIpv6BelowMtu(spec, parseMtu(spec.options))
  parseInterfacePrefix(spec.options)
  parseAnnouncing(spec.options)
  if (parentOption(spec) === 'lo') {
    const sentence = `loopback interface is not a valid ${driver} parent link`
    throw new Refusal('internal', sentence)
  }
}

/** Networks of this driver on the same parent. */
export function networksOnParent(
  driver: ChildDriver,
  spec: NetworkSpec,
  host: HostFacts,
): readonly Network[] {
  if (isParentless(spec)) return []
  return host.networks.filter(
    (one) =>
      one.spec.driver === driver &&
      !one.spec.configOnly &&
      parentOption(one.spec) === parentOption(spec),
  )
}

/** Whether the kernel can make the links, and the parent is there or can be made. */
export function validateParent(driver: ChildDriver, spec: NetworkSpec, host: HostFacts): void {
  if (isParentless(spec)) {
    requireKind(driver, host)
    if (host.supportsLinkKind('dummy') || host.supportsLinkKind('ifb')) return
    const sentence = 'this kernel has neither dummy nor ifb links, so that a network needs a parent'
    throw new Refusal('internal', `${sentence}: name one with -o parent=eth0`)
  }
  const name = parentOption(spec)
  const base = host.links.get(name) !== undefined ? name : validateVlan(name, host)
  const mtu = parseMtu(spec.options)
  const mtuMax = host.links.get(base)?.mtu ?? mtu
  if (mtu > mtuMax) {
    const sentence = `invalid MTU number: ${mtu}: parent interface ${base} has ${mtuMax}`
    throw new Refusal('invalid', sentence)
  }
  requireKind(driver, host)
}

function requireKind(kind: 'macvlan' | 'ipvlan' | 'vlan', host: HostFacts): void {
  if (host.supportsLinkKind(kind)) return
  const [option, module, what] = {
    macvlan: ['CONFIG_MACVLAN', 'macvlan', 'macvlan links'],
    ipvlan: ['CONFIG_IPVLAN', 'ipvlan', 'ipvlan links'],
    vlan: ['CONFIG_VLAN_8021Q', '8021q', '802.1q sub-interfaces'],
  }[kind]
  const sentence = `this kernel cannot make ${what}: it was built without ${option}`
  throw new Refusal('internal', `${sentence}, or its module ${module} is not installed`)
}

/** Refuses a sub-interface that cannot be made; answers the link that it would be made on. */
function validateVlan(name: string, host: HostFacts): string {
  const refuse = (sentence: string) => new Refusal('internal', sentence)
  if (!name.includes('.')) {
    throw refuse(`invalid subinterface vlan name ${name}, example formatting is eth0.10`)
  }
  const [base = '', digits = '', ...rest] = name.split('.')
  if (rest.length > 0) {
    const format = 'required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10'
    throw refuse(`${format}, instead received ${name}`)
  }
  const id = parseGoInt(digits)
  if (id === undefined) {
    throw refuse(`unable to parse a valid vlan id from: ${digits} (ex. eth0.10 for vlan 10)`)
  }
  const link = host.links.get(base)
  if (link === undefined) throw refuse(`-o parent interface was not found on the host: ${base}`)
  if (id < 1 || id > vlanIdMax) throw refuse(`vlan id must be between 1-4094, received: ${id}`)
  requireKind('vlan', host)
  const failed = `failed to create ${name} vlan link`
  if (name.length > interfaceNameMax) throw refuse(`${failed}: numerical result out of range`)
  if (!link.up) throw refuse(`${failed}: ${base} is down: set it up first, ip link set ${base} up`)
  return base
}

/** The links that a network needs in the daemon's namespace and that are not somebody else's. */
export function parentObjects(
  driver: ChildDriver,
  { id, spec }: Network,
  host: HostFacts,
): readonly KernelObject[] {
  const name = parentOf(driver, id, spec)
  const link = host.links.get(name)
  if (isParentless(spec)) {
    const hasDummy = link === undefined ? host.supportsLinkKind('dummy') : link.kind === 'dummy'
    const kind = hasDummy ? 'dummy' : 'ifb'
    return [{ type: 'dummy', name, kind, alias: ourAlias + id }]
  }
  if (link !== undefined && !link.alias.startsWith(ourAlias)) return []
  const [, parent = '', digits = ''] = /^([^.]+)\.\+?(\d+)$/.exec(name) ?? []
  if (parent === '') return []
  return [{ type: 'vlan', name, parent, id: Number(digits), alias: sharedAlias }]
}

/** Gateways of the subnets in which an endpoint has its addresses, where the user named some. */
export function gatewaysOf(network: Network, addresses: Addresses): Addresses {
  if (isInternal(network)) return { ipv4: '', ipv6: '' }
  const gatewayFor = (text: string) => {
    const address = parsePrefix(text)?.address
    const pool = network.pools.find(({ subnet }) => {
      const prefix = parsePrefix(subnet)?.prefix
      return address !== undefined && prefix !== undefined && contains(prefix, address)
    })
    return pool?.gateway ?? ''
  }
  return { ipv4: gatewayFor(addresses.ipv4), ipv6: gatewayFor(addresses.ipv6) }
}

/** Settings and addresses; where nothing leads out, no router may say otherwise, only the user. */
export function childInside(
  network: Network,
  endpoint: Endpoint,
  netns: string,
  machine: HostFacts,
): readonly KernelObject[] {
  const host = factsForMtu(machine, parseMtu(network.spec.options))
  const objects = insideObjects(endpoint, netns, host)
  if (!host.ipv6 || endpoint.ipv6 === '' || !isInternal(network)) return objects
  const key = `net/ipv6/conf/${endpoint.interfaceName}/accept_ra`
  if (objects.some((one) => one.type === 'sysctl' && one.key === key)) return objects
  return [{ type: 'sysctl', netns, key, value: '0' }, ...objects]
}
