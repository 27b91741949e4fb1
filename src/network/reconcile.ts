/**
 * Compares what should exist with the kernel and patches it, while verbs go on.
 *
 * Whole, or by turns: networks each time, of the sandboxes those whose links at the host look
 * different from the time before, and the next few of the others. So what a turn costs hardly grows
 * with the number of containers; what is changed *inside* of one is found when its turn comes.
 */
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { listLinks, type Link } from '../kernel/link.ts'
import { deleteLinks } from '../kernel/linkremover.ts'
import { homeNetns, removeNetns } from '../kernel/netns.ts'
import type { KernelObject, RuleObject } from '../kernel/object.ts'
import { deletePolicyRule, listPolicyRules } from '../kernel/policy-rule.ts'
import { startSteps } from './apply.ts'
import { diffObjects, identityOf, linkIdentity, type Step } from './diff.ts'
import { aliasPrefix } from './drivers/bridge.ts'
import { driverNamed } from './drivers/drivers.ts'
import { hasOwnNetns, objectsOf } from './endpoints.ts'
import { findObjects, hostFacts } from './host.ts'
import { isRouted } from './network-verbs.ts'
import type { SandboxRecord } from './records.ts'
import type { Room } from './room.ts'

/** Sandboxes that are compared without a pause: some milliseconds. */
const groupMax = 16
/** The firewall tells of changes itself; in case it was not heard, it is read so often. */
const firewallMs = 30_000

/** Compares by turns; remembers whose turn it is and what was found right. */
export class Reconciler {
  readonly #room: Room
  /** How the host's ends of what a record says looked when nothing was known to be wrong. */
  readonly #seen = new WeakMap<SandboxRecord, string>()
  /** The container that was compared last in its turn. */
  #last = ''
  #firewallReadMs = -Infinity

  constructor(room: Room) {
    this.#room = room
  }

  /** Compares everything. */
  async all(): Promise<void> {
    const room = this.#room
    await switchForwardingOn(room)
    await repairAll(room)
    await sweep(room)
    await room.firewall.reconcile()
  }

  /** Compares what has its turn; answers which share of the sandboxes that was. */
  async turn(): Promise<number> {
    const room = this.#room
    await switchForwardingOn(room)
    const links = listLinks(homeNetns())
    const looks = this.#looks(links)
    const { links: idle, namespaces, rules } = surplus(room, links)
    await repairNow(wantedOfNetworks(room, links), links)
    const next = this.#next([...looks.keys()])
    const changed = [...looks].filter(([id, look]) => this.#looksChanged(id, look))
    await this.#compare([...new Set([...changed.map(([id]) => id), ...next])], looks)
    // Looked for anew: a verb may want meanwhile what nobody wanted.
    if (idle.length + namespaces.length + rules.length > 0) await sweep(room)
    if (performance.now() - this.#firewallReadMs >= firewallMs) {
      await room.firewall.reconcile()
      this.#firewallReadMs = performance.now()
    }
    return looks.size === 0 ? 1 : next.length / looks.size
  }

  /** What a verb has just made is taken to be right, unless it is gone. */
  #looksChanged(id: string, look: string): boolean {
    const record = this.#room.state.sandboxes.get(id)?.record
    if (record === undefined) return false
    const before = this.#seen.get(record)
    if (before !== undefined) return before !== look
    if (look.includes(goneLook)) return true
    this.#seen.set(record, look)
    return false
  }

  /** The next containers in the order in which they were started. */
  #next(ids: readonly string[]): readonly string[] {
    const first = ids.indexOf(this.#last) + 1
    const next = [...ids.slice(first), ...ids.slice(0, first)].slice(0, groupMax)
    this.#last = next.at(-1) ?? ''
    return next
  }

  /** How the links that each sandbox has at the host look. */
  #looks(list: readonly Link[]): ReadonlyMap<string, string> {
    const links = new Map(list.map((link) => [link.name, link]))
    const looks = new Map<string, string>()
    for (const [id, { record, ready }] of this.#room.state.sandboxes) {
      const { sandbox } = record
      if (!ready || !hasOwnNetns(sandbox)) continue
      const ends = sandbox.endpoints.flatMap(({ hostInterface: name }) => {
        return name === '' ? [] : [lookOf(links.get(name))]
      })
      looks.set(id, ends.join(' '))
    }
    return looks
  }

  async #compare(ids: readonly string[], looks: ReadonlyMap<string, string>): Promise<void> {
    const { sandboxes } = this.#room.state
    await inGroups(ids, async (group) => {
      const records = group.flatMap((id) => sandboxes.get(id)?.record ?? [])
      const wrong = await repairNow(wantedOfSandboxes(this.#room, group))
      for (const record of records) {
        const { spec } = record.sandbox
        // A look that is older than the comparison: what changed in between looks different soon.
        const look = looks.get(spec.containerId)
        if (look !== undefined && !wrong.has(spec.containerId)) this.#seen.set(record, look)
      }
    })
  }
}

const goneLook = 'gone'

/** What a change of a link that matters to us changes. */
function lookOf(link: Link | undefined): string {
  if (link === undefined) return goneLook
  const { index, up, masterIndex, mtu, alias, port } = link
  return `${index}/${up}/${masterIndex}/${mtu}/${alias}/${port?.hairpin}`
}

async function switchForwardingOn({ config, forwarding, state }: Room): Promise<void> {
  if (!config.ipForward) return
  await forwarding.switchOn(4)
  if (state.list().some(isRouted)) await forwarding.switchOn(6)
}

