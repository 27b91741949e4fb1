/** Everyday verbs on containers that exist; `run` and `exec` are in `run.ts`. */
import { parseArgs } from 'node:util'
import { Refusal } from '../../base/refusal.ts'
import { field, type Json } from '../client.ts'
import { table, type Command } from '../command.ts'
import { copyFrames } from './streams.ts'
import { positionals } from './network.ts'

export const container = (name: string) => `/containers/${encodeURIComponent(name)}`

/** `0.0.0.0:5050->80/tcp`, as `docker ps` words it. */
function portText(port: Json): string {
  const inside = `${field.text(port, 'PrivatePort')}/${field.text(port, 'Type')}`
  const outside = field.text(port, 'PublicPort')
  if (outside === '') return inside
  const address = field.text(port, 'IP')
  return `${address.includes(':') ? `[${address}]` : address}:${outside}->${inside}`
}

const ps: Command = {
  name: 'ps',
  usage: '[-a] [-q]',
  summary: 'list containers',
  async run(args, { engine, print }) {
    const { values } = parseArgs({
      args: [...args],
      options: { all: { type: 'boolean', short: 'a', default: false }, quiet: { type: 'boolean', short: 'q' } },
    })
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
}

const logs: Command = {
  name: 'logs',
  usage: '[-f] [-t] [-n LINES] CONTAINER',
  summary: 'print what a container wrote',
  async run(args, { engine }) {
    const { values, positionals: rest } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        follow: { type: 'boolean', short: 'f', default: false },
        timestamps: { type: 'boolean', short: 't', default: false },
        tail: { type: 'string', short: 'n', default: 'all' },
      },
    })
    const [name = ''] = positionals(rest, 1, 'one container')
    const tty = field.of(await engine.json('GET', `${container(name)}/json`), 'Config', 'Tty') === true
    const query = `stdout=1&stderr=1&follow=${values.follow}&timestamps=${values.timestamps}&tail=${encodeURIComponent(values.tail)}`
    await copyFrames(await engine.stream('GET', `${container(name)}/logs?${query}`), !tty)
    return 0
  },
}

/** A verb that posts to each named container and prints its name. */
function each(name: string, summary: string, call: (path: string) => readonly [string, string]): Command {
  return {
    name,
    usage: 'CONTAINER...',
    summary,
    async run(args, { engine, print }) {
      if (args.length === 0) throw new Refusal('invalid', 'name at least one container')
      for (const one of args) {
        const [method, path] = call(container(one))
        await engine.json(method, path)
        print(one)
      }
      return 0
    },
  }
}

const remove: Command = {
  name: 'rm',
  usage: '[-f] [-v] CONTAINER...',
  summary: 'remove containers',
  async run(args, { engine, print }) {
    const { values, positionals: names } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        force: { type: 'boolean', short: 'f', default: false },
        volumes: { type: 'boolean', short: 'v', default: false },
      },
    })
    if (names.length === 0) throw new Refusal('invalid', 'name at least one container')
    for (const one of names) {
      await engine.json('DELETE', `${container(one)}?force=${values.force}&v=${values.volumes}`)
      print(one)
    }
    return 0
  },
}

const inspect: Command = {
  name: 'inspect',
  usage: 'NAME...',
  summary: 'show containers, images or networks as JSON',
  async run(args, { engine, print }) {
    const found: Json[] = []
    for (const name of args) {
      const one = encodeURIComponent(name)
      found.push(await firstFound(name, [`/containers/${one}/json`, `/images/${one}/json`, `/networks/${one}`],
        (path) => engine.json('GET', path)))
    }
    print(JSON.stringify(found, null, 4))
    return 0
  },
}

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

const port: Command = {
  name: 'port',
  usage: 'CONTAINER',
  summary: 'list the published ports of a container',
  async run(args, { engine, print }) {
    const [name = ''] = positionals(args, 1, 'one container')
    const details = await engine.json('GET', `${container(name)}/json`)
    for (const [inside, bindings] of field.entries(details, 'NetworkSettings', 'Ports')) {
      for (const binding of field.list(bindings)) {
        const address = field.text(binding, 'HostIp')
        print(`${inside} -> ${address.includes(':') ? `[${address}]` : address}:${field.text(binding, 'HostPort')}`)
      }
    }
    return 0
  },
}

export const containerCommands: readonly Command[] = [
  ps, logs,
  each('start', 'start containers', (path) => ['POST', `${path}/start`]),
  each('stop', 'stop containers', (path) => ['POST', `${path}/stop`]),
  remove, inspect, port,
]
