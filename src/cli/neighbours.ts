/**
 * Who else keeps container networks on this machine, and what is left for us.
 *
 * A dockerd (or another engine) that has docker0, 172.17.0.0/16 or the DOCKER chains keeps them:
 * we take a bridge, chains and address pools of our own, and both work side by side. Reads only.
 */
import { run } from './machine.ts'

/** What is ours carries this link alias (`network/drivers`). */
const aliasPrefix = 'portolan:'

export interface Neighbours {
  /** One sentence for each thing that somebody else holds. */
  readonly found: readonly string[]
}

/** What is found of somebody else's on this machine, or in this network namespace. */
export function findNeighbours(): Neighbours {
  const found: string[] = []
  if (foreignLink('docker0')) found.push('docker0 is another engine\'s bridge')
  const overlapping = onLinkPrefixes().find(({ prefix, device }) =>
    overlaps(prefix, '172.17.0.0/16') && device !== 'docker0' && foreignLink(device))
  if (overlapping) found.push(`${overlapping.device} has ${overlapping.prefix}, which overlaps 172.17.0.0/16`)
  if (foreignLink('docker0') || !ownBridgeExists()) {
    const chains = run('iptables', ['-w', '-t', 'nat', '-S', 'DOCKER'])
    if (chains.code === 0) found.push('the DOCKER chains of iptables exist already')
  }
  return { found }
}

function links(): readonly { ifname: string; ifalias: string }[] {
  const listed: unknown = JSON.parse(run('ip', ['-j', 'link', 'show']).stdout || '[]')
  if (!Array.isArray(listed)) return []
  return listed.map((link: unknown) => ({ ifname: text(link, 'ifname'), ifalias: text(link, 'ifalias') }))
}

function foreignLink(name: string): boolean {
  return links().some((link) => link.ifname === name && !link.ifalias.startsWith(aliasPrefix))
}

function ownBridgeExists(): boolean {
  return links().some((link) => link.ifalias.startsWith(aliasPrefix))
}

function onLinkPrefixes(): readonly { prefix: string; device: string }[] {
  const listed: unknown = JSON.parse(run('ip', ['-j', '-4', 'route', 'show', 'table', 'all']).stdout || '[]')
  if (!Array.isArray(listed)) return []
  return listed
    .map((route: unknown) => ({ prefix: text(route, 'dst'), device: text(route, 'dev') }))
    .filter(({ prefix }) => prefix.includes('/'))
}

function text(value: unknown, name: string): string {
  const entry = typeof value === 'object' && value !== null ? Object.entries(value).find(([key]) => key === name) : undefined
  return typeof entry?.[1] === 'string' ? entry[1] : ''
}

/** The first candidate that no route on a link overlaps. */
export function freeBase(candidates: readonly string[]): string | undefined {
  const taken = onLinkPrefixes()
  return candidates.find((candidate) => !taken.some(({ prefix }) => overlaps(prefix, candidate)))
}

function overlaps(a: string, b: string): boolean {
  const [first, second] = [range(a), range(b)]
  return first[0] <= second[1] && second[0] <= first[1]
}

function range(prefix: string): readonly [number, number] {
  const [address = '', length = '32'] = prefix.split('/')
  const start = address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)
  return [start, start + 2 ** (32 - Number(length)) - 1]
}
