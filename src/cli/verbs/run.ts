/** `run` and `exec`: the two verbs that join this terminal to a process in a container. */
import { parseArgs } from 'node:util'
import { Refusal } from '../../base/refusal.ts'
import { field, type Json } from '../client.ts'
import type { Command, Context } from '../command.ts'
import { container } from './container.ts'
import { pairs } from './network.ts'
import { joinTerminal } from './streams.ts'

const runOptions = {
  detach: { type: 'boolean', short: 'd', default: false },
  interactive: { type: 'boolean', short: 'i', default: false },
  tty: { type: 'boolean', short: 't', default: false },
  rm: { type: 'boolean', default: false },
  privileged: { type: 'boolean', default: false },
  name: { type: 'string', default: '' },
  hostname: { type: 'string', short: 'h', default: '' },
  network: { type: 'string', multiple: true },
  net: { type: 'string', multiple: true },
  'network-alias': { type: 'string', multiple: true },
  ip: { type: 'string' },
  publish: { type: 'string', short: 'p', multiple: true },
  env: { type: 'string', short: 'e', multiple: true },
  volume: { type: 'string', short: 'v', multiple: true },
  workdir: { type: 'string', short: 'w', default: '' },
  user: { type: 'string', short: 'u', default: '' },
  entrypoint: { type: 'string' },
  'cap-add': { type: 'string', multiple: true },
  'cap-drop': { type: 'string', multiple: true },
  restart: { type: 'string', default: 'no' },
  label: { type: 'string', short: 'l', multiple: true },
} as const

/** Options end at the first word that is none: what follows belongs to the container. */
function splitAtImage(args: readonly string[]): [string[], string[]] {
  const takesValue = new Set<string>()
  for (const [name, option] of Object.entries(runOptions)) {
    if (option.type !== 'string') continue
    takesValue.add(`--${name}`)
    if ('short' in option) takesValue.add(`-${option.short}`)
  }
  let at = 0
  while (at < args.length && args[at]?.startsWith('-')) at += takesValue.has(args[at] ?? '') ? 2 : 1
  return [args.slice(0, at), args.slice(at)]
}

export const runCommand: Command = {
  name: 'run',
  usage: '[-d] [-it] [--rm] [--name N] [--network N] [-p HOST:CONTAINER] [-e K=V] [-v A:B] … IMAGE [COMMAND...]',
  summary: 'create a container and start it',
  async run(args, context) {
    const [own, [image, ...command]] = splitAtImage(args)
    if (image === undefined) throw new Refusal('invalid', 'name an image')
    const { values } = parseArgs({ args: own, options: runOptions })
    const networks = [...(values.network ?? []), ...(values.net ?? [])]
    const mode = networks[0] ?? 'default'
    const ports = (values.publish ?? []).map(parsePort)
    const attach = !values.detach
    const body = {
      Image: image,
      Cmd: command.length > 0 ? command : null,
      Entrypoint: values.entrypoint === undefined ? null : [values.entrypoint],
      Env: values.env ?? [],
      Hostname: values.hostname,
      User: values.user,
      WorkingDir: values.workdir,
      Labels: pairs(values.label),
      Tty: values.tty,
      OpenStdin: values.interactive,
      StdinOnce: values.interactive && attach,
      AttachStdin: values.interactive && attach,
      AttachStdout: attach,
      AttachStderr: attach,
      ExposedPorts: Object.fromEntries(ports.map((port) => [port.inside, {}])),
      HostConfig: {
        NetworkMode: mode,
        AutoRemove: values.rm,
        Privileged: values.privileged,
        Binds: values.volume ?? [],
        CapAdd: values['cap-add'] ?? null,
        CapDrop: values['cap-drop'] ?? null,
        RestartPolicy: restartPolicy(values.restart),
        PortBindings: Object.fromEntries(
          ports.map(({ inside }) => [inside, ports.filter((p) => p.inside === inside).map((p) => p.binding)])),
      },
      NetworkingConfig: { EndpointsConfig: endpoints(networks, values['network-alias'], values.ip) },
    }
    const created = await context.engine.json('POST', `/containers/create?name=${encodeURIComponent(values.name)}`, body)
    for (const warning of field.list(created, 'Warnings')) console.error(`WARNING: ${String(warning)}`)
    return startAndJoin(field.text(created, 'Id'), values, context)
  },
}

