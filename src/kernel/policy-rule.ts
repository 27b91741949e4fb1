/**
 * Rules that choose a routing table (`ip rule`), as far as this project makes them: what comes in
 * by a link or goes to a prefix is dropped, or looked up in the main table.
 *
 * Ours carry a protocol number of their own, which is their ownership mark. They are not part of
 * the firewall: no flush of it touches them.
 */
import { attribute, nested, text, textOf, u32, u32Of, u8, u8Of } from './attributes.ts'
import { isKernelError } from './error.ts'
import { AF_INET, AF_INET6, bytesToIp, prefixToBytes } from './ipbytes.ts'
import {
  NLM_F_CREATE,
  NLM_F_EXCL,
  withRoute,
  type NetlinkMessage,
  type NetlinkSocket,
} from './netlink.ts'
import type { Netns } from './netns.ts'
import type { RuleObject } from './object.ts'

/** Of the numbers that /etc/iproute2/rt_protos leaves to everybody; printed as `proto 80`. */
export const ruleProtocol = 80

const RTM_NEWRULE = 32
const RTM_DELRULE = 33
const RTM_GETRULE = 34
const FRA_DST = 1
const FRA_IIFNAME = 3
const FRA_PRIORITY = 6
const FRA_TABLE = 15
const FRA_PROTOCOL = 21
const RT_TABLE_MAIN = 254
const FR_ACT_TO_TBL = 1
const FR_ACT_BLACKHOLE = 6
const headerBytes = 12

/** Our rules of a namespace, both families. */
export function listPolicyRules(ns: Netns): readonly RuleObject[] {
  return withRoute(ns, (socket) => [...listOn(socket, 4), ...listOn(socket, 6)])
}

/** Whether this kernel has such rules for a family. */
export function supportsPolicyRules(ns: Netns, family: 4 | 6): boolean {
  return withRoute(ns, (socket) => dump(socket, family) !== undefined)
}

/** Adds a rule; true when it was not there before. */
export function addPolicyRule(ns: Netns, rule: RuleObject): boolean {
  return withRoute(ns, (socket) => {
    const message = messageOf(RTM_NEWRULE, rule, 'add')
    const [outcome] = socket.send([{ ...message, flags: NLM_F_CREATE | NLM_F_EXCL }])
    if (outcome === undefined) return true
    if (outcome.code === 'EEXIST') return false
    throw outcome
  })
}

/** Deletes a rule; false when it is not there. */
export function deletePolicyRule(ns: Netns, rule: RuleObject): boolean {
  return withRoute(ns, (socket) => {
    const [outcome] = socket.send([messageOf(RTM_DELRULE, rule, 'delete')])
    if (outcome === undefined) return true
    if (outcome.code === 'ENOENT') return false
    throw outcome
  })
}

function messageOf(type: number, rule: RuleObject, verb: string): NetlinkMessage {
  const { family, priority, to, iif, action } = rule
  const prefix = to === '' ? undefined : prefixToBytes(to)
  const table = action === 'main' ? RT_TABLE_MAIN : 0
  const number = action === 'main' ? FR_ACT_TO_TBL : FR_ACT_BLACKHOLE
  const body = [
    header(family, prefix?.length ?? 0, table, number),
    ...(prefix === undefined ? [] : [attribute(FRA_DST, prefix.bytes)]),
    ...(iif === '' ? [] : [text(FRA_IIFNAME, iif)]),
    u32(FRA_PRIORITY, priority),
    ...(table === 0 ? [] : [u32(FRA_TABLE, table)]),
    u8(FRA_PROTOCOL, ruleProtocol),
  ]
  return { type, body, attempted: `${verb} policy rule ${priority} ${to} ${iif}` }
}

/** `fib_rule_hdr` */
function header(family: 4 | 6, toLength: number, table: number, action: number): Buffer {
  const number = family === 4 ? AF_INET : AF_INET6
  return Buffer.of(number, toLength, 0, 0, table, 0, 0, action, 0, 0, 0, 0)
}

/** undefined where the kernel has none of this family. */
function dump(socket: NetlinkSocket, family: 4 | 6) {
  const body = [header(family, 0, 0, 0)]
  try {
    return socket.dump({ type: RTM_GETRULE, body, attempted: 'list policy rules' })
  } catch (error) {
    if (isKernelError(error, 'EOPNOTSUPP', 'EAFNOSUPPORT')) return undefined
    throw error
  }
}

function listOn(socket: NetlinkSocket, family: 4 | 6): readonly RuleObject[] {
  const number = family === 4 ? AF_INET : AF_INET6
  return (dump(socket, family) ?? []).flatMap(({ type, body }) => {
    if (type !== RTM_NEWRULE || body.readUInt8() !== number) return []
    return parse(family, body) ?? []
  })
}

function parse(family: 4 | 6, body: Buffer): RuleObject | undefined {
  const attributes = nested(body.subarray(headerBytes))
  if (u8Of(attributes.get(FRA_PROTOCOL)) !== ruleProtocol) return undefined
  const to = attributes.get(FRA_DST)
  return {
    type: 'rule',
    family,
    priority: u32Of(attributes.get(FRA_PRIORITY)) ?? 0,
    to: to === undefined ? '' : `${bytesToIp(to)}/${body.readUInt8(1)}`,
    iif: textOf(attributes.get(FRA_IIFNAME)),
    action: body.readUInt8(7) === FR_ACT_BLACKHOLE ? 'blackhole' : 'main',
  }
}
