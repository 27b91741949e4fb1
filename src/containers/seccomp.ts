/**
 * Docker's default seccomp profile, resolved for one container.
 *
 * The table (`seccomp-default.json`, origin in docs/internals/seccomp.md) is a template: rules
 * apply only on some architectures, kernels, or with some capabilities. A profile given by the
 * user (`--security-opt seccomp=FILE`) is in the same template form as Docker documents it.
 */
import { readFileSync } from 'node:fs'
import { release } from 'node:os'
import { join } from 'node:path'
import { Refusal, messageOf } from '../base/refusal.ts'
import { int, list, map, object, string, strings } from './shape.ts'

export interface OciSeccomp {
  readonly defaultAction: string
  readonly defaultErrnoRet?: number
  readonly architectures: readonly string[]
  readonly syscalls: readonly OciSyscall[]
}

interface OciSyscall {
  readonly names: readonly string[]
  readonly action: string
  readonly errnoRet?: number
  readonly args?: readonly object[]
}

interface Rule extends OciSyscall {
  readonly withCapabilities: readonly string[]
  readonly withoutCapabilities: readonly string[]
  readonly onArchitectures: readonly string[]
  readonly notOnArchitectures: readonly string[]
  readonly minKernel: string
}

interface Template {
  readonly defaultAction: string
  readonly defaultErrno: number
  /** Architecture → the ones that run on it too. */
  readonly architectures: Readonly<Record<string, readonly string[]>>
  readonly rules: readonly Rule[]
}

const argument = object({ index: int, value: int, valueTwo: int, op: string }, ['valueTwo'])

const tableShape = object({
  defaultAction: string,
  defaultErrno: int,
  architectures: map(strings, '[]string'),
  rules: list(
    object({
      names: strings,
      action: string,
      errno: int,
      args: list(argument, 'Arg'),
      withCapabilities: strings,
      withoutCapabilities: strings,
      onArchitectures: strings,
      notOnArchitectures: strings,
      minKernel: string,
    }),
    'Rule',
  ),
})

const filter = object({ caps: strings, arches: strings, minKernel: string })
const profileShape = object({
  defaultAction: string,
  defaultErrnoRet: int,
  architectures: strings,
  archMap: list(object({ architecture: string, subArchitectures: strings }), 'Architecture'),
  syscalls: list(
    object({
      name: string,
      names: strings,
      action: string,
      errnoRet: int,
      args: list(argument, 'Arg'),
      includes: filter,
      excludes: filter,
    }),
    'Syscall',
  ),
})

/** Node's name of the machine → Go's (in rules) and libseccomp's. */
const machines: Readonly<Record<string, { readonly go: string; readonly native: string }>> = {
  x64: { go: 'amd64', native: 'SCMP_ARCH_X86_64' },
  arm64: { go: 'arm64', native: 'SCMP_ARCH_AARCH64' },
  s390x: { go: 's390x', native: 'SCMP_ARCH_S390X' },
  ppc64: { go: 'ppc64le', native: 'SCMP_ARCH_PPC64LE' },
  riscv64: { go: 'riscv64', native: 'SCMP_ARCH_RISCV64' },
}

let builtIn: Template | undefined

/** Docker's default profile for a container with these capabilities. */
export function defaultSeccomp(capabilities: readonly string[]): OciSeccomp {
  builtIn ??= readBuiltIn()
  return resolve(builtIn, capabilities)
}

/** A profile that the user gave as JSON text. */
export function parseSeccomp(text: string, capabilities: readonly string[]): OciSeccomp {
  let document: unknown
  try {
    document = JSON.parse(text)
  } catch (error) {
    throw new Refusal('invalid', `Decoding seccomp profile failed: ${messageOf(error)}`)
  }
  const profile = profileShape.decode(document, 'Seccomp')
  const rules = (profile.syscalls ?? []).map((call) => ({
    names: call.names ?? (call.name === '' ? [] : [call.name]),
    action: call.action,
    ...(call.errnoRet === 0 ? {} : { errnoRet: call.errnoRet }),
    args: (call.args ?? []).map((entry) => shownArgument(entry)),
    withCapabilities: call.includes.caps ?? [],
    withoutCapabilities: call.excludes.caps ?? [],
    onArchitectures: call.includes.arches ?? [],
    notOnArchitectures: call.excludes.arches ?? [],
    minKernel: call.includes.minKernel,
  }))
  const architectures: Record<string, readonly string[]> = {}
  for (const entry of profile.archMap ?? []) {
    architectures[entry.architecture] = entry.subArchitectures ?? []
  }
  const template = {
    defaultAction: profile.defaultAction,
    defaultErrno: profile.defaultErrnoRet,
    architectures,
    rules,
  }
  const resolved = resolve(template, capabilities)
  const given = profile.architectures ?? []
  return given.length > 0 ? { ...resolved, architectures: given } : resolved
}

function shownArgument(entry: Parameters<typeof argument.show>[0]): object {
  return { ...entry, ...(entry.valueTwo === 0 ? { valueTwo: undefined } : {}) }
}

function readBuiltIn(): Template {
  const path = join(import.meta.dirname, 'seccomp-default.json')
  const table = tableShape.decode(JSON.parse(readFileSync(path, 'utf8')), 'Seccomp')
  return {
    defaultAction: table.defaultAction,
    defaultErrno: table.defaultErrno,
    architectures: Object.fromEntries(
      Object.entries(table.architectures ?? {}).map(([name, others]) => [name, others ?? []]),
    ),
    rules: (table.rules ?? []).map((rule) => ({
      names: rule.names ?? [],
      action: rule.action,
      ...(rule.errno === 0 ? {} : { errnoRet: rule.errno }),
      args: (rule.args ?? []).map(shownArgument),
      withCapabilities: rule.withCapabilities ?? [],
      withoutCapabilities: rule.withoutCapabilities ?? [],
      onArchitectures: rule.onArchitectures ?? [],
      notOnArchitectures: rule.notOnArchitectures ?? [],
      minKernel: rule.minKernel,
    })),
  }
}

function resolve(template: Template, capabilities: readonly string[]): OciSeccomp {
  const machine = machines[process.arch] ?? { go: process.arch, native: '' }
  const applies = (rule: Rule): boolean =>
    rule.withCapabilities.every((name) => capabilities.includes(name)) &&
    !rule.withoutCapabilities.some((name) => capabilities.includes(name)) &&
    (rule.onArchitectures.length === 0 || rule.onArchitectures.includes(machine.go)) &&
    !rule.notOnArchitectures.includes(machine.go) &&
    (rule.minKernel === '' || kernelIsAtLeast(rule.minKernel))
  const others = template.architectures[machine.native]
  return {
    defaultAction: template.defaultAction,
    ...(template.defaultErrno === 0 ? {} : { defaultErrnoRet: template.defaultErrno }),
    architectures: others === undefined ? [] : [machine.native, ...others],
    syscalls: template.rules.filter(applies).map((rule) => ({
      names: rule.names,
      action: rule.action,
      ...(rule.errnoRet === undefined ? {} : { errnoRet: rule.errnoRet }),
      ...(rule.args === undefined || rule.args.length === 0 ? {} : { args: rule.args }),
    })),
  }
}

function kernelIsAtLeast(wanted: string): boolean {
  const [major = 0, minor = 0] = release()
    .split('.')
    .map((part) => Number.parseInt(part, 10))
  const [wantedMajor = 0, wantedMinor = 0] = wanted.split('.').map(Number)
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)
}
