/**
 * Desired against found kernel objects → the steps between them, in an order that works, and the
 * steps back. Pure. A request diffs the objects it concerns; the reconciler diffs all.
 */
import type { KernelObject } from '../kernel/object.ts'

export type Step =
  | { readonly verb: 'create'; readonly object: KernelObject }
  | { readonly verb: 'change'; readonly object: KernelObject; readonly before: KernelObject }
  | { readonly verb: 'delete'; readonly object: KernelObject }

/** What an object needs comes first; deletion goes the other way. */
const rank: Readonly<Record<KernelObject['type'], number>> = {
  netns: 0,
  rule: 0,
  bridge: 1,
  dummy: 1,
  vlan: 1,
  veth: 2,
  macvlan: 2,
  ipvlan: 2,
  sysctl: 3,
  address: 4,
  route: 5,
}

/** What makes two descriptions one object. */
export function identityOf(object: KernelObject): string {
  switch (object.type) {
    case 'netns':
      return `netns ${object.path}`
    case 'bridge':
    case 'veth':
    case 'dummy':
    case 'vlan':
      return linkIdentity(object.name)
    case 'macvlan':
    case 'ipvlan':
      return `link ${object.netns} ${object.name}`
    case 'address':
      return `address ${object.netns} ${object.link} ${object.address}`
    case 'route':
      return `route ${object.netns} ${object.destination}`
    case 'sysctl':
      return `sysctl ${object.netns} ${object.key}`
    case 'rule': {
      const { family, priority, to, iif, action } = object
      return `rule ${family} ${priority} ${to} ${iif} ${action}`
    }
  }
}

/** Of a link of the daemon's namespace. */
export const linkIdentity = (name: string): string => `link ${name}`

/** The steps that turn `found` into `desired`: deletions first, then creations and changes. */
export function diffObjects(
  desired: readonly KernelObject[],
  found: readonly KernelObject[],
): readonly Step[] {
  const before = new Map(found.map((object) => [identityOf(object), object]))
  const make: Step[] = []
  for (const object of desired) {
    const key = identityOf(object)
    const old = before.get(key)
    before.delete(key)
    if (old === undefined) make.push({ verb: 'create', object })
    else if (old.type !== object.type) {
      make.push({ verb: 'delete', object: old }, { verb: 'create', object })
    } else if (!matches(object, old)) make.push({ verb: 'change', object, before: old })
  }
  const surplus = [...before.values()]
    .filter((object) => object.type !== 'sysctl')
    .map((object): Step => ({ verb: 'delete', object }))
  surplus.sort((a, b) => rank[b.object.type] - rank[a.object.type])
  make.sort((a, b) => rank[a.object.type] - rank[b.object.type])
  return [...surplus, ...make]
}

/** The steps that undo `steps`, to be taken in this order. */
export function undoOf(steps: readonly Step[]): readonly Step[] {
  return [...steps].reverse().map((step): Step => {
    switch (step.verb) {
      case 'create':
        return { verb: 'delete', object: step.object }
      case 'delete':
        return { verb: 'create', object: step.object }
      case 'change':
        return { verb: 'change', object: step.before, before: step.object }
    }
  })
}

/** What says how an object is made, not what it is. */
const ofMaking: ReadonlySet<string> = new Set(['adopted', 'announceAtMs'])

/** True when everything that `desired` states holds in `found`; what it leaves out is free. */
function matches(desired: KernelObject, found: KernelObject): boolean {
  // A bridge of the user's own is left as it is.
  if (desired.type === 'bridge' && desired.adopted) return true
  const actual = new Map(Object.entries(found))
  return Object.entries(desired).every(([key, value]) => {
    const other: unknown = actual.get(key)
    if (value === undefined || ofMaking.has(key)) return true
    if (typeof value === 'object' && typeof other === 'object') {
      return JSON.stringify(value) === JSON.stringify(other)
    }
    return value === other
  })
}
