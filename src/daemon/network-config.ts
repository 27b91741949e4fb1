/** What the daemon's options say to the network room and to the firewall. */
import type { FirewallSettings } from '../firewall/intent.ts'
import { defaultNetworkConfig, type NetworkConfig } from '../network/config.ts'
import type { Config } from './config.ts'

export function networkConfig(config: Config, hostId: string): NetworkConfig {
  return {
    ...defaultNetworkConfig,
    execRoot: config['exec-root'],
    bridge: config.bridge === '' ? config['default-bridge-name'] : config.bridge,
    bridgeGiven: config.bridge !== '' && config.bridge !== 'none',
    bip: config.bip,
    fixedCidr: config['fixed-cidr'],
    defaultGateway: config['default-gateway'],
    ipv6: config.ipv6,
    bip6: config.bip6,
    fixedCidr6: config['fixed-cidr-v6'],
    defaultGateway6: config['default-gateway-v6'],
    mtu: config.mtu === 0 ? defaultNetworkConfig.mtu : config.mtu,
    icc: config.icc,
    ipMasq: config['ip-masq'],
    hostIp: config.ip,
    ipForward: config['ip-forward'],
    userlandProxy: config['userland-proxy'],
    iptables: config.iptables,
    ip6tables: config.ip6tables,
    hostId,
    defaultAddressPools: config['default-address-pools'],
    defaultNetworkOpts: config['default-network-opts'],
    hostGatewayIps: config['host-gateway-ips'],
    dns: config.dns,
    dnsSearch: config['dns-search'],
    dnsOptions: config['dns-opts'],
  }
}

export function firewallSettings(config: Config): FirewallSettings {
  return {
    userlandProxy: config['userland-proxy'],
    ipv4: config.iptables,
    ipv6: config.iptables && config.ip6tables,
    allowDirectRouting: config['allow-direct-routing'],
    sharedChains: config['firewall-shared-chains'],
  }
}
