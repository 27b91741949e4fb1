/**
 * Linux capabilities: Docker's default fourteen, and --cap-add, --cap-drop, --privileged.
 *
 * The list of all is in the kernel's order, so that a kernel that knows fewer is respected.
 */
import { readFileSync } from 'node:fs'
import { Refusal } from '../base/refusal.ts'

const all = [
  'CHOWN',
  'DAC_OVERRIDE',
  'DAC_READ_SEARCH',
  'FOWNER',
  'FSETID',
  'KILL',
  'SETGID',
  'SETUID',
  'SETPCAP',
  'LINUX_IMMUTABLE',
  'NET_BIND_SERVICE',
  'NET_BROADCAST',
  'NET_ADMIN',
  'NET_RAW',
  'IPC_LOCK',
  'IPC_OWNER',
  'SYS_MODULE',
  'SYS_RAWIO',
  'SYS_CHROOT',
  'SYS_PTRACE',
  'SYS_PACCT',
  'SYS_ADMIN',
  'SYS_BOOT',
  'SYS_NICE',
  'SYS_RESOURCE',
  'SYS_TIME',
  'SYS_TTY_CONFIG',
  'MKNOD',
  'LEASE',
  'AUDIT_WRITE',
  'AUDIT_CONTROL',
  'SETFCAP',
  'MAC_OVERRIDE',
  'MAC_ADMIN',
  'SYSLOG',
  'WAKE_ALARM',
  'BLOCK_SUSPEND',
  'AUDIT_READ',
  'PERFMON',
  'BPF',
  'CHECKPOINT_RESTORE',
].map((name) => `CAP_${name}`)

export const defaultCapabilities: readonly string[] = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FSETID',
  'FOWNER',
  'MKNOD',
  'NET_RAW',
  'SETGID',
  'SETUID',
  'SETFCAP',
  'SETPCAP',
  'NET_BIND_SERVICE',
  'SYS_CHROOT',
  'KILL',
  'AUDIT_WRITE',
].map((name) => `CAP_${name}`)

let known: readonly string[] | undefined

/** Every capability that this kernel knows and we may hand on. */
export function knownCapabilities(): readonly string[] {
  if (known === undefined) {
    const last = Number(readFileSync('/proc/sys/kernel/cap_last_cap', 'utf8'))
    const status = readFileSync('/proc/self/status', 'utf8')
    const bounding = BigInt(`0x${/^CapBnd:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`)
    known = all.filter((_, bit) => bit <= last && ((bounding >> BigInt(bit)) & 1n) === 1n)
  }
  return known
}

/** `net_admin` → `CAP_NET_ADMIN`; ALL stays. Refuses names that nobody knows. */
export function normalizeCapabilities(names: readonly string[] | null, field: string): string[] {
  return (names ?? []).map((name) => {
    const upper = name.toUpperCase()
    if (upper === 'ALL') return 'ALL'
    const full = upper.startsWith('CAP_') ? upper : `CAP_${upper}`
    if (!all.includes(full)) {
      throw new Refusal('invalid', `invalid ${field}: unknown capability: "${full}"`)
    }
    return full
  })
}

/** The capabilities that a container's processes get. */
export function capabilitiesOf(options: {
  readonly add: readonly string[] | null
  readonly drop: readonly string[] | null
  readonly privileged: boolean
}): readonly string[] {
  const available = knownCapabilities()
  if (options.privileged) return available
  const add = normalizeCapabilities(options.add, 'CapAdd')
  const drop = normalizeCapabilities(options.drop, 'CapDrop')
  const base = add.includes('ALL') ? available : drop.includes('ALL') ? [] : defaultCapabilities
  const wanted = new Set(add.includes('ALL') && drop.includes('ALL') ? [] : base)
  for (const name of add) if (name !== 'ALL') wanted.add(name)
  for (const name of drop) wanted.delete(name)
  return all.filter((name) => wanted.has(name) && available.includes(name))
}
