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
  int64,
  integerOf,
  list,
  map,
  nullable,
  object,
  set,
  setOf,
  string,
  stringMap,
  stringOf,
  stringOrStrings,
  strings,
  uint16,
} from './shape.ts'
import type { Of } from './shape.ts'

/** Nanoseconds. */
const duration = integerOf('time.Duration', 64)

const healthcheck = object(
  {
    Test: strings,
    Interval: duration,
    Timeout: duration,
    StartPeriod: duration,
    StartInterval: duration,
    Retries: int,
  },
  ['Test', 'Interval', 'Timeout', 'StartPeriod', 'StartInterval', 'Retries'],
  [],
  { type: 'v1.HealthcheckConfig' },
)
export type HealthConfig = Of<typeof healthcheck>

export const configFields = {
  Hostname: string,
  Domainname: string,
  User: string,
  AttachStdin: bool,
  AttachStdout: bool,
  AttachStderr: bool,
  ExposedPorts: setOf('nat.PortSet'),
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

const portBinding = object({ HostIp: string, HostPort: string }, [], [], {
  type: 'nat.PortBinding',
})

const logConfig = object({ Type: string, Config: stringMap }, [], [], {
  type: 'container.LogConfig',
})
const restartPolicy = object(
  { Name: stringOf('container.RestartPolicyMode'), MaximumRetryCount: int },
  [],
  [],
  { type: 'container.RestartPolicy' },
)
export type RestartPolicy = Of<typeof restartPolicy>

const deviceMapping = object(
  { PathOnHost: string, PathInContainer: string, CgroupPermissions: string },
  [],
  [],
  { type: 'container.DeviceMapping' },
)
const ulimit = object({ Name: string, Hard: int64, Soft: int64 }, [], [], {
  type: 'units.Ulimit',
})
export type Ulimit = Of<typeof ulimit>
const weightDevice = object({ Path: string, Weight: uint16 }, [], [], {
  type: 'blkiodev.WeightDevice',
})
const throttleDevice = object({ Path: string, Rate: integerOf('uint64', 64) }, [], [], {
  type: 'blkiodev.ThrottleDevice',
})
const deviceRequest = object(
  {
    Driver: string,
    Count: int,
    DeviceIDs: strings,
    Capabilities: list(strings, '[]string'),
    Options: stringMap,
  },
  [],
  [],
  { type: 'container.DeviceRequest' },
)

const mountShape = object(
  {
    Type: stringOf('mount.Type'),
    Source: string,
    Target: string,
    ReadOnly: bool,
    Consistency: stringOf('mount.Consistency'),
    BindOptions: nullable(
      object(
        {
          Propagation: stringOf('mount.Propagation'),
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
        [],
        { type: 'mount.BindOptions' },
      ),
    ),
    VolumeOptions: nullable(
      object(
        {
          NoCopy: bool,
          Labels: stringMap,
          Subpath: string,
          DriverConfig: nullable(
            object({ Name: string, Options: stringMap }, ['Name', 'Options'], [], {
              type: 'mount.Driver',
            }),
          ),
        },
        ['NoCopy', 'Labels', 'Subpath', 'DriverConfig'],
        [],
        { type: 'mount.VolumeOptions' },
      ),
    ),
    TmpfsOptions: nullable(
      object(
        {
          SizeBytes: int64,
          Mode: integerOf('fs.FileMode', 32, true),
          Options: list(strings, '[]string'),
        },
        ['SizeBytes', 'Mode', 'Options'],
        [],
        { type: 'mount.TmpfsOptions' },
      ),
    ),
  },
  ['Source', 'Target', 'ReadOnly', 'Consistency', 'BindOptions', 'VolumeOptions', 'TmpfsOptions'],
  [],
  { type: 'mount.Mount' },
)
export type MountSpec = Of<typeof mountShape>

export const resourceFields = {
  CpuShares: int64,
  Memory: int64,
  NanoCpus: int64,
  CgroupParent: string,
  BlkioWeight: uint16,
  BlkioWeightDevice: list(weightDevice, '*blkiodev.WeightDevice'),
  BlkioDeviceReadBps: list(throttleDevice, '*blkiodev.ThrottleDevice'),
  BlkioDeviceWriteBps: list(throttleDevice, '*blkiodev.ThrottleDevice'),
  BlkioDeviceReadIOps: list(throttleDevice, '*blkiodev.ThrottleDevice'),
  BlkioDeviceWriteIOps: list(throttleDevice, '*blkiodev.ThrottleDevice'),
  CpuPeriod: int64,
  CpuQuota: int64,
  CpuRealtimePeriod: int64,
  CpuRealtimeRuntime: int64,
  CpusetCpus: string,
  CpusetMems: string,
  Devices: list(deviceMapping, 'container.DeviceMapping'),
  DeviceCgroupRules: strings,
  DeviceRequests: list(deviceRequest, 'container.DeviceRequest'),
  MemoryReservation: int64,
  MemorySwap: int64,
  MemorySwappiness: nullable(int64),
  OomKillDisable: nullable(bool),
  PidsLimit: nullable(int64),
  Ulimits: list(ulimit, '*units.Ulimit'),
  CpuCount: int64,
  CpuPercent: int64,
  IOMaximumIOps: integerOf('uint64', 64),
  IOMaximumBandwidth: integerOf('uint64', 64),
}

export const hostConfigFields = {
  Binds: strings,
  ContainerIDFile: string,
  LogConfig: logConfig,
  NetworkMode: stringOf('container.NetworkMode'),
  PortBindings: map(list(portBinding, 'nat.PortBinding'), 'nat.PortMap'),
  RestartPolicy: restartPolicy,
  AutoRemove: bool,
  VolumeDriver: string,
  VolumesFrom: strings,
  ConsoleSize: list(integerOf('uint', 64), 'uint', '[2]uint'),
  Annotations: stringMap,
  CapAdd: stringOrStrings,
  CapDrop: stringOrStrings,
  CgroupnsMode: stringOf('container.CgroupnsMode'),
  Dns: strings,
  DnsOptions: strings,
  DnsSearch: strings,
  ExtraHosts: strings,
  GroupAdd: strings,
  IpcMode: stringOf('container.IpcMode'),
  Cgroup: stringOf('container.CgroupSpec'),
  Links: strings,
  OomScoreAdj: int,
  PidMode: stringOf('container.PidMode'),
  Privileged: bool,
  PublishAllPorts: bool,
  ReadonlyRootfs: bool,
  SecurityOpt: strings,
  StorageOpt: stringMap,
  Tmpfs: stringMap,
  UTSMode: stringOf('container.UTSMode'),
  UsernsMode: stringOf('container.UsernsMode'),
  ShmSize: int64,
  Sysctls: stringMap,
  Runtime: string,
  Isolation: stringOf('container.Isolation'),
  ...resourceFields,
  Mounts: list(mountShape, 'mount.Mount'),
  MaskedPaths: strings,
  ReadonlyPaths: strings,
  Init: nullable(bool),
}
export const hostConfigShape = object(
  hostConfigFields,
  ['Annotations', 'StorageOpt', 'Tmpfs', 'Sysctls', 'Runtime', 'Mounts'],
  ['Init'],
  { type: 'container.HostConfig', embedded: { Resources: resourceFields } },
)
export type HostConfig = Of<typeof hostConfigShape>

/** The half of EndpointSettings that a request may set; the other half is what is so now. */
const endpointFields = {
  IPAMConfig: nullable(
    object(
      {
        IPv4Address: string,
        IPv6Address: string,
        LinkLocalIPs: strings,
      },
      ['IPv4Address', 'IPv6Address', 'LinkLocalIPs'],
      [],
      { type: 'network.EndpointIPAMConfig' },
    ),
  ),
  Links: strings,
  Aliases: strings,
  MacAddress: string,
  DriverOpts: stringMap,
  GwPriority: int,
  NetworkID: string,
  DNSNames: strings,
}
export const endpointSettingsShape = object(endpointFields, [], [], {
  type: 'network.EndpointSettings',
})
export type EndpointSettings = Of<typeof endpointSettingsShape>

/** The body of POST /containers/create. */
export const createShape = object(
  {
    ...configFields,
    HostConfig: nullable(hostConfigShape),
    NetworkingConfig: nullable(
      object(
        { EndpointsConfig: map(nullable(endpointSettingsShape), '*network.EndpointSettings') },
        [],
        [],
        { type: 'network.NetworkingConfig' },
      ),
    ),
  },
  [],
  [],
  { type: 'container.CreateRequest', embedded: { Config: configFields } },
)
export type CreateRequest = Of<typeof createShape>

/** The body of POST /containers/{id}/update. */
export const updateShape = object(
  { ...resourceFields, RestartPolicy: restartPolicy },
  [],
  [],
  { type: 'container.UpdateConfig', embedded: { Resources: resourceFields } },
)
export type UpdateRequest = Of<typeof updateShape>

/** @param at where it stands in a request, for Go's sentence */
export const endpointSettingsOf = (value: unknown, at = 'EndpointSettings'): EndpointSettings =>
  endpointSettingsShape.decode(value, at)
