/** Every field of a container's Config and HostConfig with values that are wrong, or odd. */
import type { Part } from './container-options.ts'
import type { Panel } from './panel.ts'

const kinds = {
  text: ['', 'zz', 5, true, [], {}, null],
  flag: [true, 'true', 1, [], {}, null],
  number: [-1, 1, 1.5, 1e30, '5', true, [], {}, null],
  texts: [[], [''], ['zz'], ['zz', 'zz'], 'zz', 5, [5], {}, [null], null],
  words: [{}, { zz: 'zz' }, { '': '' }, { zz: 5 }, { zz: null }, [], 'zz', 5, null],
  parts: [[], [{}], {}, 'zz', [5], null],
  object: [{}, [], 'zz', 5, null, { Zz: 1 }],
} as const

const config: Readonly<Record<string, keyof typeof kinds>> = {
  Hostname: 'text', Domainname: 'text', User: 'text', AttachStdin: 'flag', AttachStdout: 'flag', AttachStderr: 'flag',
  ExposedPorts: 'words', Tty: 'flag', OpenStdin: 'flag', StdinOnce: 'flag', Env: 'texts', Cmd: 'texts', Healthcheck: 'object',
  ArgsEscaped: 'flag', Volumes: 'words', WorkingDir: 'text', Entrypoint: 'texts', NetworkDisabled: 'flag', MacAddress: 'text',
  OnBuild: 'texts', Labels: 'words', StopSignal: 'text', StopTimeout: 'number', Shell: 'texts', Image: 'text',
  HostConfig: 'object', NetworkingConfig: 'object', Platform: 'text', Zz: 'text',
}

const hostConfig: Readonly<Record<string, keyof typeof kinds>> = {
  Binds: 'texts', ContainerIDFile: 'text', LogConfig: 'object', NetworkMode: 'text', PortBindings: 'words', RestartPolicy: 'object',
  AutoRemove: 'flag', VolumeDriver: 'text', VolumesFrom: 'texts', ConsoleSize: 'parts', Annotations: 'words', CapAdd: 'texts',
  CapDrop: 'texts', CgroupnsMode: 'text', Dns: 'texts', DnsOptions: 'texts', DnsSearch: 'texts', ExtraHosts: 'texts', GroupAdd: 'texts',
  IpcMode: 'text', Cgroup: 'text', Links: 'texts', OomScoreAdj: 'number', PidMode: 'text', Privileged: 'flag', PublishAllPorts: 'flag',
  ReadonlyRootfs: 'flag', SecurityOpt: 'texts', StorageOpt: 'words', Tmpfs: 'words', UTSMode: 'text', UsernsMode: 'text', ShmSize: 'number',
  Sysctls: 'words', Runtime: 'text', Isolation: 'text', CpuShares: 'number', Memory: 'number', NanoCpus: 'number', CgroupParent: 'text',
  BlkioWeight: 'number', BlkioWeightDevice: 'parts', BlkioDeviceReadBps: 'parts', BlkioDeviceWriteBps: 'parts', BlkioDeviceReadIOps: 'parts',
  BlkioDeviceWriteIOps: 'parts', CpuPeriod: 'number', CpuQuota: 'number', CpuRealtimePeriod: 'number', CpuRealtimeRuntime: 'number',
  CpusetCpus: 'text', CpusetMems: 'text', Devices: 'parts', DeviceCgroupRules: 'texts', DeviceRequests: 'parts', MemoryReservation: 'number',
  MemorySwap: 'number', MemorySwappiness: 'number', OomKillDisable: 'flag', PidsLimit: 'number', Ulimits: 'parts', CpuCount: 'number',
  CpuPercent: 'number', IOMaximumIOps: 'number', IOMaximumBandwidth: 'number', Mounts: 'parts', MaskedPaths: 'texts', ReadonlyPaths: 'texts',
  Init: 'flag',
}

export async function fieldTopic(panel: Panel): Promise<void> {
  const values = (fields: typeof config, wrap: (part: Part) => Part): Part[] =>
    Object.entries(fields).flatMap(([name, kind]) => kinds[kind].map((value) => wrap({ [name]: value })))
  const wrong = [...values(config, (part) => part), ...values(hostConfig, (part) => ({ HostConfig: part }))]
  for (const part of wrong) {
    const what = JSON.stringify(part)
    const made = await panel.ask(`field create: ${what}`, 'POST', '/containers/create?name=field',
      { Image: 'busybox', ...part }, { keep: 'field', line: true })
    if (made) await panel.ask(`field created: ${what}`, 'GET', '/containers/field/json')
    await panel.do('DELETE', '/containers/field?force=1&v=1')
  }
}
