/**
 * Random operations on one engine while its processes are killed: what the operations are, how
 * they are drawn from a seed, and who kills. What an operation answers does not matter as long as
 * it answers; what counts is what the engine has become when all is quiet again.
 */
import { readFileSync, readdirSync } from 'node:fs'
import { sleep, type Answer, type Lab } from './lab.ts'

/** An operation that takes longer is stuck. */
const operationTimeoutMs = 45_000
/** After a kill, operations may fail for so long. */
const disturbedMs = 5_000
const containerNames = Array.from({ length: 7 }, (_, index) => `c${index}`)
const networkNames = ['n0', 'n1', 'n2']
const workers = 4
/** What the engine answers with 500 to an operation that came at a wrong moment. */
const timely = /is not connected to (the )?network|is marked for removal|is not paused/
export const firstPort = 7000

export type Victim = 'daemon' | 'keeper' | 'containerd'
type Random = () => number

/** Numbers in [0, 1) that a seed determines (mulberry32). */
export function randomOf(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A process of this lab's engine, found by a word of its command line and the lab's folder. */
export function pidOf(lab: Lab, word: string): number | undefined {
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue
    const words = readProc(`/proc/${name}/cmdline`).split('\0')
    const matches = words.some((one) => one.includes(word)) && words.some((one) => one.includes(lab.folder))
    if (matches && !readProc(`/proc/${name}/stat`).includes(') Z ')) return Number(name)
  }
  return undefined
}

/** Empty when the process has ended meanwhile. */
export function readProc(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && /ENOENT|ESRCH/.test(String(error.code))) return ''
    throw error
  }
}

const server = (name: string) =>
  `mkdir -p /www; echo ${name} >/www/index.html; exec httpd -f -p 80 -h /www`

export class Chaos {
  readonly #lab: Lab
  readonly #random: Random
  /** Everything that was ever created, for the search of leftovers. */
  readonly ids = new Set<string>()
  /** Answers that nothing excuses. */
  readonly faults: string[] = []
  operations = 0
  kills: Victim[] = []
  #killedMs = -Infinity
  #down: Promise<void> = Promise.resolve()

  constructor(lab: Lab, seed: number) {
    this.#lab = lab
    this.#random = randomOf(seed)
  }

  /** Operates and kills for so long; resolves when every operation has ended and all processes run. */
  async run(durationMs: number): Promise<void> {
    const untilMs = performance.now() + durationMs
    const work = async () => {
      while (performance.now() < untilMs) {
        await this.#down
        await this.#operate()
      }
    }
    const killer = async () => {
      while (performance.now() < untilMs) {
        await sleep(200 + this.#random() * 1300)
        await this.#kill(this.#pick(['daemon', 'daemon', 'keeper', 'containerd'] as const))
      }
    }
    await Promise.all([killer(), ...Array.from({ length: workers }, work)])
  }

  #pick<T>(list: readonly [T, ...T[]] | readonly T[]): T {
    const found = list[Math.floor(this.#random() * list.length)]
    if (found === undefined) throw new Error('nothing to pick from')
    return found
  }

  async #kill(victim: Victim): Promise<void> {
    this.kills.push(victim)
    this.#killedMs = performance.now()
    if (victim === 'daemon') {
      const back = Promise.withResolvers<void>()
      this.#down = back.promise
      await this.#lab.endDaemon('SIGKILL')
      await sleep(this.#random() * 600)
      await this.#lab.startDaemon().finally(back.resolve)
    } else {
      const pid = pidOf(this.#lab, victim === 'keeper' ? 'keeper' : 'containerd.toml')
      if (pid !== undefined) process.kill(pid, 'SIGKILL')
    }
    this.#killedMs = performance.now()
  }

  async #operate(): Promise<void> {
    this.operations++
    const container = this.#pick(containerNames)
    const network = this.#pick(networkNames)
    const post = (path: string, body?: unknown) => this.#ask('POST', path, body)
    const verbs: readonly (() => Promise<unknown>)[] = [
      () => this.#runContainer(container, network),
      () => this.#runContainer(container, network),
      () => this.#runContainer(container, network),
      () => this.#exec(container),
      () => post(`/containers/${container}/stop?t=${this.#pick([0, 1])}`),
      () => post(`/containers/${container}/start`),
      () => post(`/containers/${container}/restart?t=0`),
      () => post(`/networks/${network}/connect`, { Container: container }),
      () => post(`/networks/${network}/disconnect`, { Container: container, Force: this.#random() < 0.5 }),
      () => this.#ask('DELETE', `/containers/${container}?force=1&v=1`),
      () => this.#ask('DELETE', `/containers/${container}?force=1&v=1`),
      () => post('/networks/create', { Name: network }),
      () => post('/networks/create', { Name: network }),
      () => this.#ask('DELETE', `/networks/${network}`),
      () => post(`/containers/${container}/${this.#pick(['pause', 'unpause', 'unpause'])}`),
      () => this.#ask('GET', `/containers/${container}/json`),
    ]
    await this.#pick(verbs)()
  }

  async #runContainer(name: string, network: string): Promise<void> {
    const kind = this.#random()
    const short = kind < 0.2
    const created = await this.#ask('POST', `/containers/create?name=${name}`, {
      Image: 'busybox',
      Cmd: ['sh', '-c', short ? 'sleep 0.3; echo over' : server(name)],
      ExposedPorts: { '80/tcp': {} },
      HostConfig: {
        NetworkMode: this.#random() < 0.8 ? network : 'bridge',
        AutoRemove: short && this.#random() < 0.5,
        RestartPolicy: { Name: kind > 0.8 ? 'always' : 'no' },
        PortBindings: { '80/tcp': [{ HostPort: String(firstPort + containerNames.indexOf(name)) }] },
      },
    })
    const id = created === undefined ? undefined : /"Id":"([0-9a-f]{64})"/.exec(created.text)?.[1]
    if (id === undefined) return
    this.ids.add(id)
    await this.#ask('POST', `/containers/${id}/start`)
  }

  async #exec(container: string): Promise<void> {
    const created = await this.#ask('POST', `/containers/${container}/exec`, {
      Cmd: ['sh', '-c', `echo started; sleep ${this.#pick(['0', '0.2', '30'])}`], AttachStdout: true,
    })
    const id = created === undefined ? undefined : /"Id":"([0-9a-f]{64})"/.exec(created.text)?.[1]
    if (id !== undefined) await this.#ask('POST', `/exec/${id}/start`, { Detach: true })
  }

  /** undefined: the engine went away. */
  async #ask(method: string, path: string, body?: unknown): Promise<Answer | undefined> {
    const startedMs = performance.now()
    const timer = new AbortController()
    const late = sleep(operationTimeoutMs, timer.signal).then(() => 'late' as const)
    const answer = await Promise.race([
      this.#lab.api(method, path, body).catch((error: unknown) => {
        if (error instanceof Error) return undefined
        throw error
      }),
      late,
    ])
    timer.abort()
    if (answer === 'late') {
      this.faults.push(`${method} ${path} is stuck`)
      return undefined
    }
    const excused = performance.now() - this.#killedMs < disturbedMs || this.#killedMs > startedMs
    if (answer !== undefined && answer.status >= 500 && !excused && !timely.test(answer.text)) {
      this.faults.push(`${method} ${path}: ${answer.status} ${answer.text.trim()}`)
    }
    return answer
  }
}
