/**
 * One Portolan per network namespace: two would take each other's links and rules for their own
 * leavings. The claim of the daemon ends with its process. A keeper claims as long as containers
 * need it, so that nobody sweeps what a daemon that is away (or was killed) will take up again.
 */
import { readFileSync } from 'node:fs'
import { log } from '../base/log.ts'
import { messageOf, Refusal } from '../base/refusal.ts'
import { endKeeper, readMark, type KeeperPaths } from '../keeper/launch.ts'
import { keeperClaim, markOf } from '../keeper/process-identity.ts'
import { holderOfClaim, takeClaim, type ClaimHolder } from '../kernel/claim.ts'
import { homeNetns } from '../kernel/netns.ts'
import type { Lock } from './lock.ts'

const engineClaim = 'portolan-engine'
const advice = 'or start this one in a network namespace of its own'

/** Refuses, naming it, while another Portolan works or has containers in this namespace. */
export async function claimNamespace(keeper: KeeperPaths): Promise<Lock> {
  const claim = takeClaim(homeNetns(), engineClaim)
  if (claim === undefined) {
    const holder = holderOfClaim(homeNetns(), engineClaim)
    if (holder !== undefined && isForeign(holder)) return { release: () => undefined }
    const who = holder === undefined ? 'a process that is just ending' : describe(holder)
    throw refusal(`another Portolan works in this network namespace (${who}): end it`)
  }
  try {
    await refuseOtherKeeper(keeper)
    return claim
  } catch (error) {
    claim.release()
    throw error
  }
}

async function refuseOtherKeeper(keeper: KeeperPaths): Promise<void> {
  const holder = holderOfClaim(homeNetns(), keeperClaim)
  if (holder === undefined || isForeign(holder)) return
  if (readMark(keeper.pidPath)?.pid === holder.pid) return
  const mark = markOf(holder.pid)
  if (mark !== undefined && wordsOf(holder.pid).includes(keeper.socketPath)) {
    log.warn('a keeper of a lost exec root is ended', { pid: holder.pid })
    await endKeeper(mark)
    return
  }
  const what = `containers of another Portolan are in this network namespace (${describe(holder)})`
  throw refusal(`${what}: start that engine again and take it down`)
}

function refusal(sentence: string): Refusal {
  return new Refusal('conflict', `${sentence}, ${advice}`)
}

/** Anybody can take a name; only root can be a Portolan. */
function isForeign({ uid, pid }: ClaimHolder): boolean {
  if (uid !== 0) log.warn('a process that is no Portolan has taken its name', { pid, uid })
  return uid !== 0
}

function describe({ pid }: ClaimHolder): string {
  if (pid === 0) return 'a process in a process namespace that is not seen from here'
  const words = wordsOf(pid)
  const roots = ['--data-root', '--exec-root', '--config-file', '--socket'].flatMap((flag) => {
    const given = words.find((word) => word.startsWith(`${flag}=`))
    const at = words.indexOf(flag)
    const value = given?.slice(flag.length + 1) ?? (at < 0 ? undefined : words[at + 1])
    return value === undefined ? [] : [`${flag} ${value}`]
  })
  return [`process ${pid}`, ...roots].join(', ')
}

function wordsOf(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
  } catch (error) {
    log.debug('a process has gone', { pid, error: messageOf(error) })
    return []
  }
}
