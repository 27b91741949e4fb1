/**
 * Desired tables against what `nft list` printed → one transaction of nft commands.
 *
 * The tables are ours alone, but for the chain DOCKER-USER: its rules are never touched.
 */
import { mentions, type ExplainMatch } from './backend.ts'
import { nftSets, nftTable, userChain } from './nft-compile.ts'
import type { NftChain, NftElement, NftSet } from './nft-compile.ts'
import { parseTable } from './nft-text.ts'
import type { ListedTable } from './nft-text.ts'
import type { NftChange } from './nft-desired.ts'
import type { Family } from './rules.ts'

export const tableName = (family: Family) => `${family === 4 ? 'ip' : 'ip6'} ${nftTable}`

const isHook = (line: string | undefined) => line?.startsWith('type ') ?? false

/** Commands for a change whose surroundings are known to be right. */
export function changeCommands(family: Family, change: NftChange): string[] {
  const ofFamily = (item: { readonly family: Family }) => item.family === family
  const chains = change.chains.filter(ofFamily)
  const goneChains = change.goneChains.filter(ofFamily)
  const table = tableName(family)
  return [
    // An element whose value changes goes before it comes.
    ...elementCommands('delete', family, change.goneElements.filter(ofFamily)),
    ...chains.flatMap((chain) => declare(table, chain)),
    ...chains.flatMap((chain) => fill(table, chain, true)),
    ...elementCommands('add', family, change.elements.filter(ofFamily)),
    ...goneChains.flatMap(({ name }) => [`flush chain ${table} ${name}`]),
    ...goneChains.map(({ name }) => `delete chain ${table} ${name}`),
  ]
}

function declare(table: string, { name, lines }: NftChain): string[] {
  return [`add chain ${table} ${name}${isHook(lines[0]) ? ` { ${lines[0]} }` : ''}`]
}

function addSet(table: string, { name, kind, header }: NftSet): string {
  return `add ${kind} ${table} ${name} { ${header.map((line) => `${line};`).join(' ')} }`
}

function fill(table: string, { name, lines }: NftChain, flush: boolean): string[] {
  const rules = (isHook(lines[0]) ? lines.slice(1) : lines)
  return [
    ...(flush ? [`flush chain ${table} ${name}`] : []),
    ...rules.map((rule) => `add rule ${table} ${name} ${rule}`),
  ]
}

export function elementText({ key, value }: NftElement): string {
  return value === undefined || value === '' ? key : `${key} : ${value}`
}

function elementCommands(
  verb: 'add' | 'delete',
  family: Family,
  elements: readonly NftElement[],
): string[] {
  const bySet = Map.groupBy(elements, (element) => element.set)
  return [...bySet].map(([set, items]) => {
    const texts = items.map((item) => (verb === 'add' ? elementText(item) : item.key))
    return `${verb} element ${tableName(family)} ${set} { ${texts.join(', ')} }`
  })
}

/**
 * @param listing what nft printed; undefined when there is no such table
 * @param surplus what may be removed: everything that is not asked for, or this only
 */
