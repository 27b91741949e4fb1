/**
 * `portolan down`: containers stopped, the engine ended, nothing of ours in the kernel, recorded
 * settings restored. Images, volumes and the list of containers stay in /var/lib/portolan.
 *
 * One way for every case, the daemon dead or alive: end it (containers live on), then let a
 * daemon that opens no socket take everything down (`daemon --teardown`).
 */
import { existsSync, readFileSync, readdirSync, rmSync, rmdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Refusal } from '../base/refusal.ts'
import { command } from './command.ts'
import { hasSystemd, paths, requireRoot, run, waitUntil } from './machine.ts'
import { caller, daemonArguments, systemctlTimeoutMs } from './up.ts'

/** A daemon under live-restore leaves at once; this is for a disk that hangs. */
const exitTimeoutMs = 30_000
/** Every container may take its grace period, all at once. */
const teardownTimeoutMs = 180_000

export const down = command({
  name: 'down',
  usage: '',
  summary: 'stop containers and engine, leave the machine as it was (images and volumes stay)',
  async run(_values, _names, { print }) {
    requireRoot('down')
    if (hasSystemd() && existsSync(paths.unit)) {
      run('systemctl', ['disable', '--now', 'portolan.service'], { timeoutMs: systemctlTimeoutMs })
      rmSync(paths.unit, { force: true })
      run('systemctl', ['daemon-reload'])
    }
    await endDaemon()
    if (existsSync(paths.data)) {
      const outcome = run(paths.launcher, [...daemonArguments, '--teardown'], { timeoutMs: teardownTimeoutMs })
      if (outcome.code !== 0) throw new Refusal('internal', `teardown failed: ${outcome.stderr.trim()}`)
    }
    removeUnchangedConfig(print)
    rmSync(paths.run, { recursive: true, force: true })
    removeEmptyCgroups()
    run('docker', ['context', 'rm', '-f', 'portolan'], caller())
    print(`Portolan is down. Images, volumes and containers are kept in ${paths.data}.`)
    return 0
  },
})

function removeUnchangedConfig(print: (line: string) => void): void {
  if (!existsSync(paths.config) || !existsSync(paths.configAsWritten)) return
  const unchanged = readFileSync(paths.config, 'utf8') === readFileSync(paths.configAsWritten, 'utf8')
  if (unchanged) rmSync(paths.config)
  else print(`${paths.config} was edited and stays.`)
  rmSync(paths.configAsWritten)
  const folder = dirname(paths.config)
  if (existsSync(folder) && readdirSync(folder).length === 0) rmdirSync(folder)
}

/** The runtime makes a parent for containers and leaves it; whatever another engine has there stays. */
function removeEmptyCgroups(): void {
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [place = '', about = ''] = line.split(' - ')
    if (!/^cgroup2? /.test(about)) continue
    const folder = join(place.split(' ')[4] ?? '', 'docker')
    const below = existsSync(folder) ? readdirSync(folder, { withFileTypes: true }) : undefined
    if (below?.some((entry) => entry.isDirectory()) === false) rmdirSync(folder)
  }
}

async function endDaemon(): Promise<void> {
  if (!existsSync(paths.pid)) return
  const pid = Number(readFileSync(paths.pid, 'utf8').trim())
  if (!Number.isInteger(pid) || pid <= 1 || !isOurDaemon(pid)) return
  process.kill(pid, 'SIGTERM')
  if (!(await waitUntil(async () => !isOurDaemon(pid), exitTimeoutMs))) {
    throw new Refusal('unavailable', `the daemon (pid ${pid}) did not end within ${exitTimeoutMs / 1000} s`)
  }
}

/** A pid file may be older than the process that has the number now. */
function isOurDaemon(pid: number): boolean {
  const file = `/proc/${pid}/cmdline`
  if (!existsSync(file)) return false
  const words = readFileSync(file, 'utf8').split('\0')
  return words.includes('daemon') && words.includes(paths.pid)
}
