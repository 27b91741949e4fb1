/**
 * iptables and ip6tables: one `-save` or one `-restore --noflush --wait` per table and change.
 *
 * A restore is atomic for its table only. It must not name a chain that exists in a `:CHAIN` line
 * (that empties the chain, the user's rules too), and one `-D` of a missing rule fails the
 * whole table: callers read back first. Works alike on the nft and the legacy variant.
 */
import { runCommand } from './command.ts'
import { isKernelError } from './error.ts'

export type IptablesFamily = 4 | 6
export type IptablesTable = 'raw' | 'mangle' | 'nat' | 'filter' | 'security'

/** Another holder of the xtables lock is waited for this long, then the restore fails. */
const lockWaitSeconds = 20

const programs = (family: IptablesFamily) => {
  const prefix = family === 4 ? 'iptables' : 'ip6tables'
  return { main: prefix, save: `${prefix}-save`, restore: `${prefix}-restore` }
}

/**
 * The lines of one table as `iptables-save` prints them, without comments and COMMIT.
 * @param netns path of a namespace; the daemon's own when absent
 */
export async function saveTable(
  family: IptablesFamily,
  table: IptablesTable,
  netns = '',
): Promise<readonly string[]> {
  const { save } = programs(family)
  const { stdout } = await runCommand(save, ['-t', table], { netns })
  return stdout.split('\n').filter((line) => /^[:-]/.test(line))
}

/**
 * Applies `lines` (`:CHAIN - [0:0]`, `-A …`, `-I …`, `-D …`) to one table, all or none.
 * Nothing is done, and no process started, when there are no lines.
 */
export async function restoreTable(
  family: IptablesFamily,
  table: IptablesTable,
  lines: readonly string[],
  netns = '',
): Promise<void> {
  if (lines.length === 0) return
  const input = `*${table}\n${lines.join('\n')}\nCOMMIT\n`
  const args = ['--noflush', '--wait', String(lockWaitSeconds)]
  await runCommand(programs(family).restore, args, { input, netns })
}

/** Whether this machine has the programs and its kernel the tables for a family. */
export async function isIptablesAvailable(family: IptablesFamily): Promise<boolean> {
  try {
    await saveTable(family, 'filter')
    return true
  } catch (error) {
    if (isKernelError(error)) return false
    throw error
  }
}

/** `iptables --version`: says which variant, for example `iptables v1.8.9 (nf_tables)`. */
export async function iptablesVersion(family: IptablesFamily): Promise<string> {
  const { stdout } = await runCommand(programs(family).main, ['--version'])
  return stdout.trim()
}
