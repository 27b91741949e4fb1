/** What the container verbs are given by the entry point: the other rooms, and settings. */
import type { EmitEvent } from '../base/event.ts'
import type { Keeper } from '../keeper/client.ts'
import type { Networks } from '../network/networks.ts'
import type { Store } from '../store/store.ts'
import type { AppArmor } from './apparmor.ts'
import type { Ulimit } from './config.ts'
import type { Containerd } from './containerd/client.ts'
import type { Images } from './images/images.ts'
import type { Container, Registry } from './registry.ts'
import type { SecurityDefaults } from './security.ts'
import type { Volumes } from './volumes/volumes.ts'

export interface ContainersConfig {
  /** Absolute; a container's folder is `<dataRoot>/containers/<id>`. */
  readonly dataRoot: string
  /** Absolute and short; FIFOs are in `<execRoot>/io/<id>`. */
  readonly execRoot: string
  /** Below each cgroup controller; '' for Docker's, `docker` or `system.slice`. */
  readonly cgroupParent: string
  /** The daemon uses systemd to make cgroups. */
  readonly systemdCgroup: boolean
  readonly runtimeName: string
  readonly defaultUlimits: readonly Ulimit[]
  readonly defaultShmBytes: number
  /** `private` or `shareable`. */
  readonly defaultIpcMode: string
  /** `private`, `host`, or '' for what suits the machine's cgroups. */
  readonly defaultCgroupnsMode: string
  readonly security: SecurityDefaults
  readonly defaultLogDriver: string
  readonly defaultLogOptions: Readonly<Record<string, string>>
  /** --init for containers that do not say. */
  readonly init: boolean
  readonly initPaths: readonly string[]
  /** Grace period of containers that name none. */
  readonly stopTimeoutSeconds: number
  /** Host processors etc. for stats come from the machine; the host's name for host mode. */
  readonly hostname: () => string
}

export const defaultContainersConfig: Omit<ContainersConfig, 'dataRoot' | 'execRoot' | 'hostname'> =
  {
    cgroupParent: '',
    systemdCgroup: false,
    runtimeName: 'runc',
    defaultUlimits: [],
    defaultShmBytes: 64 * 1024 * 1024,
    defaultIpcMode: 'private',
    defaultCgroupnsMode: '',
    security: { noNewPrivileges: false, seccomp: '' },
    defaultLogDriver: 'json-file',
    defaultLogOptions: {},
    init: false,
    initPaths: [
      '/usr/bin/docker-init',
      '/usr/libexec/docker/docker-init',
      '/usr/bin/tini-static',
      '/usr/bin/catatonit',
      '/usr/bin/tini',
    ],
    stopTimeoutSeconds: 10,
  }

export interface Rooms {
  readonly store: Store
  readonly containerd: Containerd
  readonly images: Images
  readonly volumes: Volumes
  readonly networks: Networks
  readonly keeper: Keeper
  readonly emit: EmitEvent
  readonly appArmor: AppArmor
  readonly config: ContainersConfig
}

/** What happens after an exit; handed in, because starting and removing know of exits, too. */
export interface AfterExit {
  /** Starts again by policy, after the backoff. */
  restart(container: Container): Promise<void>
  /** Removes a container that was run with --rm; inside its queue. */
  autoRemove(container: Container): Promise<void>
}

/** The rooms and the containers themselves: what every verb of this room works with. */
export interface Context extends Rooms {
  readonly registry: Registry
  readonly afterExit: AfterExit
  /** True when all containers are being stopped: none may start any more. */
  readonly ending: () => boolean
  /** Aborted when the daemon lets go: watchers end, containers go on. */
  readonly closing: AbortSignal
}
