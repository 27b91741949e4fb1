/**
 * Reads what `iptables-save` prints. Rules stay text: only the counters go, and the marks of
 * chains (policy or `-`) are kept.
 */
import { tables } from './rules.ts'
import type { Table } from './rules.ts'

export interface SavedChain {
  /** ACCEPT or DROP for the kernel's own chains, `-` for all others. */
  readonly policy: string
  readonly rules: readonly string[]
}

export type SavedTable = ReadonlyMap<string, SavedChain>
export type SavedTables = ReadonlyMap<Table, SavedTable>

/** Tables that the text does not name are empty, as in a kernel that has never used them. */
export function parseSave(text: string): SavedTables {
  const found = new Map<Table, Map<string, { policy: string; rules: string[] }>>()
  let chains = new Map<string, { policy: string; rules: string[] }>()
  for (const line of text.split('\n')) {
    if (line.startsWith('*')) {
      chains = new Map()
      const name = tables.find((table) => table === line.slice(1).trim())
      if (name !== undefined) found.set(name, chains)
    } else if (line.startsWith(':')) {
      const [name = '', policy = '-'] = line.slice(1).split(' ')
      chains.set(name, { policy, rules: [] })
    } else {
      const rule = /^(?:\[\d+:\d+\] )?-A (\S+) ?(.*)$/.exec(line)
      if (rule !== null) chains.get(rule[1] ?? '')?.rules.push((rule[2] ?? '').trimEnd())
    }
  }
  return found
}
