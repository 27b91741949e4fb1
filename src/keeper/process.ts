/**
 * The keeper, an entry point: `node process.ts --socket PATH --pidfile PATH`.
 *
 * It holds what containers need while the daemon is away: names, ports, standard streams. It does
 * what its daemon says and decides nothing. A fault ends it: the daemon starts another within half
 * a second and tells it everything, which is safer than going on half broken.
 */
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { parseArgs } from 'node:util'
import { log } from '../base/log.ts'
import { messageOf } from '../base/refusal.ts'
import { takeClaim, type Claim } from '../kernel/claim.ts'
import { raiseDescriptorLimit } from '../kernel/limits.ts'
import { homeNetns, warmThreads } from '../kernel/netns.ts'
import { stayResidentSmall } from '../kernel/resident.ts'
import { SandboxNames } from './dns.ts'
import { Holdings } from './holdings.ts'
import { PortHolder } from './ports.ts'
import { formatMark, keeperClaim, markOf } from './process-identity.ts'
import { serveControl } from './server.ts'
import { Stdio } from './stdio.ts'

/** A full attacher that takes nothing for this long is dropped, so that its container goes on. */
const attacherStallMs = 3_000
/** Without a daemon and with nothing held there is no reason to stay. */
const idleMs = 60_000
/** Two sockets a published port, two a relayed connection, a few a container. */
const descriptorsMax = 1_048_576

const { values: options } = parseArgs({
  options: { socket: { type: 'string' }, pidfile: { type: 'string' } },
})

async function main(socketPath: string, pidPath: string): Promise<void> {
  process.on('SIGHUP', () => undefined)
  for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
    process.on(event, (error: unknown) => fail(error))
  }
  raiseDescriptorLimit(descriptorsMax)
  // Threads first: one that is born inside a namespace section stays there.
  const attach = { attachSocketPath: `${socketPath}.io`, stallMs: attacherStallMs }
  const stdio = await Stdio.start(attach, fail)
  await warmThreads()
  const names = new SandboxNames()
  const ports = new PortHolder()
  const holdings = new Holdings(stdio, names, ports)
  const claim = new OwnClaim()
  let idle: NodeJS.Timeout | undefined
  const end = () => {
    names.close()
    ports.releaseAll()
    for (const path of [socketPath, `${socketPath}.io`, pidPath]) rmSync(path, { force: true })
    process.exit(0)
  }
  process.on('SIGTERM', end)
  process.on('SIGINT', end)
  const daemonChanged = (present: boolean) => {
    clearInterval(idle)
    if (!present) idle = setInterval(() => holdings.empty && end(), idleMs)
  }
  daemonChanged(false)
  rmSync(socketPath, { force: true })
  writePidFile(pidPath)
  serveControl(socketPath, {
    daemonChanged,
    perform: async (request) => {
      if (request.method === 'stop') {
        setImmediate(end)
        return {}
      }
      const answer = await holdings.perform(request)
      claim.follow(holdings.empty)
      return answer
    },
  })
  // Node writes it at a regular exit only, which a keeper seldom has; the next one starts faster.
  flushCompileCache()
  stayResidentSmall()
  log.info('keeper started', { pid: process.pid, socket: socketPath })
}

/** Held while there is something to hold; one that ends at the moment may still have it. */
class OwnClaim {
  #claim: Claim | undefined

  follow(isEmpty: boolean): void {
    if (isEmpty) {
      this.#claim?.release()
      this.#claim = undefined
    } else this.#claim ??= takeClaim(homeNetns(), keeperClaim)
  }
}

function writePidFile(pidPath: string): void {
  const mark = markOf(process.pid)
  if (mark === undefined) throw new Error('/proc does not show this process: is it mounted?')
  const draft = `${pidPath}.${process.pid}`
  writeFileSync(draft, formatMark(mark), { mode: 0o644 })
  renameSync(draft, pidPath)
}

function fail(error: unknown): never {
  const stack = error instanceof Error ? error.stack : undefined
  log.error('the keeper ends', { error: messageOf(error), stack })
  process.exit(1)
}

if (options.socket === undefined || options.pidfile === undefined) {
  process.stderr.write('usage: process --socket PATH --pidfile PATH\n')
  process.exit(2)
}
await main(options.socket, options.pidfile)
