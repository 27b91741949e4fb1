/** What `docker info` and `docker version` show of this engine: gathered once, or each time. */
import { randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import type { Component, SystemFacts } from '../api/system-info.ts'
import { oldestVersion } from '../api/version.ts'
import { appArmorHere } from '../containers/apparmor.ts'
import { cgroupLayout } from '../containers/cgroups.ts'
import type { Containerd } from '../containers/containerd/client.ts'
import type { EventLog } from '../insight/events.ts'
import type { FirewalldStatus } from '../firewall/firewalld/zoned.ts'
import { describeMachine, readOptional, type Machine } from '../insight/machine.ts'
import { runCommand } from '../kernel/command.ts'
import type { Store } from '../store/store.ts'
import { cgroupDriver } from './cgroup-driver.ts'
import { withoutEffect, type Config } from './config.ts'
import { isRecord } from './option.ts'

/** What other rooms hold at the moment. */
export interface Counts {
  containers(): SystemFacts['containers']
  images(): number
  firewalld(): FirewalldStatus
  /** Names of the network plugins in use. */
  plugins(): readonly string[]
}

/** What does not change while the daemon runs. */
export interface Constants {
  readonly id: string
  readonly machine: Machine
  readonly containerd: SystemFacts['containerd']
  readonly runc: Component
  readonly init: SystemFacts['init']
}

const initPaths = [
  '/usr/bin/docker-init',
  '/usr/libexec/docker/docker-init',
  '/usr/bin/tini-static',
  '/usr/bin/tini',
]

export async function gatherConstants(
  store: Store,
  containerd: Containerd,
  config: Config,
): Promise<Constants> {
  const initBinary =
    [config['init-path'], ...initPaths].find((path) => path !== '' && existsSync(path)) ?? ''
  const [answer, runc, init] = await Promise.all([
    containerd.version.version({}),
    versionOf('runc'),
    versionOf(initBinary),
  ])
  const { version, revision } = answer
  return {
    id: await engineId(store),
    machine: describeMachine(),
    containerd: {
      version,
      commit: revision,
      address: containerd.socketPath,
      namespace: containerd.namespace,
    },
    runc,
    init: { ...init, binary: initBinary === '' ? 'docker-init' : initBinary.replace(/^.*\//, '') },
  }
}

/** `runc version 1.1.5` and `commit: …`; `tini version 0.19.0 - git.de40ad0`. */
async function versionOf(program: string): Promise<Component> {
  const nothing = { version: '', commit: '' }
  if (program === '') return nothing
  const output = await runCommand(program, ['--version'], { tolerate: true }).catch(() => undefined)
  const text = output === undefined ? '' : output.stdout + output.stderr
  const version = /version v?([^\s,]+)/.exec(text)?.[1] ?? ''
  const commit = /^commit: (\S+)/m.exec(text)?.[1] ?? /git\.([0-9a-f]+)/.exec(text)?.[1] ?? ''
  return { version, commit }
}

const idsByStore = new WeakMap<Store, Promise<string>>()

/** The engine keeps its id as long as its data root. */
export function engineId(store: Store): Promise<string> {
  const id = idsByStore.get(store) ?? readEngineId(store)
  idsByStore.set(store, id)
  return id
}

async function readEngineId(store: Store): Promise<string> {
  const records = store.collection('engine', (document) => {
    const id = isRecord(document) ? document['id'] : undefined
    if (typeof id !== 'string') throw new Error('the id is a text')
    return id
  })
  const known = records.get('id')
  if (known !== undefined) return known
  const id = randomUUID()
  await store.write([{ collection: 'engine', id: 'id', document: { id } }])
  return records.get('id') ?? id
}

export function currentFacts(
  config: Config,
  constants: Constants,
  counts: Counts,
  events: EventLog,
): SystemFacts {
  const layout = cgroupLayout()
  const forwarding = readOptional('/proc/sys/net/ipv4/ip_forward').trim() === '1'
  const facts = {
    ...constants,
    commit: 'portolan',
    buildTime: '',
    containers: counts.containers(),
    images: counts.images(),
    listeners: events.clientCount,
    dataRoot: config['data-root'],
    debug: config.debug,
    oldestApiVersion: config['min-api-version'] || oldestVersion,
    experimental: config.experimental,
    liveRestore: config['live-restore'],
    labels: config.labels,
    loggingDriver: config['log-driver'],
    cgroup: { ...layout, driver: cgroupDriver(config) },
    ipv4Forwarding: forwarding,
    firewall: firewallOf(config, counts.firewalld()),
    networkPlugins: counts.plugins(),
    addressPools: config['default-address-pools'],
    registry: { insecure: config['insecure-registries'], mirrors: config['registry-mirrors'] },
    securityOptions: [
      ...(appArmorHere() ? ['name=apparmor'] : []),
      `name=seccomp,profile=${config['seccomp-profile'] || 'builtin'}`,
      ...(layout.version === 2 ? ['name=cgroupns'] : []),
      ...(config['no-new-privileges'] ? ['name=no-new-privileges'] : []),
    ],
  }
  return { ...facts, warnings: warningsOf(config, facts) }
}

/** The driver with `+firewalld` beside a running one, and when that was loaded anew. */
function firewallOf(config: Config, { running, reloadedAt }: FirewalldStatus) {
  const backend = config.iptables ? config['firewall-backend'] || 'iptables' : 'none'
  return { driver: running ? `${backend}+firewalld` : backend, reloadedAt }
}

type Unwarned = Pick<SystemFacts, 'cgroup' | 'ipv4Forwarding'>

function warningsOf(config: Config, { cgroup, ipv4Forwarding }: Unwarned): readonly string[] {
  const open = config.hosts.filter(
    (host) => host.startsWith('tcp://') && !config.tls && !config.tlsverify,
  )
  return [
    ...open.map(
      (host) =>
        `WARNING: API is accessible on ${host.replace('tcp://', 'http://')} without encryption.`,
    ),
    ...withoutEffect(config).map((key) => `WARNING: The option ${key} has no effect here`),
    ...(cgroup.memoryLimit ? [] : ['WARNING: No memory limit support']),
    ...(cgroup.swapLimit ? [] : ['WARNING: No swap limit support']),
    ...(cgroup.pidsLimit ? [] : ['WARNING: No pids limit support']),
    ...(ipv4Forwarding ? [] : ['WARNING: IPv4 forwarding is disabled']),
  ]
}
