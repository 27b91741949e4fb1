/**
 * The kernel's firewall as the two backends use it: nftables in process, iptables through
 * `iptables-save` and `iptables-restore`, one process for all tables of a change, in the order in
 * which the change names them (each table is a transaction).
 */
import { runCommand } from '../kernel/command.ts'
import type { Netns } from '../kernel/netns.ts'
import { nft } from '../kernel/nftables.ts'
import type { TableAccess } from './iptables.ts'
import type { NftAccess } from './nftables.ts'
import type { Family } from './rules.ts'

/** Another holder of the xtables lock is waited for this long, then the restore fails. */
const lockWaitSeconds = 20

const program = (family: Family, verb: string) =>
  `${family === 4 ? 'iptables' : 'ip6tables'}-${verb}`

/** @param netns path of a namespace; the daemon's own when absent */
export function tableAccess(netns = ''): TableAccess {
  return {
    save: async (family) => (await runCommand(program(family, 'save'), [], { netns })).stdout,
    restore: async (family, input) => {
      const args = ['--noflush', '--wait', String(lockWaitSeconds)]
      await runCommand(program(family, 'restore'), args, { input, netns })
    },
  }
}

/** libnftables in this process, in one namespace. */
export function nftAccess(netns: Netns): NftAccess {
  return { run: (commands) => nft(netns, commands, { stateless: true }) }
}
