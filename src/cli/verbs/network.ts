/** Everyday verbs on networks. */
import { field, type Json } from '../client.ts'
import { command, table, type Command } from '../command.ts'

/** `key=value` words as an object; a word without `=` gets an empty value. */
export function pairs(words: readonly string[] = []): Record<string, string> {
  const found: Record<string, string> = {}
  for (const word of words) {
    const at = word.indexOf('=')
    found[at < 0 ? word : word.slice(0, at)] = at < 0 ? '' : word.slice(at + 1)
  }
  return found
}

const network = (name: string) => `/networks/${encodeURIComponent(name)}`

const list = command({
  name: 'network ls',
  usage: '[-q]',
  summary: 'list networks',
  options: { quiet: { type: 'boolean', short: 'q' } },
  async run(values, _names, { engine, print }) {
    const all = [...field.list(await engine.json('GET', '/networks'))]
      .sort((a, b) => field.text(a, 'Name').localeCompare(field.text(b, 'Name')))
    const id = (one: Json) => field.text(one, 'Id').slice(0, 12)
    if (values.quiet) for (const one of all) print(id(one))
    else {
      const rows = all.map((one) => [id(one), field.text(one, 'Name'), field.text(one, 'Driver'), field.text(one, 'Scope')])
      for (const line of table([['NETWORK ID', 'NAME', 'DRIVER', 'SCOPE'], ...rows])) print(line)
    }
    return 0
  },
})

const create = command({
  name: 'network create',
  usage: '[-d DRIVER] [--subnet P] [--gateway A] [--ip-range P] [--internal] [-o K=V] [--label K=V] NAME',
  summary: 'create a network',
  takes: [1, 1, 'one network name'],
  options: {
    driver: { type: 'string', short: 'd', default: 'bridge' },
    subnet: { type: 'string' },
    gateway: { type: 'string' },
    'ip-range': { type: 'string' },
    internal: { type: 'boolean', default: false },
    opt: { type: 'string', short: 'o', multiple: true },
    label: { type: 'string', multiple: true },
  },
  async run(values, [name], { engine, print }) {
    const pool = { Subnet: values.subnet, Gateway: values.gateway, IPRange: values['ip-range'] }
    const created = await engine.json('POST', '/networks/create', {
      Name: name,
      Driver: values.driver,
      Internal: values.internal,
      Options: pairs(values.opt),
      Labels: pairs(values.label),
      IPAM: { Driver: 'default', Options: {}, Config: Object.values(pool).some((v) => v !== undefined) ? [pool] : [] },
    })
    print(field.text(created, 'Id'))
    return 0
  },
})

const inspect = command({
  name: 'network inspect',
  usage: 'NETWORK...',
  summary: 'show networks as JSON',
  takes: [1, Infinity, 'at least one network'],
  async run(_values, names, { engine, print }) {
    const found = await Promise.all(names.map((name) => engine.json('GET', network(name))))
    print(JSON.stringify(found, null, 4))
    return 0
  },
})

const connect = command({
  name: 'network connect',
  usage: '[--ip A] [--alias NAME] NETWORK CONTAINER',
  summary: 'attach a container to a network',
  takes: [2, 2, 'a network and a container'],
  options: { ip: { type: 'string' }, alias: { type: 'string', multiple: true } },
  async run(values, [name = '', container], { engine }) {
    const EndpointConfig = {
      IPAMConfig: values.ip === undefined ? {} : { IPv4Address: values.ip },
      Aliases: values.alias ?? [],
    }
    await engine.json('POST', `${network(name)}/connect`, { Container: container, EndpointConfig })
    return 0
  },
})

const disconnect = command({
  name: 'network disconnect',
  usage: '[-f] NETWORK CONTAINER',
  summary: 'detach a container from a network',
  takes: [2, 2, 'a network and a container'],
  options: { force: { type: 'boolean', short: 'f', default: false } },
  async run(values, [name = '', container], { engine }) {
    await engine.json('POST', `${network(name)}/disconnect`, { Container: container, Force: values.force })
    return 0
  },
})

const remove = command({
  name: 'network rm',
  usage: 'NETWORK...',
  summary: 'remove networks',
  takes: [1, Infinity, 'at least one network'],
  async run(_values, names, { engine, print }) {
    for (const name of names) {
      await engine.json('DELETE', network(name))
      print(name)
    }
    return 0
  },
})

const prune = command({
  name: 'network prune',
  usage: '',
  summary: 'remove networks that nothing uses',
  async run(_values, _names, { engine, print }) {
    const answer = await engine.json('POST', '/networks/prune')
    for (const name of field.list(answer, 'NetworksDeleted')) print(String(name))
    return 0
  },
})

export const networkCommands: readonly Command[] = [list, create, inspect, connect, disconnect, remove, prune]