/** Compares and patches all; verbs run in the pauses between networks and groups of sandboxes. */
export async function repairAll(room: Room): Promise<void> {
  const links = listLinks(homeNetns())
  await repairNow(wantedOfNetworks(room, links), links)
  await inGroups([...room.state.sandboxes.keys()], async (group) => {
    await repairNow(wantedOfSandboxes(room, group))
  })
}

async function inGroups(
  ids: readonly string[],
  work: (group: readonly string[]) => Promise<void>,
): Promise<void> {
  for (let first = 0; first < ids.length; first += groupMax) {
    await work(ids.slice(first, first + groupMax))
    await nextTurn()
  }
}

interface Wanted {
  /** What is repaired, for messages. */
  readonly what: string
  /** Network or container. */
  readonly id: string
  readonly objects: readonly KernelObject[]
}

interface Repair extends Wanted {
  readonly steps: readonly Step[]
}

/** What is missing or different in the kernel, network by network, sandbox by sandbox. */
export function missingSteps(room: Room): readonly Repair[] {
  const ids = [...room.state.sandboxes.keys()]
  const links = listLinks(homeNetns())
  return compare([...wantedOfNetworks(room, links), ...wantedOfSandboxes(room, ids)], links)
}

function wantedOfNetworks(room: Room, links: readonly Link[]): readonly Wanted[] {
  const facts = hostFacts(room, links)
  const wanted: Wanted[] = []
  /** Networks may share a link: the first one brings it back for all. */
  const seen = new Set<string>()
  for (const { record, removing } of room.state.networks.values()) {
    const { network } = record
    if (removing || network.spec.configOnly) continue
    const all = driverNamed(network.spec.driver).networkObjects(network, facts)
    const objects = all.filter((object) => !seen.has(identityOf(object)))
    for (const object of objects) seen.add(identityOf(object))
    wanted.push({ what: `network ${network.spec.name}`, id: network.id, objects })
  }
  return wanted
}

/** Of these, the sandboxes that are complete and whose namespace exists: others have no repair. */
function wantedOfSandboxes(room: Room, ids: readonly string[]): readonly Wanted[] {
  return ids.flatMap((id) => {
    const entry = room.state.sandboxes.get(id)
    if (entry === undefined || !entry.ready) return []
    const { sandbox } = entry.record
    if (!hasOwnNetns(sandbox) || !existsSync(sandbox.netnsPath)) return []
    const what = `network of container ${sandbox.spec.containerName}`
    return [{ what, id, objects: objectsOf(room, sandbox) }]
  })
}

function compare(wanted: readonly Wanted[], links?: readonly Link[]): readonly Repair[] {
  const found = findObjects(wanted.flatMap(({ objects }) => objects), links)
  const byIdentity = new Map(found.map((object) => [identityOf(object), object]))
  return wanted.flatMap((one) => {
    const own = one.objects.flatMap((object) => byIdentity.get(identityOf(object)) ?? [])
    const steps = diffObjects(one.objects, own)
    return steps.length === 0 ? [] : [{ ...one, steps }]
  })
}

/**
 * Compares and patches in one go, without an await between, so that no verb comes in between. What
 * fails is logged and does not keep the rest from being repaired. Answers what was not right.
 *
 * @param links those of the daemon's namespace, listed since the last await
 */
async function repairNow(
  wanted: readonly Wanted[],
  links?: readonly Link[],
): Promise<ReadonlySet<string>> {
  const outcomes = compare(wanted, links).map(({ what, id, steps }) => {
    return { what, id, ...startSteps(steps) }
  })
  for (const { what, failure, settled } of outcomes) {
    await settled
    if (failure === undefined) log.info('repaired', { what })
    else log.error('cannot repair', { what, error: messageOf(failure) })
  }
  return new Set(outcomes.map(({ id }) => id))
}

export interface Surplus {
  readonly links: readonly string[]
  readonly namespaces: readonly string[]
  readonly rules: readonly RuleObject[]
}

/** What carries our marks and nobody wants. */
export function surplus(room: Room, all: readonly Link[] = listLinks(homeNetns())): Surplus {
  const wanted = new Set(room.state.inTheMaking)
  const wantedPaths = new Set<string>()
  const facts = hostFacts(room, all)
  for (const { record } of room.state.networks.values()) {
    const { network } = record
    if (network.spec.configOnly) continue
    const objects = driverNamed(network.spec.driver).networkObjects(network, facts)
    for (const object of objects) wanted.add(identityOf(object))
  }
  for (const { record } of room.state.sandboxes.values()) {
    wantedPaths.add(record.sandbox.netnsPath)
    for (const { hostInterface } of record.sandbox.endpoints) {
      wanted.add(linkIdentity(hostInterface))
    }
  }
  const links = all
    .filter(({ alias, name }) => alias.startsWith(aliasPrefix) && !wanted.has(linkIdentity(name)))
    .map(({ name }) => name)
  const folder = join(room.config.execRoot, 'netns')
  const paths = existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : []
  const rules = listPolicyRules(homeNetns()).filter((rule) => !wanted.has(identityOf(rule)))
  return { links, namespaces: paths.filter((path) => !wantedPaths.has(path)), rules }
}

/** Takes that away. */
export async function sweep(room: Room): Promise<void> {
  const { links, namespaces, rules } = surplus(room)
  for (const path of namespaces) removeNetns(path)
  for (const rule of rules) deletePolicyRule(homeNetns(), rule)
  if (links.length > 0) log.info('removing links that nobody wants', { links: links.join(' ') })
  await deleteLinks(homeNetns(), links)
}
