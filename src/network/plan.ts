/** What differs between desired and kernel, as commands that a network engineer would type. */
import type { KernelObject } from '../kernel/object.ts'
import type { Step } from './diff.ts'
import { missingSteps, surplus } from './restore.ts'
import type { Room } from './room.ts'

/** Kernel first, then the firewall; empty when nothing differs. */
export async function planAll(room: Room): Promise<readonly string[]> {
  const { links, namespaces } = surplus(room)
  const firewall = await room.firewall.plan()
  return [
    ...links.map((name) => `ip link del ${name}`),
    ...namespaces.map((path) => `umount ${path}`),
    ...missingSteps(room).flatMap(({ steps }) => steps.flatMap(sayStep)),
    ...firewall,
  ]
}

/** The command of one step. */
export function sayStep({ verb, object }: Step): readonly string[] {
  return verb === 'delete' ? sayDelete(object) : sayMake(object, verb)
}

const inside = (netns: string): string =>
  netns === '' ? '' : `nsenter --net=${netns} `

function sayMake(object: KernelObject, verb: 'create' | 'change'): readonly string[] {
  const make = verb === 'create'
  switch (object.type) {
    case 'netns':
      return [`touch ${object.path}`, `unshare --net=${object.path} true`]
    case 'bridge': {
      const { name, mac, mtu, alias } = object
      const size = mtu === undefined ? '' : ` mtu ${mtu}`
      const address = mac === undefined ? '' : ` address ${mac}`
      const set = `ip link set ${name}${address}${size} alias ${alias} up`
      return make ? [`ip link add ${name} type bridge`, set] : [set]
    }
    case 'veth': {
      const { name, master, mtu, alias, hairpin, peer } = object
      const size = mtu === undefined ? '' : ` mtu ${mtu}`
      const end = `name ${peer.name} address ${peer.mac} netns ${peer.netns}`
      return [
        ...(make ? [`ip link add ${name} type veth peer ${end}`] : []),
        `ip link set ${name} master ${master}${size} alias ${alias} up`,
        `bridge link set dev ${name} hairpin ${hairpin ? 'on' : 'off'}`,
        ...(make ? [`${inside(peer.netns)}ip link set ${peer.name} up`] : []),
      ]
    }
    case 'address':
      return [`${inside(object.netns)}ip addr add ${object.address} dev ${object.link}`]
    case 'route':
      return [`${inside(object.netns)}ip ${sayRoute(object, make ? 'add' : 'replace')}`]
    case 'sysctl': {
      const key = object.key.includes('.') ? object.key : object.key.replaceAll('/', '.')
      return [`${inside(object.netns)}sysctl -w ${key}=${object.value}`]
    }
  }
}

function sayDelete(object: KernelObject): readonly string[] {
  switch (object.type) {
    case 'netns':
      return [`umount ${object.path}`]
    case 'bridge':
    case 'veth':
      return [`ip link del ${object.name}`]
    case 'address':
      return [`${inside(object.netns)}ip addr del ${object.address} dev ${object.link}`]
    case 'route':
      return [`${inside(object.netns)}ip ${sayRoute(object, 'del')}`]
    case 'sysctl':
      return []
  }
}

function sayRoute(route: KernelObject & { type: 'route' }, verb: string): string {
  const via = route.gateway === undefined ? '' : ` via ${route.gateway}`
  const ipv6 = route.destination === 'default6' || route.destination.includes(':')
  const destination = route.destination === 'default6' ? 'default' : route.destination
  return `${ipv6 ? '-6 ' : ''}route ${verb} ${destination}${via} dev ${route.link}`
}
