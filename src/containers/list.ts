/** `docker ps`: one summary per container, filtered as Docker does, newest first. */
import { Refusal } from '../base/refusal.ts'
import { healthStatus } from './healthcheck.ts'
import { mountView, sizesOf } from './inspect.ts'
import { parseLink } from './links.ts'
import { endpointSummaries, portSummaries } from './network-settings.ts'
import { isRunning, statuses } from './record.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'
import { parsePortKey } from './port-keys.ts'
import { epochMs, humanDuration } from './time.ts'
import { truthFilter } from './truth-filter.ts'

type Filters = ReadonlyMap<string, readonly string[]>

export interface ListOptions {
  readonly all: boolean
  /** 0 or less: no limit. */
  readonly limit: number
  readonly size: boolean
  readonly filters: Filters
  readonly apiVersion: number
}

const filterNames = new Set([
  'ancestor',
  'before',
  'exited',
  'expose',
  'health',
  'id',
  'isolation',
  'is-task',
  'label',
  'name',
  'network',
  'publish',
  'since',
  'status',
  'volume',
])

export async function listContainers(
  context: Context,
  options: ListOptions,
): Promise<readonly object[]> {
  const passes = matcher(context, options.filters)
  const shown = options.all || options.limit > 0 || options.filters.has('status')
  const found = context.registry
    .all()
    .filter((container) => (shown || isRunning(container.record.state.status)) && passes(container))
    .sort((a, b) => (a.record.created < b.record.created ? 1 : -1))
  const limited = options.limit > 0 ? found.slice(0, options.limit) : found
  return Promise.all(limited.map((container) => summary(context, container, options)))
}

async function summary(
  context: Context,
  container: Container,
  { size }: ListOptions,
): Promise<object> {
  const { record } = container
  const sizes = size ? await sizesOf(context, container) : {}
  return {
    Id: record.id,
    Names: namesOf(context, container),
    Image: shownImage(context, container),
    ImageID: record.imageId,
    Command: commandText(container),
    Created: Math.floor(epochMs(record.created) / 1000),
    Ports: portSummaries(context, container),
    ...sizes,
    Labels: record.config.Labels ?? {},
    State: record.state.status,
    Status: statusText(container),
    HostConfig: { NetworkMode: record.hostConfig.NetworkMode },
    NetworkSettings: { Networks: endpointSummaries(context, container) },
    Mounts: record.mounts.map(mountView),
  }
}

/** Its own name, and those that links of the default bridge give it, in order. */
function namesOf(context: Context, { record }: Container): readonly string[] {
  const names = [`/${record.name}`]
  for (const parent of context.registry.all()) {
    if (!('bridge' in parent.record.networks)) continue
    for (const text of parent.record.hostConfig.Links ?? []) {
      const { name, alias } = parseLink(text)
      if (name === record.name || name === record.id) names.push(`/${parent.record.name}/${alias}`)
    }
  }
  return names.sort()
}

/** What was asked for; the id when that name means another image by now. */
function shownImage(context: Context, { record }: Container): string {
  try {
    return context.images.find(record.config.Image).id === record.imageId
      ? record.config.Image
      : record.imageId
  } catch (error) {
    if (error instanceof Refusal) return record.config.Image
    throw error
  }
}

function commandText({ record }: Container): string {
  const args = record.args.map((arg) => (/\s/.test(arg) ? `'${arg}'` : arg))
  return [record.path, ...args].join(' ')
}

/** `Up 3 seconds (healthy)`, `Exited (0) 2 minutes ago`. */
export function statusText(container: Container): string {
  const { state } = container.record
  const since = (time: string) => humanDuration(Date.now() - epochMs(time))
  switch (state.status) {
    case 'running': {
      const health = healthStatus(container)
      const words = health === 'starting' ? 'health: starting' : health
      return `Up ${since(state.startedAt)}${words === 'none' ? '' : ` (${words})`}`
    }
    case 'paused':
      return `Up ${since(state.startedAt)} (Paused)`
    case 'restarting':
      return `Restarting (${state.exitCode}) ${since(state.finishedAt)} ago`
    case 'removing':
      return 'Removal In Progress'
    case 'dead':
      return 'Dead'
    case 'created':
      return 'Created'
    case 'exited':
      return `Exited (${state.exitCode}) ${since(state.finishedAt)} ago`
  }
}

/** One predicate from all filters: different keys AND, values of one key OR. */
export function matcher(context: Context, filters: Filters): (container: Container) => boolean {
  for (const name of filters.keys()) {
    if (!filterNames.has(name)) throw new Refusal('invalid', `invalid filter '${name}'`)
  }
  const tests = [...filters].map(([name, values]) => test(context, name, values))
  return (container) => tests.every((passes) => passes(container))
}

