/** `--security-opt` parsed: no-new-privileges, seccomp, apparmor, label, writable-cgroups. */
import { Refusal } from '../base/refusal.ts'
import type { HostConfig } from './config.ts'

export interface Security {
  readonly noNewPrivileges: boolean
  /** '' default, `unconfined`, `builtin`, or a profile as JSON text. */
  readonly seccomp: string
  readonly apparmor: string
  readonly writableCgroups: boolean
}

/** The daemon's own, for containers that do not say. */
export interface SecurityDefaults {
  readonly noNewPrivileges: boolean
  /** '' for ours, `unconfined`, or a profile as JSON text; not for privileged containers. */
  readonly seccomp: string
}

export function securityOf(hostConfig: HostConfig, defaults?: SecurityDefaults): Security {
  let noNewPrivileges = defaults?.noNewPrivileges ?? false
  let seccomp = ''
  let apparmor = ''
  let writableCgroups = false
  for (const option of hostConfig.SecurityOpt ?? []) {
    if (option === 'no-new-privileges') {
      noNewPrivileges = true
      continue
    }
    if (option === 'disable') continue // labels, which only SELinux would use
    const separator = option.includes('=') ? '=' : ':'
    const at = option.indexOf(separator)
    if (at < 0) throw new Refusal('invalid', `invalid --security-opt 1: "${option}"`)
    const key = option.slice(0, at)
    const value = option.slice(at + 1)
    if (key === 'seccomp') seccomp = value
    else if (key === 'apparmor') apparmor = value
    else if (key === 'no-new-privileges') noNewPrivileges = parseBool(key, value)
    else if (key === 'writable-cgroups') writableCgroups = parseBool(key, value)
    else if (key !== 'label') {
      throw new Refusal('invalid', `invalid --security-opt 2: "${option}"`)
    }
  }
  if (seccomp === '' && !hostConfig.Privileged) seccomp = defaults?.seccomp ?? ''
  return { noNewPrivileges, seccomp, apparmor, writableCgroups }
}

function parseBool(key: string, text: string): boolean {
  if (/^(1|t|true)$/i.test(text)) return true
  if (/^(0|f|false)$/i.test(text)) return false
  throw new Refusal('invalid', `invalid --security-opt 2: "${key}=${text}"`)
}
