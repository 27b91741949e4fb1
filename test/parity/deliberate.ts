/**
 * Differences from dockerd 28.2.2 (and 20.10) that are meant; docs/reference/differences.md says
 * more of each. An entry that no longer shows fails the test, so that this table never promises
 * too much. Everything else that differs is a fault.
 */
import type { Found } from './panel.ts'

/** The tests that ask: of networking, of everything else, at the API of 20.10. */
export type Part = 'networking' | 'engine' | 'older'

interface Entry {
  readonly why: string
  /** Questions it may show in (default: any). */
  readonly question?: RegExp
  /** The path in the answer. */
  readonly at: RegExp
  /** What dockerd and Portolan say, as JSON (default: anything). */
  readonly docker?: RegExp
  readonly portolan?: RegExp
  /** More than patterns can say. */
  readonly fits?: (docker: unknown, portolan: unknown) => boolean
}

/** `part`: the test that it must show in, or has gone (default: both at the newest API). */
export interface Deliberate extends Entry {
  readonly part?: Part
}

const refused = /^"400 /

const inBoth: readonly Entry[] = [
  { why: 'links keep the queue of the kernel, which tc counts on',
    at: /^queues\..* (0|1000)$/ },
  { why: 'a pair of links has one queue each way, not one per processor',
    at: /^queues\..* veth numtxqueues 1$/, docker: /^undefined$/ },
  { why: 'a pair of links has one queue each way, not one per processor',
    at: /^queues\..* veth numtxqueues \d+$/, portolan: /^undefined$/ },
  { why: 'containers take no router advertisements',
    at: /^sysctls\..*\.ipv6 conf accept_ra$/, docker: /^"1"$/, portolan: /^"0"$/ },
  { why: 'a bridge without IPv6 has none at all', at: /^sysctls\..*\.ipv6 conf disable_ipv6$/,
    docker: /^"0"$/, portolan: /^"1"$/ },
  { why: 'a bridge does not wait for its own link-local address',
    at: /^sysctls\..*\.ipv6 conf accept_dad$/, docker: /^"1"$/, portolan: /^"0"$/ },
  { why: 'the host end of a pair of links has no link-local address',
    at: /^sysctls\.veth on .*\.ipv6 conf addr_gen_mode$/, portolan: /^"1"$/ },
  { why: 'internal networks are closed by policy rules, which no flush of the firewall touches',
    at: /^rules\..*"protocol":"80"/, docker: /^undefined$/ },
  { why: 'the hairpin rule of a port is always there',
    question: /nat/, at: /^-A POSTROUTING -s (\S+) -d \1 .*--dport \d+ -j MASQUERADE$/, docker: /^undefined$/ },
  { why: 'the short id is among the aliases', at: /\.Aliases(\[\d\])?$/, portolan: /12>"/ },
  { why: 'a port that is published counts as exposed',
    question: /published on a user network|two families|an internal network|"exposed":"(none|other|range)"/,
    at: /[Pp]orts|^-A (DOCKER|POSTROUTING)/, docker: /^(undefined|\[.*\])$/ },
  { why: 'what would have no effect is warned about',
    at: /^body\.Warnings?(\[\d\])?$/, portolan: /discarded|has no effect/ },
  { why: 'what would have no effect is warned about',
    question: /^(error|field create|port create|wrong at create):/, at: /^$/, docker: /^"201 /,
    portolan: /^"201 .*(discarded|has no effect|there is no health check)/ },
  { why: 'what cannot be started is refused when it is created or connected', at: /^$/,
    question: /"Cgroup"|DeviceCgroupRules|DeviceRequests|UsernsMode|LogConfig|Tmpfs|Volumes|PortBindings|"\/tcp"|tcp\/udp|ifname|:ee:ff"|Links/,
    docker: /^"20[01] /, portolan: refused },
]

const ofNetworking: readonly Entry[] = [
  { why: 'a rule of a bridge that is not named br- carries our comment', question: /nat rules/, at: / ! -o named0 / },
  { why: 'a gateway is chosen by priority before a network of both families is',
    question: /"GwPriority"/, at: /^routes\.dst default gateway/ },
  { why: 'who has left the last network with names asks the servers of the host again',
    question: /^(kernel inside after all|several inside without)/, at: /^resolv/, portolan: /legacy/ },
  { why: 'fields of answers that come with a request are passed over',
    question: /"(EndpointID|IPv6Gateway|DNSNames)":/, at: /\.Networks\.\w+\.\w+$/ },
  { why: 'an ExposedPorts range is its ports, and what is no port is none',
    question: /^port (running|listed): (\[\{\},|.*"exposed":"range")|^port nat: .*"exposed":"range"/,
    at: /[Pp]orts|--to-destination \S+:0$/ },
  { why: 'what cannot be started is refused when it is created or connected',
    question: /^combination \w+: (host|container:peer) created/, at: /^(|body\.settings\.Networks\.host)$/ },
  { why: 'a host address that is none is refused, not taken for all addresses',
    question: /^port start/, at: /^$/, docker: /^"204 /, portolan: /invalid IP address/ },
  { why: 'a protocol that is none is named', question: /^port start.*icmp/, at: /^$/ },
  { why: 'what the kernel refuses is told with the step that it refused',
    question: /^wrong at (start|connect)/, at: /^$/, docker: /^"500 /, portolan: /veth|sysctl|interface name/ },
  { why: 'a MAC address of a connect is shown only where it counts, from API 1.54 on',
    question: /^connected waits .*"MacAddress"/, at: /MacAddress$/, portolan: /^""$/ },
  { why: 'a NetworkID beside a name is that network', question: /"NetworkID":"zz"/, at: /Networks/ },
  { why: 'mistakes of links are named with the others', question: /^wrong at connect.*"Links"/, at: /^$/,
    docker: /bad format for links|empty string specified for links/ },
]

const ofTheEngine: readonly Entry[] = [
  { why: 'images are those of containerd: sizes on disk, no parents, no build records',
    question: /image|commit|made:v1|^df|^events of (a run and a prune|container prune)/i,
    at: /(Size|SizeRw|LastTagTime|Parent|DockerVersion|Layers|Descriptor|\.Id|Tags|reclaimed)$/ },
  { why: 'images are those of containerd: sizes on disk, no parents, no build records',
    question: /^DELETE the committed image/, at: /^body$/ },
  { why: 'images are those of containerd: sizes on disk, no parents, no build records',
    question: /containers\/(from|over)\/json/, at: /^body\.Image$/ },
  { why: 'ContainerConfig is there for docker-compose 1.29', at: /^body\.ContainerConfig$/ },
  { why: 'containers have their root from a containerd snapshot', at: /GraphDriver\.Data/ },
  { why: 'HostConfig.Links on a network of the user are aliases, not ignored',
    question: /a link on a user network/, at: /Links$/, docker: /^null$/ },
  { why: 'ps shows where a volume is', question: /^list/, at: /Mounts\[0\]\.Source$/, docker: /^""$/ },
  { why: 'hostname, hosts and resolv.conf are there without networks, too',
    question: /no network at all/, at: /HostnamePath|hostname|\/etc\/(hosts|resolv\.conf)$/ },
  { why: 'a connect that failed leaves nothing behind',
    question: /after all refusals/, at: /Networks\.netd$/, portolan: /^undefined$/ },
  { why: 'an exec that has run is a conflict, not a line in the stream',
    question: /^exec start .*nobodyhere/, at: /^(status|type|body)$/ },
  { why: 'cp sees what a running container has mounted, and takes a slash behind a file',
    question: /^stat (\/dev\/null|\/etc\/passwd\/)$/, at: /^(status|type|body)$/ },
  { why: 'cp mounts no volume anew, and so tells of none', question: /^events (of (stat|copy out)$|that pass)/,
    at: /^body(\.volume (mount|unmount))?$/ },
  { why: 'API 1.51 is spoken, too', question: /^version$/, at: /^body\.ApiVersion$/ },
  { why: 'info is of this engine: its namespace, storage, log drivers and networks; no CDI, no features of runc',
    question: /^info$/, at: /CDISpecDirs|Namespaces|DriverStatus|OperatingSystem|Plugins\.(Log|Network)|Runtimes/ },
  { why: 'malformed requests are 400, also where Docker says 500', at: /^(status)?$/,
    fits: (docker, portolan) => String(docker).replace(/^500/, '400') === String(portolan) },
  { why: 'an address of a range of all addresses leaves the choice to the pools, as since Docker 29',
    question: /"0\.0\.0\.0\/0"/, at: /^$/ },
  { why: 'a method that HTTP does not have is no request', question: /^http ZZ/, at: /./ },
  { why: 'an empty name is that of no network', question: /^http \w+ \/networks\/$/, at: /^(status|body\.message)$/ },
  { why: 'tag without a name for the image is refused, not passed over',
    question: /\/tag\b/, at: /^(|type|status|body)$/, docker: /^(undefined|200|""|"200 .*)$/ },
  { why: 'builds, searches, plugins to install, checkpoints and swarm mode are not offered',
    question: /^http .*(checkpoints|plugins|build|session|search|swarm\/update)/, at: /^(status|body\.message)$/ },
  { why: 'a pull without a name is refused as one', question: /POST \/images\/create $/, at: /^$/ },
  { why: 'what a registry needs is looked up by the C library', question: /^http (POST \/auth|GET \/distribution)/,
    at: /^body\.message$/, portolan: /Temporary failure in name resolution/ },
  { why: 'a push without credentials is tried without', question: /^http POST \/images\/\w+\/push/, at: /^(status|body\.message)$/ },
  { why: 'an archive without images is refused by its status', question: /^http (POST \/images\/load|GET \/images\/get)/,
    at: /^(status|type|body)$/, portolan: /^(400|"application\/json"|.*(no image names|manifest\.json).*)$/ },
  { why: 'limits for Windows are discarded', question: /Cpu(Count|Percent)/, at: /Cpu(Count|Percent)$/, portolan: /^0$/ },
  { why: 'API 1.51 is spoken, too', question: /^version \/v(1\.5|1\.99|2)/, at: /^(status|body|body\.message)$/,
    docker: /Maximum supported API version is 1\.50|400/ },
  { why: 'API 1.51 is spoken, too', question: /^version .*_ping/, at: /^type$/ },
  { why: 'API 1.51 is spoken, too', question: /^headers/, at: /^body\.api-version$/ },
  { why: 'there is no BuildKit', question: /^headers/, at: /^body\.builder-version$/ },
]

/** Where the newest engine differs, too, in another way than 20.10. */
const ofOlderApis: readonly Entry[] = [
  { why: 'what would have no effect is warned about', question: /"Scope":"zz"/, at: /^$/, docker: /swarm manager/ },
  { why: 'images are those of containerd: sizes on disk, no parents, no build records',
    question: /images\/json\?filters=.*until/, at: /^body$/ },
  { why: 'images are those of containerd: sizes on disk, no parents, no build records',
    question: /made:v1\/json$/, at: /^body\.Container(Config\.\w+)?$/ },
]

export const deliberate: readonly Deliberate[] = [
  ...inBoth,
  ...ofNetworking.map((entry) => ({ ...entry, part: 'networking' as const })),
  ...ofTheEngine.map((entry) => ({ ...entry, part: 'engine' as const })),
  ...ofOlderApis.map((entry) => ({ ...entry, part: 'older' as const })),
]

export const hasReason = (found: Found): boolean =>
  deliberate.some((entry) => explains(entry, found))

/** Whether this entry speaks of this difference. */
export function explains(entry: Deliberate, found: Found): boolean {
  const fits = (pattern: RegExp | undefined, value: unknown) =>
    pattern === undefined || pattern.test(JSON.stringify(value) ?? 'undefined')
  if (entry.fits?.(found.docker, found.portolan) === false) return false
  return (entry.question === undefined || entry.question.test(found.question)) &&
    entry.at.test(found.at) && fits(entry.docker, found.docker) && fits(entry.portolan, found.portolan)
}
