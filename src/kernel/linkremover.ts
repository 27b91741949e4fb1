/**
 * Deletes links in bursts, off the event loop.
 *
 * Unregistering a link makes the kernel wait for RCU grace periods inside `send`, 10 to 50 ms a
 * link; deleting a group costs one such wait for all its members. So links are marked with a
 * scratch group at once, collected for a few milliseconds, and the group is deleted from a pool
 * thread. Links of a namespace that goes away need none of this: the kernel takes them down.
 */
import { randomInt } from 'node:crypto'
import { changeLinkMessage, deleteGroupMessage, deleteLinkMessage } from './linkmessages.ts'
import { NETLINK_ROUTE, NetlinkSocket, withRoute, type NetlinkMessage } from './netlink.ts'
import type { Netns } from './netns.ts'

/** Long enough to catch the burst of a `compose down`, short beside the wait itself. */
const collectMs = 4
/** Groups that people number by hand are small. */
const scratchGroupFirst = 0x40000000
const scratchGroupLast = 0x7fffffff

interface Burst {
  readonly names: Set<string>
  readonly done: Promise<void>
}

/** Per namespace inode: the burst that still collects. */
const collecting = new Map<number, Burst>()

/**
 * Deletes links by name; resolves when the kernel has let go of all of them. A link that is gone
 * already is fine. `ns` must stay open until then.
 */
export function deleteLinks(ns: Netns, names: readonly string[]): Promise<void> {
  if (names.length === 0) return Promise.resolve()
  const waiting = collecting.get(ns.inode)
  if (waiting !== undefined) {
    for (const name of names) waiting.names.add(name)
    return waiting.done
  }
  const collected = new Set(names)
  const done = new Promise<void>((resolve, reject) => {
    setTimeout(() => {
      collecting.delete(ns.inode)
      deleteNow(ns, [...collected]).then(resolve, reject)
    }, collectMs)
  })
  collecting.set(ns.inode, { names: collected, done })
  return done
}

async function deleteNow(ns: Netns, names: readonly string[]): Promise<void> {
  const [only] = names
  // By its name: to find a group the kernel looks at every link there is.
  if (names.length === 1 && only !== undefined) return sendDeletion(ns, deleteLinkMessage(only))
  const group = randomInt(scratchGroupFirst, scratchGroupLast)
  const marks = names.map((name) => changeLinkMessage(name, { group }))
  const outcomes = withRoute(ns, (socket) => socket.send(marks))
  const refused = outcomes.find((outcome) => outcome !== undefined && outcome.code !== 'ENODEV')
  if (refused !== undefined) throw refused
  if (outcomes.every((outcome) => outcome !== undefined)) return
  await sendDeletion(ns, deleteGroupMessage(group))
}

async function sendDeletion(ns: Netns, deletion: NetlinkMessage): Promise<void> {
  const socket = NetlinkSocket.open(ns, NETLINK_ROUTE)
  try {
    const [failure] = await socket.sendSlowly([deletion])
    // ENODEV: it went by itself in the meantime, with its peer's namespace.
    if (failure !== undefined && failure.code !== 'ENODEV') throw failure
  } finally {
    socket.close()
  }
}
