/**
 * Docker's Config, HostConfig and EndpointSettings as typed data: field names, order and the
 * difference between null and empty are Docker's, stored and shown exactly as given.
 *
 * The shapes are the single source: the types, the decoders of create and update, and the
 * documents of inspect all come from them.
 */
import {
  bool,
  int,
  list,
  map,
  nullable,
  object,
  set,
  string,
  stringMap,
  stringOrStrings,
  strings,
} from './shape.ts'
import type { Of } from './shape.ts'

const healthcheck = object(
  {
    Test: strings,
    Interval: int, // nanoseconds, as all durations here
    Timeout: int,
    StartPeriod: int,
    StartInterval: int,
    Retries: int,
  },
  ['Test', 'Interval', 'Timeout', 'StartPeriod', 'StartInterval', 'Retries'],
)
export type HealthConfig = Of<typeof healthcheck>

export const configFields = {
  Hostname: string,
  Domainname: string,
  User: string,
  AttachStdin: bool,
  AttachStdout: bool,
  AttachStderr: bool,
  ExposedPorts: set,
  Tty: bool,
  OpenStdin: bool,
  StdinOnce: bool,
  Env: strings,
  Cmd: stringOrStrings,
  Healthcheck: nullable(healthcheck),
  ArgsEscaped: bool,
  Image: string,
  Volumes: set,
  WorkingDir: string,
  Entrypoint: stringOrStrings,
  NetworkDisabled: bool,
  MacAddress: string,
  OnBuild: strings,
  Labels: stringMap,
  StopSignal: string,
  StopTimeout: nullable(int),
  Shell: stringOrStrings,
}
export const configShape = object(
  configFields,
  [
    'ExposedPorts',
    'Healthcheck',
    'ArgsEscaped',
    'NetworkDisabled',
    'MacAddress',
    'StopSignal',
    'Shell',
  ],
  ['StopTimeout'],
)
export type Config = Of<typeof configShape>

const portBinding = object({ HostIp: string, HostPort: string })

const logConfig = object({ Type: string, Config: stringMap })
const restartPolicy = object({ Name: string, MaximumRetryCount: int })
export type RestartPolicy = Of<typeof restartPolicy>

const deviceMapping = object({
  PathOnHost: string,
  PathInContainer: string,
  CgroupPermissions: string,
})
const ulimit = object({ Name: string, Hard: int, Soft: int })
export type Ulimit = Of<typeof ulimit>
const weightDevice = object({ Path: string, Weight: int })
const throttleDevice = object({ Path: string, Rate: int })
const deviceRequest = object({
  Driver: string,
  Count: int,
  DeviceIDs: strings,
  Capabilities: list(strings, '[]string'),
  Options: stringMap,
})

const mountShape = object(
  {
    Type: string,
    Source: string,
    Target: string,
    ReadOnly: bool,
    Consistency: string,
    BindOptions: nullable(
      object(
        {
          Propagation: string,
          NonRecursive: bool,
          CreateMountpoint: bool,
          ReadOnlyNonRecursive: bool,
          ReadOnlyForceRecursive: bool,
        },
        [
          'Propagation',
          'NonRecursive',
          'CreateMountpoint',
          'ReadOnlyNonRecursive',
          'ReadOnlyForceRecursive',
        ],
      ),
    ),
    VolumeOptions: nullable(
      object(
        {
          NoCopy: bool,
          Labels: stringMap,
          Subpath: string,
          DriverConfig: nullable(object({ Name: string, Options: stringMap }, ['Name', 'Options'])),
        },
        ['NoCopy', 'Labels', 'Subpath', 'DriverConfig'],
      ),
    ),
    TmpfsOptions: nullable(
      object({ SizeBytes: int, Mode: int, Options: list(strings, '[]string') }, [
        'SizeBytes',
        'Mode',
        'Options',
      ]),
    ),
  },
  ['Source', 'Target', 'ReadOnly', 'Consistency', 'BindOptions', 'VolumeOptions', 'TmpfsOptions'],
)
export type MountSpec = Of<typeof mountShape>

