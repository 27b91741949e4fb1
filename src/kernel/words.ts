/**
 * Kernel objects as the `ip`, `brctl` and `sysctl` lines that a network engineer would type, ready
 * to paste into a shell: whatever a name or mark contains, it stays one word.
 *
 * The lines make the same as this room makes by system calls; a test runs them and compares.
 */
import type {
  AddressObject,
  BridgeObject,
  IpvlanObject,
  KernelObject,
  MacvlanObject,
  RouteObject,
  RuleObject,
  SysctlObject,
  VethObject,
} from './object.ts'
import { ruleProtocol } from './policy-rule.ts'

/** One word for a POSIX shell; quoted only where it must be. */
export function quoteWord(word: string): string {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word
  return `'${word.replaceAll("'", `'\\''`)}'`
}

/** What a line begins with to act inside a namespace; '' for the daemon's own. */
export function insideWords(netns: string): string {
  return netns === '' ? '' : `nsenter --net=${quoteWord(netns)} `
}

/** The lines that make an object. */
export function sayCreate(object: KernelObject): readonly string[] {
  switch (object.type) {
    case 'netns': {
      const path = quoteWord(object.path)
      const loopback = `${insideWords(object.path)}ip link set lo up`
      return [`touch ${path}`, `unshare --net=${path} true`, loopback]
    }
    case 'bridge':
      return [`ip link add ${quoteWord(object.name)} type bridge`, sayBridgeSettings(object)]
    case 'veth':
      return sayVeth(object)
    case 'dummy':
      return [
        `ip link add ${quoteWord(object.name)} type ${object.kind}`,
        sayParentSettings(object),
      ]
    case 'vlan': {
      const link = `link ${quoteWord(object.parent)} name ${quoteWord(object.name)}`
      return [`ip link add ${link} type vlan id ${object.id}`, sayParentSettings(object)]
    }
    case 'macvlan':
    case 'ipvlan':
      return sayChild(object)
    case 'address':
      return [sayAddress(object, 'add')]
    case 'route':
      return [sayRoute(object, 'add')]
    case 'sysctl':
      return [saySysctl(object)]
    case 'rule':
      return [sayRule(object, 'add')]
  }
}

/** The lines that turn an object that exists into this one. */
export function sayChange(object: KernelObject): readonly string[] {
  switch (object.type) {
    case 'bridge':
      return [sayBridgeSettings(object)]
    case 'veth':
      return sayVethSettings(object)
    case 'dummy':
    case 'vlan':
      return [sayParentSettings(object)]
    case 'macvlan':
    case 'ipvlan':
      return [sayChildSettings(object)]
    case 'route':
      return [sayRoute(object, 'replace')]
    default:
      return sayCreate(object)
  }
}

/** The lines that take an object away; none for a setting, which has no absence. */
export function sayDelete(object: KernelObject): readonly string[] {
  switch (object.type) {
    case 'netns':
      return [`umount ${quoteWord(object.path)}`, `rm ${quoteWord(object.path)}`]
    case 'bridge':
    case 'veth':
    case 'dummy':
    case 'vlan':
      return [sayDeleteLink(object.name)]
    case 'macvlan':
    case 'ipvlan':
      return [insideWords(object.netns) + sayDeleteLink(object.name)]
    case 'address':
      return [sayAddress(object, 'del')]
    case 'route':
      return [sayRoute(object, 'del')]
    case 'sysctl':
      return []
    case 'rule':
      return [sayRule(object, 'del')]
  }
}

export function sayDeleteLink(name: string): string {
  return `ip link del ${quoteWord(name)}`
}

export function saySysctl({ netns, key, value }: Omit<SysctlObject, 'type'>): string {
  // The form with slashes where a name in it has a dot, which would read as a separator.
  const name = key.includes('.') ? key : key.replaceAll('/', '.')
  return `${insideWords(netns)}sysctl -w ${quoteWord(`${name}=${value}`)}`
}

function sayBridgeSettings({ name, mac, mtu, alias }: BridgeObject): string {
  return `ip link set ${quoteWord(name)}${sayMac(mac)}${sayMtu(mtu)}${sayAlias(alias)} up`
}

function sayVeth(veth: VethObject): readonly string[] {
  const { mtu, alias, peer } = veth
  const [name, master] = [quoteWord(veth.name), quoteWord(veth.master)]
  const end = `name ${quoteWord(peer.name)}${sayMtu(mtu)}${sayMac(peer.mac)}`
  const netns = peer.netns === '' ? '' : ` netns ${quoteWord(peer.netns)}`
  return [
    `ip link add ${name}${sayMtu(mtu)} type veth peer ${end}${netns}`,
    `brctl addif ${master} ${name}`,
    ...(veth.hairpin ? [`brctl hairpin ${master} ${name} on`] : []),
    `ip link set ${name}${sayAlias(alias)} up`,
    `${insideWords(peer.netns)}ip link set ${quoteWord(peer.name)} up`,
  ]
}

/** Not by `brctl addif`, which refuses a link that is in the bridge already. */
function sayVethSettings({ name, master, mtu, alias, hairpin }: VethObject): readonly string[] {
  const [link, bridge] = [quoteWord(name), quoteWord(master)]
  return [
    `ip link set ${link} master ${bridge}${sayMtu(mtu)}${sayAlias(alias)} up`,
    `brctl hairpin ${bridge} ${link} ${hairpin ? 'on' : 'off'}`,
  ]
}

function sayParentSettings({ name, alias }: { name: string; alias: string }): string {
  return `ip link set ${quoteWord(name)}${sayAlias(alias)} up`
}

/** No link of the daemon's namespace has this name: `ip` refuses one that is taken there. */
const nameOnTheWay = 'portolan-new'

function sayChild(child: MacvlanObject | IpvlanObject): readonly string[] {
  const { netns, name, parent, mtu } = child
  const on = `link ${quoteWord(parent)} name ${nameOnTheWay}${sayMtu(mtu)}`
  const mac = child.type === 'macvlan' ? sayMac(child.mac) : ''
  const place = netns === '' ? '' : ` netns ${quoteWord(netns)}`
  return [
    `ip link add ${on}${mac}${place} type ${child.type} ${sayMode(child)}`,
    `${insideWords(netns)}ip link set ${nameOnTheWay} name ${quoteWord(name)} up`,
  ]
}

function sayMode(child: MacvlanObject | IpvlanObject): string {
  return `mode ${child.mode}${child.type === 'ipvlan' ? ` ${child.flag}` : ''}`
}

function sayChildSettings(child: MacvlanObject | IpvlanObject): string {
  const mac = child.type === 'macvlan' ? sayMac(child.mac) : ''
  const words = `${quoteWord(child.name)}${sayMtu(child.mtu)}${mac} up`
  return `${insideWords(child.netns)}ip link set ${words} type ${child.type} ${sayMode(child)}`
}

function sayAddress({ netns, address, link }: AddressObject, verb: 'add' | 'del'): string {
  // As address.ts sets them: a broadcast address, and no detection of duplicates.
  const extra = address.includes(':') ? ' nodad' : ' brd +'
  const how = verb === 'add' ? extra : ''
  return `${insideWords(netns)}ip addr ${verb} ${quoteWord(address)}${how} dev ${quoteWord(link)}`
}

function sayRoute(route: RouteObject, verb: 'add' | 'replace' | 'del'): string {
  const { netns, destination, gateway, link } = route
  const isV6 = destination === 'default6' || destination.includes(':')
  const to = destination === 'default6' ? 'default' : destination
  const via = gateway === undefined ? '' : ` via ${quoteWord(gateway)}`
  const family = isV6 ? '-6 ' : ''
  const words = `ip ${family}route ${verb} ${quoteWord(to)}${via} dev ${quoteWord(link)}`
  return insideWords(netns) + words
}

function sayRule({ family, priority, to, iif, action }: RuleObject, verb: 'add' | 'del'): string {
  const ip = family === 4 ? 'ip' : 'ip -6'
  const toWords = to === '' ? '' : ` to ${quoteWord(to)}`
  const iifWords = iif === '' ? '' : ` iif ${quoteWord(iif)}`
  const what = `${toWords}${iifWords} ${action === 'main' ? 'lookup main' : 'blackhole'}`
  return `${ip} rule ${verb} pref ${priority} protocol ${ruleProtocol}${what}`
}

function sayMac(mac: string | undefined): string {
  return mac === undefined ? '' : ` address ${quoteWord(mac)}`
}

function sayMtu(mtu: number | undefined): string {
  return mtu === undefined ? '' : ` mtu ${mtu}`
}

function sayAlias(alias: string): string {
  return alias === '' ? '' : ` alias ${quoteWord(alias)}`
}
