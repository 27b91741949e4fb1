/**
 * The words of the tests: hosts with an engine each, commands typed on them, and what is left
 * behind. A test file runs in private namespaces already (`scripts/private`), so the first host
 * is simply here; more hosts are network namespaces joined to it by veth.
 */
import assert from 'node:assert/strict'
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, openSync, readFileSync, readdirSync, rmSync } from 'node:fs'
import { request, type IncomingHttpHeaders } from 'node:http'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { TestContext } from 'node:test'
import { unmountBelow } from '../../src/cli/machine.ts'
import { busyboxImageTar } from '../../src/cli/demo/busybox-image.ts'

export const root = resolve(join(import.meta.dirname, '../..'))
const debian = join(root, '.cache/debian')
const engines = join(root, '.cache/engines')
const startTimeoutMs = 60_000
const stopTimeoutMs = 30_000
const commandTimeoutMs = 60_000
/** What a newer dockerd runs on. */
const dockerdContainerd = '2.1.3'

export interface Ran {
  readonly code: number
  readonly out: string
  readonly err: string
}

export interface Answer {
  readonly status: number
  readonly json: unknown
  readonly text: string
  readonly headers: IncomingHttpHeaders
}

export interface EngineOptions {
  /** `dockerd`: for parity. */
  readonly engine?: 'portolan' | 'dockerd'
  /** Of dockerd, as `scripts/engines` names it; default: Debian's, 20.10. */
  readonly version?: string
  /** Of the containerd that Portolan runs, as `scripts/engines` names it; default: the machine's. */
  readonly containerd?: string
  readonly flags?: readonly string[]
  /** Load `busybox:latest` before the test begins (default true). */
  readonly busybox?: boolean
  /** Name of the network namespace to live in (`ip netns add`); default: where the test is. */
  readonly netns?: string
  /** Path of the docker command to type with; default: the stock one (`dockerCliPath`). */
  readonly cli?: string
}

/** A file of what `scripts/engines` fetched, by the name there; undefined where it could not. */
export function fetchedPath(name: string, file: string): string | undefined {
  const path = join(engines, name, file)
  return existsSync(path) ? path : undefined
}

/** Debian's dockerd, unpacked for the tests or installed, or a newer one; undefined when there is none. */
export function dockerdPath(version?: string): string | undefined {
  if (version !== undefined) return fetchedPath(`docker-${version}`, 'usr/bin/dockerd')
  return ['/usr/sbin/dockerd', join(debian, 'usr/sbin/dockerd')].find((path) => existsSync(path))
}

/** The folder of a containerd and its shim, for the PATH; undefined when there is none. */
export function containerdFolder(version: string): string | undefined {
  return fetchedPath(`containerd-${version}`, 'usr/bin')
}

/** Debian's docker command, 20.10, for the tests of older clients; it may not be there. */
export const oldDockerCliPath = join(debian, 'usr/bin/docker')

/** The stock CLI: the machine's if it is of today, else one fetched for the tests, else an older one. */
export function dockerCliPath(): string {
  const onPath = spawnSync('sh', ['-c', 'command -v docker'], { encoding: 'utf8' }).stdout.trim()
  const found = [onPath, fetchedPath('docker-28.2.2', 'usr/bin/docker') ?? '', oldDockerCliPath]
    .filter((path) => existsSync(path))
  return found.find((path) => dockerCliMajor(path) >= cliMajorOfToday) ?? found[0] ?? oldDockerCliPath
}

/** The major version of a docker command: 20 has neither all options nor all words of 28. */
export function dockerCliMajor(cli = dockerCliPath()): number {
  let major = cliMajors.get(cli)
  if (major === undefined) {
    const told = spawnSync(cli, ['--version'], { encoding: 'utf8' }).stdout
    major = Number(/version (\d+)\./.exec(told)?.[1])
    cliMajors.set(cli, major)
  }
  return major
}

const cliMajorOfToday = 28
const cliMajors = new Map<string, number>()

export class Lab {
  readonly folder: string
  readonly socket: string
  readonly #options: EngineOptions
  readonly #before: Leftovers
  readonly #cli: string
  #daemon: ChildProcess | undefined

  private constructor(options: EngineOptions) {
    this.#before = leftovers()
    this.folder = mkdtempSync(join(tmpdir(), 'lab-'))
    this.socket = join(this.folder, 'd.sock')
    this.#options = options
    this.#cli = options.cli ?? dockerCliPath()
  }