export const resourceFields = {
  CpuShares: int,
  Memory: int,
  NanoCpus: int,
  CgroupParent: string,
  BlkioWeight: int,
  BlkioWeightDevice: list(weightDevice, 'WeightDevice'),
  BlkioDeviceReadBps: list(throttleDevice, 'ThrottleDevice'),
  BlkioDeviceWriteBps: list(throttleDevice, 'ThrottleDevice'),
  BlkioDeviceReadIOps: list(throttleDevice, 'ThrottleDevice'),
  BlkioDeviceWriteIOps: list(throttleDevice, 'ThrottleDevice'),
  CpuPeriod: int,
  CpuQuota: int,
  CpuRealtimePeriod: int,
  CpuRealtimeRuntime: int,
  CpusetCpus: string,
  CpusetMems: string,
  Devices: list(deviceMapping, 'DeviceMapping'),
  DeviceCgroupRules: strings,
  DeviceRequests: list(deviceRequest, 'DeviceRequest'),
  MemoryReservation: int,
  MemorySwap: int,
  MemorySwappiness: nullable(int),
  OomKillDisable: nullable(bool),
  PidsLimit: nullable(int),
  Ulimits: list(ulimit, 'Ulimit'),
  CpuCount: int,
  CpuPercent: int,
  IOMaximumIOps: int,
  IOMaximumBandwidth: int,
}

export const hostConfigFields = {
  Binds: strings,
  ContainerIDFile: string,
  LogConfig: logConfig,
  NetworkMode: string,
  PortBindings: map(list(portBinding, 'PortBinding'), '[]PortBinding'),
  RestartPolicy: restartPolicy,
  AutoRemove: bool,
  VolumeDriver: string,
  VolumesFrom: strings,
  ConsoleSize: list(int, 'uint'),
  Annotations: stringMap,
  CapAdd: stringOrStrings,
  CapDrop: stringOrStrings,
  CgroupnsMode: string,
  Dns: strings,
  DnsOptions: strings,
  DnsSearch: strings,
  ExtraHosts: strings,
  GroupAdd: strings,
  IpcMode: string,
  Cgroup: string,
  Links: strings,
  OomScoreAdj: int,
  PidMode: string,
  Privileged: bool,
  PublishAllPorts: bool,
  ReadonlyRootfs: bool,
  SecurityOpt: strings,
  StorageOpt: stringMap,
  Tmpfs: stringMap,
  UTSMode: string,
  UsernsMode: string,
  ShmSize: int,
  Sysctls: stringMap,
  Runtime: string,
  Isolation: string,
  ...resourceFields,
  Mounts: list(mountShape, 'Mount'),
  MaskedPaths: strings,
  ReadonlyPaths: strings,
  Init: nullable(bool),
}
export const hostConfigShape = object(
  hostConfigFields,
  ['Annotations', 'StorageOpt', 'Tmpfs', 'Sysctls', 'Runtime', 'Mounts'],
  ['Init'],
)
export type HostConfig = Of<typeof hostConfigShape>

/** The half of EndpointSettings that a request may set; the other half is what is so now. */
export const endpointSettingsShape = object({
  IPAMConfig: nullable(
    object(
      {
        IPv4Address: string,
        IPv6Address: string,
        LinkLocalIPs: strings,
      },
      ['IPv4Address', 'IPv6Address', 'LinkLocalIPs'],
    ),
  ),
  Links: strings,
  Aliases: strings,
  MacAddress: string,
  DriverOpts: stringMap,
  GwPriority: int,
  NetworkID: string,
})
export type EndpointSettings = Of<typeof endpointSettingsShape>

/** The body of POST /containers/create. */
export const createShape = object({
  ...configFields,
  HostConfig: nullable(hostConfigShape),
  NetworkingConfig: nullable(
    object({
      EndpointsConfig: map(nullable(endpointSettingsShape), '*EndpointSettings'),
    }),
  ),
})
export type CreateRequest = Of<typeof createShape>

/** The body of POST /containers/{id}/update. */
export const updateShape = object({ ...resourceFields, RestartPolicy: restartPolicy })
export type UpdateRequest = Of<typeof updateShape>

export const endpointSettingsOf = (value: unknown): EndpointSettings =>
  endpointSettingsShape.decode(value, 'EndpointSettings')
