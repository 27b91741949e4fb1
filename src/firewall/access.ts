/**
 * The kernel's firewall as the two backends use it: nftables in process, iptables through
 * `iptables-save` and a lasting `iptables-restore`, all tables of a change at once and in the order
 * in which the change names them (each table is a transaction).
 */
import { runCommand } from '../kernel/command.ts'
import { IptablesSession } from '../kernel/iptables-session.ts'
import type { Netns } from '../kernel/netns.ts'
import { nft } from '../kernel/nftables.ts'
import type { TableAccess } from './iptables.ts'
import type { NftAccess } from './nftables.ts'

/** @param netns path of a namespace; the daemon's own when absent */
export function tableAccess(netns = ''): TableAccess {
  const sessions = { 4: new IptablesSession(4, netns), 6: new IptablesSession(6, netns) }
  return {
    save: async (family) => {
      const program = family === 4 ? 'iptables-save' : 'ip6tables-save'
      return (await runCommand(program, [], { netns })).stdout
    },
    restore: (family, text) => sessions[family].restore(text),
  }
}

/** libnftables in this process, in one namespace. */
export function nftAccess(netns: Netns): NftAccess {
  return { run: (commands) => nft(netns, commands, { stateless: true }) }
}
