/**
 * Steps → kernel calls. An endpoint's pair and everything inside its namespace become one burst
 * each; links are deleted off the event loop. When a step fails, those before it are undone in
 * reverse and the failure is thrown.
 *
 * Everything but the deletion of links happens before the first await, so that a comparison with
 * the kernel and its repair cannot be crossed by another verb.
 */
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { addAddress, deleteAddress } from '../kernel/address.ts'
import { attachChild, attachVeth, type ContainerSide } from '../kernel/batch.ts'
import { isKernelError, KernelError } from '../kernel/error.ts'
import {
  changeChildLink,
  changeLink,
  changePort,
  createBridge,
  createDummy,
  createVlan,
  findLink,
  type ChildKind,
} from '../kernel/link.ts'
import { deleteLinks } from '../kernel/linkremover.ts'
import { createNetns, homeNetns, openNetns, removeNetns, type Netns } from '../kernel/netns.ts'
import type {
  BridgeObject,
  IpvlanObject,
  KernelObject,
  MacvlanObject,
  VethObject,
  VlanObject,
} from '../kernel/object.ts'
import { addPolicyRule, deletePolicyRule } from '../kernel/policy-rule.ts'
import { addRoute, deleteRoute } from '../kernel/route.ts'
import { writeSysctl } from '../kernel/sysctl.ts'
import { undoOf, type Step } from './diff.ts'
import { allOrFirstFailure } from './undo.ts'

/** What came of taking steps; `settled` resolves when deleted links are gone. */
export interface Outcome {
  /** The steps before the failing one are being undone then. */
  readonly failure: unknown
  readonly settled: Promise<void>
}

/**
 * Takes the steps in order, all or nothing, at once but for the deletion of links.
 *
 * @param announced whether new endpoints tell their neighbours which MAC their address has
 * @param meanwhile is run once, synchronously: while the kernel makes the first pair of links, if
 *   there is one
 */
export function startSteps(
  steps: readonly Step[],
  announced = true,
  meanwhile?: () => void,
): Outcome {
  const done: Step[] = []
  const links: DoomedLink[] = []
  const units = unitsOf(steps)
  const first = units.find(([step]) => step?.verb === 'create' && step.object.type === 'veth')
  try {
    if (first === undefined) meanwhile?.()
    for (const unit of units) {
      links.push(...take(unit, announced, unit === first ? meanwhile : undefined))
      done.push(...unit)
    }
  } catch (failure) {
    for (const { ns } of links) ns.close()
    return { failure, settled: undoSteps(done) }
  }
  return { failure: undefined, settled: deleteDoomed(links) }
}

/** The same, waiting for the end and throwing the failure. */
export async function applySteps(steps: readonly Step[], announced = true): Promise<void> {
  await applyDuring(steps, announced, () => undefined)
}

/** The same; answers what came of `meanwhile`. */
export async function applyDuring<T extends object | undefined>(
  steps: readonly Step[],
  announced: boolean,
  meanwhile: () => T,
): Promise<T> {
  const during = Promise.withResolvers<T>()
  const { failure, settled } = startSteps(steps, announced, () => during.resolve(meanwhile()))
  await settled
  if (failure !== undefined) throw failure
  return during.promise
}

/** Undoes steps that were taken, in reverse; what cannot be undone is logged, the rest goes on. */
export async function undoSteps(steps: readonly Step[]): Promise<void> {
  const links: DoomedLink[] = []
  const gone = new Set<string>()
  for (const step of undoOf(steps)) {
    try {
      const { object } = step
      // What hangs on a pair or namespace goes with it.
      if (step.verb === 'delete' && 'netns' in object && gone.has(object.netns)) continue
      links.push(...take([step]))
      if (step.verb === 'delete' && object.type === 'netns') gone.add(object.path)
    } catch (error) {
      log.error('cannot undo a kernel change', { error: messageOf(error) })
    }
  }
  await deleteDoomed(links)
}

/** A link that is to be deleted; its namespace stays open until then. */
export interface DoomedLink {
  readonly ns: Netns
  readonly name: string
}

