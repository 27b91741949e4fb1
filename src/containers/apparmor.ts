/**
 * AppArmor: the profile that containers run under unless they say otherwise, by the name that
 * Docker's has, `docker-default`. It is in the kernel only, as Docker's is, so it is looked for
 * before every start: a reload of the machine's profiles takes it away.
 *
 * Where another engine has loaded a profile of that name, that one is used and stays.
 */
import { existsSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { errorCode } from '../base/error-code.ts'
import { Refusal, messageOf } from '../base/refusal.ts'
import { runCommand } from '../kernel/command.ts'
import type { HostConfig } from './config.ts'
import { securityOf } from './security.ts'

export const defaultProfile = 'docker-default'

const policyFolder = '/sys/kernel/security/apparmor'
const parsers = ['/sbin/apparmor_parser', '/usr/sbin/apparmor_parser'] as const
/** Compiling takes a tenth of a second; more on a machine that has just started. */
const parseTimeoutMs = 60_000

/** Whether the kernel confines and a parser is installed; without either there are no profiles. */
export function appArmorHere(): boolean {
  const parameter = '/sys/module/apparmor/parameters/enabled'
  return existsSync(parameter) && readFileSync(parameter, 'utf8').startsWith('Y') &&
    existsSync(join(policyFolder, 'profiles')) && parsers.some((path) => existsSync(path))
}

/** What the process of a container runs under; '' on machines without AppArmor. */
export function appArmorProfile(hostConfig: HostConfig): string {
  if (!appArmorHere()) return ''
  if (hostConfig.Privileged) return 'unconfined'
  const { apparmor } = securityOf(hostConfig)
  return apparmor === '' ? defaultProfile : apparmor
}

export interface AppArmor {
  /** Loads the default profile if a container is about to need it and it is not there. */
  ensure(profile: string): Promise<void>
  /** For `down`: the profile goes if it was loaded here and confines nobody any more. */
  remove(): void
}

/** @param execRoot remembers, until the machine restarts, that the profile is ours */
export function openAppArmor(execRoot: string): AppArmor {
  const mark = join(execRoot, 'apparmor-profile-loaded')
  let loading: Promise<void> | undefined
  return {
    async ensure(profile) {
      if (profile !== defaultProfile || isLoaded()) return
      loading ??= load().finally(() => { loading = undefined })
      await loading
      writeFileSync(mark, '')
    },
    remove() {
      if (!existsSync(mark)) return
      rmSync(mark)
      if (isLoaded() && !confinesAnyone()) writeFileSync(join(policyFolder, '.remove'), defaultProfile)
    },
  }
}

const isLoaded = (): boolean =>
  readFileSync(join(policyFolder, 'profiles'), 'utf8')
    .split('\n')
    .some((line) => line.startsWith(`${defaultProfile} (`))

async function load(): Promise<void> {
  try {
    const program = parsers.find((path) => existsSync(path)) ?? parsers[0]
    // No cache: what lies in it may be of another version of this text.
    await runCommand(program, ['--replace', '--skip-cache'], {
      input: profileText(ownLabel()),
      timeoutMs: parseTimeoutMs,
    })
  } catch (error) {
    throw new Refusal(
      'internal',
      `AppArmor enabled on system but the ${defaultProfile} profile could not be loaded: ` +
        messageOf(error),
      { cause: error },
    )
  }
}

function labelOf(process: string): string {
  try {
    return readFileSync(`/proc/${process}/attr/current`, 'utf8').trim().split(' ')[0] ?? ''
  } catch (error) {
    // A process that has just ended, or a kernel thread.
    if (errorCode(error) !== '') return ''
    throw error
  }
}

const ownLabel = (): string => labelOf('self') || 'unconfined'

const confinesAnyone = (): boolean =>
  readdirSync('/proc').some((name) => /^\d+$/.test(name) && labelOf(name) === defaultProfile)

/**
 * All is allowed but what would reach the host: mounts, the writable parts of /proc and /sys that
 * are not of a namespace, memory of the kernel, other profiles. Signals come from the host and
 * from the runtime, and stay inside. A glob has no «all but»: hence a line for each letter.
 */
export function profileText(daemonLabel: string): string {
  const included = (kind: string, indent: string) =>
    existsSync(`/etc/apparmor.d/${kind}`) ? `${indent}#include <${kind}>\n` : ''
  const senders = [...new Set(['unconfined', 'runc', 'crun', daemonLabel])]
  return `${included('tunables/global', '')}
profile ${defaultProfile} flags=(attach_disconnected,mediate_deleted) {
${included('abstractions/base', '  ')}
  network,
  capability,
  file,
  umount,
  deny mount,

${senders.map((peer) => `  signal (receive) peer=${peer},\n`).join('')}
  signal (send,receive) peer=${defaultProfile},
  ptrace (trace,read,tracedby,readby) peer=${defaultProfile},

  # In /proc: processes, and kernel/shm* of /proc/sys.
  deny /proc/* w,
  deny /proc/[^1-9s]*/** w,
  deny /proc/s[^y]*/** w,
  deny /proc/sy[^s]*/** w,
  deny /proc/sys[^/]*/** w,
  deny /proc/sys/[^k]** w,
  deny /proc/sys/k[^e]** w,
  deny /proc/sys/kernel/[^s]** w,
  deny /proc/sys/kernel/s[^h]** w,
  deny /proc/sys/kernel/sh[^m]** w,
  deny /proc/{sysrq-trigger,kcore} rwklx,

  # In /sys: the cgroups, if they are mounted writable.
  deny /sys/[^f]** wklx,
  deny /sys/f[^s]** wklx,
  deny /sys/fs/[^c]** wklx,
  deny /sys/fs/c[^g]** wklx,
  deny /sys/fs/cg[^r]** wklx,
  deny /sys/{firmware,devices/virtual/powercap,kernel/security}/** rwklx,
}
`
}
