/**
 * Engines asked the same questions, one or two of Docker's and Portolan, each in a network
 * namespace of its own, and what their answers differ in.
 *
 * A question is one request at one API version. `{{name}}` in its path or body stands for what an
 * earlier answer was remembered under that name, `{{root}}` for a folder of the engine's own.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { messageOf } from '../../src/base/refusal.ts'
import { dockerdPath, Lab, sleep, type Answer } from '../lab/lab.ts'
import { differences, type Difference } from './compare.ts'
import { hasReason } from './deliberate.ts'
import { counted, type Clean } from './kernel.ts'
import { cleaned, normalised, type Normalising } from './normalise.ts'

/** All answer anything here within a second; one that streams for ever is a difference, too. */
const answerTimeoutMs = 8_000
/** Kernels let go of links behind the answer: what differs without a reason is looked at again so often. */
const looksMax = 10
const lookAgainMs = 200

export interface Asking {
  /** Remember the `Id` of the answer under this name. */
  readonly keep?: string
  readonly headers?: Readonly<Record<string, string>>
  /** How the body of the answer is read (default: JSON, else the text). */
  readonly shape?: 'json' | 'lines' | 'text'
  /** Compare a refusal as one line: `404 network nope not found`. */
  readonly line?: boolean
  /** The path is not below the API version. */
  readonly bare?: boolean
  /** What of the answer is compared; default: all of it. */
  readonly pick?: (json: unknown, answer: Answer) => unknown
}

/** Docker's engines: Debian's, and one fetched by `scripts/engines`. */
export type EngineVersion = '20.10' | '28.2.2'

const ofTheLab = (version: EngineVersion) => (version === '20.10' ? {} : { version })

export const isHere = (version: EngineVersion): boolean =>
  dockerdPath(ofTheLab(version).version) !== undefined

/** A difference between Portolan and one of Docker's engines. */
export interface Found extends Difference {
  readonly question: string
  readonly engine: EngineVersion
}

export interface PanelOptions {
  readonly versions: readonly EngineVersion[]
  readonly api: string
}

/** The same on every machine: what containers read follows from it. The mount ends with the test. */
const sameNameservers = [
  'file=$(readlink -m /etc/resolv.conf)', 'mkdir -p $(dirname $file)', '[ -e $file ] || touch $file',
  'echo nameserver 192.0.2.53 >/run/resolv.conf', 'echo search lab.test >>/run/resolv.conf',
  'mount --bind /run/resolv.conf $file',
].join(' && ')

interface Member {
  readonly lab: Lab
  readonly netns: string
  readonly kept: Map<string, string>
}

export class Panel {
  readonly api: string
  readonly found: Found[] = []
  readonly versions: readonly EngineVersion[]
  questions = 0
  readonly #dockers: readonly (Member & { readonly engine: EngineVersion })[]
  readonly #portolan: Member

  private constructor(
    api: string,
    dockers: readonly (Member & { readonly engine: EngineVersion })[],
    portolan: Member,
  ) {
    this.api = api
    this.versions = dockers.map(({ engine }) => engine)
    this.#dockers = dockers
    this.#portolan = portolan
    for (const { lab, kept } of this.#members) {
      const root = join(lab.folder, 'shared')
      mkdirSync(join(root, 'dir'), { recursive: true })
      kept.set('root', root)
    }
  }

  static async start(t: TestContext, { versions, api }: PanelOptions): Promise<Panel> {
    const before = Lab.idle(t)
    await before.must(sameNameservers)
    const netns = [...versions.map((version) => `docker${version}`), 'portolan']
    for (const name of netns) {
      await before.must(`ip netns add ${name} && ip -n ${name} link set lo up`)
    }
    const kept = () => new Map<string, string>()
    const [portolan, ...dockers] = await Promise.all([
      Lab.start(t, { netns: 'portolan' }).then((lab) => ({ lab, netns: 'portolan', kept: kept() })),
      ...versions.map(async (engine) => {
        const netns = `docker${engine}`
        const lab = await Lab.start(t, { engine: 'dockerd', netns, ...ofTheLab(engine) })
        return { engine, lab, netns, kept: kept() }
      }),
    ])
    return new Panel(api, dockers, portolan)
  }

  get #members(): readonly Member[] {
    return [...this.#dockers, this.#portolan]
  }

