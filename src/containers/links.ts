/**
 * Legacy links of the default bridge: which container is meant, and the environment variables
 * that the linking one gets.
 */
import { Refusal, messageOf } from '../base/refusal.ts'
import type { LegacyLink } from '../network/model.ts'
import type { HostConfig } from './config.ts'
import { isUserNetwork } from './network-mode.ts'
import { exposedPorts } from './port-keys.ts'
import type { ContainerRecord } from './record.ts'
import { hasProcess } from './record.ts'
import type { Context } from './rooms.ts'

/** `name:alias`, `name`, or Docker's stored `/child:/parent/alias`. */
export function parseLink(text: string): { readonly name: string; readonly alias: string } {
  if (text === '') throw new Refusal('invalid', 'empty string specified for links')
  const [name = '', alias = '', ...rest] = text.split(':')
  if (rest.length > 0) throw new Refusal('invalid', `bad format for links: ${text}`)
  const child = name.replace(/^\//, '')
  const short = alias.includes('/') ? alias.slice(alias.lastIndexOf('/') + 1) : alias
  return { name: child, alias: short === '' ? child : short }
}

interface Link {
  readonly child: ContainerRecord
  readonly alias: string
}

/**
 * Links of the default bridge as they are kept: by the child's id, so that they follow a rename.
 * On a network of the user a link is an alias of its endpoint, and the child may be absent.
 */
export function storedLinks(context: Context, hostConfig: HostConfig): readonly string[] | null {
  const { Links: links } = hostConfig
  if (links === null || isUserNetwork(hostConfig.NetworkMode)) return links
  return links.map((text) => {
    const { name, alias } = parseLink(text)
    return `${findChild(context, name).id}:${alias}`
  })
}

function findChild(context: Context, name: string): ContainerRecord {
  try {
    return context.registry.find(name).record
  } catch (error) {
    const sentence = `could not get container for ${name}: ${messageOf(error)}`
    throw new Refusal('invalid', sentence, { cause: error })
  }
}

/** The links of the default bridge; one to a container that was removed is gone with it. */
function linksOf(context: Context, record: ContainerRecord): readonly Link[] {
  const { Links: links, NetworkMode: mode } = record.hostConfig
  if (links === null || isUserNetwork(mode)) return []
  const all = context.registry.all()
  return links.flatMap((text) => {
    const { name, alias } = parseLink(text)
    const found = all.find(({ record: each }) => each.id === name || each.name === name)
    return found === undefined ? [] : [{ child: found.record, alias }]
  })
}

/** HostConfig.Links as inspect shows them: `/child:/parent/alias`. */
export function shownLinks(context: Context, record: ContainerRecord): readonly string[] | null {
  if (isUserNetwork(record.hostConfig.NetworkMode)) return record.hostConfig.Links
  const links = linksOf(context, record)
  if (links.length === 0) return null
  return links.map(({ child, alias }) => `/${child.name}:/${record.name}/${alias}`)
}

/** The linked containers; each must run on the default bridge. */
export function legacyLinks(context: Context, record: ContainerRecord): readonly LegacyLink[] {
  return linksOf(context, record).map(({ child, alias }) => {
    if (!hasProcess(child.state.status)) {
      const which = `/${child.name} AS /${record.name}/${alias}`
      throw new Refusal('internal', `Cannot link to a non running container: ${which}`)
    }
    if (!('bridge' in child.networks)) {
      const sentence = `container ${child.id} not attached to default bridge network`
      throw new Refusal('internal', sentence)
    }
    return {
      containerId: child.id,
      containerName: child.name,
      alias,
      exposed: exposedPorts(child.config),
    }
  })
}

/** WEB_NAME, WEB_PORT, WEB_PORT_80_TCP… and WEB_ENV_… for each link. */
export function linkEnvironment(context: Context, record: ContainerRecord): readonly string[] {
  if (!('bridge' in record.networks)) return []
  return linksOf(context, record).flatMap(({ child, alias }) => {
    const endpoint = context.networks
      .sandbox(child.id)
      ?.endpoints.find(({ networkName }) => networkName === 'bridge')
    const address = endpoint?.ipv4.split('/')[0] ?? ''
    const prefix = alias.replace(/-/g, '_').toUpperCase()
    const exposed = Object.keys(child.config.ExposedPorts ?? {})
    return [
      `${prefix}_NAME=/${record.name}/${alias}`,
      ...portVariables(prefix, address, exposed),
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
    if (start === undefined || end === undefined || run.length < rangeMin) continue
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

/** Docker calls three ports in a row a range, not two. */
const rangeMin = 3

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
