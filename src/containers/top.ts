/** docker top: the machine's `ps`, reduced to the processes of the container. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { Refusal, messageOf } from '../base/refusal.ts'
import { hasProcess } from './record.ts'
import type { Container } from './registry.ts'
import type { Context } from './rooms.ts'
import { notRunning, taskFailure } from './task-failure.ts'

const run = promisify(execFile)
const psTimeoutMs = 10_000

export interface TopView {
  readonly Titles: readonly string[]
  readonly Processes: readonly (readonly string[])[]
}

export async function topContainer(
  context: Context,
  container: Container,
  psArgs: string,
): Promise<TopView> {
  const { status } = container.record.state
  if (!hasProcess(status)) throw notRunning(container)
  const args = (psArgs === '' ? '-ef' : psArgs).split(/\s+/).filter((arg) => arg !== '')
  if (args.some((arg) => /^-[a-zA-Z]*o[^=]*=/.test(arg) && !/pid/.test(arg))) {
    throw new Refusal('invalid', "Couldn't find PID field in ps output")
  }
  const pids = await pidsOf(context, container)
  let output: string
  try {
    // A command line may not fit into a terminal's width; there is no terminal here.
    output = (
      await run('ps', args, {
        timeout: psTimeoutMs,
        maxBuffer: 64 * 1024 * 1024,
        env: { ...process.env, COLUMNS: '8192' },
      })
    ).stdout
  } catch (error) {
    throw new Refusal('internal', `ps: ${complaintOf(error)}`, { cause: error })
  }
  const view = parsePs(output, pids)
  context.registry.tell(container, 'top')
  return view
}

async function pidsOf(context: Context, container: Container): Promise<ReadonlySet<number>> {
  const { id } = container
  try {
    const { processes } = await context.containerd.tasks.listPids({ containerId: id })
    return new Set(processes.map(({ pid }) => pid))
  } catch (error) {
    throw taskFailure(container, error, `cannot list the processes of container ${id}`)
  }
}

/** The first line that ps itself printed, else what kept it from running. */
function complaintOf(error: unknown): string {
  const printed = error instanceof Error && 'stderr' in error ? String(error.stderr) : ''
  const [line = ''] = printed.split('\n')
  return line === '' ? messageOf(error) : line
}

function parsePs(output: string, pids: ReadonlySet<number>): TopView {
  const [head = '', ...lines] = output.split('\n')
  const Titles = head.trim().split(/\s+/)
  const pidColumn = Titles.indexOf('PID')
  if (pidColumn < 0) throw new Refusal('internal', "Couldn't find PID field in ps output")
  const Processes: string[][] = []
  for (const line of lines) {
    const fields = line.trim().split(/\s+/)
    if (!pids.has(Number(fields[pidColumn]))) continue
    const last = Titles.length - 1
    Processes.push([...fields.slice(0, last), fields.slice(last).join(' ')])
  }
  return { Titles, Processes }
}
