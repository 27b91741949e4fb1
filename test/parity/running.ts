/** Running containers: what inspect, ps, the kernel, exec, logs, top and wait say of them. */
import { merged, type Part } from './container-options.ts'
import { natRules, networkState, state, stateInside } from './kernel.ts'
import type { Panel } from './panel.ts'

const host = (part: Part): Part => ({ HostConfig: part })
const endpoint = (settings: Part): Part =>
  ({ HostConfig: { NetworkMode: 'netr' }, NetworkingConfig: { EndpointsConfig: { netr: settings } } })

/** Each is started, looked at from both sides, stopped and removed. */
const runs: Readonly<Record<string, readonly Part[]>> = {
  plain: [],
  'a user network': [host({ NetworkMode: 'netr' })],
  'aliases and a static address': [
    endpoint({ Aliases: ['db'], IPAMConfig: { IPv4Address: '10.62.0.77' } }), { Hostname: 'named' },
  ],
  'published ports': [
    { ExposedPorts: { '80/tcp': {}, '81/tcp': {}, '53/udp': {} } },
    host({ PortBindings: { '80/tcp': [{ HostPort: '18080' }], '53/udp': [{ HostIp: '127.0.0.1', HostPort: '15353' }] } }),
  ],
  'published on a user network': [
    host({ NetworkMode: 'netr', PortBindings: {
      '80/tcp': [{ HostPort: '18080' }, { HostIp: '127.0.0.1', HostPort: '18081' }],
    } }),
  ],
  'host mode': [host({ NetworkMode: 'host' })],
  'host mode with published ports': [
    host({ NetworkMode: 'host', PortBindings: { '80/tcp': [{ HostPort: '80' }] } }),
  ],
  'none mode': [host({ NetworkMode: 'none' })],
  'container mode': [host({ NetworkMode: 'container:stays' })],
  'no network at all': [{ NetworkDisabled: true }],
  'a MAC address': [{ MacAddress: '02:42:aa:bb:cc:dd' }],
  'a MAC address on a user network': [{ MacAddress: '02:42:aa:bb:cc:dd' }, host({ NetworkMode: 'netr' })],
  'a link': [host({ Links: ['stays:peer'] })],
  'a link on a user network': [host({ NetworkMode: 'netr', Links: ['stays:peer'] })],
  'names and resolver': [
    { Hostname: 'box', Domainname: 'corp.test' },
    host({ Dns: ['9.9.9.9'], DnsSearch: ['a.test'], DnsOptions: ['ndots:3'], ExtraHosts: ['a:1.2.3.4'] }),
  ],
  'sysctls and limits': [host({
    Sysctls: { 'net.core.somaxconn': '77' }, Memory: 67108864, NanoCpus: 500000000, PidsLimit: 50,
  })],
  'an init process': [host({ Init: true })],
  'read-only with tmpfs and volumes': [
    { Volumes: { '/data': {} } }, host({ ReadonlyRootfs: true, Tmpfs: { '/scratch': 'size=1m' } }),
  ],
  'a terminal and open stdin': [{ Tty: true, OpenStdin: true }],
  'a healthcheck': [{ Healthcheck: { Test: ['CMD', 'true'], Interval: 600e9 } }],
  'a user and a working folder': [{ User: '33:33', WorkingDir: '/made/here' }],
  'no log': [host({ LogConfig: { Type: 'none' } })],
  'an internal network': [host({ NetworkMode: 'netint', PortBindings: { '80/tcp': [{ HostPort: '18080' }] } })],
  'two families': [host({ NetworkMode: 'netsix', PortBindings: { '80/tcp': [{ HostPort: '18080' }] } })],
}

const seen = 'hostname; cat /etc/hosts; grep -v "^#" /etc/resolv.conf | grep .; id; pwd; env; ' +
  'cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range; ' +
  'grep -E "^(Cap|NoNew|Seccomp)" /proc/self/status; awk "{print \\$5}" /proc/self/mountinfo | sort'

export async function runningTopic(panel: Panel): Promise<void> {
  await panel.do('POST', '/networks/create', { Name: 'netr', IPAM: { Config: [{ Subnet: '10.62.0.0/16' }] } })
  await panel.do('POST', '/networks/create', { Name: 'netint', Internal: true, IPAM: { Config: [{ Subnet: '10.63.0.0/16' }] } })
  await panel.do('POST', '/networks/create', { Name: 'netsix', EnableIPv6: true, IPAM: { Config: [{ Subnet: 'fd00:64::/64' }, { Subnet: '10.64.0.0/16' }] } })
  for (const name of ['netr', 'netint', 'netsix']) {
    await panel.ask(`inspect ${name}`, 'GET', `/networks/${name}`, undefined, { keep: name })
  }
  await panel.ask('create stays', 'POST', '/containers/create?name=stays',
    { Image: 'busybox', Cmd: ['sleep', '600'], ExposedPorts: { '7/tcp': {} } }, { keep: 'stays' })
  await panel.ask('start stays', 'POST', '/containers/stays/start')
  for (const [what, parts] of Object.entries(runs)) await runOne(panel, what, parts)
  await panel.ask('remove stays', 'DELETE', '/containers/stays?force=1')
  for (const name of ['netr', 'netint', 'netsix']) await panel.do('DELETE', `/networks/${name}`)
}

async function runOne(panel: Panel, what: string, parts: readonly Part[]): Promise<void> {
  const body = merged([{ Image: 'busybox', Cmd: ['sleep', '600'], StopSignal: 'SIGKILL' }, ...parts])
  await panel.ask(`create: ${what}`, 'POST', '/containers/create?name=run', body, { keep: 'run' })
  const started = await panel.ask(`start: ${what}`, 'POST', '/containers/run/start')
  await panel.ask(`inspect running: ${what}`, 'GET', '/containers/run/json')
  await panel.ask(`list running: ${what}`, 'GET', '/containers/json')
  if (started) {
    await panel.exec(`inside: ${what}`, 'run', ['sh', '-c', seen])
    await panel.observe(`kernel inside: ${what}`, stateInside, networkState, 'run')
    await panel.observe(`kernel of the host: ${what}`, state, networkState)
    await panel.observe(`nat rules: ${what}`, 'iptables-save -t nat', natRules)
  }
  await panel.ask(`start again: ${what}`, 'POST', '/containers/run/start')
  await panel.ask(`stop: ${what}`, 'POST', '/containers/run/stop?t=0')
  await panel.ask(`inspect stopped: ${what}`, 'GET', '/containers/run/json')
  await panel.ask(`list stopped: ${what}`, 'GET', '/containers/json?all=1')
  await panel.ask(`remove: ${what}`, 'DELETE', '/containers/run?v=1')
}
