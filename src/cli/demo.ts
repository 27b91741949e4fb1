/**
 * `portolan demo`: the README's walk, by itself, in namespaces that end with it.
 *
 * Everything is made anew in a temporary folder: a daemon with its own containerd and keeper, a
 * neighbour host behind a veth pair, an image from the machine's static busybox (no registry
 * needed). Each command is shown with what it printed and whether that was right.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { connect, field } from './client.ts'
import { command, type Context } from './command.ts'
import { busyboxImageTar } from './demo/busybox-image.ts'
import { demoSteps, type Step } from './demo/steps.ts'
import { paths, requireRoot, run, unmountBelow, waitUntil } from './machine.ts'

const startTimeoutMs = 180_000
const exitTimeoutMs = 30_000
const stepTimeoutMs = 60_000

const privateNamespaces = resolve(join(import.meta.dirname, '../../scripts/private'))

export const demo = command({
  name: 'demo',
  usage: '',
  summary: 'walk through bridges, names and ports in private namespaces, and clean up',
  options: { inside: { type: 'boolean', default: false } },
  async run({ inside }, _names, context) {
    requireRoot('demo')
    return inside ? walk(context) : enterNamespaces()
  },
})

function enterNamespaces(): Promise<number> {
  const child = spawn(privateNamespaces, [paths.launcher, 'demo', '--inside'], { stdio: 'inherit' })
  return new Promise((done, fail) => {
    child.on('error', fail)
    child.on('exit', (code) => done(code ?? 1))
  })
}

async function walk({ print }: Context): Promise<number> {
  const folder = mkdtempSync('/tmp/portolan-demo-')
  const host = `unix://${folder}/docker.sock`
  const log = join(folder, 'daemon.log')
  const daemon = spawn(paths.launcher, [
    'daemon', '--host', host, '--data-root', `${folder}/data`, '--exec-root', `${folder}/run`,
    '--pidfile', `${folder}/pid`,
  ], { stdio: ['ignore', openSync(log, 'a'), openSync(log, 'a')] })
  let failures = 1
  try {
    const engine = connect(host)
    const answers = () => engine.json('GET', '/version').then(() => true, () => false)
    if (!(await waitUntil(answers, startTimeoutMs))) {
      print(readFileSync(log, 'utf8').split('\n').slice(-30).join('\n'))
      print('The daemon did not start; its log is above.')
      return 1
    }
    const loaded = await engine.stream('POST', '/images/load?quiet=1', await busyboxImageTar('/bin/busybox'))
    for await (const line of loaded) print(`image: ${field.text(JSON.parse(String(line)), 'stream').trim()}`)
    makeNeighbour()
    failures = 0
    for (const step of demoSteps(hasDocker())) if (!show(step, host, print)) failures++
    print(failures === 0 ? 'Every step did what it should.' : `${failures} steps did not do what they should.`)
  } finally {
    daemon.kill('SIGTERM')
    await new Promise((ended) => {
      const timer = setTimeout(ended, exitTimeoutMs)
      daemon.on('exit', () => { clearTimeout(timer); ended(undefined) })
    })
    unmountBelow(folder)
    rmSync(folder, { recursive: true, force: true })
  }
  return failures === 0 ? 0 : 1
}

function hasDocker(): boolean {
  return run('docker', ['--version']).code === 0
}

/** A second host, 198.51.100.2 (RFC 5737), on a cable to this one, 198.51.100.1. */
function makeNeighbour(): void {
  for (const line of [
    'netns add neighbour',
    'link add lan0 type veth peer name eth0 netns neighbour',
    'addr add 198.51.100.1/24 dev lan0',
    'link set lan0 up',
    '-n neighbour addr add 198.51.100.2/24 dev eth0',
    '-n neighbour link set eth0 up',
    '-n neighbour link set lo up',
  ]) run('ip', line.split(' '))
}

/** Runs one step as typed, prints it with its outcome; true when that is the expected one. */
function show(step: Step, host: string, print: (line: string) => void): boolean {
  print(`\n${step.note === undefined ? '' : `# ${step.note}\n`}$ ${step.typed}`)
  const outcome = spawnSync('/bin/sh', ['-c', step.typed], {
    encoding: 'utf8',
    timeout: stepTimeoutMs,
    env: { ...process.env, DOCKER_HOST: host, PATH: `${resolve(join(paths.launcher, '..'))}:${process.env['PATH']}:/usr/sbin:/sbin` },
  })
  const text = `${outcome.stdout}${outcome.stderr}`.trimEnd()
  const lines = text.split('\n')
  for (const line of lines.slice(0, step.linesMax ?? 12)) print(line)
  if (lines.length > (step.linesMax ?? 12)) print(`… (${lines.length} lines)`)
  const right = step.expect.test(text) && (outcome.status === 0) === (step.fails !== true)
  print(right ? '✓' : `✗ expected ${step.expect}, exit code ${outcome.status}`)
  return right
}