  /** An engine with state of its own, ended and checked for leaks when the test ends. */
  static async start(t: TestContext | undefined, options: EngineOptions = {}): Promise<Lab> {
    const lab = new Lab(options)
    t?.after(() => lab.stop())
    try {
      await lab.startDaemon()
      if (options.busybox !== false) await lab.loadBusybox()
    } catch (error) {
      await lab.stop()
      throw error
    }
    return lab
  }

  /** A lab without an engine, for commands on the machine itself. */
  static idle(t: TestContext): Lab {
    const lab = new Lab({})
    t.after(() => lab.stop())
    return lab
  }

  /** The command line of the daemon on this lab's roots, in its namespace. */
  #command(flags: readonly string[]): readonly string[] {
    const roots = [
      '--host', `unix://${this.socket}`, '--data-root', join(this.folder, 'data'),
      '--exec-root', join(this.folder, 'run'), '--pidfile', join(this.folder, 'pid'), ...flags,
    ]
    const { version } = this.#options
    const command = this.#options.engine === 'dockerd'
      ? [dockerdPath(version) ?? 'dockerd', '--storage-driver', 'overlay2', ...initPath(version), ...roots]
      : [join(root, 'portolan'), 'daemon', ...roots]
    const { netns } = this.#options
    // nsenter and not `ip netns exec`: that one mounts a new sysfs and hides the cgroups.
    return netns === undefined ? command : ['nsenter', `--net=/run/netns/${netns}`, ...command]
  }

  /** The engine's programs are found by the PATH: dockerd's helpers, and containerd with its shim. */
  #environment(): NodeJS.ProcessEnv {
    const { engine, version, containerd } = this.#options
    const path = process.env['PATH'] ?? ''
    if (engine !== 'dockerd') {
      if (containerd === undefined) return process.env
      return { ...process.env, PATH: `${containerdFolder(containerd) ?? ''}:${path}` }
    }
    if (version !== undefined) {
      const folders = [fetchedPath(`docker-${version}`, 'usr/bin'), containerdFolder(dockerdContainerd)]
      return { ...process.env, PATH: `${folders.join(':')}:${path}:/usr/sbin:/sbin` }
    }
    const folders = ['usr/bin', 'usr/sbin'].map((folder) => join(debian, folder))
    const libraries = ['usr/lib', 'lib'].map((folder) => join(debian, folder, 'x86_64-linux-gnu'))
    return {
      ...process.env, PATH: `${path}:${folders.join(':')}:/usr/sbin:/sbin`,
      LD_LIBRARY_PATH: libraries.join(':'),
    }
  }

  /** Starts the daemon (again) on the same roots and waits until it answers. */
  async startDaemon(flags: readonly string[] = this.#options.flags ?? []): Promise<void> {
    const [program = '', ...args] = this.#command(flags)
    const log = openSync(this.logPath, 'a')
    this.#daemon = spawn(program, args, { stdio: ['ignore', log, log], env: this.#environment() })
    const daemon = this.#daemon
    const deadline = Date.now() + startTimeoutMs
    for (;;) {
      const up = await this.api('GET', '/_ping').then((answer) => answer.status === 200, () => false)
      if (up) return
      if (daemon.exitCode !== null || Date.now() > deadline) {
        throw new Error(`the engine did not start:\n${this.log().slice(-6000)}`)
      }
      await sleep(50)
    }
  }

  get daemonPid(): number {
    const pid = this.#daemon?.pid
    assert.ok(pid !== undefined, 'the daemon runs')
    return pid
  }

  get logPath(): string {
    return join(this.folder, 'daemon.log')
  }

  log(): string {
    return existsSync(this.logPath) ? readFileSync(this.logPath, 'utf8') : ''
  }

  /** SIGKILL, or another signal; resolves when the process is gone. */
  async endDaemon(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const daemon = this.#daemon
    if (daemon === undefined || daemon.exitCode !== null || daemon.signalCode !== null) return
    const gone = new Promise((done) => daemon.once('exit', done))
    daemon.kill(signal)
    const timer = setTimeout(() => daemon.kill('SIGKILL'), stopTimeoutMs)
    await gone
    clearTimeout(timer)
  }

  /** An image of the machine's busybox under these names, with this command. */
  async loadBusybox(
    tags: readonly string[] = ['busybox:latest'],
    command: readonly string[] = ['sh'],
    exposed: readonly string[] = [],
  ): Promise<void> {
    const tar = await busyboxImageTar('/bin/busybox', tags, command, exposed)
    const answer = await this.api('POST', '/images/load?quiet=1', tar)
    assert.equal(answer.status, 200, answer.text)
  }

  /** The stock CLI with these arguments; what an older one words otherwise is told in newer words. */
  async docker(...args: readonly string[]): Promise<Ran> {
    const ran = await this.run(this.#cli, args)
    if (dockerCliMajor(this.#cli) >= cliMajorOfToday) return ran
    const { code, out, err } = ran
    const listsPorts = args[0] === 'port' || args[0] === 'ps'
    return { code, out: listsPorts ? inNewerForm(out) : out, err: inNewerWords(err) }
  }

  /** The stock CLI; fails the test unless it succeeds. Answers its output without the last newline. */
  async ok(...args: readonly string[]): Promise<string> {
    const ran = await this.docker(...args)
    assert.equal(ran.code, 0, `docker ${args.join(' ')}: exit ${ran.code}\n${ran.out}${ran.err}\n${this.log().slice(-1500)}`)
    return ran.out.replace(/\n$/, '')
  }

  /** A line for the shell, as the tutorials have it; `docker` in it is the stock CLI on this engine. */
  sh(line: string): Promise<Ran> {
    return this.run('/bin/bash', ['-c', line])
  }

  /** The same, and it must succeed. */
  async must(line: string): Promise<string> {
    const ran = await this.sh(line)
    assert.equal(ran.code, 0, `${line}: exit ${ran.code}\n${ran.out}${ran.err}`)
    return ran.out.trimEnd()
  }

  run(program: string, args: readonly string[], input?: string): Promise<Ran> {
    const bin = resolve(this.#cli, '..')
    const env = {
      ...process.env, DOCKER_HOST: `unix://${this.socket}`, DOCKER_CONFIG: join(this.folder, 'cli'), LC_ALL: 'C.UTF-8',
      PATH: `${bin}:${process.env['PATH']}:/usr/sbin:/sbin`,
    }
    const child = spawn(program, [...args], { env, stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'] })
    child.stdin?.end(input)
    let [out, err] = ['', '']
    child.stdout?.on('data', (chunk: Buffer) => { out += chunk.toString() })
    child.stderr?.on('data', (chunk: Buffer) => { err += chunk.toString() })
    const timer = setTimeout(() => {
      err += `\nstill running after ${commandTimeoutMs / 1000} s, ended`
      child.kill('SIGKILL')
    }, commandTimeoutMs)
    return new Promise((done, fail) => {
      child.on('error', fail)
      child.on('close', (code) => {
        clearTimeout(timer)
        done({ code: code ?? 137, out, err })
      })
    })
  }

  /** One request to the API; a readable body is sent as it is, anything else as JSON. */
  api(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    return new Promise((done, fail) => {
      const stream = isReadable(body)
      const type = stream ? 'application/x-tar' : 'application/json'
      const outgoing = request({
        socketPath: this.socket, method, path,
        headers: body === undefined ? headers : { 'Content-Type': type, ...headers },
      }, (answer) => {
        const chunks: Buffer[] = []
        answer.on('data', (chunk: Buffer) => chunks.push(chunk))
        answer.on('error', fail)
        answer.on('end', () => {
          const text = Buffer.concat(chunks).toString()
          done({ status: answer.statusCode ?? 0, text, json: parse(text), headers: answer.headers })
        })
      })
      outgoing.on('error', fail)
      if (stream) body.pipe(outgoing)
      else outgoing.end(typeof body === 'string' || body === undefined ? body : JSON.stringify(body))
    })
  }

  /** A second host `name` at ADDRESS.2, on a cable to this one at ADDRESS.1 (a /24). */
  async neighbour(name = 'neighbour', net = '198.51.100'): Promise<void> {
    const cable = `lan${name.slice(0, 8)}`
    await this.must([
      `ip netns add ${name}`, `ip link add ${cable} type veth peer name eth0 netns ${name}`,
      `ip addr add ${net}.1/24 dev ${cable}`, `ip link set ${cable} up`,
      `ip -n ${name} addr add ${net}.2/24 dev eth0`, `ip -n ${name} link set eth0 up`,
      `ip -n ${name} link set lo up`,
    ].join(' && '))
  }

  /** Takes all of the engine out of the kernel, as `portolan down` does, and it must succeed. */
  async teardown(): Promise<void> {
    await this.endDaemon()
    const [program = '', ...args] = this.#command([...(this.#options.flags ?? []), '--teardown'])
    const ran = await this.run(program, args)
    assert.equal(ran.code, 0, ran.out + ran.err)
  }

  /** Ends the engine, takes away what the test itself made, and finds what Portolan forgot. */
  async stop(): Promise<void> {
    let failure = ''
    await this.endDaemon()
    // A killed daemon, or one under live-restore, has left its keeper and containers running.
    const { netns } = this.#options
    // The lab that made the namespaces may have taken them away: then nothing is in them any more.
    const isThere = netns === undefined || existsSync(join('/run/netns', netns))
    if (this.#options.engine !== 'dockerd' && this.#daemon !== undefined && isThere) {
      const [program = '', ...args] = this.#command(['--teardown'])
      const ran = spawnSync(program, args, { timeout: stopTimeoutMs, env: this.#environment(), encoding: 'utf8' })
      failure = ran.status === 0 ? '' : `teardown: exit ${ran.status}\n${ran.stdout}${ran.stderr}`
    }
    const all = spawnSync('ip', ['netns', 'list'], { encoding: 'utf8' }).stdout.split('\n')
    // An engine in a namespace of its own has others beside it.
    for (const line of netns === undefined ? all : [netns]) {
      const name = line.split(' ')[0] ?? ''
      if (name !== '') spawnSync('ip', ['netns', 'del', name])
    }
    unmountBelow(this.folder)
    rmSync(this.folder, { recursive: true, force: true })
    if (failure === '') return
    // Not thrown: what is to be done after the test besides would not be.
    process.exitCode = 1
    console.error(failure)
  }

  /** Every container and network of the engine removed: nothing of it may be left in the kernel. */
  async expectNoLeaks(): Promise<void> {
    const ids = (await this.ok('ps', '-aq')).split('\n').filter((id) => id !== '')
    if (ids.length > 0) await this.ok('rm', '-f', '-v', ...ids)
    await this.ok('network', 'prune', '-f')
    let now = leftovers()
    // Links leave behind the answer (the kernel's grace period), within this bound.
    for (let tries = 0; tries < 60 && now.links.some((link) => link.startsWith('veth')); tries++) {
      await sleep(50)
      now = leftovers()
    }
    assert.deepEqual(now.links.filter((link) => /^(veth|br-)/.test(link)), [], 'links left behind')
    const namespaces = now.mounts.filter((mount) => mount.startsWith(join(this.folder, 'run/netns/')))
    assert.deepEqual(namespaces.filter((mount) => !mount.endsWith('/default')), [], 'namespaces left behind')
    const rules = spawnSync('iptables-save', { encoding: 'utf8' }).stdout.split('\n')
    assert.deepEqual(rules.filter((rule) => /br-|DNAT/.test(rule)), [], 'rules left behind')
    const policy = ['-4', '-6'].map((family) => spawnSync('ip', [family, 'rule'], { encoding: 'utf8' }).stdout)
    assert.doesNotMatch(policy.join(''), /proto 80/, 'policy rules left behind')
    assert.deepEqual(now.shims.filter((shim) => !this.#before.shims.includes(shim)), [], 'shims left behind')
  }
}

/** Unpacked for the tests, Debian's dockerd has no docker-init beside it: tini is what that is. */
function initPath(version: string | undefined): readonly string[] {
  return version !== undefined || existsSync('/usr/bin/docker-init') ? [] : ['--init-path', '/usr/bin/tini']
}

/** CLI 20.10 prints `:::80` for `[::]:80`, `::1:80` for `[::1]:80`. */
function inNewerForm(text: string): string {
  return text.replace(/(?<![\w.:[])([0-9a-f:]*::[0-9a-f:]*?):(\d+)(?=->|,|$)/gm, '[$1]:$2')
}

/** CLI 20.10 has sentences of its own for what is not there. */
function inNewerWords(text: string): string {
  return text
    .replace(/^(docker: Error response from daemon: .*)\.$/m, '$1')
    .replace(/^Error: No such network: (.*)$/m, 'Error response from daemon: network $1 not found')
    .replace(/^Error: No such volume: (.*)$/m, 'Error response from daemon: get $1: no such volume')
}

interface Leftovers {
  readonly links: readonly string[]
  readonly mounts: readonly string[]
  readonly shims: readonly string[]
}

function leftovers(): Leftovers {
  return {
    links: readdirSync('/sys/class/net').sort(),
    mounts: readFileSync('/proc/self/mountinfo', 'utf8').split('\n').map((line) => line.split(' ')[4] ?? ''),
    shims: existsSync('/run/containerd/s') ? readdirSync('/run/containerd/s') : [],
  }
}

/** Resolves after this time, or as soon as `signal` says that nobody waits any more. */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((wake) => {
    const timer = setTimeout(wake, milliseconds)
    signal?.addEventListener('abort', () => {
      clearTimeout(timer)
      wake()
    })
  })
}

function isReadable(body: unknown): body is NodeJS.ReadableStream {
  return typeof body === 'object' && body !== null && 'pipe' in body
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // a stream of several documents, or none: the caller has the text
  }
}
