/**
 * Differences from dockerd 20.10 that are meant: a newer engine's behaviour, which Portolan
 * follows, or a decision of Portolan's own (docs/reference/differences.md). An entry that no
 * longer shows fails the test, so that this table never promises too much.
 */
import type { Found } from './pair.ts'
import { newerAnswers } from './sentences.ts'

export interface Known {
  /** «changed since 20.10» or «deliberate», and what. */
  readonly why: string
  /** Questions it may show in (default: any). */
  readonly question?: RegExp
  /** The path in the answer. */
  readonly at: RegExp
  /** What dockerd 20.10 and Portolan say, as JSON (default: anything). */
  readonly docker?: RegExp
  readonly portolan?: RegExp
}

const networks = String.raw`^body(\[\d+\])?\.NetworkSettings\.Networks\.\w+\.`

export const known: readonly Known[] = [
  { why: 'changed since 20.10: kernel memory limits are gone, 28.x leaves out what is zero',
    at: /^body\.HostConfig\.KernelMemory(TCP)?$/, docker: /^0$/, portolan: /^undefined$/ },
  { why: 'changed since 20.10: 28.x always names the restart policy',
    at: /^body\.HostConfig\.RestartPolicy\.Name$/, docker: /^""$/, portolan: /^"no"$/ },
  { why: 'changed since 20.10: 28.x masks more paths',
    at: /^body\.HostConfig\.MaskedPaths$/, portolan: /powercap/ },
  { why: 'changed since 20.10: 28.x turns the mode default into bridge when it is created',
    at: /HostConfig\.NetworkMode$/, docker: /^"default"$/, portolan: /^"bridge"$/ },
  { why: 'changed since 20.10: 28.x names the runtime also where the request has no HostConfig',
    at: /^body\.HostConfig\.Runtime$/, docker: /^undefined$/, portolan: /^"runc"$/ },
  { why: 'changed since 20.10: DNSNames and GwPriority are sent at every API version',
    at: new RegExp(`${networks}(DNSNames|GwPriority)$`), docker: /^undefined$/ },
  { why: 'changed since 20.10: EnableIPv4 is sent at every API version',
    at: /EnableIPv4$/, docker: /^undefined$/, portolan: /^true$/ },
  { why: 'changed since 20.10: the MAC address that was asked for shows before the first start',
    question: /inspect created/, at: new RegExp(`${networks}MacAddress$`), docker: /^""$/ },
  { why: 'changed since 20.10: below 1.45, short id and hostname are among the aliases, always',
    at: new RegExp(`^body\\.NetworkSettings\\.Networks\\.\\w+\\.Aliases`), portolan: /12>/ },
  { why: 'changed since 20.10: SandboxID and SandboxKey are empty once the container ended',
    question: /stopped/, at: /^body\.NetworkSettings\.Sandbox(ID|Key)$/, portolan: /^""$/ },
  { why: 'changed since 20.10: the loopback of a container has ::1 without IPv6 networks, too',
    question: /links inside/, at: /^\[\d\]$/, portolan: /^"lo .* ::1\/128"$/ },
  { why: 'changed since 20.10: sentences begin with a small letter',
    at: /^body\.message$/, docker: /^"(No command specified|Invalid filter)/, portolan: /^"(no command specified|invalid filter)/ },
  { why: 'changed since 20.10: malformed filters are 400',
    question: /with filters «/, at: /^(status|body\.message)$/ },
  { why: 'changed since 20.10: host and none have null for Config',
    at: /IPAM\.Config$/, docker: /^\[\]$/, portolan: /^null$/ },
  { why: 'changed since 20.10: what was given stands ahead of the pool that was found',
    question: /IPv6/, at: /^body\.IPAM\.Config\[[01]\]\.(Subnet|Gateway)$/ },
  { why: 'changed since 20.10: docker0 shows its gateway on its first start, too',
    question: /predefined|inspect bridge/, at: /IPAM\.Config\[0\]\.Gateway$/, docker: /^undefined$/ },
  { why: 'changed since 20.10: a bridge has its MTU before its first container comes',
    question: /addresses of network/, at: /^\[\d\]$/, docker: / 1500 /, portolan: / 1400 / },
  { why: 'changed since 20.10: internal networks have no gateway, so no default route',
    question: /an internal network/, at: /Gateway$/, docker: /10\.63/, portolan: /^""$/ },
  { why: 'changed since 20.10: internal networks have no gateway, so no default route',
    question: /routes inside: an internal network/, at: /^$/ },
  { why: 'changed since 20.10: networks fe00:: and ff00:: in hosts files',
    question: /^inside/, at: /^body\.(fe00|ff00)::/ },
  { why: 'changed since 20.10: /proc/interrupts is masked',
    question: /^inside/, at: /^body\.\/proc\/interrupts$/, docker: /^undefined$/ },
  { why: 'changed since 20.10: wait leaves out Error where there is none',
    question: /wait/, at: /^body\.Error$/, docker: /^null$/ },
  { why: 'changed since 20.10: an unknown condition of wait is refused',
    question: /condition=removed2/, at: /./ },
  { why: 'changed since 20.10: an exec that finds no program or folder ends with 127',
    question: /exec inspect/, at: /ExitCode$/, docker: /^126$/, portolan: /^127$/ },
  { why: 'changed since 20.10: an exec that could not start is no longer listed',
    at: /ExecIDs$/, portolan: /^null$/ },
  { why: 'changed since 20.10: images can be filtered by until',
    question: /until/, at: /^(status|body)$/, docker: /^(400|.*Invalid filter)/ },
  { why: 'changed since 20.10: volumes without a name are labelled',
    question: /^volume \{/, at: /Labels/ },
  { why: 'changed since 20.10: sentences begin with a small letter, 400 and 404 instead of 500',
    question: /^containers \{"(exited|before|publish)"|signal=0|prune by a bad time/,
    at: /^(status|body\.message)$/ },
  { why: 'changed since 20.10: newer fields in, kernel memory and bridge-nf-call out',
    question: /^info$/, at: /^body\.(BridgeNf|CDI|Containerd|DefaultAddressPools|Firewall|KernelMem)/ },
  { why: 'changed since 20.10: sandboxes are forgotten when their container ended',
    at: /^body\.NetworkSettings\.Sandbox(ID|Key)$/, question: /done|verb2/, portolan: /^""$/ },
  { why: 'deliberate: containers have their root from a containerd snapshot',
    at: /^body\.GraphDriver\.Data/ },
  { why: 'deliberate: images are those of containerd: sizes on disk, no parents, no build records',
    question: /image|commit|made:v1/i,
    at: /(Size|RepoDigests|LastTagTime|Parent|Container|DockerVersion|Layers|\.Id|Tags|ContainerConfig.*)$/ },
  { why: 'deliberate: images are those of containerd: sizes on disk, no parents, no build records',
    question: /DELETE the committed image/, at: /^body$/ },
  { why: 'deliberate: images are those of containerd: sizes on disk, no parents, no build records',
    question: /containers\/(from|over)\/json/, at: /^body\.Image$/ },
  { why: 'deliberate: a rule of a bridge that is not named br- carries our comment',
    question: /nat rules/, at: /^\[\d\]$/, portolan: /--comment portolan/ },
  { why: 'deliberate: HostConfig.Links on a network of the user are aliases, not ignored',
    question: /a link on a user network/, at: /Links$/, docker: /^null$/ },
  { why: 'deliberate: a port that is published counts as exposed',
    question: /published on a user network|two families|an internal network/, at: /Ports/,
    docker: /^(undefined|\[\])$/ },
  { why: 'deliberate: a port that is published counts as exposed',
    question: /nat rules: (published on a user network|two families)/, at: /^$/ },
  { why: 'deliberate: ps shows where a volume is',
    question: /^list/, at: /Mounts\[0\]\.Source$/, docker: /^""$/ },
  { why: 'deliberate: a connect that failed leaves nothing behind',
    question: /after all refusals/, at: /Networks\.netd$/, portolan: /^undefined$/ },
  { why: 'deliberate: cp sees what a running container has mounted',
    question: /^stat \/dev\/null$/, at: /^(status|body)$/ },
  { why: 'deliberate: the stat of a file takes a trailing slash',
    question: /^stat \/etc\/passwd\/$/, at: /^(status|body)$/ },
  { why: 'deliberate: hosts and resolv.conf are there without networks, too',
    question: /inside: no network at all/, at: /^body\.\/etc\/(hosts|resolv\.conf)$/ },
  { why: 'deliberate: what would have no effect is warned about',
    question: /^create( network)?: /, at: /^body\.Warnings?$/, docker: /^(\[\]|"")$/,
    portolan: /discarded|has no effect/ },
  { why: 'deliberate: events tell of each volume that a prune removes',
    question: /^events .*volume/, at: /Action=(destroy|mount|unmount)/ },
]

/** Whether a newer engine's answer to a wrong question is in the table of those. */
export function isNewerAnswer({ question, at, docker, portolan }: Found): boolean {
  const [older, newer] = newerAnswers[question.replace(/^error: /, '')] ?? []
  return at === '' && docker === older && portolan === newer
}

/** Whether this entry speaks of this difference. */
export function explains(entry: Known, found: Found): boolean {
  const fits = (pattern: RegExp | undefined, value: unknown) =>
    pattern === undefined || pattern.test(JSON.stringify(value) ?? 'undefined')
  return (entry.question === undefined || entry.question.test(found.question)) &&
    entry.at.test(found.at) && fits(entry.docker, found.docker) && fits(entry.portolan, found.portolan)
}
