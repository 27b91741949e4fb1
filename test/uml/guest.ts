/**
 * A second kernel, as an ordinary process: Debian's user-mode-linux boots in two seconds, has the
 * host's files as its root and what the host's kernel may lack (ipvlan, 802.1q, dummy, …). It has
 * no nftables for IP. Whatever is done in there is gone when it ends.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'

const root = resolve(join(import.meta.dirname, '../..'))
const unpacked = join(root, '.cache/debian/usr')
/** Boot 2 s, Node 2 s, tests 5 to 40 s; several times that on a busy machine. */
const guestTimeoutMs = 300_000

export interface GuestTest {
  readonly name: string
  readonly passed: boolean
  /** The guest's reason where it skipped the test; '' where it ran. */
  readonly skipped: string
}

export interface GuestRun {
  readonly tests: readonly GuestTest[]
  /** Everything that the guest printed. */
  readonly output: string
}

interface GuestKernel {
  readonly program: string
  readonly modules: string
}

/** The kernel that `scripts/setup test` unpacks; undefined where it could not. */
export function guestKernel(): GuestKernel | undefined {
  const program = join(unpacked, 'bin/linux.uml')
  const modules = join(unpacked, 'lib/uml/modules')
  if (!existsSync(program) || !existsSync(modules)) return undefined
  const indexed = readdirSync(modules).some((name) => existsSync(join(modules, name, 'modules.dep')))
  return indexed ? { program, modules } : undefined
}

/** Runs one file of tests (path from the checkout) in a guest of its own. */
export async function runInGuest(kernel: GuestKernel, file: string): Promise<GuestRun> {
  // Its memory is a file: on the private tmpfs that tests have, not on a disk.
  const folder = mkdtempSync('/run/uml-')
  try {
    const child = spawn(kernel.program, [
      'umid=guest', `uml_dir=${folder}/`, 'mem=512M', 'rootfstype=hostfs', 'rootflags=/', 'ro',
      'quiet', 'lsm=apparmor', `init=${join(root, 'test/uml/init.sh')}`, 'con=null', 'con0=null,fd:1',
      `PORTOLAN_ROOT=${root}`, `PORTOLAN_MODULES=${kernel.modules}`, `PORTOLAN_FILE=${file}`,
    ], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, TMPDIR: folder }, detached: true })
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => { output += chunk.toString() })
    child.stderr.on('data', (chunk: Buffer) => { output += chunk.toString() })
    const timer = setTimeout(() => {
      output += `\nthe guest still ran after ${guestTimeoutMs / 1000} s\n`
      // Its processes are processes here, too, and hold the pipes.
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    }, guestTimeoutMs)
    await new Promise<void>((done, fail) => {
      child.on('error', fail)
      child.on('close', () => done())
    })
    clearTimeout(timer)
    return { tests: parseTap(output), output }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The outermost results; a console ends its lines with carriage returns. */
function parseTap(output: string): readonly GuestTest[] {
  return output.split(/\r?\n/).flatMap((line) => {
    const [, not, name, skipped] = /^(not )?ok \d+ - (.*?)(?: # SKIP ?(.*))?$/.exec(line) ?? []
    if (name === undefined) return []
    return [{ name: name.trim(), passed: not === undefined, skipped: skipped ?? '' }]
  })
}
