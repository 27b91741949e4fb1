/** The plugin of `network-plugin.ts` as a process, and what it was asked. */
import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { root, sleep, type Lab } from './lab.ts'

const folder = '/run/docker/plugins'

export interface Call {
  readonly method: string
  readonly body: unknown
}

export class Plugin {
  readonly name: string
  readonly #lab: Lab
  readonly netns: string | undefined
  #process: ChildProcess | undefined

  /** @param netns the network namespace that it lives in, by its name; default: where the test is */
  constructor(t: TestContext, lab: Lab, name = 'fabric', netns?: string) {
    this.name = name
    this.#lab = lab
    this.netns = netns
    t.after(() => this.kill())
  }

  get #callsFile(): string {
    return join(this.#lab.folder, `${this.name}-calls`)
  }

  get #wishesFile(): string {
    return join(this.#lab.folder, `${this.name}-wishes`)
  }

  async start(): Promise<void> {
    mkdirSync(folder, { recursive: true })
    const socket = join(folder, `${this.name}.sock`)
    const enter = this.netns === undefined ? [] : ['nsenter', `--net=/run/netns/${this.netns}`]
    const [program = '', ...args] = [
      ...enter, join(root, 'scripts/node'), '--disable-warning=ExperimentalWarning',
      join(root, 'test/lab/network-plugin.ts'), socket, this.#callsFile, this.#wishesFile,
    ]
    this.#process = spawn(program, args, { stdio: 'inherit' })
    const answers = () => this.#lab.sh(`curl -s --unix-socket ${socket} -X POST http://p/Ping`)
    for (let tries = 0; (await answers()).code !== 0; tries++) {
      assert.ok(tries < 100, 'the plugin starts')
      await sleep(50)
    }
    this.take()
  }

  async kill(): Promise<void> {
    const running = this.#process
    if (running === undefined || running.exitCode !== null || running.signalCode !== null) return
    const gone = new Promise((done) => running.once('exit', done))
    running.kill('SIGKILL')
    await gone
  }

  /** From now on it does as these lines say, and nothing else out of the ordinary. */
  wish(...lines: readonly string[]): void {
    writeFileSync(this.#wishesFile, lines.map((line) => `${line}\n`).join(''))
  }

  /** What was asked since the last time. */
  calls(): readonly Call[] {
    const text = existsSync(this.#callsFile) ? readFileSync(this.#callsFile, 'utf8') : ''
    writeFileSync(this.#callsFile, '')
    return text.split('\n').filter((line) => line.trim() !== '').map((line) => {
      const [method = '', ...words] = line.split(' ')
      const body = words.join(' ').trim()
      return { method, body: body === '' ? undefined : JSON.parse(body) }
    })
  }

  /** The methods alone. */
  take(): readonly string[] {
    return this.calls().map(({ method }) => method)
  }
}
