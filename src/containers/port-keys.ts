/** Ports as requests write them: `80`, `80/udp`, `8000-8010`. Pure. */
import type { Config } from './config.ts'

export interface PortKey {
  readonly first: number
  readonly last: number
  readonly protocol: string
}

/** `80/tcp`, `80`, `80-82/udp`; undefined when it is none. */
export function parsePortKey(key: string): PortKey | undefined {
  const parts = /^0*(\d{1,5})(?:-0*(\d{1,5}))?(?:\/(\w*))?$/.exec(key)
  if (parts === null) return undefined
  const first = Number(parts[1])
  const last = parts[2] === undefined ? first : Number(parts[2])
  if (first > 65_535 || last > 65_535 || last < first) return undefined
  const protocol = parts[3] === undefined || parts[3] === '' ? 'tcp' : parts[3].toLowerCase()
  return { first, last, protocol }
}

/** ExposedPorts, each in one spelling: `80`, `080/TCP` and `80/tcp` are the same, a range is its ports. */
export function exposedPorts({ ExposedPorts }: Pick<Config, 'ExposedPorts'>): readonly string[] {
  const keys = Object.keys(ExposedPorts ?? {}).flatMap((key) => {
    const port = parsePortKey(key)
    if (port === undefined) return []
    const { first, last, protocol } = port
    return Array.from({ length: last - first + 1 }, (_, at) => `${first + at}/${protocol}`)
  })
  return [...new Set(keys)]
}
