/**
 * The `portolan` command: finds the row of the table that the arguments name, runs it, and turns
 * what it refuses into one line on standard error. `daemon` is not here: it is its own entry point.
 */
import { Refusal, messageOf } from '../base/refusal.ts'
import { connect, defaultHost } from './client.ts'
import { table, type Command } from './command.ts'
import { demo } from './demo.ts'
import { down } from './down.ts'
import { how, plan, status } from './insight.ts'
import { up } from './up.ts'
import { containerCommands } from './verbs/container.ts'
import { execCommand, runCommand } from './verbs/run.ts'
import { imageCommands } from './verbs/image.ts'
import { networkCommands } from './verbs/network.ts'

const engineCommands: readonly Command[] = [up, down, demo, status, how, plan]
const everydayCommands: readonly Command[] = [
  runCommand, execCommand, ...containerCommands, ...networkCommands, ...imageCommands,
]

export async function main(args: readonly string[]): Promise<number> {
  let host = process.env['DOCKER_HOST'] || defaultHost
  let rest = [...args]
  if ((rest[0] === '-H' || rest[0] === '--host') && rest[1] !== undefined) {
    host = rest[1]
    rest = rest.slice(2)
  }
  const [first] = rest
  if (first === undefined || ['help', '--help', '-h'].includes(first)) return printHelp()
  const command = find(rest)
  if (command === undefined) {
    console.error(`portolan: '${rest.slice(0, 2).join(' ')}' is not a command. See: portolan --help`)
    return 125
  }
  const own = rest.slice(command.name.split(' ').length)
  if (own.length === 1 && (own[0] === '--help' || own[0] === '-h')) {
    console.log(`Usage: portolan ${command.name} ${command.usage}\n\n${command.summary}`)
    return 0
  }
  try {
    const print = (line: string) => console.log(line)
    return await command.run(own, { engine: connect(host), host, print })
  } catch (error) {
    console.error(`portolan ${command.name}: ${messageOf(error)}`)
    return error instanceof Refusal && error.kind === 'invalid' ? 125 : 1
  }
}

function find(words: readonly string[]): Command | undefined {
  const all = [...engineCommands, ...everydayCommands]
  const named = (count: number) => all.find((command) => command.name === words.slice(0, count).join(' '))
  return named(2) ?? named(1)
}

function printHelp(): number {
  const rows = (commands: readonly Command[]) =>
    table(commands.map((command) => [`  ${command.name}`, command.summary]))
  const lines = [
    'Usage: portolan [-H HOST] COMMAND',
    '',
    'Container networks for Linux behind the Docker Engine API.',
    '',
    'The engine:',
    ...table([['  daemon', "run the engine in the foreground; takes dockerd's flags (daemon --help)"]]),
    ...rows(engineCommands),
    '',
    'Everyday verbs, for machines without the docker command:',
    ...rows(everydayCommands),
    '',
    `HOST is unix:///PATH or tcp://ADDRESS:PORT; default DOCKER_HOST, else ${defaultHost}.`,
  ]
  console.log(lines.join('\n'))
  return 0
}
