/** Everyday verbs on containers that exist; `run` and `exec` are in `run.ts`. */
import { Refusal } from '../../base/refusal.ts'
import { field, type Json } from '../client.ts'
import { command, table, type Command } from '../command.ts'
import { copyFrames } from './streams.ts'

export const container = (name: string) => `/containers/${encodeURIComponent(name)}`

/** `0.0.0.0:5050->80/tcp`, as `docker ps` words it. */
function portText(port: Json): string {
  const inside = `${field.text(port, 'PrivatePort')}/${field.text(port, 'Type')}`
  const outside = field.text(port, 'PublicPort')
  if (outside === '') return inside
  const address = field.text(port, 'IP')
  return `${address.includes(':') ? `[${address}]` : address}:${outside}->${inside}`
}

const ps = command({
  name: 'ps',
  usage: '[-a] [-q]',
  summary: 'list containers',
  options: { all: { type: 'boolean', short: 'a', default: false }, quiet: { type: 'boolean', short: 'q' } },
  async run(values, _names, { engine, print }) {
    const all = field.list(await engine.json('GET', `/containers/json?all=${values.all}`))
    const id = (one: Json) => field.text(one, 'Id').slice(0, 12)
    if (values.quiet) for (const one of all) print(id(one))
    else {
      const rows = all.map((one) => [
        id(one), field.text(one, 'Image'), field.text(one, 'Status'),
        field.list(one, 'Ports').map(portText).join(', '),
        field.list(one, 'Names').map((name) => String(name).slice(1)).join(','),
      ])
      for (const line of table([['CONTAINER ID', 'IMAGE', 'STATUS', 'PORTS', 'NAMES'], ...rows])) print(line)
    }
    return 0
  },
})

const logs = command({
  name: 'logs',
  usage: '[-f] [-t] [-n LINES] CONTAINER',
  summary: 'print what a container wrote',
  takes: [1, 1, 'one container'],
  options: {
    follow: { type: 'boolean', short: 'f', default: false },
    timestamps: { type: 'boolean', short: 't', default: false },
    tail: { type: 'string', short: 'n', default: 'all' },
  },
  async run(values, [name = ''], { engine }) {
    const tty = field.of(await engine.json('GET', `${container(name)}/json`), 'Config', 'Tty') === true
    const query = `stdout=1&stderr=1&follow=${values.follow}&timestamps=${values.timestamps}&tail=${encodeURIComponent(values.tail)}`
    await copyFrames(await engine.stream('GET', `${container(name)}/logs?${query}`), !tty)
    return 0
  },
})

/** A verb that posts to each named container and prints its name. */
function each(name: string, summary: string, call: (path: string) => readonly [string, string]): Command {
  return command({
    name,
    usage: 'CONTAINER...',
    summary,
    takes: [1, Infinity, 'at least one container'],
    async run(_values, names, { engine, print }) {
      for (const one of names) {
        const [method, path] = call(container(one))
        await engine.json(method, path)
        print(one)
      }
      return 0
    },
  })
}

const remove = command({
  name: 'rm',
  usage: '[-f] [-v] CONTAINER...',
  summary: 'remove containers',
  takes: [1, Infinity, 'at least one container'],
  options: {
    force: { type: 'boolean', short: 'f', default: false },
    volumes: { type: 'boolean', short: 'v', default: false },
  },
  async run(values, names, { engine, print }) {
    for (const one of names) {
      await engine.json('DELETE', `${container(one)}?force=${values.force}&v=${values.volumes}`)
      print(one)
    }
    return 0
  },
})

const inspect = command({
  name: 'inspect',
  usage: 'NAME...',
  summary: 'show containers, images or networks as JSON',
  takes: [1, Infinity, 'at least one name'],
  async run(_values, names, { engine, print }) {
    const found: Json[] = []
    for (const name of names) {
      const one = encodeURIComponent(name)
      found.push(await firstFound(name, [`/containers/${one}/json`, `/images/${one}/json`, `/networks/${one}`],
        (path) => engine.json('GET', path)))
    }
    print(JSON.stringify(found, null, 4))
    return 0
  },
})

async function firstFound(name: string, paths: readonly string[], get: (path: string) => Promise<Json>): Promise<Json> {
  for (const path of paths) {
    try {
      return await get(path)
    } catch (error) {
      if (!(error instanceof Refusal) || error.kind !== 'notFound') throw error
    }
  }
  throw new Refusal('notFound', `No such object: ${name}`)
}

const port = command({
  name: 'port',
  usage: 'CONTAINER',
  summary: 'list the published ports of a container',
  takes: [1, 1, 'one container'],
  async run(_values, [name = ''], { engine, print }) {
    const details = await engine.json('GET', `${container(name)}/json`)
    for (const [inside, bindings] of field.entries(details, 'NetworkSettings', 'Ports')) {
      for (const binding of field.list(bindings)) {
        const address = field.text(binding, 'HostIp')
        print(`${inside} -> ${address.includes(':') ? `[${address}]` : address}:${field.text(binding, 'HostPort')}`)
      }
    }
    return 0
  },
})

export const containerCommands: readonly Command[] = [
  ps, logs,
  each('start', 'start containers', (path) => ['POST', `${path}/start`]),
  each('stop', 'stop containers', (path) => ['POST', `${path}/stop`]),
  remove, inspect, port,
]
