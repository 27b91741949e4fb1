/**
 * Legacy links of the default bridge: which container is meant, and the environment variables
 * that the linking one gets.
 */
import { Refusal } from '../base/refusal.ts'
import type { LegacyLink } from '../network/model.ts'
import type { ContainerRecord } from './record.ts'
import { hasProcess } from './record.ts'
import type { Context } from './rooms.ts'

/** `name:alias`, `name`, or Docker's stored `/child:/parent/alias`. */
export function parseLink(text: string): { readonly name: string; readonly alias: string } {
  const [name = '', alias = ''] = text.split(':')
  const child = name.replace(/^\//, '')
  const short = alias.includes('/') ? alias.slice(alias.lastIndexOf('/') + 1) : alias
  return { name: child, alias: short === '' ? child : short }
}

/** The linked containers; each must run on the default bridge. */
export function legacyLinks(context: Context, record: ContainerRecord): readonly LegacyLink[] {
  return (record.hostConfig.Links ?? []).map((text) => {
    const { name, alias } = parseLink(text)
    const child = context.registry.find(name).record
    if (!hasProcess(child.state.status)) {
      throw new Refusal(
        'internal',
        `Cannot link to a non running container: /${child.name} AS /${record.name}/${alias}`,
      )
    }
    if (!('bridge' in child.networks)) {
      throw new Refusal('internal', `container ${child.id} not attached to default bridge network`)
    }
    return {
      containerId: child.id,
      containerName: child.name,
      alias,
      exposed: Object.keys(child.config.ExposedPorts ?? {}),
    }
  })
}

/** WEB_NAME, WEB_PORT, WEB_PORT_80_TCP… and WEB_ENV_… for each link. */
export function linkEnvironment(context: Context, record: ContainerRecord): readonly string[] {
  if (!('bridge' in record.networks)) return []
  return (record.hostConfig.Links ?? []).flatMap((text) => {
    const { name, alias } = parseLink(text)
    const child = context.registry.find(name).record
    const endpoint = context.networks
      .sandbox(child.id)
      ?.endpoints.find((e) => e.networkName === 'bridge')
    const address = endpoint?.ipv4.split('/')[0] ?? ''
    const prefix = alias.replace(/-/g, '_').toUpperCase()
    return [
      `${prefix}_NAME=/${record.name}/${alias}`,
      ...portVariables(prefix, address, Object.keys(child.config.ExposedPorts ?? {})),
      ...(child.config.Env ?? [])
        .filter((entry) => !/^(HOME|PATH)=/.test(entry) && entry.includes('='))
        .map((entry) => `${prefix}_ENV_${entry}`),
    ]
  })
}

interface ExposedPort {
  readonly port: number
  readonly protocol: string
}

function portVariables(
  prefix: string,
  address: string,
  exposed: readonly string[],
): readonly string[] {
  const ports: ExposedPort[] = exposed
    .map((key) => ({ port: Number.parseInt(key, 10), protocol: key.split('/')[1] ?? 'tcp' }))
    .sort((a, b) => Number(a.protocol !== 'tcp') - Number(b.protocol !== 'tcp') || a.port - b.port)
  const [first] = ports
  if (first === undefined) return []
  const lines = [`${prefix}_PORT=${first.protocol}://${address}:${first.port}`]
  for (const run of contiguous(ports)) {
    const start = run[0]
    const end = run.at(-1)
    if (start === undefined || end === undefined || run.length < 2) continue
    const name = `${prefix}_PORT_${start.port}_${start.protocol.toUpperCase()}`
    lines.push(`${name}_START=${start.protocol}://${address}:${start.port}`)
    lines.push(`${name}_END=${start.protocol}://${address}:${end.port}`)
    lines.push(`${name}_PORT_START=${start.port}`, `${name}_PORT_END=${end.port}`)
  }
  for (const { port, protocol } of ports) {
    const name = `${prefix}_PORT_${port}_${protocol.toUpperCase()}`
    lines.push(`${name}=${protocol}://${address}:${port}`, `${name}_ADDR=${address}`)
    lines.push(`${name}_PORT=${port}`, `${name}_PROTO=${protocol}`)
  }
  return lines
}

function contiguous(ports: readonly ExposedPort[]): readonly (readonly ExposedPort[])[] {
  const runs: ExposedPort[][] = []
  for (const port of ports) {
    const last = runs.at(-1)
    const before = last?.at(-1)
    if (last !== undefined && before?.protocol === port.protocol && before.port + 1 === port.port)
      last.push(port)
    else runs.push([port])
  }
  return runs
}
