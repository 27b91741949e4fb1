/** Where the files of a container are. */
import { join } from 'node:path'
import type { ContainersConfig } from './rooms.ts'

export interface ContainerPaths {
  /** Everything that lives as long as the container. */
  readonly dir: string
  readonly rootfs: string
  readonly log: string
  readonly hosts: string
  readonly hostname: string
  readonly resolvConf: string
  /** Shared memory of `--ipc shareable`. */
  readonly shm: string
  /** FIFOs of the container and its execs; gone when it stops. */
  readonly io: string
}

export function containerPaths(config: ContainersConfig, id: string): ContainerPaths {
  const dir = join(config.dataRoot, 'containers', id)
  return {
    dir,
    rootfs: join(dir, 'rootfs'),
    log: join(dir, `${id}-json.log`),
    hosts: join(dir, 'hosts'),
    hostname: join(dir, 'hostname'),
    resolvConf: join(dir, 'resolv.conf'),
    shm: join(dir, 'shm'),
    io: join(config.execRoot, 'io', id),
  }
}

/** Where parts of volumes are mounted while containers start, in a folder of each. */
export const partsFolder = ({ execRoot }: Pick<ContainersConfig, 'execRoot'>): string =>
  join(execRoot, 'parts')