function endpoints(networks: readonly string[], aliases: readonly string[] | undefined, ip: string | undefined): Json {
  return Object.fromEntries(networks
    .filter((name) => !/^(default|bridge|host|none|container:.*)$/.test(name))
    .map((name, index) => [name, index > 0 ? {} : {
      Aliases: aliases ?? null,
      IPAMConfig: ip === undefined ? null : { IPv4Address: ip },
    }]))
}

function restartPolicy(text: string): Json {
  const [Name, count = '0'] = text.split(':')
  return { Name, MaximumRetryCount: Number(count) }
}

/** `[address:][host:]container[/protocol]`; the engine judges the numbers. */
function parsePort(text: string): { inside: string; binding: Json } {
  const found = /^(?:(?:(\[[^\]]+\]|[^:]+):)?([^:]*):)?([^:/]+)(\/\w+)?$/.exec(text)
  if (found === null) throw new Refusal('invalid', `publish "${text}" is not [ADDRESS:][HOST:]CONTAINER[/PROTOCOL]`)
  const [, address = '', hostPort = '', inside = '', protocol = '/tcp'] = found
  return { inside: inside + protocol, binding: { HostIp: address.replace(/^\[|\]$/g, ''), HostPort: hostPort } }
}

async function startAndJoin(
  id: string,
  values: { detach: boolean; interactive: boolean; tty: boolean; rm: boolean },
  { engine, print }: Context,
): Promise<number> {
  const path = container(id)
  if (values.detach) {
    await engine.json('POST', `${path}/start`)
    print(id)
    return 0
  }
  const query = `stream=1&stdin=${values.interactive}&stdout=1&stderr=1`
  const { connection } = await engine.hijack(`${path}/attach?${query}`)
  // Asked before start, as the docker command does: an exit cannot be missed then.
  const exited = await engine.stream('POST', `${path}/wait?condition=${values.rm ? 'removed' : 'next-exit'}`)
  await engine.json('POST', `${path}/start`)
  await resize(`${path}/resize`, values.tty, engine)
  await joinTerminal(connection, { stdin: values.interactive, tty: values.tty, framed: !values.tty })
  let text = ''
  for await (const chunk of exited) text += String(chunk)
  return Number(field.text(JSON.parse(text), 'StatusCode'))
}

async function resize(path: string, tty: boolean, engine: Context['engine']): Promise<void> {
  if (!tty || !process.stdout.isTTY) return
  await engine.json('POST', `${path}?h=${process.stdout.rows}&w=${process.stdout.columns}`)
}

export const execCommand: Command = {
  name: 'exec',
  usage: '[-it] [-u USER] CONTAINER COMMAND...',
  summary: 'run a command in a running container',
  async run(args, { engine }) {
    let at = 0
    while (at < args.length && args[at]?.startsWith('-')) at += /^(-u|--user)$/.test(args[at] ?? '') ? 2 : 1
    const { values } = parseArgs({
      args: args.slice(0, at),
      options: {
        interactive: { type: 'boolean', short: 'i', default: false },
        tty: { type: 'boolean', short: 't', default: false },
        user: { type: 'string', short: 'u', default: '' },
      },
    })
    const [name = '', ...command] = args.slice(at)
    if (command.length === 0) throw new Refusal('invalid', 'takes a container and a command')
    const created = await engine.json('POST', `${container(name)}/exec`, {
      Cmd: command, Tty: values.tty, User: values.user,
      AttachStdin: values.interactive, AttachStdout: true, AttachStderr: true,
    })
    const id = field.text(created, 'Id')
    const { connection } = await engine.hijack(`/exec/${id}/start`, { Detach: false, Tty: values.tty })
    await resize(`/exec/${id}/resize`, values.tty, engine)
    await joinTerminal(connection, { stdin: values.interactive, tty: values.tty, framed: !values.tty })
    return Number(field.text(await engine.json('GET', `/exec/${id}/json`), 'ExitCode'))
  },
}