type Test = (container: Container) => boolean

/** No container here belongs to a task. */
function tasksOnly(values: readonly string[]): Test {
  const wanted = truthFilter('is-task', values) === true
  return () => !wanted
}

function test(context: Context, name: string, values: readonly string[]): Test {
  const any =
    (passes: (value: string, container: Container) => boolean): Test =>
    (container) =>
      values.some((value) => passes(value, container))
  switch (name) {
    case 'id':
      return any((value, { id }) => id.startsWith(value) || matches(value, id))
    case 'name':
      return any(
        (value, { record }) => matches(value, record.name) || matches(value, `/${record.name}`),
      )
    case 'label':
      return ({ record }) => values.every((value) => hasLabel(record.config.Labels ?? {}, value))
    case 'status':
      return statusTest(values)
    case 'exited':
      return exitedTest(values)
    case 'before':
    case 'since':
      return timeTest(context, name, values)
    case 'ancestor':
      return ancestorTest(context, values)
    case 'network':
      return any((value, { record }) =>
        Object.entries(record.networks).some(
          ([network, settings]) =>
            network === value ||
            (settings.NetworkID !== '' && settings.NetworkID.startsWith(value)),
        ),
      )
    case 'volume':
      return any((value, { record }) =>
        record.mounts.some((point) =>
          [point.Name, point.Destination, point.Source].includes(value),
        ),
      )
    case 'publish':
    case 'expose':
      return portTest(context, name, values)
    case 'health':
      return any((value, container) => healthStatus(container) === value)
    case 'is-task':
      return tasksOnly(values)
    default:
      return () => true
  }
}

function matches(pattern: string, text: string): boolean {
  try {
    return new RegExp(pattern).test(text)
  } catch (error) {
    if (error instanceof SyntaxError) return text.includes(pattern)
    throw error
  }
}

export function hasLabel(labels: Readonly<Record<string, string>>, wanted: string): boolean {
  const at = wanted.indexOf('=')
  if (at < 0) return wanted in labels
  return labels[wanted.slice(0, at)] === wanted.slice(at + 1)
}

function statusTest(values: readonly string[]): Test {
  for (const value of values) {
    if (!statuses.some((status) => status === value)) {
      const why = `invalid value for state (${value}): must be one of ${statuses.join(', ')}`
      throw new Refusal('invalid', `invalid filter 'status=${value}': ${why}`)
    }
  }
  return ({ record }) => values.includes(record.state.status)
}

function exitedTest(values: readonly string[]): Test {
  const codes = values.map((value) => {
    if (/^[+-]?\d+$/.test(value)) return Number(value)
    const why = `strconv.Atoi: parsing ${JSON.stringify(value)}: invalid syntax`
    throw new Refusal('invalid', `invalid filter 'exited=${value}': ${why}`)
  })
  return ({ record: { state, everStarted } }) =>
    everStarted && !isRunning(state.status) && codes.includes(state.exitCode)
}

function timeTest(context: Context, name: string, values: readonly string[]): Test {
  const moments = values.map((value) => context.registry.find(value).record.created)
  return ({ record }) =>
    moments.some((moment) =>
      name === 'before' ? record.created < moment : record.created > moment,
    )
}

function ancestorTest(context: Context, values: readonly string[]): Test {
  const ids = values.flatMap((value) => {
    try {
      return [context.images.find(value).id]
    } catch (error) {
      if (error instanceof Refusal) return []
      throw error
    }
  })
  return ({ record }) => ids.includes(record.imageId)
}

function portTest(context: Context, name: 'publish' | 'expose', values: readonly string[]): Test {
  const wanted = values.map((value) => {
    const key = parsePortKey(value)
    if (key !== undefined) return key
    const [port = ''] = value.split('/')
    const why = `strconv.ParseUint: parsing ${JSON.stringify(port)}: invalid syntax`
    throw new Refusal('invalid', `error while looking up for ${name} ${value}: ${why}`)
  })
  return (container) =>
    wanted.some(({ first, last, protocol }) => {
      const inRange = (port: number | undefined) =>
        port !== undefined && port >= first && port <= last
      return (
        portSummaries(context, container).some(
          (port) =>
            port.Type === protocol &&
            inRange(name === 'publish' ? port.PublicPort : port.PrivatePort),
        ) ||
        (name === 'expose' &&
          Object.keys(container.record.config.ExposedPorts ?? {}).some((key) => {
            const exposed = parsePortKey(key)
            return exposed !== undefined && exposed.protocol === protocol && inRange(exposed.first)
          }))
      )
    })
}
