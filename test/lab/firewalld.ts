/** Debian's firewalld on a message bus of its own, in the namespaces of the test. */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { root, sleep, type Lab } from './lab.ts'

const debian = join(root, '.cache/debian')
const python = '/usr/bin/python3'
const deadlineMs = 20_000

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen>
<auth>EXTERNAL</auth><policy context="default"><allow user="*"/><allow own="*"/>
<allow send_destination="*"/><allow receive_sender="*"/>
<allow send_type="method_return" send_requested_reply="true"/>
<allow receive_type="signal"/></policy></busconfig>`

export class FirewalldLab {
  readonly #lab: Lab
  readonly #config: string
  #service: ChildProcess | undefined

  private constructor(lab: Lab, config: string) {
    this.#lab = lab
    this.#config = config
  }

  /** A bus and firewalld that writes its rules by `backend`. */
  static async start(
    t: TestContext,
    lab: Lab,
    backend: 'nftables' | 'iptables',
  ): Promise<FirewalldLab> {
    mkdirSync('/run/dbus', { recursive: true })
    const config = join(lab.folder, 'firewalld')
    mkdirSync(config, { recursive: true })
    const own = readFileSync(join(debian, 'etc/firewalld/firewalld.conf'), 'utf8')
    writeFileSync(
      join(config, 'firewalld.conf'),
      own.replace(/^FirewallBackend=.*$/m, `FirewallBackend=${backend}`),
    )
    const busFile = join(config, 'bus.conf')
    writeFileSync(busFile, busConfig)
    const bus = spawn('dbus-daemon', [`--config-file=${busFile}`, '--nofork'], { stdio: 'ignore' })
    const firewalld = new FirewalldLab(lab, config)
    t.after(async () => {
      await firewalld.stopService()
      bus.kill()
    })
    await until(() => existsSync('/run/dbus/system_bus_socket'))
    await firewalld.startService()
    return firewalld
  }

  async startService(): Promise<void> {
    const program = join(debian, 'usr/sbin/firewalld')
    const folders = ['--system-config', this.#config, '--default-config', join(debian, 'usr/lib/firewalld')]
    this.#service = spawn(python, [program, '--nofork', '--nopid', ...folders], {
      env: environment(), stdio: 'ignore',
    })
    await until(async () => (await this.cmd('--state')).code === 0)
  }

  async stopService(): Promise<void> {
    const service = this.#service
    if (service === undefined || service.exitCode !== null) return
    const gone = new Promise((done) => service.once('exit', done))
    service.kill()
    await gone
  }

  /** `firewall-cmd` with these arguments. */
  cmd(...args: readonly string[]) {
    const path = `PYTHONPATH=${environment().PYTHONPATH}`
    return this.#lab.run('env', [path, python, join(debian, 'usr/bin/firewall-cmd'), ...args])
  }
}

function environment() {
  return {
    ...process.env,
    PYTHONPATH: join(debian, 'usr/lib/python3/dist-packages'),
    PATH: `${process.env['PATH']}:/usr/sbin:/sbin`,
  }
}

/** Waits until it holds, within a bound. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + deadlineMs
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within ${deadlineMs / 1000} s: ${holds}`)
    await sleep(50)
  }
}
