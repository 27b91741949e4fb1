import assert from 'node:assert/strict'
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import test, { type TestContext } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { makeFifo } from '../kernel/fifo.ts'
import type { Attachment, StdioSpec } from './client.ts'
import { startKeeper, type KeeperConnection } from './connection.ts'
import { logPaths, parseLogLine } from './log-format.ts'
import type { KeeperPaths } from './launch.ts'
import { readMark } from './launch.ts'

interface Bench {
  readonly paths: KeeperPaths
  readonly keeper: KeeperConnection
  stream(options?: Partial<StdioSpec>): StdioSpec
}

async function bench(t: TestContext): Promise<Bench> {
  const folder = mkdtempSync(join(tmpdir(), 'keeper-'))
  const paths = {
    socketPath: join(folder, 'k.sock'),
    logPath: join(folder, 'k.log'),
    pidPath: join(folder, 'k.pid'),
  }
  const keeper = await startKeeper(paths)
  t.after(async () => {
    await keeper.stop()
    rmSync(folder, { recursive: true })
  })
  let count = 0
  const stream = (options: Partial<StdioSpec> = {}): StdioSpec => {
    const streamId = `s${++count}`
    const path = (name: string) => join(folder, `${streamId}-${name}`)
    const spec: StdioSpec = {
      streamId,
      fifoStdin: '',
      fifoStdout: path('stdout'),
      fifoStderr: path('stderr'),
      tty: false,
      logPath: path('json.log'),
      logMaxBytes: 0,
      logMaxFiles: 1,
      logAttributes: {},
      ...options,
    }
    for (const fifo of [spec.fifoStdin, spec.fifoStdout, spec.fifoStderr]) {
      if (fifo !== '') makeFifo(fifo)
    }
    return spec
  }
  return { paths, keeper, stream }
}

/** Runs a shell program with its output on the stream's FIFOs, as a shim would. */
async function runProgram(spec: StdioSpec, script: string): Promise<void> {
  await once(startProgram(spec, script), 'exit')
}

function startProgram(spec: StdioSpec, script: string) {
  const stdin = spec.fifoStdin === '' ? 'ignore' : openSync(spec.fifoStdin, 'r')
  const out = openSync(spec.fifoStdout, 'w')
  const err = openSync(spec.fifoStderr, 'w')
  const child = spawn('sh', ['-c', script], { stdio: [stdin, out, err] })
  for (const fd of [stdin, out, err]) if (typeof fd === 'number') closeSync(fd)
  return child
}

function logged(spec: StdioSpec, stream = 'stdout'): string {
  const lines = readFileSync(spec.logPath, 'utf8').split('\n').filter((line) => line !== '')
  const entries = lines.map((line) => parseLogLine(line))
  assert.ok(entries.every((entry) => entry !== undefined), 'every line is an entry')
  return entries.filter((entry) => entry?.stream === stream).map((entry) => entry?.log).join('')
}

async function collect(attachment: Attachment): Promise<{ stdout: string; stderr: string }> {
  const all = { stdout: '', stderr: '' }
  for await (const { stream, data } of attachment.output) all[stream] += data.toString()
  return all
}

const both = { stdin: false, stdout: true, stderr: true }

test('five megabytes through a FIFO are logged exactly, then the stream ends', async (t) => {
  const { keeper, stream } = await bench(t)
  const spec = stream()
  await keeper.openStdio(spec)
  await runProgram(spec, 'seq 1 700000; echo oops >&2; printf tail')
  await keeper.drainStdio(spec.streamId, 5000)
  const expected = Array.from({ length: 700000 }, (_, index) => `${index + 1}\n`).join('') + 'tail'
  assert.ok(expected.length > 4_700_000)
  assert.equal(logged(spec) === expected, true)
  assert.equal(logged(spec, 'stderr'), 'oops\n')
})

test('whoever is attached gets every byte and the end, both streams apart', async (t) => {
  const { keeper, stream } = await bench(t)
  const spec = stream()
  await keeper.openStdio(spec)
  const attachment = await keeper.attach(spec.streamId, both)
  const seen = collect(attachment)
  await runProgram(spec, 'head -c 50000000 /dev/zero; echo done >&2')
  await keeper.drainStdio(spec.streamId, 5000)
  const { stdout, stderr } = await seen
  assert.equal(stdout.length, 50_000_000)
  assert.equal(stderr, 'done\n')
})

test('an attacher that takes nothing is dropped, the log is whole', async (t) => {
  const { keeper, stream } = await bench(t)
  const spec = stream()
  await keeper.openStdio(spec)
  const stuck = await keeper.attach(spec.streamId, both)
  await runProgram(spec, 'seq 1 700000')
  await keeper.drainStdio(spec.streamId, 5000)
  assert.ok(logged(spec).endsWith('\n700000\n'))
  await assert.rejects(collect(stuck), /too slow/)
})