/** Deletes the links of each namespace in one burst, and closes the namespaces. */
export async function deleteDoomed(links: readonly DoomedLink[]): Promise<void> {
  const tasks = links.map(async ({ ns, name }) => {
    try {
      await deleteLinks(ns, [name])
    } finally {
      ns.close()
    }
  })
  await allOrFirstFailure(tasks)
}

/** A new endpoint together with what belongs inside its container end; else single steps. */
function unitsOf(steps: readonly Step[]): readonly (readonly Step[])[] {
  const units: Step[][] = []
  const attached = new Map<string, Step[]>()
  for (const step of steps) {
    const { object } = step
    const end = step.verb === 'create' ? containerEnd(object) : undefined
    if (end !== undefined) {
      const unit = [step]
      attached.set(`${end.netns} ${end.name}`, unit)
      units.push(unit)
      continue
    }
    const inside = step.verb === 'create' ? attached.get(homeOf(object)) : undefined
    if (inside !== undefined) inside.push(step)
    else units.push([step])
  }
  return units
}

/** Namespace and name of what a container sees of a link that was made for it. */
function containerEnd(object: KernelObject) {
  if (object.type === 'veth') return object.peer
  return object.type === 'macvlan' || object.type === 'ipvlan' ? object : undefined
}

/** Namespace and link that an object belongs to. */
function homeOf(object: KernelObject): string {
  switch (object.type) {
    case 'address':
    case 'route':
      return `${object.netns} ${object.link}`
    case 'sysctl':
      return `${object.netns} ${object.key.split('/')[3] ?? ''}`
    default:
      return ''
  }
}

/** Takes the steps of one unit; answers the links that are still to be deleted. */
function take(
  unit: readonly Step[],
  announced = true,
  meanwhile?: () => void,
): readonly DoomedLink[] {
  const [step] = unit
  if (step === undefined) return []
  const { verb, object } = step
  const inside = unit.slice(1).map((one) => one.object)
  switch (object.type) {
    case 'netns':
      if (verb === 'delete') removeNetns(object.path)
      else createNetns(object.path)
      return []
    case 'bridge':
      if (verb === 'delete') return atHome(object.name)
      if (verb === 'create') createBridge(homeNetns(), bridgeSpec(object))
      else changeLink(homeNetns(), object.name, { ...bridgeSpec(object), up: true })
      return []
    case 'veth':
      if (verb === 'delete') return atHome(object.name)
      if (verb === 'create') attach(object, inside, announced, meanwhile)
      else changeVeth(object)
      return []
    case 'dummy':
    case 'vlan':
      if (verb === 'delete') return atHome(object.name)
      if (verb === 'change') changeLink(homeNetns(), object.name, { alias: object.alias, up: true })
      else if (object.type === 'dummy') createDummy(homeNetns(), object)
      else makeVlan(object)
      return []
    case 'macvlan':
    case 'ipvlan':
      if (verb === 'delete') return [{ ns: openNetns(object.netns), name: object.name }]
      if (verb === 'create') attachToParent(object, inside)
      else changeChild(object)
      return []
    case 'address':
      within(object.netns, (ns) =>
        verb === 'delete'
          ? deleteAddress(ns, object.link, object.address)
          : addAddress(ns, object.link, object.address),
      )
      return []
    case 'route':
      within(object.netns, (ns) =>
        verb === 'delete' ? deleteRoute(ns, object) : addRoute(ns, object, true),
      )
      return []
    case 'sysctl':
      if (verb !== 'delete') within(object.netns, (ns) => writeSysctl(ns, object.key, object.value))
      return []
    case 'rule':
      if (verb === 'delete') deletePolicyRule(homeNetns(), object)
      else addPolicyRule(homeNetns(), object)
      return []
  }
}

function within(path: string, section: (ns: Netns) => void): void {
  const ns = openNetns(path)
  try {
    section(ns)
  } finally {
    ns.close()
  }
}

function bridgeSpec({ name, mac, mtu, alias }: BridgeObject) {
  return {
    name,
    alias,
    ...(mac === undefined ? {} : { mac }),
    ...(mtu === undefined ? {} : { mtu }),
  }
}

const atHome = (name: string): readonly DoomedLink[] => [{ ns: homeNetns(), name }]

