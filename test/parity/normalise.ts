/**
 * What differs between any two runs, replaced by a word: ids, times, process ids, the engine's own
 * folders. What an id belongs to stays visible where a question gave it a name.
 */

export interface Normalising {
  /** The engine's folder, below which all its paths are. */
  readonly folder: string
  /** Ids by the name under which they were remembered. */
  readonly names: ReadonlyMap<string, string>
}

const zeroTime = '0001-01-01T00:00:00Z'
/** Numbers that count what no two runs have in common. */
const numbers: Readonly<Record<string, string>> = {
  Pid: '<pid>', Created: '<time>', time: '<time>', timeNano: '<time>', CreatedAt: '<time>',
}

/** The same document with every word that belongs to one run replaced. */
export function normalised(value: unknown, how: Normalising): unknown {
  if (typeof value === 'string') return cleaned(value, how)
  if (Array.isArray(value)) return value.map((item) => normalised(item, how))
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).map(sortedMounts).map(([key, item]): [string, unknown] => {
    const word = numbers[key]
    if (word !== undefined && typeof item === 'number' && item > 0) return [key, word]
    return [cleaned(key, how), normalised(item, how)]
  })
  return Object.fromEntries(entries)
}

/** Docker lists mounts, ports and volumes in the order of a Go map, another one each time. */
function sortedMounts([key, value]: [string, unknown]): [string, unknown] {
  if (!['Mounts', 'Ports', 'Volumes'].includes(key) || !Array.isArray(value)) return [key, value]
  if (key === 'Volumes') {
    const name = (volume: unknown) => /"Name":"([^"]*)"/.exec(JSON.stringify(volume))?.[1]
    return [key, [...value].sort((a, b) => String(name(a)).localeCompare(String(name(b))))]
  }
  if (key === 'Ports') return [key, value.map((port) => JSON.stringify(port)).sort()]
  const target = (mount: unknown) => /"(?:Destination|Target)":"([^"]*)"/.exec(JSON.stringify(mount))?.[1]
  return [key, [...value].sort((a, b) => String(target(a)).localeCompare(String(target(b))))]
}

/** The same for a text alone. */
export function cleaned(value: string, { folder, names }: Normalising): string {
  let result = value
  for (const [name, id] of names) {
    if (!/^[0-9a-f]{64}$/.test(id)) continue
    result = result.replaceAll(id, `<${name}>`).replaceAll(id.slice(0, 12), `<${name} 12>`)
  }
  return result
    .replaceAll(folder, '<folder>')
    .replaceAll(/\b(Up|Exited \(\d+\)) (Less than a second|About a minute|\d+ \w+)/g, '$1 <time>')
    // Which one of several is named depends on the order of a Go map.
    .replace('endpoints: y, x', 'endpoints: x, y')
    .replace(/container <\w+ 12> is using/, 'container <one> is using')
    // 20.10 goes on behind the pool it used last, newer engines take the lowest free one.
    .replaceAll(/\b(172\.(1[89]|2\d|3[01])\.(0|255)|192\.168\.\d+)\.(\d+)(\/\d+)?/g, '<pool>.$4')
    .replaceAll(/\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)/g,
      (time) => (time === zeroTime || time.startsWith('1970') ? time : '<time>'))
    .replaceAll(/(?<!sha256:)\b[0-9a-f]{64}\b/g, '<id>')
    // An older containerd says it behind every sentence of the runtime.
    .replaceAll(/: unknown(?=\r?\n|$)/g, '')
    // Processors of the machine.
    .replace(/(from 0\.01 to )\d+\.\d\d(, as there are only )\d+/, '$1<n>$2<n>')
    .replace(/(Available: )[\d,-]+/, '$1<cpus>')
    // Ports that the engine chose.
    .replaceAll(/\b327\d\d\b/g, '<port>')
    // Newer engines draw MAC addresses by lot; those that were asked for begin like this.
    .replaceAll(/\b(?!02:42:aa:bb|ff:ff|00:00:00:00)[0-9a-f]{2}(:[0-9a-f]{2}){5}\b/g, '<mac>')
    .replaceAll(/\bbr-[0-9a-f]{12}\b/g, 'br-<12>')
    .replaceAll(/\bveth[0-9a-f]{7}\b/g, '<veth>')
    // Now and then one has digits only, which elsewhere are times and sizes.
    .replaceAll(/\b(image|container|network) [0-9a-f]{12}\b/g, '$1 <12>')
    .replaceAll(/\b(?=\d*[a-f])(?=[a-f]*\d)[0-9a-f]{12}\b/g, '<12>')
}
