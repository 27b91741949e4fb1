/** The body of GET /info: every field that an engine of the newest API version shows, in order. */
import type { Machine } from '../insight/machine.ts'
import { engineVersion } from './version.ts'

export interface Component {
  readonly version: string
  readonly commit: string
}

/** What the entry point knows of engine and machine, as they are now. */
export interface SystemFacts {
  readonly id: string
  readonly machine: Machine
  readonly containerd: Component & { readonly address: string; readonly namespace: string }
  readonly runc: Component
  readonly init: Component & { readonly binary: string }
  readonly commit: string
  readonly buildTime: string
  readonly containers: {
    readonly running: number
    readonly paused: number
    readonly stopped: number
  }
  readonly images: number
  readonly listeners: number
  readonly dataRoot: string
  readonly debug: boolean
  readonly oldestApiVersion: string
  readonly experimental: boolean
  readonly liveRestore: boolean
  readonly labels: readonly string[]
  readonly loggingDriver: string
  readonly cgroup: {
    readonly version: 1 | 2
    readonly driver: string
    readonly memoryLimit: boolean
    readonly swapLimit: boolean
    readonly kernelMemoryTcp: boolean
    readonly kernelMemory: boolean
    readonly pidsLimit: boolean
    readonly cpuCfs: boolean
    readonly oomKillDisable: boolean
  }
  readonly ipv4Forwarding: boolean
  /** `reloadedAt`: when firewalld was last seen to load its rules anew, or ''. */
  readonly firewall: { readonly driver: string; readonly reloadedAt: string }
  readonly networkPlugins: readonly string[]
  /** As they are configured; none is Docker's own. */
  readonly addressPools: readonly { readonly base: string; readonly size: number }[]
  readonly registry: { readonly insecure: readonly string[]; readonly mirrors: readonly string[] }
  readonly securityOptions: readonly string[]
  readonly warnings: readonly string[]
}

const networkDrivers = ['bridge', 'host', 'ipvlan', 'macvlan', 'null']
const logDrivers = ['json-file', 'local', 'none']

export function renderInfo(facts: SystemFacts): object {
  const { machine, cgroup, containers } = facts
  return {
    ID: facts.id,
    Containers: containers.running + containers.paused + containers.stopped,
    ContainersRunning: containers.running,
    ContainersPaused: containers.paused,
    ContainersStopped: containers.stopped,
    Images: facts.images,
    Driver: 'overlay2',
    DriverStatus: [
      ['Backing store', 'containerd overlayfs snapshots'],
      ['Supports d_type', 'true'],
    ],
    Plugins: {
      Volume: ['local'],
      Network: [...new Set([...networkDrivers, ...facts.networkPlugins])].sort(),
      Authorization: null,
      Log: logDrivers,
    },
    MemoryLimit: cgroup.memoryLimit,
    SwapLimit: cgroup.swapLimit,
    ...(cgroup.kernelMemory ? { KernelMemory: true } : {}),
    ...(cgroup.kernelMemoryTcp ? { KernelMemoryTCP: true } : {}),
    CpuCfsPeriod: cgroup.cpuCfs,
    CpuCfsQuota: cgroup.cpuCfs,
    CPUShares: true,
    CPUSet: true,
    PidsLimit: cgroup.pidsLimit,
    IPv4Forwarding: facts.ipv4Forwarding,
    Debug: facts.debug,
    NFd: process.getActiveResourcesInfo().length,
    OomKillDisable: cgroup.oomKillDisable,
    NGoroutines: 1,
    SystemTime: new Date().toISOString(),
    LoggingDriver: facts.loggingDriver,
    CgroupDriver: cgroup.driver,
    CgroupVersion: String(cgroup.version),
    NEventsListener: facts.listeners,
    KernelVersion: machine.kernelVersion,
    OperatingSystem: machine.operatingSystem,
    OSVersion: machine.osVersion,
    OSType: 'linux',
    Architecture: machine.architecture,
    IndexServerAddress: 'https://index.docker.io/v1/',
    RegistryConfig: renderRegistry(facts.registry),
    NCPU: machine.cpus,
    MemTotal: machine.memoryBytes,
    GenericResources: null,
    DockerRootDir: facts.dataRoot,
    HttpProxy: process.env['HTTP_PROXY'] ?? '',
    HttpsProxy: process.env['HTTPS_PROXY'] ?? '',
    NoProxy: process.env['NO_PROXY'] ?? '',
    Name: machine.hostname,
    Labels: facts.labels,
    ExperimentalBuild: facts.experimental,
    ServerVersion: engineVersion,
    Runtimes: {
      'io.containerd.runc.v2': { path: 'runc' },
      runc: { path: 'runc' },
    },
    DefaultRuntime: 'runc',
    ...renderRest(facts),
  }
}

function renderRest(facts: SystemFacts): object {
  const commit = (component: Component) => ({ ID: component.commit || component.version })
  return {
    Swarm: {
      NodeID: '',
      NodeAddr: '',
      LocalNodeState: 'inactive',
      ControlAvailable: false,
      Error: '',
      RemoteManagers: null,
    },
    LiveRestoreEnabled: facts.liveRestore,
    Isolation: '',
    InitBinary: facts.init.binary,
    ContainerdCommit: commit(facts.containerd),
    RuncCommit: commit(facts.runc),
    InitCommit: commit(facts.init),
    SecurityOptions: facts.securityOptions,
    ...(facts.addressPools.length === 0 ? {} : { DefaultAddressPools: poolsView(facts) }),
    FirewallBackend: renderFirewall(facts.firewall),
    CDISpecDirs: [],
    Containerd: {
      Address: facts.containerd.address,
      Namespaces: { Containers: facts.containerd.namespace, Plugins: '' },
    },
    Warnings: facts.warnings.length === 0 ? null : facts.warnings,
  }
}

const poolsView = ({ addressPools }: SystemFacts) =>
  addressPools.map(({ base, size }) => ({ Base: base, Size: size }))

function renderRegistry(registry: SystemFacts['registry']): unknown {
  const isCidr = (host: string) => /\/\d+$/.test(host)
  const config = (name: string, secure: boolean, mirrors: readonly string[]) => ({
    Name: name,
    Mirrors: mirrors,
    Secure: secure,
    Official: name === 'docker.io',
  })
  const insecure = registry.insecure.filter((host) => !isCidr(host))
  return {
    InsecureRegistryCIDRs: ['::1/128', '127.0.0.0/8', ...registry.insecure.filter(isCidr)],
    IndexConfigs: {
      'docker.io': config('docker.io', true, registry.mirrors),
      ...Object.fromEntries(insecure.map((host) => [host, config(host, false, [])])),
    },
    Mirrors: registry.mirrors.length === 0 ? null : registry.mirrors,
  }
}

function renderFirewall({ driver, reloadedAt }: SystemFacts['firewall']): unknown {
  if (reloadedAt === '') return { Driver: driver }
  return { Driver: driver, Info: [['ReloadedAt', reloadedAt]] }
}