export function diffListing(
  family: Family,
  chains: readonly NftChain[],
  elements: readonly NftElement[],
  listing: string | undefined,
  surplus: 'all' | Pick<NftChange, 'goneChains' | 'goneElements'>,
): string[] {
  const table = tableName(family)
  const found = parseTable(listing ?? '')
  const sets = nftSets(family)
  const stale = sets.some(({ name, header }) => {
    const known = found.sets.get(name)?.header
    return known !== undefined && known.join('\n') !== header.join('\n')
  })
  if (stale) return rebuild(family, chains, elements, found)
  const commands = listing === undefined ? [`add table ${table}`] : []
  if (!found.chains.has(userChain)) commands.push(`add chain ${table} ${userChain}`)
  const missing = sets.filter(({ name }) => !found.sets.has(name)).map((set) => addSet(table, set))
  const wrong = chains.filter((chain) => {
    const lines = found.chains.get(chain.name)
    return lines === undefined || lines.join('\n') !== chain.lines.join('\n')
  })
  const { added, removed } = diffElements(elements, found, surplus)
  const wanted = new Set(chains.map(({ name }) => name))
  const gone = [...found.chains.keys()].filter((name) =>
    name !== userChain && !wanted.has(name) &&
      (surplus === 'all' || surplus.goneChains.some((chain) => chain.name === name)))
  return [
    ...commands,
    // Chains before sets: nft sends the elements of a new interval map together with the map, and
    // those name chains.
    ...wrong.flatMap((chain) => declare(table, chain)),
    ...missing,
    ...wrong.flatMap((chain) => fill(table, chain, found.chains.has(chain.name))),
    ...elementCommands('delete', family, removed),
    ...elementCommands('add', family, added),
    ...gone.map((name) => `flush chain ${table} ${name}`),
    ...gone.map((name) => `delete chain ${table} ${name}`),
  ]
}

function diffElements(
  elements: readonly NftElement[],
  found: ListedTable,
  surplus: 'all' | Pick<NftChange, 'goneElements'>,
): { added: NftElement[]; removed: NftElement[] } {
  const removed: NftElement[] = []
  const wanted = new Map(elements.map((element) => [`${element.set} ${element.key}`, element]))
  const family = elements[0]?.family ?? 4
  for (const [set, listed] of found.sets) {
    for (const [key, value] of listed.elements) {
      const element = wanted.get(`${set} ${key}`)
      const mayGo = element !== undefined || surplus === 'all' ||
        surplus.goneElements.some((gone) => gone.set === set && gone.key === key)
      if (mayGo && (element === undefined || (element.value ?? '') !== value)) {
        removed.push({ family, set, key, value })
      }
    }
  }
  const added = elements.filter(({ set, key, value }) =>
    found.sets.get(set)?.elements.get(key) !== (value ?? ''))
  return { added, removed }
}

/** For tables that an older release has made: all anew, at once, with the user's rules. */
function rebuild(
  family: Family,
  chains: readonly NftChain[],
  elements: readonly NftElement[],
  found: ListedTable,
): string[] {
  const table = tableName(family)
  const users = (found.chains.get(userChain) ?? [])
    .map((rule) => `add rule ${table} ${userChain} ${rule}`)
  const fresh = diffListing(family, chains, elements, undefined, 'all')
  return [`delete table ${table}`, ...fresh, ...users]
}

/** The table, its sets and the chains of no bridge, as commands. */
export function explainBase(family: Family, { chains }: ListedTable): readonly string[] {
  const table = tableName(family)
  const base = [...chains].filter(([name]) => !name.includes('__') && name !== userChain)
    .map(([name, lines]) => ({ family, name, lines }))
  return [
    `add table ${table}`,
    ...nftSets(family).map((set) => addSet(table, set)),
    `add chain ${table} ${userChain}`,
    ...base.flatMap((chain) => declare(table, chain)),
    ...base.flatMap((chain) => fill(table, chain, false)),
  ]
}

/** Chains, rules and elements that name a bridge or an address, as commands. */
export function explainMatch(
  family: Family,
  { chains, sets }: ListedTable,
  match: ExplainMatch,
): readonly string[] {
  const table = tableName(family)
  const commands: string[] = []
  for (const [name, lines] of chains) {
    const whole = match.bridge !== undefined && name.endsWith(`__${match.bridge}`)
    if (whole) commands.push(`add chain ${table} ${name}`)
    for (const line of lines) {
      if (whole || mentions(line, match)) commands.push(`add rule ${table} ${name} ${line}`)
    }
  }
  for (const [name, { elements }] of sets) {
    for (const [key, value] of elements) {
      const text = elementText({ family, set: name, key, value })
      const jumps = match.bridge !== undefined && value.endsWith(`__${match.bridge}`)
      if (jumps || mentions(text, match)) commands.push(`add element ${table} ${name} { ${text} }`)
    }
  }
  return commands
}
