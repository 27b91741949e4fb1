/**
 * `portolan up`: starts the engine so that it stays, and says how to talk to it.
 *
 * The launcher has installed what was missing before. Doing it twice changes nothing. With systemd
 * a unit is installed, without it the daemon is started detached.
 */
import { existsSync, mkdirSync, openSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { Refusal } from '../base/refusal.ts'
import { command } from './command.ts'
import { connect, field } from './client.ts'
import { hasSystemd, paths, requireRoot, run, startDetached, waitUntil } from './machine.ts'
import { findNeighbours, freeBase } from './neighbours.ts'

/** The first start makes a database, starts containerd and the keeper, on a slow machine, too. */
const startTimeoutMs = 180_000

/** The unit's own limits, for a start and systemd's 90 s for a stop, end earlier and say why. */
export const systemctlTimeoutMs = startTimeoutMs + 20_000

/** Bases for our own pools beside another engine; each holds a default bridge and its networks. */
const baseCandidates = ['10.208.0.0/13', '10.216.0.0/13', '10.200.0.0/13', '10.224.0.0/13', '192.168.192.0/18']

export const up = command({
  name: 'up',
  usage: '',
  summary: 'install what is missing, start the engine, say how to talk to it',
  async run(_values, _names, { print }) {
    requireRoot('up')
    const engine = connect(`unix://${paths.socket}`)
    const answers = () => engine.json('GET', '/version').then(() => true, () => false)
    if (await answers()) print('Portolan is running already.')
    else {
      writeConfigOnce(print)
      const { how, ended } = hasSystemd() ? startBySystemd() : startByHand()
      if (!(await waitUntil(async () => ended() || (await answers()), startTimeoutMs)) || ended()) {
        const what = ended() ? 'the engine ended at once' : `the engine did not answer within ${startTimeoutMs / 1000} s`
        throw new Refusal('internal', `${what}. See: ${how}`)
      }
      const version = field.text(await engine.json('GET', '/version'), 'Version')
      print(`Portolan ${version} is running. Log: ${how}`)
    }
    sayHowToTalk(print)
    return 0
  },
})

function writeConfigOnce(print: (line: string) => void): void {
  if (existsSync(paths.config)) return
  const config: Record<string, unknown> = { 'live-restore': true }
  const { found } = findNeighbours()
  if (found.length > 0) {
    const base = freeBase(baseCandidates)
    if (base === undefined) {
      const advice = `write ${paths.config} with "bip" and "default-address-pools" of your choice, then run up again`
      throw new Refusal('conflict', `every address range that up knows is in use here: ${advice}`)
    }
    const [network = '', length] = base.split('/')
    config['default-bridge-name'] = 'portolan0'
    config['firewall-shared-chains'] = true
    config['bip'] = `${network.replace(/0$/, '1')}/24`
    config['default-address-pools'] = [{ base: `${network}/${length}`, size: 24 }]
    print('Another container engine is at work here:')
    for (const sentence of found) print(`  ${sentence}`)
    print(`Portolan leaves all that alone. Its own: bridge portolan0, addresses from ${base}, rules with its comment.`)
  }
  mkdirSync(dirname(paths.config), { recursive: true })
  mkdirSync(paths.data, { recursive: true, mode: 0o711 })
  const text = JSON.stringify(config, null, 2) + '\n'
  for (const file of [paths.config, paths.configAsWritten]) writeFileSync(file, text, { mode: 0o644 })
}

/** Arguments of the daemon that `up` starts; everything else is in the configuration file. */
export const daemonArguments: readonly string[] = [
  'daemon', '--config-file', paths.config, '--host', `unix://${paths.socket}`,
  '--data-root', paths.data, '--exec-root', paths.run, '--pidfile', paths.pid,
]

/** Where to read what went wrong, and whether the daemon is gone again. */
interface Started {
  readonly how: string
  ended(): boolean
}

function startByHand(): Started {
  mkdirSync(paths.run, { recursive: true, mode: 0o711 })
  const ended = startDetached(paths.launcher, daemonArguments, openSync(paths.log, 'a', 0o640))
  return { how: paths.log, ended }
}

/**
 * KillMode=process: systemd ends only the daemon, never the keeper, containerd or a container.
 * Delegate=yes: the cgroups below the unit are ours.
 */
function unitText(): string {
  return `[Unit]
Description=Portolan container network engine
After=network-online.target
Wants=network-online.target

[Service]
Type=notify
ExecStart=${[paths.launcher, ...daemonArguments].join(' ')}
ExecReload=/bin/kill -s HUP $MAINPID
Restart=always
RestartSec=1
TimeoutStartSec=${startTimeoutMs / 1000}
KillMode=process
Delegate=yes
LimitNOFILE=1048576
TasksMax=infinity
OOMScoreAdjust=-500

[Install]
WantedBy=multi-user.target
`
}

function startBySystemd(): Started {
  if (!existsSync(paths.unit) || readFileSync(paths.unit, 'utf8') !== unitText()) {
    writeFileSync(paths.unit, unitText())
    systemctl('daemon-reload')
  }
  systemctl('enable', '--now', 'portolan.service')
  return { how: 'journalctl -u portolan', ended: () => false }
}

function systemctl(...args: readonly string[]): void {
  const outcome = run('systemctl', args, { timeoutMs: systemctlTimeoutMs })
  if (outcome.code !== 0) throw new Refusal('internal', `systemctl ${args.join(' ')}: ${outcome.stderr.trim()}`)
}

/** Who called sudo gets the context, in a home of his own. */
export function caller(): { uid?: number; gid?: number; home?: string } {
  const { SUDO_UID: uid, SUDO_GID: gid, SUDO_USER: user } = process.env
  if (uid === undefined || gid === undefined || user === undefined) return {}
  const home = run('getent', ['passwd', user]).stdout.split(':')[5] ?? ''
  if (home === '' || !existsSync(home) || statSync(home).uid !== Number(uid)) return {}
  return { uid: Number(uid), gid: Number(gid), home }
}

function sayHowToTalk(print: (line: string) => void): void {
  const docker = run('docker', ['context', 'inspect', 'portolan'], caller())
  let context = docker.code === 0
  if (docker.code !== 0 && docker.code !== 127) {
    const description = 'description=Portolan'
    const args = ['context', 'create', 'portolan', '--docker', `host=unix://${paths.socket}`]
    context = run('docker', [...args, '--description', description.split('=')[1] ?? ''], caller()).code === 0
  }
  print('Talk to it with either of:')
  if (context) print('  docker context use portolan')
  print(`  export DOCKER_HOST=unix://${paths.socket}`)
  if (docker.code === 127) print('  portolan run, ps, network … (there is no docker command here; see portolan --help)')
}
