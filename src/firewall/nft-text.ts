/**
 * Reads what `nft list table` prints, as far as our own tables need it: sets and maps with their
 * elements, chains with their rules. Counters are left out.
 */

export interface ListedTable {
  readonly sets: ReadonlyMap<string, ListedSet>
  /** A base chain's first line is its `type … hook …`. */
  readonly chains: ReadonlyMap<string, readonly string[]>
}

export interface ListedSet {
  readonly header: readonly string[]
  /** Key → value, '' in a set. */
  readonly elements: ReadonlyMap<string, string>
}

export function parseTable(text: string): ListedTable {
  const sets = new Map<string, ListedSet>()
  const chains = new Map<string, readonly string[]>()
  let open: { kind: string; name: string; lines: string[] } | undefined
  for (const raw of text.split('\n')) {
    const line = raw.trim()
    const start = /^(set|map|chain) (\S+) \{$/.exec(line)
    if (open === undefined) {
      if (start !== null) open = { kind: start[1] ?? '', name: start[2] ?? '', lines: [] }
    } else if (raw === '\t}') {
      if (open.kind === 'chain') chains.set(open.name, open.lines.map(withoutCounters))
      else sets.set(open.name, parseSet(open.lines))
      open = undefined
    } else if (line !== '') {
      open.lines.push(line)
    }
  }
  return { sets, chains }
}

const withoutCounters = (line: string) => line.replace(/counter packets \d+ bytes \d+/g, 'counter')

function parseSet(lines: readonly string[]): ListedSet {
  const begin = lines.findIndex((line) => line.startsWith('elements = {'))
  if (begin < 0) return { header: lines, elements: new Map() }
  const body = lines.slice(begin).join(' ')
  const inner = body.slice(body.indexOf('{') + 1, body.lastIndexOf('}'))
  const elements = new Map<string, string>()
  for (const item of inner.split(',')) {
    const [key = '', value = ''] = item.trim().replace(/\s+/g, ' ').split(' : ')
    if (key !== '') elements.set(key, value)
  }
  return { header: lines.slice(0, begin), elements }
}