test('bytes written to stdin arrive, and the end of stdin only when asked for', async (t) => {
  const { keeper, stream } = await bench(t)
  const spec = stream({ fifoStdin: join(mkdtempSync(join(tmpdir(), 'in-')), 'stdin') })
  await keeper.openStdio(spec)
  const attachment = await keeper.attach(spec.streamId, { ...both, stdin: true })
  const seen = collect(attachment)
  const child = startProgram(spec, 'cat; echo end')
  const exited = once(child, 'exit')
  const data = Buffer.alloc(3_000_000, 'x')
  await attachment.write(data)
  await attachment.closeStdin()
  await exited
  await keeper.drainStdio(spec.streamId, 5000)
  assert.equal((await seen).stdout.length, data.length + 4)
})

test('a keeper that is killed is replaced and the output goes on without a gap', async (t) => {
  const { keeper, stream, paths } = await bench(t)
  const spec = stream()
  await keeper.openStdio(spec)
  // Two writes for each line: the keeper dies in the middle of one.
  const script = 'for i in $(seq 1 400); do printf "line "; sleep 0.005; echo $i; done'
  const seen = collect(await keeper.attach(spec.streamId, both))
  const child = startProgram(spec, script)
  const exited = once(child, 'exit')
  await sleep(300)
  const first = readMark(paths.pidPath)
  process.kill(first?.pid ?? -1, 'SIGKILL')
  await exited
  await keeper.drainStdio(spec.streamId, 5000)
  const expected = Array.from({ length: 400 }, (_, index) => `line ${index + 1}\n`).join('')
  assert.equal(logged(spec), expected)
  // A client may miss the one burst that the keeper had in hand; the log may not.
  const { stdout } = await seen
  assert.ok(stdout.endsWith('line 399\nline 400\n'))
  assert.ok(expected.length - stdout.length < 20)
  assert.notEqual(readMark(paths.pidPath)?.pid, first?.pid)
})

test('a new process gets fresh streams though the last one was never drained', async (t) => {
  const { keeper, stream } = await bench(t)
  const spec = stream()
  await keeper.openStdio(spec)
  await runProgram(spec, 'echo one')
  for (const path of [spec.fifoStdout, spec.fifoStderr]) {
    rmSync(path)
    makeFifo(path)
  }
  await keeper.openStdio(spec)
  await runProgram(spec, 'echo two')
  await keeper.drainStdio(spec.streamId, 5000)
  assert.equal(logged(spec), 'one\ntwo\n')
})

test('a daemon that goes and comes back finds the stream as it was', async (t) => {
  const { keeper, stream, paths } = await bench(t)
  const spec = stream()
  const surplus = stream()
  await keeper.openStdio(spec)
  await keeper.openStdio(surplus)
  const before = readMark(paths.pidPath)
  keeper.disconnect()
  await runProgram(spec, 'seq 1 20000')
  await runProgram(surplus, 'echo last words')
  const next = await startKeeper(paths)
  assert.equal(readMark(paths.pidPath)?.pid, before?.pid)
  await next.openStdio(spec)
  await next.restored()
  await next.drainStdio(spec.streamId, 5000)
  assert.ok(logged(spec).endsWith('\n20000\n'))
  assert.equal(logged(surplus), 'last words\n')
  await assert.rejects(next.attach(surplus.streamId, both), /no stream/)
  next.disconnect()
})

test('logs rotate by size and keep the newest files only', async (t) => {
  const { keeper, stream } = await bench(t)
  const spec = stream({ logMaxBytes: 10_000, logMaxFiles: 3 })
  await keeper.openStdio(spec)
  await runProgram(spec, 'seq 1 2000')
  await keeper.drainStdio(spec.streamId, 5000)
  const files = logPaths(spec.logPath, 3)
  assert.ok(files.every((path) => statSync(path).size < 10_200))
  assert.equal(existsSync(`${spec.logPath}.3`), false)
  const text = files.map((path) => readFileSync(path, 'utf8')).join('')
  const numbers = text.trim().split('\n').map((line) => Number(parseLogLine(line)?.log))
  assert.equal(numbers.at(-1), 2000)
  assert.ok(numbers.every((value, index) => index === 0 || value === (numbers[index - 1] ?? 0) + 1))
})

test('a process that left the pipe to a child does not hold up the end for long', async (t) => {
  const { keeper, stream } = await bench(t)
  const spec = stream()
  await keeper.openStdio(spec)
  await runProgram(spec, 'echo main; sleep 3 &')
  const startMs = performance.now()
  await keeper.drainStdio(spec.streamId, 200)
  assert.ok(performance.now() - startMs < 1500)
  assert.equal(logged(spec), 'main\n')
})
