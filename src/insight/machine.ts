/**
 * What this machine is: the facts behind `docker info` and `docker version`. Read once where they
 * cannot change, each time where they can.
 */
import { readFileSync } from 'node:fs'
import { availableParallelism, hostname, release, totalmem } from 'node:os'
import { errorCode } from '../base/error-code.ts'

export interface Machine {
  readonly kernelVersion: string
  /** `Debian GNU/Linux 12 (bookworm)` */
  readonly operatingSystem: string
  /** `12` */
  readonly osVersion: string
  /** As the kernel says it: x86_64 */
  readonly architecture: string
  /** As Go says it: amd64 */
  readonly goArchitecture: string
  readonly cpus: number
  readonly memoryBytes: number
  readonly hostname: string
}

const architectures: Readonly<Record<string, { uname: string; go: string }>> = {
  x64: { uname: 'x86_64', go: 'amd64' },
  arm64: { uname: 'aarch64', go: 'arm64' },
}

export function describeMachine(): Machine {
  const { uname, go } = architectures[process.arch] ?? { uname: process.arch, go: process.arch }
  const system = osRelease()
  return {
    kernelVersion: release(),
    operatingSystem: system.get('PRETTY_NAME') ?? 'Linux',
    osVersion: system.get('VERSION_ID') ?? '',
    architecture: uname,
    goArchitecture: go,
    cpus: availableParallelism(),
    memoryBytes: totalmem(),
    hostname: hostname(),
  }
}

/** os-release(5): the file of the system, else the vendor's. */
function osRelease(): ReadonlyMap<string, string> {
  const text = readOptional('/etc/os-release') || readOptional('/usr/lib/os-release')
  const lines = text.split('\n').map((line) => /^([A-Z_]+)="?(.*?)"?$/.exec(line))
  return new Map(
    lines.flatMap((match) => (match === null ? [] : [[match[1] ?? '', match[2] ?? '']])),
  )
}

/** The file's text, '' when there is none. */
export function readOptional(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return ''
    throw error
  }
}
