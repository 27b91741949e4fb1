/**
 * Runs each test file in namespaces of its own (`scripts/private`), four at a time, and adds up.
 *
 * A file that makes docker0 or flushes a firewall can therefore not disturb another one, and what
 * it forgets is gone when it ends. The output of a file is shown whole if anything in it failed.
 */
import { spawn } from 'node:child_process'
import { globSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'

/** A file that takes longer hangs: the whole suite is meant to end within ten minutes. */
const fileTimeoutMs = 300_000
const outputBytesMax = 4 * 1024 * 1024
/** Files wait a third of their time: for links that go, for timeouts that they provoke. */
const atOnceMax = 4

/** What tests say of themselves, counts of questions for example; not what the runner counts. */
const diagnostics = /^\s*ℹ (?!(?:tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) [\d.]+$)(.*)$/gm

interface Outcome {
  readonly file: string
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  readonly seconds: number
  readonly output: string
}

/** Of each failed test its name and what comes first of the reason. */
const reasonLinesMax = 12
const reasonCharsMax = 400

const root = join(dirname(import.meta.filename), '..')

function runFile(file: string): Promise<Outcome> {
  const started = Date.now()
  const command = [
    'scripts/node', '--disable-warning=ExperimentalWarning', '--test-reporter=spec',
    '--test-timeout=240000', file, // without --test, which starts a second process for the file
  ]
  const child = spawn('scripts/private', command, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  const collect = (chunk: Buffer) => {
    if (output.length < outputBytesMax) output += chunk.toString()
  }
  child.stdout.on('data', collect)
  child.stderr.on('data', collect)
  const timer = setTimeout(() => {
    output += `\n${file}: still running after ${fileTimeoutMs / 1000} s, ended\n`
    child.kill('SIGKILL')
  }, fileTimeoutMs)
  return new Promise((resolve) => {
    child.on('close', (code) => {
      clearTimeout(timer)
      const count = (word: string) => Number(new RegExp(`^ℹ ${word} (\\d+)$`, 'm').exec(output)?.[1] ?? 0)
      const failed = count('fail') + count('cancelled')
      resolve({
        file,
        passed: count('pass'),
        // A file that ended badly without naming a failed test has failed all the same.
        failed: failed === 0 && code !== 0 ? 1 : failed,
        skipped: count('skipped') + count('todo'),
        seconds: (Date.now() - started) / 1000,
        output,
      })
    })
  })
}

/** The short of a failed file, for those who see only the end of the output. */
function reasonsIn(output: string): readonly string[] {
  const [, failing] = output.split('✖ failing tests:')
  if (failing === undefined) return output.slice(-reasonLinesMax * reasonCharsMax).split('\n').slice(-reasonLinesMax)
  return failing.split(/^(?=test at )/m).slice(1)
    .flatMap((one) => one.trim().split('\n').filter((line) => !/^\s+at /.test(line)).slice(1, reasonLinesMax + 1))
    .map((line) => line.slice(0, reasonCharsMax))
}

const asked = process.argv.slice(2)
const files = asked.length > 0 ? asked : globSync('{src,test}/**/*.test.ts', { cwd: root }).sort()
// The long ones first, so that none is left running alone at the end.
files.sort((a, b) => Number(b.startsWith('test/')) - Number(a.startsWith('test/')))

const outcomes: Outcome[] = []
const waiting = [...files]
async function worker(): Promise<void> {
  for (let file = waiting.shift(); file !== undefined; file = waiting.shift()) {
    const outcome = await runFile(file)
    outcomes.push(outcome)
    if (outcome.failed > 0) process.stdout.write(`${outcome.output}\n`)
    const counts = `${outcome.passed} passed, ${outcome.failed} failed`
    const skipped = outcome.skipped > 0 ? `, ${outcome.skipped} skipped` : ''
    console.log(`${outcome.failed > 0 ? 'FAILED' : 'ok'} ${file}: ${counts}${skipped} (${outcome.seconds.toFixed(1)} s)`)
    if (outcome.failed > 0) {
      for (const line of reasonsIn(outcome.output)) console.log(`  ${line}`)
    } else {
      for (const line of outcome.output.matchAll(diagnostics)) console.log(`  ${line[1]}`)
    }
    for (const line of outcome.output.matchAll(/^.*﹣ (.*# .*)$/gm)) console.log(`  skipped: ${line[1]}`)
  }
}
await Promise.all(Array.from({ length: Math.min(atOnceMax, 2 * availableParallelism()) }, worker))

const sum = (pick: (outcome: Outcome) => number) => outcomes.reduce((total, o) => total + pick(o), 0)
const failedFiles = outcomes.filter((outcome) => outcome.failed > 0).map((outcome) => outcome.file)
if (failedFiles.length > 0) console.log(`failed: ${failedFiles.join(' ')}`)
const [passed, failed, skipped] = [sum((o) => o.passed), sum((o) => o.failed), sum((o) => o.skipped)]
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`)
if (failed > 0 || passed === 0) process.exitCode = 1
