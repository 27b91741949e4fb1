/**
 * The single-host commands of the five tutorials, as typed there, with the outcome that each one
 * shows. Only what a closed machine cannot have is replaced: `apk add` and `yum install` (the
 * tools are there), interactive shells (their commands are typed through `exec`), image names of
 * registries (small images of the same names, from busybox: its shell is /bin/sh, its netstat has no -p).
 */

export interface Step {
  /** Number of the tutorial and what it shows. */
  readonly about: string
  readonly typed: string
  readonly expect: RegExp
  /** The command is meant to be refused. */
  readonly refused?: true
  /** Why a dockerd 20.10 shows something else here; its outcome is then not compared. */
  readonly differs?: string
}

/** A terminal for commands with -t, as a person has one; the echo of its end of file is left out. */
const tty = (command: string) =>
  `(set -o pipefail; script -qec '${command}' /dev/null </dev/null | sed 's/\\^@//g; s/\\^D\\x08*//g')`
const id = /^[0-9a-f]{64}\s*$/

export const bridgeSteps: readonly Step[] = [
  { about: '000 predefined networks', typed: 'docker network ls', expect: /bridge +bridge +local[\s\S]*host +host +local[\s\S]*none +null +local/ },
  {
    about: '000 the six options of the default bridge',
    typed: `docker network inspect bridge -f="{{json .Options}}"|jq -S -c .`,
    expect: /^{"com.docker.network.bridge.default_bridge":"true","com.docker.network.bridge.enable_icc":"true","com.docker.network.bridge.enable_ip_masquerade":"true","com.docker.network.bridge.host_binding_ipv4":"0.0.0.0","com.docker.network.bridge.name":"docker0","com.docker.network.driver.mtu":"1500"}\s*$/,
  },
  { about: '000 run on docker0', typed: 'docker run -d --rm --name demo_net_container busybox sh -c "sleep 600"', expect: id },
  { about: '000 it is listed', typed: 'docker ps -a|grep demo', expect: /busybox.*sh -c 'sleep 600'.*Up .*demo_net_container/ },
  {
    about: '000 its networks as JSON',
    typed: 'docker inspect -f="{{json .NetworkSettings.Networks}}" demo_net_container',
    expect: /"bridge":{"IPAMConfig":null,"Links":null,"Aliases":null.*"Gateway":"172.17.0.1","IPAddress":"172.17.0.2","IPPrefixLen":16/,
  },
  {
    about: '000 its MAC follows its address',
    typed: 'docker inspect -f="{{range .NetworkSettings.Networks}}{{.MacAddress}}{{end}}" demo_net_container',
    expect: /^02:42:ac:11:00:02\s*$/,
  },
  {
    about: '000 its address',
    typed: 'docker inspect -f="{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}" demo_net_container',
    expect: /^172\.17\.0\.2\s*$/,
  },
  { about: '001 clear away', typed: 'docker rm -f `docker ps -aq`', expect: /^[0-9a-f]{12}\s*$/ },
  { about: '001 nothing runs', typed: 'docker ps -q', expect: /^$/ },
  { about: '001 the bridge has no port', typed: 'brctl show', expect: /docker0\s+8000\.[0-9a-f]{12}\s+no\s*(\n|$)/ },
  { about: '001 first container', typed: 'docker run -d --name test1 nginx:alpine', expect: id },
  { about: '001 its veth is on the bridge', typed: 'brctl show', expect: /docker0\s+8000\.[0-9a-f]{12}\s+no\s+veth[0-9a-f]{7}/ },
  { about: '001 and among the links', typed: 'ip a |grep veth', expect: /veth[0-9a-f]{7}@if\d+: <.*UP.*> .*master docker0/ },
  { about: '001 eth0 inside', typed: tty('docker exec -ti test1 ifconfig'), expect: /eth0[\s\S]*inet addr:172\.17\.0\.2/ },
  { about: '001 second container', typed: 'docker run -d --name test2 nginx:alpine', expect: id },
  { about: '001 one reaches the other', typed: tty('docker exec -ti test2 wget -qO- 172.17.0.2:80'), expect: /Welcome to nginx!/ },
  {
    about: '001 routes inside',
    typed: tty('docker exec -ti test2 route -n'),
    expect: /0\.0\.0\.0 +172\.17\.0\.1 +0\.0\.0\.0 +UG[\s\S]*172\.17\.0\.0 +0\.0\.0\.0 +255\.255\.0\.0 +U /,
  },
  { about: '001 the bridge learns MACs', typed: 'brctl showmacs docker0', expect: /02:42:ac:11:00:0[23]\s+no/ },
  { about: '001 ifindex inside', typed: tty('docker exec -ti test1 cat /sys/class/net/eth0/ifindex'), expect: /^\d+\s*$/ },
  {
    about: '001 the mapping script',
    typed: `for container in $(docker ps -q); do
    iflink=\`${tty('docker exec -it \'$container\' sh -c "cat /sys/class/net/eth0/iflink"')}\`
    iflink=\`echo $iflink|tr -d '\\r'\`
    veth=\`grep -l ^$iflink$ /sys/class/net/veth*/ifindex\`
    veth=\`echo $veth|sed -e 's;^.*net/\\(.*\\)/ifindex$;\\1;'\`
    echo $container:$veth
done`,
    expect: /^[0-9a-f]{12}:veth[0-9a-f]{7}\n[0-9a-f]{12}:veth[0-9a-f]{7}\s*$/,
  },
  { about: '001 publish', typed: 'docker run --name test -d -p 8088:80 nginx:alpine', expect: id },
  { about: '001 reach it', typed: 'curl -s localhost:8088', expect: /Welcome to nginx!/ },
  {
    about: '001 PREROUTING',
    typed: 'iptables -t nat -nvL PREROUTING',
    expect: /DOCKER +(0|all) +-- +\* +\* +0\.0\.0\.0\/0 +0\.0\.0\.0\/0 +ADDRTYPE match dst-type LOCAL/,
  },
  { about: '001 local addresses', typed: 'ip route show table local type local', expect: /172\.17\.0\.1 dev docker0 proto kernel scope host src 172\.17\.0\.1/ },
  {
    about: '001 nat DOCKER',
    typed: 'iptables -t nat -nvL DOCKER',
    expect: /RETURN +(0|all) +-- +docker0 +\*[\s\S]*DNAT +(6|tcp) +-- +!docker0 +\* .*tcp dpt:8088 to:172\.17\.0\.4:80/,
  },
  {
    about: '001 POSTROUTING',
    typed: 'iptables -t nat -nvL POSTROUTING',
    expect: /MASQUERADE +(0|all) +-- +\* +!docker0 +172\.17\.0\.0\/16[\s\S]*MASQUERADE +(6|tcp) +-- +\* +\* +172\.17\.0\.4 +172\.17\.0\.4 +tcp dpt:80/,
  },
  {
    about: '001 capture while another machine asks',
    typed: '(timeout 8 tcpdump -c 4 -i lanneighbou port 8088 -w /tmp/host.cap 2>/dev/null & sleep 0.7; ' +
      'ip netns exec neighbour curl -s 198.51.100.1:8088/; wait); tcpdump -nr /tmp/host.cap 2>/dev/null | head -1; rm /tmp/host.cap',
    expect: /Welcome to nginx![\s\S]*198\.51\.100\.2\.\d+ > 198\.51\.100\.1\.8088/,
  },
  { about: '001 a file to fetch', typed: 'docker exec test sh -c "echo cap > /root/container.cap"', expect: /^$/ },
  { about: '001 docker cp', typed: 'docker cp test:/root/container.cap /tmp/ && cat /tmp/container.cap && rm /tmp/container.cap', expect: /^(Success.*\n)?cap/m },
  { about: '001 clear away', typed: 'docker rm -f test test1 test2', expect: /test\ntest1\ntest2/ },
]

export const modeSteps: readonly Step[] = [
  { about: '001 host mode', typed: 'docker run --net host -d --name mysql -e MYSQL_ROOT_PASSWORD=123456 mysql:5.7', expect: id },
  { about: '001 its port is the host\'s', typed: 'sleep 0.5; curl -s localhost:3306', expect: /mysql/ },
  { about: '001 share a namespace', typed: tty('docker run -ti --rm --net=container:mysql busybox sh -c "ip a; netstat -tln|grep 3306; echo | telnet localhost 3306"'), expect: /lo:[\s\S]*:3306[\s\S]*/ },
  { about: '001 clear away', typed: 'docker rm -f mysql', expect: /mysql/ },
  { about: '001 none', typed: 'docker run -dit --name=network-none --net=none nginx:alpine sh', expect: id },
  { about: '001 only lo', typed: 'docker exec network-none ifconfig -a', expect: /^lo (?![\s\S]*eth0)/ },
  {
    about: '001 wire it by hand',
    typed: `set -e
ip link add A type veth peer name B
brctl addif docker0 A
ip link set A up
PID=$(docker inspect -f '{{.State.Pid}}' network-none)
mkdir -p /var/run/netns
ln -s /proc/$PID/ns/net /var/run/netns/$PID
ip link set B netns $PID
ip netns exec $PID ip link set dev B name eth0
ip netns exec $PID ip link set eth0 up
ip netns exec $PID ip addr add 172.17.0.100/16 dev eth0
ip netns exec $PID ip route add default via 172.17.0.1
ip netns exec $PID ping -c 1 -W 2 172.17.0.1
rm /var/run/netns/$PID`,
    expect: / 0% packet loss/,
  },
  { about: '002 A goes with the container', typed: 'docker rm -f network-none >/dev/null; sleep 1; ip link show A', expect: /does not exist/, refused: true },
  { about: '003 host mode discards ports', typed: 'docker run --name=nginx_host --net=host -p 80:80 -d nginx', expect: /WARNING: Published ports are discarded when using host network mode\n[0-9a-f]{64}/ },
  { about: '003 no ports listed', typed: 'docker ps --format "{{.Names}}|{{.Ports}}|"', expect: /^nginx_host\|\|\s*$/ },
  {
    about: '003 no address',
    typed: 'docker inspect -f "{{json .NetworkSettings.Networks}}" nginx_host',
    expect: /"host":{"IPAMConfig":null,"Links":null,"Aliases":null.*"Gateway":"","IPAddress":"","IPPrefixLen":0/,
  },
  { about: '003 listed on host', typed: 'docker network inspect host', expect: /"Name": "nginx_host"[\s\S]*"IPv4Address": ""/ },
  { about: '003 reach it', typed: 'sleep 0.3; curl -s localhost:80', expect: /Welcome to nginx!/ },
  { about: '004 host networks cannot be joined later', typed: 'docker run -d --name plain busybox sleep 600 >/dev/null; docker network connect host plain', expect: /cannot connect container to host network|container cannot be disconnected from host network or connected to host network/, refused: true },
  { about: '003 clear away', typed: 'docker rm -f nginx_host plain', expect: /nginx_host\nplain/ },
]

export const userNetworkSteps: readonly Step[] = [
  { about: '002 create', typed: 'docker network create -d bridge localnet', expect: id },
  { about: '002 its bridge', typed: 'brctl show', expect: /br-[0-9a-f]{12}\s+8000\.[0-9a-f]{12}\s+no/ },
  { about: '002 c1', typed: 'docker container run -d --name c1 --network localnet alpine sleep 1d', expect: id },
  {
    about: '002 c1 is on it',
    typed: `docker network inspect localnet --format '{{json .Containers}}'`,
    expect: /^{"[0-9a-f]{64}":{"Name":"c1","EndpointID":"[0-9a-f]{64}","MacAddress":"02:42:ac:12:00:02","IPv4Address":"172\.18\.0\.2\/16","IPv6Address":""}}\s*$/,
  },
  { about: '002 ping by name', typed: tty('docker container run -it --name c2 --network localnet alpine ping -c 2 c1'), expect: /PING c1 \(172\.18\.0\.2\)[\s\S]* 0% packet loss/ },
  { about: '002 inspect', typed: 'docker network inspect localnet', expect: /"Scope": "local",\s+"Driver": "bridge",[\s\S]*"Subnet": "172\.18\.0\.0\/16",\s+"Gateway": "172\.18\.0\.1"[\s\S]*"Name": "c1"/ },
  { about: '002 web', typed: 'docker container run -d --name web --network localnet --publish 5050:80 nginx', expect: id },
  { about: '002 port', typed: 'docker port web', expect: /^80\/tcp -> 0\.0\.0\.0:5050/ },
  { about: '002 curl', typed: 'curl -s localhost:5050', expect: /Welcome to nginx!/ },
  { about: '002 from c1 by address', typed: `docker exec c1 wget -qO- $(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' web):80`, expect: /Welcome to nginx!/ },
  {
    about: '002 dns options',
    typed: tty('docker container run -it --rm --name d1 --dns=8.8.8.8 --dns-search=nigelpoulton.com alpine cat /etc/resolv.conf'),
    expect: /nameserver 8\.8\.8\.8[\s\S]*search nigelpoulton\.com|search nigelpoulton\.com[\s\S]*nameserver 8\.8\.8\.8/,
  },
  { about: '002 clear away', typed: 'docker rm -f c1 c2 web && docker network rm localnet', expect: /localnet/ },
  { about: '003 create', typed: 'docker network create new_network', expect: id },
  { about: '003 a subnet with host bits is refused with the masked form', typed: 'docker network create --driver bridge --subnet 192.168.1.0/16 --gateway 192.168.1.0 mynet', expect: /192\.168\.0\.0\/16/, refused: true, differs: '20.10 takes it' },
  { about: '003 as it is meant', typed: 'docker network create --driver bridge --subnet 192.168.0.0/16 --gateway 192.168.0.1 mynet', expect: id },
  { about: '003 its gateway', typed: 'docker network inspect -f "{{json .IPAM.Config}}" mynet', expect: /^\[{"Subnet":"192\.168\.0\.0\/16","Gateway":"192\.168\.0\.1"}\]/ },
  { about: '003 nginx01', typed: 'docker run -p 80:80 --name nginx01 --net new_network -d nginx', expect: id },
  { about: '003 alias is the short id', typed: `docker inspect -f '{{(index .NetworkSettings.Networks "new_network").Aliases}} {{slice .Id 0 12}}' nginx01`, expect: /\[([0-9a-f]{12})\] \1/ },
  { about: '003 nginx02', typed: 'docker run -d -p 81:80 --name nginx02 --net new_network nginx', expect: id },
  { about: '003 both are on it', typed: 'docker network inspect new_network', expect: /nginx01|nginx02/ },
  { about: '003 ping from the host', typed: 'ping -c 1 172.18.0.2; ping -c 1 172.18.0.3', expect: / 0% packet loss[\s\S]* 0% packet loss/, differs: 'it hands a released subnet out again only after the others' },
  { about: '003 ping by name', typed: tty('docker exec -it nginx01 ping -c 1 nginx02'), expect: /nginx02 \(172\.1[89]\.0\.3\)/ },
  { about: '003 PTR names the network', typed: `docker exec nginx01 nslookup $(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' nginx02)`, expect: /name = nginx02\.new_network/ },
  { about: '003 nginx03 on the default bridge', typed: 'docker run -p 82:80 --name nginx03 -d nginx', expect: id },
  { about: '003 its name is unknown here', typed: tty('docker exec -it nginx01 ping -c 1 nginx03'), expect: /bad address 'nginx03'|Temporary failure in name resolution/, refused: true },
  { about: '003 connect it', typed: 'docker network connect new_network nginx03', expect: /^$/ },
  { about: '003 now it answers', typed: tty('docker exec -it nginx01 ping -c 1 nginx03'), expect: /nginx03 \(172\.1[89]\.0\.4\)/ },
  { about: '003 one container, two addresses', typed: `docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' nginx03`, expect: /172\.17\.0\.2 172\.1[89]\.0\.4/ },
  { about: '003 a network in use stays', typed: 'docker network rm new_network', expect: /has active endpoints/, refused: true },
  { about: '003 the firewall is flushed, a network is made all the same', typed: 'iptables -F; iptables -X; iptables -t nat -F; iptables -t nat -X; docker network create after_flush', expect: id, differs: 'No chain/target/match by that name' },
  { about: '003 and ports are back', typed: 'ip netns exec neighbour curl -s -m 5 198.51.100.1:81', expect: /Welcome to nginx!/, differs: 'until the daemon is restarted' },
  { about: '003 clear away', typed: 'docker rm -f nginx01 nginx02 nginx03; docker network prune -f', expect: /new_network/ },
]

export const firewallSteps: readonly Step[] = [
  { about: '004 own gateway and subnet', typed: 'docker network create -d bridge --gateway 172.19.0.1 --subnet 172.19.0.0/16 rhxy-bridge', expect: id },
  { about: '004 it is there', typed: 'ip addr show $(docker network inspect -f \'br-{{slice .Id 0 12}}\' rhxy-bridge)', expect: /inet 172\.19\.0\.1\/16/ },
  { about: '004 web', typed: 'docker run -d --name web -p 8080:80 nginx', expect: id },
  { about: '004 chains', typed: 'iptables -S FORWARD', expect: /-A FORWARD -j DOCKER-USER/ },
  { about: '004 INPUT does not protect ports', typed: 'iptables -A INPUT -p tcp --dport 8080 -j DROP; ip netns exec neighbour curl -s -m 5 198.51.100.1:8080; iptables -F INPUT', expect: /Welcome to nginx!/ },
  {
    about: '004 DOCKER-USER does; the tutorial\'s rule matches what leaves containers',
    typed: 'iptables -A DOCKER-USER -i docker0 ! -s 192.168.0.0/16 -j DROP; ip netns exec neighbour curl -s -m 2 198.51.100.1:8080; echo code $?; iptables -F DOCKER-USER',
    expect: /code 28/,
    differs: '20.10 ends DOCKER-USER with RETURN, so an appended rule is never reached',
  },
  {
    about: '004 as it is meant: only 192.168.0.0/16 may reach containers',
    typed: 'iptables -A DOCKER-USER ! -i docker0 -o docker0 -m conntrack --ctstate NEW ! -s 192.168.0.0/16 -j DROP; ip netns exec neighbour curl -s -m 2 198.51.100.1:8080; echo code $?; iptables -F DOCKER-USER; ip netns exec neighbour curl -s -m 5 198.51.100.1:8080',
    expect: /code 28[\s\S]*Welcome to nginx!/,
    differs: 'as above',
  },
  { about: '004 bind to loopback only', typed: 'docker run -d --name local -p 127.0.0.1:8081:80 nginx >/dev/null; curl -s 127.0.0.1:8081; ip netns exec neighbour curl -s -m 1 198.51.100.1:8081; echo code $?', expect: /Welcome to nginx![\s\S]*code (7|28)/ },
  { about: '004 restart may change the address, names do not care', typed: 'docker run -d --name r1 --network rhxy-bridge alpine sleep 600 >/dev/null; docker run -d --name r2 --network rhxy-bridge alpine sleep 600 >/dev/null; docker restart -t 0 r1 >/dev/null; docker exec r2 ping -c 1 r1', expect: / 0% packet loss/ },
  { about: '004 kernel settings of the container', typed: 'docker run --rm --sysctl net.core.somaxconn=1024 --sysctl net.ipv4.tcp_syncookies=0 alpine sh -c "cat /proc/sys/net/core/somaxconn /proc/sys/net/ipv4/tcp_syncookies"', expect: /^1024\n0\s*$/ },
  { about: '003 links', typed: 'docker run --rm --link web:db alpine sh -c "grep db /etc/hosts; env"', expect: /172\.17\.0\.\d+\s+db [0-9a-f]{12} web[\s\S]*DB_PORT_80_TCP=tcp:\/\/172/ },
  { about: '000 a docker_gwbridge of one\'s own', typed: 'docker network create --subnet 10.11.0.0/16 --opt com.docker.network.bridge.name=docker_gwbridge --opt com.docker.network.bridge.enable_icc=false --opt com.docker.network.bridge.enable_ip_masquerade=true docker_gwbridge', expect: id },
  { about: '000 its bridge', typed: 'ip addr show docker_gwbridge', expect: /inet 10\.11\.0\.1\/16/ },
  { about: '000 take it away', typed: 'sudo() { "$@"; }; sudo ip link set docker_gwbridge down; sudo ip link del dev docker_gwbridge; docker network rm docker_gwbridge', expect: /docker_gwbridge/ },
  { about: '004 clear away', typed: 'docker rm -f web local r1 r2; docker network rm rhxy-bridge', expect: /rhxy-bridge/ },
]

/** Tutorial 002 with its own addresses: a daemon started with --bip 172.17.42.1/16. */
export const bipSteps: readonly Step[] = [
  { about: '002 the bridge', typed: 'ip addr show docker0', expect: /inet 172\.17\.42\.1\/16/ },
  { about: '002 none', typed: 'docker run -i -d -t --name byhand --rm --net=none base /bin/sh', expect: id },
  {
    about: '002 wire it by hand',
    typed: `set -e
sudo() { "$@"; }
pid=$(docker inspect -f '{{.State.Pid}}' byhand)
sudo mkdir -p /var/run/netns
sudo ln -s /proc/$pid/ns/net /var/run/netns/$pid
sudo ip link add A type veth peer name B
sudo brctl addif docker0 A
sudo ip link set A up
sudo ip link set B netns $pid
sudo ip netns exec $pid ip link set dev B name eth0
sudo ip netns exec $pid ip link set eth0 up
sudo ip netns exec $pid ip addr add 172.17.42.99/16 dev eth0
sudo ip netns exec $pid ip route add default via 172.17.42.1
docker exec byhand ping -c 1 -W 2 172.17.42.1
rm /var/run/netns/$pid`,
    expect: / 0% packet loss/,
  },
  { about: '002 the end', typed: 'docker rm -f byhand >/dev/null; sleep 1; ip link show A', expect: /does not exist/, refused: true },
]
