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
import { attachVeth } from '../kernel/batch.ts'
import { changeLink, changePort, createBridge, findLink } from '../kernel/link.ts'
import { deleteLinks } from '../kernel/linkremover.ts'
import { createNetns, homeNetns, openNetns, removeNetns, type Netns } from '../kernel/netns.ts'
import type { BridgeObject, KernelObject, VethObject } from '../kernel/object.ts'
import { addRoute, deleteRoute } from '../kernel/route.ts'
import { writeSysctl } from '../kernel/sysctl.ts'
import { undoOf, type Step } from './diff.ts'

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
 */
export function startSteps(steps: readonly Step[], announced = true): Outcome {
  const done: Step[] = []
  const links: string[] = []
  try {
    for (const unit of unitsOf(steps)) {
      links.push(...take(unit, announced))
      done.push(...unit)
    }
  } catch (failure) {
    return { failure, settled: undoSteps(done) }
  }
  return { failure: undefined, settled: deleteLinks(homeNetns(), links) }
}

/** The same, waiting for the end and throwing the failure. */
export async function applySteps(steps: readonly Step[], announced = true): Promise<void> {
  const { failure, settled } = startSteps(steps, announced)
  await settled
  if (failure !== undefined) throw failure
}

/** Undoes steps that were taken, in reverse; what cannot be undone is logged, the rest goes on. */
export async function undoSteps(steps: readonly Step[]): Promise<void> {
  const links: string[] = []
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
  await deleteLinks(homeNetns(), links)
}

/** A new pair together with what belongs inside its container end; else single steps. */
function unitsOf(steps: readonly Step[]): readonly (readonly Step[])[] {
  const units: Step[][] = []
  const attached = new Map<string, Step[]>()
  for (const step of steps) {
    const { object } = step
    if (step.verb === 'create' && object.type === 'veth') {
      const unit = [step]
      attached.set(`${object.peer.netns} ${object.peer.name}`, unit)
      units.push(unit)
      continue
    }
    const inside = step.verb === 'create' ? attached.get(homeOf(object)) : undefined
    if (inside !== undefined) inside.push(step)
    else units.push([step])
  }
  return units
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
function take(unit: readonly Step[], announced = true): readonly string[] {
  const [step] = unit
  if (step === undefined) return []
  const { verb, object } = step
  if (verb === 'create' && object.type === 'veth') {
    attach(object, unit.slice(1).map((one) => one.object), announced)
    return []
  }
  switch (object.type) {
    case 'netns':
      if (verb === 'delete') removeNetns(object.path)
      else createNetns(object.path)
      return []
    case 'bridge':
      if (verb === 'delete') return [object.name]
      if (verb === 'create') createBridge(homeNetns(), bridgeSpec(object))
      else changeLink(homeNetns(), object.name, { ...bridgeSpec(object), up: true })
      return []
    case 'veth':
      if (verb === 'delete') return [object.name]
      changeVeth(object)
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

function attach(veth: VethObject, inside: readonly KernelObject[], announced: boolean): void {
  const { name, master, alias, mtu, hairpin, peer } = veth
  const addresses = inside.flatMap((one) => (one.type === 'address' ? [one.address] : []))
  const sysctls = inside.flatMap((one) => (one.type === 'sysctl' ? [one] : []))
  const routes = inside.flatMap((one) => (one.type === 'route' ? [one] : []))
  within(peer.netns, (ns) => {
    const end = { name: peer.name, mac: peer.mac, announced, addresses, sysctls, routes }
    const size = mtu === undefined ? {} : { mtu }
    attachVeth(homeNetns(), ns, { name, master, alias, hairpin, ...size, peer: end })
  })
}

function changeVeth({ name, master, alias, mtu, hairpin }: VethObject): void {
  const masterIndex = findLink(homeNetns(), master)?.index
  const home = masterIndex === undefined ? {} : { masterIndex }
  const size = mtu === undefined ? {} : { mtu }
  changeLink(homeNetns(), name, { ...home, ...size, alias, up: true })
  changePort(homeNetns(), name, { hairpin })
}
