/**
 * The rules that keep internal networks closed, apart from everything else: to look at them costs
 * one dump, so that they are put back as soon as the kernel says that one has gone, whatever else
 * there is to compare.
 */
import { log } from '../base/log.ts'
import { homeNetns } from '../kernel/netns.ts'
import { addPolicyRule, deletePolicyRule, listPolicyRules } from '../kernel/policy-rule.ts'
import { identityOf } from './diff.ts'
import { driverNamed } from './drivers/drivers.ts'
import { plainFacts } from './host.ts'
import type { Room } from './room.ts'

/** In one go: no verb comes in between. */
export function repairPolicyRules(room: Room): void {
  const facts = plainFacts(room)
  const found = new Map(listPolicyRules(homeNetns()).map((rule) => [identityOf(rule), rule]))
  const known = new Set(room.state.inTheMaking)
  for (const { record, removing } of room.state.networks.values()) {
    const { network } = record
    if (network.spec.configOnly) continue
    for (const object of driverNamed(network.spec.driver).networkObjects(network, facts)) {
      if (object.type !== 'rule') continue
      known.add(identityOf(object))
      if (removing || found.has(identityOf(object))) continue
      addPolicyRule(homeNetns(), object)
      log.info('repaired', { what: `network ${network.spec.name}` })
    }
  }
  for (const [identity, rule] of found) {
    if (!known.has(identity)) deletePolicyRule(homeNetns(), rule)
  }
}