  /** Asks all at once and notes what differs. Answers whether all said 2xx. */
  async ask(
    question: string, method: string, path: string, body?: unknown, asking: Asking = {},
  ): Promise<boolean> {
    let ok = true
    await this.#compare(question, async (member) => {
      const answer = await this.#askOne(member, method, path, body, asking)
      ok &&= answer.ok
      return answer.seen
    })
    return ok
  }

  /**
   * Compares what a command prints on all hosts, in the host's namespace or that of the container
   * `inside`, as `read` understands it. `$PID` is the container's process.
   */
  async observe(
    question: string, line: string, read: (text: string, clean: Clean) => unknown,
    inside?: string,
  ): Promise<void> {
    await this.#settled(question, async (member) => {
      let enter = `nsenter --net=/run/netns/${member.netns}`
      if (inside !== undefined) {
        const { text } = await member.lab.api('GET', `/v${this.api}/containers/${inside}/json`)
        const pid = /"Pid":(\d+)/.exec(text)?.[1] ?? ''
        enter = `PID=${pid} nsenter --net=/proc/${pid}/ns/net`
      }
      const ran = await member.lab.sh(`${enter} sh -c '${line}'`)
      const clean = (text: string) => cleaned(text, normalising(member))
      return ran.code === 0 ? read(ran.out, clean) : normalised(ran, normalising(member))
    })
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

  /** Does on all what is needed for later questions and is compared by them. */
  async do(method: string, path: string, body?: unknown): Promise<void> {
    await Promise.all(this.#members.map((member) => this.#send(member, method, path, body, {})))
  }

  async #compare(question: string, see: (member: Member) => Promise<unknown>): Promise<void> {
    this.questions++
    this.found.push(...await this.#look(question, see))
  }

  /** The same for what may be on its way still: the last look counts. */
  async #settled(question: string, see: (member: Member) => Promise<unknown>): Promise<void> {
    this.questions++
    // What the older engine does otherwise, and the newest as Portolan does, is not known here.
    const explained = (one: Found) => one.engine === '20.10' || hasReason(one)
    let found = await this.#look(question, see)
    for (let looks = 1; looks < looksMax && !found.every(explained); looks++) {
      await sleep(lookAgainMs)
      found = await this.#look(question, see)
    }
    this.found.push(...found)
  }

  async #look(question: string, see: (member: Member) => Promise<unknown>): Promise<readonly Found[]> {
    const [ours, ...theirs] = await Promise.all([this.#portolan, ...this.#dockers].map(see))
    return this.#dockers.flatMap(({ engine }, index) =>
      differences(theirs[index], ours).map((difference) => ({ question, engine, ...difference })))
  }

  async #askOne(
    member: Member, method: string, path: string, body: unknown, asking: Asking,
  ): Promise<{ ok: boolean, seen: unknown }> {
    const answer = await this.#send(member, method, path, body, asking)
    const json = asking.shape === 'lines'
      ? answer.text.split('\n').filter((line) => line !== '').map(parsed)
      : asking.shape === 'text' ? answer.text : answer.json ?? answer.text
    if (asking.keep !== undefined && isRecord(json) && typeof json['Id'] === 'string') {
      member.kept.set(asking.keep, json['Id'])
    }
    const ok = answer.status < 300
    const compared = asking.pick !== undefined && ok ? asking.pick(json, answer) : json
    const { status } = answer
    const type = answer.headers['content-type']
    if (asking.line !== true) {
      return { ok, seen: normalised({ status, type, body: compared }, normalising(member)) }
    }
    const said = isRecord(json) && 'message' in json ? json['message'] : JSON.stringify(compared)
    return { ok, seen: normalised(`${status} ${String(said)}`, normalising(member)) }
  }

  #send(
    { lab, kept }: Member, method: string, path: string, body: unknown, asking: Asking,
  ): Promise<Answer> {
    const fill = (text: string) =>
      text.replaceAll(/\{\{(\w+)\}\}/g, (_, name: string) => kept.get(name) ?? 'missing')
    const sent = body === undefined ? undefined
      : fill(typeof body === 'string' ? body : JSON.stringify(body))
    const where = asking.bare === true ? fill(path) : `/v${this.api}${fill(path)}`
    const asked = lab.api(method, where, sent, asking.headers)
    const none = (text: string): Answer => ({ status: 0, json: undefined, text, headers: {} })
    const late = new Promise<Answer>((answer) => {
      const text = `no answer within ${answerTimeoutMs} ms`
      setTimeout(() => answer(none(text)), answerTimeoutMs).unref()
    })
    // What is no HTTP is an answer like any other: both may give it.
    const broken = asked.catch((error: unknown) => none(messageOf(error)))
    return Promise.race([broken, late])
  }
}

function normalising({ lab, kept }: Member): Normalising {
  return { folder: lab.folder, names: kept }
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
