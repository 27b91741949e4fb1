/** The walk of `portolan demo`, as typed; the shell runs these fixed texts and nothing else. */

export interface Step {
  readonly note?: string
  readonly typed: string
  readonly expect: RegExp
  readonly linesMax?: number
  /** True: it should end with another exit code than 0. */
  readonly fails?: boolean
}

/** @param docker whether the stock command is there; if not, our own verbs take its place */
export function demoSteps(docker: boolean): readonly Step[] {
  const d = docker ? 'docker' : 'portolan'
  const web = "mkdir -p /www; echo hi >/www/index.html; exec httpd -f -p 80 -h /www"
  return [
    { typed: `${d} network create -d bridge localnet`, expect: /^[0-9a-f]{64}$/ },
    { typed: `${d} run -d --name c1 --network localnet busybox sleep 1d`, expect: /^[0-9a-f]{64}$/ },
    {
      typed: `${d} run -d --name web --network localnet --publish 5050:80 busybox sh -c '${web}'`,
      expect: /^[0-9a-f]{64}$/,
    },
    { note: 'by name', typed: `${d} exec c1 ping -c 2 web`, expect: / 0% packet loss/ },
    { note: 'from the host', typed: 'busybox wget -qO- http://localhost:5050', expect: /^hi$/ },
    {
      note: 'from another host',
      typed: 'ip netns exec neighbour busybox wget -qO- http://198.51.100.1:5050',
      expect: /^hi$/,
    },
    {
      note: 'from a container, by the published port',
      typed: `${d} exec c1 wget -qO- http://198.51.100.1:5050`,
      expect: /^hi$/,
    },
    { typed: `${d} port web`, expect: /80\/tcp -> 0\.0\.0\.0:5050/ },
    { typed: `${d} network inspect localnet`, expect: /"Subnet": "172\.\d+\.0\.0\/16"/, linesMax: 24 },
    { typed: `${d} ps`, expect: /0\.0\.0\.0:5050->80\/tcp/ },
    { typed: 'iptables -t nat -nvL DOCKER', expect: /DNAT .*dpt:5050 to:172\.\d+\.0\.3:80/ },
    { typed: 'iptables -nvL FORWARD', expect: /DOCKER-USER[\s\S]*DOCKER-FORWARD/ },
    { typed: 'ip -br link show type bridge', expect: /docker0[\s\S]*br-[0-9a-f]{12}/ },
    { typed: 'ip -d link show type veth', expect: /veth[0-9a-f]{7}@if\d+/, linesMax: 6 },
    { note: 'how was it made?', typed: 'portolan how web', expect: /ip link add[\s\S]*iptables/, linesMax: 40 },
    { note: 'somebody flushes the firewall', typed: 'iptables -F; iptables -t nat -F', expect: /^$/ },
    {
      note: 'and the network heals itself',
      typed: 'sleep 2; ip netns exec neighbour timeout 5 busybox wget -qO- http://198.51.100.1:5050',
      expect: /^hi$/,
    },
    { typed: `${d} rm -f c1 web`, expect: /c1\nweb/ },
    { typed: `${d} network rm localnet`, expect: /localnet/ },
    { note: 'nothing is left', typed: 'ip -br link show type veth', expect: /^(lan0@.*)?$/ },
  ]
}