function attach(
  veth: VethObject,
  inside: readonly KernelObject[],
  announced: boolean,
  meanwhile: (() => void) | undefined,
): void {
  const { name, master, alias, mtu, hairpin, peer } = veth
  within(peer.netns, (ns) => {
    const end = { name: peer.name, ...sideOf(peer.mac, inside), ...announcing(veth, announced) }
    const size = mtu === undefined ? {} : { mtu }
    const attachment = { name, master, alias, hairpin, ...size, peer: end }
    attachVeth(homeNetns(), ns, attachment, meanwhile)
  })
}

/** What is asked for; else, where nobody can remember another MAC, no frame to every port. */
function announcing(
  { announceAtMs }: VethObject | MacvlanObject | IpvlanObject,
  announced: boolean,
): { readonly announceAtMs?: readonly number[] } {
  if (announceAtMs !== undefined) return { announceAtMs }
  return announced ? {} : { announceAtMs: [] }
}

function sideOf(mac: string, inside: readonly KernelObject[]): ContainerSide {
  return {
    mac,
    addresses: inside.flatMap((one) => (one.type === 'address' ? [one.address] : [])),
    sysctls: inside.flatMap((one) => (one.type === 'sysctl' ? [one] : [])),
    routes: inside.flatMap((one) => (one.type === 'route' ? [one] : [])),
  }
}

function makeVlan({ name, parent, id, alias }: VlanObject): void {
  const parentIndex = findLink(homeNetns(), parent)?.index
  if (parentIndex === undefined) {
    const enodev = 19
    const attempted = `failed to create ${name} vlan link`
    throw new KernelError('RTM_GETLINK', enodev, attempted, `no link ${parent}`)
  }
  createVlan(homeNetns(), { name, parentIndex, id, alias, up: true })
}

/** Whoever else is on the parent's network may remember another MAC: they are always told. */
function attachToParent(
  child: MacvlanObject | IpvlanObject,
  inside: readonly KernelObject[],
): void {
  const { netns, name, parent, mtu } = child
  const mac = child.type === 'macvlan' ? (child.mac ?? '') : ''
  // Between routers (l3) nobody asks for a MAC.
  const announced = child.type === 'macvlan' || child.mode === 'l2'
  const side = { ...sideOf(mac, inside), ...announcing(child, announced) }
  const size = mtu === undefined ? {} : { mtu }
  within(netns, (ns) => {
    try {
      attachChild(homeNetns(), ns, { name, parent, kind: kindOf(child), ...size, side })
    } catch (error) {
      throw isKernelError(error, 'EBUSY') ? parentInUse(child, error) : error
    }
  })
}

/** Docker's words, and what is behind them. */
function parentInUse(
  { type, parent }: MacvlanObject | IpvlanObject,
  { call, errno }: KernelError,
): KernelError {
  const attempted = `failed to create the ${type} port`
  const why = `${parent} is a port of a bridge or bond already, or carries links of another kind`
  return new KernelError(call, errno, attempted, `device or resource busy: ${why}`)
}

function kindOf(child: MacvlanObject | IpvlanObject): ChildKind {
  if (child.type === 'macvlan') return { type: 'macvlan', mode: child.mode }
  return { type: 'ipvlan', mode: child.mode, flag: child.flag }
}

function changeChild(child: MacvlanObject | IpvlanObject): void {
  const { netns, name, mtu } = child
  const mac = child.type === 'macvlan' && child.mac !== undefined ? { mac: child.mac } : {}
  within(netns, (ns) => {
    changeChildLink(ns, name, kindOf(child))
    changeLink(ns, name, { ...mac, ...(mtu === undefined ? {} : { mtu }), up: true })
  })
}

function changeVeth({ name, master, alias, mtu, hairpin }: VethObject): void {
  const masterIndex = findLink(homeNetns(), master)?.index
  const home = masterIndex === undefined ? {} : { masterIndex }
  const size = mtu === undefined ? {} : { mtu }
  changeLink(homeNetns(), name, { ...home, ...size, alias, up: true })
  changePort(homeNetns(), name, { hairpin })
}
