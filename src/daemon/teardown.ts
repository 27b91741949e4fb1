/**
 * Takes everything of ours out of the kernel, for `portolan down`: links by their mark, rules,
 * namespaces, what was switched. The state on disk stays: the next start makes it all again.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import type { AppArmor } from '../containers/apparmor.ts'
import type { Firewall } from '../firewall/intent.ts'
import { listLinks } from '../kernel/link.ts'
import { deleteLinks } from '../kernel/linkremover.ts'
import { unmountAll } from '../kernel/mount.ts'
import { homeNetns, removeNetns } from '../kernel/netns.ts'
import { deletePolicyRule, listPolicyRules } from '../kernel/policy-rule.ts'
import { aliasPrefix } from '../network/drivers/bridge.ts'
import type { Forwarding } from '../network/forwarding.ts'
import type { Layout } from './layout.ts'

export interface KernelOwners {
  readonly firewall: Firewall
  readonly forwarding: Forwarding
  readonly layout: Layout
  readonly appArmor: AppArmor
}

/** Goes on past what fails, and throws at the end if anything did. */
export async function clearKernel(owners: KernelOwners): Promise<void> {
  const { firewall, forwarding, layout, appArmor } = owners
  const failed: unknown[] = []
  const attempt = async (what: string, step: () => Promise<void> | void) => {
    try {
      await step()
    } catch (error) {
      log.error('cannot be taken down', { what, error: messageOf(error) })
      failed.push(error)
    }
  }
  const links = linksOfOurs()
  await attempt('namespaces', () => removeNamespaces(layout.netns))
  await attempt('links', () => deleteLinks(homeNetns(), links))
  await attempt('policy rules', removeRules)
  await attempt('firewall', () => firewall.removeAll(links))
  await attempt('forwarding', () => forwarding.restoreAll())
  await attempt('AppArmor profile', () => appArmor.remove())
  if (failed.length > 0) throw new AggregateError(failed, failed.map(messageOf).join('; '))
}

/** Names of the links that carry our mark; those that the user made and lent us do not. */
function linksOfOurs(): readonly string[] {
  return listLinks(homeNetns())
    .filter(({ alias }) => alias.startsWith(aliasPrefix))
    .map(({ name }) => name)
}

/** After the links: until then they keep internal networks closed. */
function removeRules(): void {
  for (const rule of listPolicyRules(homeNetns())) deletePolicyRule(homeNetns(), rule)
}

function removeNamespaces(folder: string): void {
  for (const name of readdirSync(folder)) removeNetns(join(folder, name))
  unmountAll(folder)
}
