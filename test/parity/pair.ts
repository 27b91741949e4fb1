/**
 * Two engines asked the same questions, Debian's dockerd and Portolan, each in a network namespace
 * of its own, and what their answers differ in.
 *
 * A question is one request at API version 1.41. `{{name}}` in its path or body stands for what an
 * earlier answer was remembered under that name, `{{root}}` for a folder of the engine's own.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { Lab, type Answer } from '../lab/lab.ts'
import { differences, type Difference } from './compare.ts'
import { normalised, type Normalising } from './normalise.ts'

/** Both answer anything here within a second; one that streams for ever is a difference, too. */
const answerTimeoutMs = 8_000

export interface Asking {
  /** Remember the `Id` of the answer under this name. */
  readonly keep?: string
  readonly headers?: Readonly<Record<string, string>>
  /** How the body of the answer is read (default: JSON, else the text). */
  readonly shape?: 'json' | 'lines' | 'text'
  /** Compare a refusal as one line: `404 network nope not found`. */
  readonly line?: boolean
  /** What of the answer is compared; default: all of it. */
  readonly pick?: (json: unknown, answer: Answer) => unknown
}

export interface Found extends Difference {
  readonly question: string
}

export class Pair {
  readonly dockerd: Lab
  readonly portolan: Lab
  readonly found: Found[] = []
  questions = 0
  readonly #kept = new Map<Lab, Map<string, string>>()

  private constructor(dockerd: Lab, portolan: Lab) {
    this.dockerd = dockerd
    this.portolan = portolan
    for (const lab of this.labs) {
      const root = join(lab.folder, 'shared')
      mkdirSync(join(root, 'dir'), { recursive: true })
      this.#kept.set(lab, new Map([['root', root]]))
    }
  }

  static async start(t: TestContext): Promise<Pair> {
    const before = Lab.idle(t)
    for (const name of ['docker', 'portolan']) {
      await before.must(`ip netns add ${name} && ip -n ${name} link set lo up`)
    }
    const [dockerd, portolan] = await Promise.all([
      Lab.start(t, { engine: 'dockerd', netns: 'docker' }),
      Lab.start(t, { netns: 'portolan' }),
    ])
    return new Pair(dockerd, portolan)
  }

  get labs(): readonly [Lab, Lab] {
    return [this.dockerd, this.portolan]
  }

  /** Asks both at once and notes what differs. Answers whether both said 2xx. */
  async ask(
    question: string, method: string, path: string, body?: unknown, asking: Asking = {},
  ): Promise<boolean> {
    this.questions++
    const [docker, portolan] = await Promise.all(
      this.labs.map((lab) => this.#askOne(lab, method, path, body, asking)),
    )
    this.#note(question, docker?.seen, portolan?.seen)
    return docker?.ok === true && portolan?.ok === true
  }

  /** Compares what a command prints on both hosts, as `read` understands it. */
  async observe(
    question: string, line: string, read: (text: string) => unknown, inside?: string,
  ): Promise<void> {
    this.questions++
    const seen = await Promise.all(this.labs.map(async (lab) => {
      const netns = lab === this.dockerd ? 'docker' : 'portolan'
      let enter = `nsenter --net=/run/netns/${netns}`
      if (inside !== undefined) {
        const { text } = await lab.api('GET', `/v1.41/containers/${inside}/json`)
        enter = `nsenter --net=/proc/${/"Pid":(\d+)/.exec(text)?.[1] ?? ''}/ns/net`
      }
      const ran = await lab.sh(`${enter} sh -c '${line}'`)
      const text = normalised(ran.out, this.#normalising(lab))
      return ran.code === 0 && typeof text === 'string' ? read(text) : ran
    }))
    this.#note(question, seen[0], seen[1])
  }

  /** Compares what a command prints inside a running container, by exec. */
  async exec(question: string, container: string, command: readonly string[]): Promise<void> {
    const body = { Cmd: command, AttachStdout: true, AttachStderr: true, Tty: true }
    await this.ask(`${question}: exec create`, 'POST', `/containers/${container}/exec`, body,
      { keep: 'exec' })
    await this.ask(question, 'POST', '/exec/{{exec}}/start', { Detach: false, Tty: true },
      { shape: 'text', pick: (text) => counted(String(text).split('\r\n')) })
    await this.ask(`${question}: exec inspect`, 'GET', '/exec/{{exec}}/json')
  }

  /** Does on both what is needed for later questions and is compared by them. */
  async do(method: string, path: string, body?: unknown): Promise<void> {
    await Promise.all(this.labs.map((lab) => this.#send(lab, method, path, body, {})))
  }

  async #askOne(lab: Lab, method: string, path: string, body: unknown, asking: Asking) {
    const answer = await this.#send(lab, method, path, body, asking)
    const json = asking.shape === 'lines'
      ? answer.text.split('\n').filter((line) => line !== '').map(parsed)
      : asking.shape === 'text' ? answer.text : answer.json ?? answer.text
    if (asking.keep !== undefined && isRecord(json) && typeof json['Id'] === 'string') {
      this.#kept.get(lab)?.set(asking.keep, json['Id'])
    }
    const ok = answer.status < 300
    const compared = asking.pick !== undefined && ok ? asking.pick(json, answer) : json
    const seen = normalised({ status: answer.status, body: compared }, this.#normalising(lab))
    if (asking.line !== true) return { ok, seen }
    const said = isRecord(json) && 'message' in json ? json['message'] : JSON.stringify(compared)
    return { ok, seen: normalised(`${answer.status} ${String(said)}`, this.#normalising(lab)) }
  }

  #send(lab: Lab, method: string, path: string, body: unknown, asking: Asking): Promise<Answer> {
    const kept = this.#kept.get(lab) ?? new Map<string, string>()
    const fill = (text: string) =>
      text.replaceAll(/\{\{(\w+)\}\}/g, (_, name: string) => kept.get(name) ?? 'missing')
    const sent = body === undefined ? undefined
      : fill(typeof body === 'string' ? body : JSON.stringify(body))
    const asked = lab.api(method, `/v1.41${fill(path)}`, sent, asking.headers)
    const text = `no answer within ${answerTimeoutMs} ms`
    const late = new Promise<Answer>((answer) => {
      setTimeout(() => answer({ status: 0, json: undefined, text, headers: {} }), answerTimeoutMs).unref()
    })
    return Promise.race([asked, late])
  }

  #normalising(lab: Lab): Normalising {
    return { folder: lab.folder, names: this.#kept.get(lab) ?? new Map() }
  }

  #note(question: string, docker: unknown, portolan: unknown): void {
    for (const difference of differences(docker, portolan)) {
      this.found.push({ question, ...difference })
    }
  }
}

/** Lines with how often they come: one that only one side has shows by itself. */
function counted(lines: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const line of lines) counts[line] = (counts[line] ?? 0) + 1
  return counts
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text // no JSON: compared as it stands
  }
}
