/** The commands that explain: status, how, plan. What they print is read from the running engine. */
import { field } from './client.ts'
import { command, table } from './command.ts'

export const status = command({
  name: 'status',
  usage: '',
  summary: 'whether the engine runs, what it holds',
  async run(_values, _names, { engine, host, print }) {
    const [version, info] = await Promise.all([engine.json('GET', '/version'), engine.json('GET', '/info')])
    const networks = await engine.json('GET', '/networks')
    const rows = [
      ['engine', `${field.text(version, 'Version')} (API ${field.text(version, 'ApiVersion')}) at ${host}`],
      ['containers', `${field.text(info, 'ContainersRunning')} running, ${field.text(info, 'Containers')} in all`],
      ['images', field.text(info, 'Images')],
      ['networks', String(field.list(networks).length)],
      ['firewall', field.text(info, 'FirewallBackend', 'Driver')],
      ['data', field.text(info, 'DockerRootDir')],
    ]
    for (const line of table(rows)) print(line)
    for (const warning of field.list(info, 'Warnings')) print(`warning      ${String(warning)}`)
    return 0
  },
})

export const how = command({
  name: 'how',
  usage: 'CONTAINER|NETWORK',
  summary: "the ip, brctl, sysctl and iptables lines that made a network, read from the kernel",
  takes: [1, 1, 'one container or network'],
  async run(_values, [name = ''], { engine, print }) {
    const answer = await engine.json('GET', `/portolan/how/${encodeURIComponent(name)}`)
    for (const line of field.list(answer, 'Lines')) print(String(line))
    return 0
  },
})

export const plan = command({
  name: 'plan',
  usage: '',
  summary: 'what differs between desired and kernel; exit code 2 if anything does',
  async run(_values, _names, { engine, print }) {
    const lines = field.list(await engine.json('GET', '/portolan/plan'), 'Lines')
    for (const line of lines) print(String(line))
    if (lines.length === 0) print('The kernel is as it should be.')
    return lines.length === 0 ? 0 : 2
  },
})
