/**
 * dockerd and Portolan, each in a network namespace of its own, asked the same: what they answer is
 * equal, but where a test says what each of them says.
 */
import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import { dockerdPath, Lab, type Answer } from './lab.ts'

const version = '28.2.2'
const api = '/v1.50'

/** Why a test that asks dockerd cannot; false where it can. */
export const noDockerd = dockerdPath(version) === undefined ? `no dockerd ${version} here to ask` : false

export interface Engine {
  readonly lab: Lab
  readonly name: 'docker' | 'portolan'
  /** What a command on this engine's host prints, or how it fails. */
  sh(line: string): Promise<string>
  api(method: string, path: string, body?: unknown): Promise<Answer>
}

/** What both say, or each of them where that is meant. */
export type Said = readonly [docker: string, portolan: string]

export class Two {
  readonly engines: readonly Engine[]

  private constructor(engines: readonly Engine[]) {
    this.engines = engines
  }

  /**
   * @param prepare a line for the shell of each host before its engine starts
   * @param busybox whether containers will be run
   */
  static async start(
    t: TestContext, flags: readonly string[] = [], prepare = 'true', busybox = true,
  ): Promise<Two> {
    const before = Lab.idle(t)
    const start = async (name: Engine['name']): Promise<Engine> => {
      await before.must(`ip netns add ${name} && ip -n ${name} link set lo up`)
      const enter = `nsenter --net=/run/netns/${name} sh -c`
      await before.must(`${enter} '${prepare}'`)
      const engine = name === 'docker' ? ({ engine: 'dockerd', version } as const) : {}
      const lab = await Lab.start(t, { ...engine, netns: name, flags, busybox })
      return {
        lab, name,
        sh: async (line) => {
          const { code, out, err } = await lab.sh(`${enter} '${line}'`)
          return code === 0 ? out.trimEnd() : `exit ${code}: ${err.trim()}`
        },
        api: (method, path, body) => lab.api(method, `${api}${path}`, body),
      }
    }
    return new Two(await Promise.all([start('docker'), start('portolan')]))
  }

  /** Does something on both. */
  async both<T>(act: (engine: Engine) => Promise<T>): Promise<readonly T[]> {
    return Promise.all(this.engines.map(act))
  }

  /** What is seen of both is the same, or, where that is meant, what `said` says. */
  async same(what: string, see: (engine: Engine) => Promise<unknown>, said?: Said): Promise<void> {
    const seen = await this.both(async (engine) => {
      const value = await see(engine)
      return typeof value === 'string' ? normal(value) : JSON.parse(normal(JSON.stringify(value)))
    })
    if (said !== undefined) assert.deepEqual(seen, said, what)
    else assert.deepEqual(seen[1], seen[0], what)
  }
}

/** `404 network nope not found`, `201`. */
export function saying({ status, json }: Answer): string {
  const message = typeof json === 'object' && json !== null && 'message' in json ? json.message : ''
  return `${status} ${String(message)}`.trimEnd()
}

/** Without what no two engines have in common. */
function normal(text: string): string {
  return text
    .replaceAll(/\b[0-9a-f]{64}\b/g, '<id>')
    .replaceAll(/\b(br-|d[mi]-)[0-9a-f]{12}\b/g, '$1<12>')
    .replaceAll(/\bveth[0-9a-f]{7}\b/g, '<veth>')
    // Local prefixes follow from an engine's id.
    .replaceAll(/\bfd[0-9a-f]{2}:[0-9a-f]{1,4}:[0-9a-f]{1,4}(:[0-9a-f]+)?::/g, '<ula>$1::')
}
