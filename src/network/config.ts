/**
 * What the daemon's configuration says about networks: dockerd's own keys, parsed. The entry
 * point fills it in; whatever it leaves out has dockerd's default.
 */

import { pluginFolders, type PluginFolders } from './plugins/discovery.ts'

export interface NetworkConfig {
  /** Namespaces are bound below `<execRoot>/netns`. */
  readonly execRoot: string
  /** Bridge of the network `bridge`; `none` = there is no such network. */
  readonly bridge: string
  /** True when `bridge` was named by the user: it must exist and is never deleted. */
  readonly bridgeGiven: boolean
  /** Address and prefix length of that bridge; '' = automatic. */
  readonly bip: string
  readonly fixedCidr: string
  readonly defaultGateway: string
  /** IPv6 on the network `bridge`; the keys that follow have no effect without. */
  readonly ipv6: boolean
  readonly bip6: string
  readonly fixedCidr6: string
  readonly defaultGateway6: string
  /** MTU of the default bridge only. */
  readonly mtu: number
  readonly icc: boolean
  readonly ipMasq: boolean
  /** Default host address of published ports. */
  readonly hostIp: string
  readonly ipForward: boolean
  readonly userlandProxy: boolean
  readonly iptables: boolean
  /** Rules for IPv6 as well; nothing without `iptables`. */
  readonly ip6tables: boolean
  /** From it follow the IPv6 subnets when no pool is configured. */
  readonly hostId: string
  readonly defaultAddressPools: readonly { readonly base: string; readonly size: number }[]
  /** Options that networks of a driver get when the request does not name them. */
  readonly defaultNetworkOpts: Readonly<Record<string, Readonly<Record<string, string>>>>
  /** What `host-gateway` stands for; empty = the address of the default bridge. */
  readonly hostGatewayIps: readonly string[]
  readonly dns: readonly string[]
  readonly dnsSearch: readonly string[]
  readonly dnsOptions: readonly string[]
  /** The host's own file, read at every start of a container. */
  readonly hostResolvConf: string
  readonly hostHosts: string
  readonly plugins: PluginFolders
}

export const defaultNetworkConfig: NetworkConfig = {
  execRoot: '/run/portolan',
  bridge: 'docker0',
  bridgeGiven: false,
  bip: '',
  fixedCidr: '',
  defaultGateway: '',
  ipv6: false,
  bip6: '',
  fixedCidr6: '',
  defaultGateway6: '',
  mtu: 1500,
  icc: true,
  ipMasq: true,
  hostIp: '0.0.0.0',
  ipForward: true,
  userlandProxy: true,
  iptables: true,
  ip6tables: true,
  hostId: '',
  defaultAddressPools: [],
  defaultNetworkOpts: {},
  hostGatewayIps: [],
  dns: [],
  dnsSearch: [],
  dnsOptions: [],
  hostResolvConf: '/etc/resolv.conf',
  hostHosts: '/etc/hosts',
  plugins: pluginFolders,
}
