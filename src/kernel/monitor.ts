/**
 * Tells when the kernel's links, addresses, routes or firewall rules have changed.
 *
 * What changed is not said: the caller lists again, which is also right after an overrun, when
 * events were lost. Calls are debounced; own changes come back as events too. A slow periodic
 * comparison is still wise.
 */
import { checked, lastErrno, libcCalls } from './ffi.ts'
import { NETLINK_NETFILTER, NETLINK_ROUTE, NetlinkSocket, SOL_NETLINK } from './netlink.ts'
import type { Netns } from './netns.ts'
import { watchReadable } from './readiness.ts'

const AF_NETLINK = 16
const NETLINK_ADD_MEMBERSHIP = 1
const SOL_SOCKET = 1
const SO_RCVBUFFORCE = 33
const MSG_DONTWAIT = 0x40
const EAGAIN = 11
const linkGroup = 1
/** LINK, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR, IPV6_ROUTE */
const networkGroups = [linkGroup, 5, 7, 9, 11]
/** IPV4_RULE, IPV6_RULE */
const ruleGroups = [8, 19]
const nftablesGroup = 7
/** Keeps 8,000 events while the loop is blocked. A limit, not an allocation. */
const eventBufferBytes = 8 << 20
/** Quiet for so long before the callback runs … */
const stepMs = 25
/** … but no later than this after the first event, however busy the kernel is. */
const latestMs = 1000
/** Datagrams read in one go, before the loop gets its turn again. */
const readsPerTurn = 4096

export interface Monitor {
  close(): void
}

/** @param changed runs after a burst of changes; `overrun`: some were lost */
type Changed = (overrun: boolean) => void

/** Links only. */
export function watchLinks(ns: Netns, changed: Changed): Monitor {
  return watch(ns, NETLINK_ROUTE, [linkGroup], changed)
}

/** Links, addresses and routes. */
export function watchNetwork(ns: Netns, changed: Changed): Monitor {
  return watch(ns, NETLINK_ROUTE, networkGroups, changed)
}

/** The rules that choose a routing table. */
export function watchPolicyRules(ns: Netns, changed: Changed): Monitor {
  return watch(ns, NETLINK_ROUTE, ruleGroups, changed)
}

/** Rules of nftables, and of iptables where that is its nft variant. */
export function watchFirewall(ns: Netns, changed: Changed): Monitor {
  return watch(ns, NETLINK_NETFILTER, [nftablesGroup], changed)
}

function watch(ns: Netns, protocol: number, groups: readonly number[], changed: Changed): Monitor {
  const socket = NetlinkSocket.open(ns, protocol)
  try {
    socket.setOption(SOL_SOCKET, SO_RCVBUFFORCE, eventBufferBytes)
    // An unbound socket joins groups without an error and never receives anything.
    const name = Buffer.alloc(12)
    name.writeUInt16LE(AF_NETLINK)
    const attempted = 'watch the kernel for changes'
    checked(libcCalls.bind(socket.fd, name, name.length), 'bind', attempted)
    for (const group of groups) socket.setOption(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
  } catch (error) {
    socket.close()
    throw error
  }
  const collector = collect(socket.fd, changed)
  const ready = watchReadable(socket.fd, (failed) => {
    // What is there is read later: this turn of the loop has something more urgent to do.
    ready.pause()
    collector.begin(failed, () => ready.resume())
  })
  ready.unref()
  return {
    close() {
      collector.cancel()
      ready.close()
      socket.close()
    },
  }
}

const scratch = Buffer.alloc(64 << 10)

function drain(fd: number): 'nothing' | 'events' | 'overrun' {
  let result: 'nothing' | 'events' | 'overrun' = 'nothing'
  for (let reads = 0; reads < readsPerTurn; reads++) {
    if (libcCalls.recv(fd, scratch, scratch.length, MSG_DONTWAIT) >= 0) {
      if (result === 'nothing') result = 'events'
    } else if (lastErrno() === EAGAIN) {
      return result
    } else {
      result = 'overrun' // ENOBUFS; the next read goes on with what was kept
    }
  }
  return result
}

/** Reads a burst of events in steps until one step finds none; tells once, at its end. */
function collect(fd: number, changed: Changed) {
  let timer: NodeJS.Timeout | undefined
  const begin = (failed: boolean, ended: () => void) => {
    const latestAt = performance.now() + latestMs
    let overrun = failed
    let found = failed
    const step = () => {
      const drained = drain(fd)
      overrun ||= drained === 'overrun'
      found ||= drained !== 'nothing'
      if (drained !== 'nothing' && performance.now() < latestAt) {
        timer = setTimeout(step, stepMs).unref()
        return
      }
      ended()
      if (found) changed(overrun)
    }
    timer = setTimeout(step, stepMs).unref()
  }
  return { begin, cancel: () => clearTimeout(timer) }
}
