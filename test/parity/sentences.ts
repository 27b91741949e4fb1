/**
 * Wrong questions to which engines of 28.x, and Portolan with them, answer otherwise than 20.10:
 * the older answer, then the newer one. A few are Portolan's own, where Docker accepts at create
 * what it cannot start, or says 500 for what the client did wrong.
 */
export const newerAnswers: Readonly<Record<string, readonly [older: string, newer: string]>> = {
  'POST /containers/create?name= {"Image":""}': [
    '400 No command specified',
    '400 no command specified',
  ],
  'POST /containers/create?name= {"Image":"Bad Image"}': [
    '400 invalid reference format: repository name must be lowercase',
    '400 invalid reference format: repository name (library/Bad Image) must be lowercase',
  ],
  'POST /containers/create {}': [
    '400 Config cannot be empty in order to create a container',
    '400 config cannot be empty in order to create a container',
  ],
  'POST /containers/create "{\\"Image\\":"': [
    '500 unexpected EOF',
    '400 invalid JSON: unexpected EOF',
  ],
  'POST /containers/create ""': [
    '500 EOF',
    '400 invalid JSON: got EOF while reading request body',
  ],
  'POST /containers/create {"Image":5}': [
    '500 json: cannot unmarshal number into Go struct field ContainerConfigWrapper.Image of type string',
    '400 invalid JSON: json: cannot unmarshal number into Go struct field CreateRequest.Config.Image of type string',
  ],
  'POST /containers/create {"Env":"x"}': [
    '500 json: cannot unmarshal string into Go struct field ContainerConfigWrapper.Env of type []string',
    '400 invalid JSON: json: cannot unmarshal string into Go struct field CreateRequest.Config.Env of type []string',
  ],
  'POST /containers/create {"HostConfig":{"Memory":"x"}}': [
    '500 json: cannot unmarshal string into Go struct field HostConfig.HostConfig.Memory of type int64',
    '400 invalid JSON: json: cannot unmarshal string into Go struct field HostConfig.HostConfig.Resources.Memory of type int64',
  ],
  'POST /containers/create {"Image":"busybox"}': [
    `400 Content-Type specified (text/plain) must be 'application/json'`,
    `400 unsupported Content-Type header (text/plain): must be 'application/json'`,
  ],
  'POST /containers/create "{\\"Image\\":\\"busybox\\"}{}"': [
    '201 {"Id":"<wrong>","Warnings":[]}',
    '400 unexpected content after JSON',
  ],
  'POST /containers/create?name= {"HostConfig":{"PortBindings":{"":[{}]}}}': [
    '201 {"Id":"<wrong>","Warnings":[]}',
    '400 invalid port specification: ""',
  ],
  'POST /containers/create?name= {"HostConfig":{"NetworkMode":"container:"}}': [
    '400 Invalid network mode: invalid container format container:<name|id>',
    '400 invalid network mode: invalid container format container:<name|id>',
  ],
  'POST /containers/create?name= {"HostConfig":{"RestartPolicy":{"Name":"zz"}}}': [
    `400 invalid restart policy 'zz'`,
    `400 invalid restart policy: unknown policy 'zz'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`,
  ],
  'POST /containers/create?name= {"HostConfig":{"RestartPolicy":{"Name":"no","MaximumRetryCount":3}}}': [
    `400 maximum retry count cannot be used with restart policy 'no'`,
    `400 invalid restart policy: maximum retry count can only be used with 'on-failure'`,
  ],
  'POST /containers/create?name= {"HostConfig":{"RestartPolicy":{"Name":"on-failure","MaximumRetryCount":-1}}}': [
    '400 maximum retry count cannot be negative',
    '400 invalid restart policy: maximum retry count cannot be negative',
  ],
  'POST /containers/create?name= {"HostConfig":{"NanoCpus":1000000000000}}': [
    '400 Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available',
    '400 range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available',
  ],
  'POST /containers/create?name= {"HostConfig":{"NanoCpus":-1}}': [
    '400 Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available',
    '400 range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available',
  ],
  'POST /containers/create?name= {"HostConfig":{"CpuShares":-1}}': [
    '201 {"Id":"<wrong>","Warnings":[]}',
    '400 invalid CPU shares (-1): value must be a positive integer',
  ],
  'POST /containers/create?name= {"HostConfig":{"Binds":["zz"]}}': [
    `500 invalid volume specification: 'zz': invalid mount config for type "volume": invalid mount path: 'zz' mount path must be absolute`,
    `400 invalid volume specification: 'zz': invalid mount config for type "volume": invalid mount path: 'zz' mount path must be absolute`,
  ],
  'POST /containers/create?name= {"HostConfig":{"Binds":["a:b"]}}': [
    `500 invalid volume specification: 'a:b': invalid mount config for type "volume": invalid mount path: 'b' mount path must be absolute`,
    `400 invalid volume specification: 'a:b': invalid mount config for type "volume": invalid mount path: 'b' mount path must be absolute`,
  ],
  'POST /containers/create?name= {"HostConfig":{"Binds":["/a:/b:zz"]}}': [
    '500 invalid mode: zz',
    '400 invalid mode: zz',
  ],
  'POST /containers/create?name= {"HostConfig":{"Binds":["/a:/b:ro,rw"]}}': [
    '500 invalid mode: ro,rw',
    '400 invalid mode: ro,rw',
  ],
  'POST /containers/create?name= {"HostConfig":{"Binds":["/a:/"]}}': [
    `500 invalid volume specification: '/a:/': invalid mount config for type "bind": invalid specification: destination can't be '/'`,
    `400 invalid volume specification: '/a:/': invalid mount config for type "bind": invalid specification: destination can't be '/'`,
  ],
  'POST /containers/create?name= {"HostConfig":{"Binds":["/a:/b:/c:/d"]}}': [
    `500 invalid volume specification: '/a:/b:/c:/d'`,
    `400 invalid volume specification: '/a:/b:/c:/d'`,
  ],
  'POST /containers/create?name= {"HostConfig":{"Binds":[":/b"]}}': [
    `500 invalid volume specification: ':/b'`,
    `400 invalid volume specification: ':/b'`,
  ],
  'POST /containers/create?name= {"HostConfig":{"Mounts":[{"Type":"zz","Target":"/a"}]}}': [
    '400 invalid mount config for type "zz": mount type unknown',
    '400 invalid mount config for type "zz": mount type unknown: "zz"',
  ],
  'POST /containers/create?name= {"HostConfig":{"Tmpfs":{"/t":"zz"}}}': [
    '201 {"Id":"<wrong>","Warnings":[]}',
    '400 invalid tmpfs option ["zz"]',
  ],
  'POST /containers/create?name= {"HostConfig":{"SecurityOpt":["zz"]}}': [
    '500 invalid --security-opt 1: "zz"',
    '400 invalid --security-opt 1: "zz"',
  ],
  'POST /containers/create?name= {"HostConfig":{"SecurityOpt":["no-new-privileges=zz"]}}': [
    '500 invalid --security-opt 2: "no-new-privileges=zz"',
    '400 invalid --security-opt 2: "no-new-privileges=zz"',
  ],
  'POST /containers/create?name= {"HostConfig":{"LogConfig":{"Type":"json-file","Config":{"max-size":"zz"}}}}': [
    '201 {"Id":"<wrong>","Warnings":[]}',
    `400 invalid size: 'zz'`,
  ],
  'POST /containers/create?name= {"HostConfig":{"PidMode":"zz"}}': [
    '201 {"Id":"<wrong>","Warnings":[]}',
    '400 invalid PID mode: zz',
  ],
  'POST /containers/create?name= {"HostConfig":{"PidMode":"container:"}}': [
    '201 {"Id":"<wrong>","Warnings":[]}',
    '400 invalid PID mode: container:',
  ],
  'POST /containers/create?name= {"HostConfig":{"IpcMode":"zz"}}': [
    '201 {"Id":"<wrong>","Warnings":[]}',
    '400 invalid IPC mode: zz',
  ],
  'POST /containers/create?name= {"HostConfig":{"UTSMode":"zz"}}': [
    '201 {"Id":"<wrong>","Warnings":[]}',
    '400 invalid UTS mode: zz',
  ],
  'POST /containers/create?name= {"HostConfig":{"UsernsMode":"zz"}}': [
    '201 {"Id":"<wrong>","Warnings":[]}',
    '400 invalid user namespace mode: zz',
  ],
  'POST /containers/create?name= {"HostConfig":{"Isolation":"zz"}}': [
    `500 Invalid isolation: "zz" - linux only supports 'default'`,
    `400 invalid isolation (zz): linux only supports 'default'`,
  ],
  'POST /containers/create?name= {"HostConfig":{"Runtime":"kata"}}': [
    '400 Unknown runtime specified kata',
    '400 unknown or invalid runtime name: kata',
  ],
  'POST /containers/create?name= {"HostConfig":{"DeviceCgroupRules":["zz"]}}': [
    '201 {"Id":"<wrong>","Warnings":[]}',
    `400 invalid device cgroup rule format: 'zz'`,
  ],
  'POST /containers/create?name= {"HostConfig":{"DeviceRequests":[{"Driver":"nvidia"}]}}': [
    '201 {"Id":"<wrong>","Warnings":[]}',
    '400 could not select device driver "nvidia" with capabilities: []',
  ],
  'POST /containers/create?name= {"StopSignal":"SIGZZ"}': [
    '400 Invalid signal: SIGZZ',
    '400 invalid signal: SIGZZ',
  ],
  'POST /containers/create?name= {"MacAddress":"zz"}': [
    '201 {"Id":"<wrong>","Warnings":[]}',
    '400 invalid config for network bridge: invalid MAC address zz',
  ],
  'POST /containers/create?name= {"Volumes":{"rel":{}}}': [
    '201 {"Id":"<wrong>","Warnings":[]}',
    `400 invalid volume specification: 'rel': invalid mount config for type "volume": invalid mount path: 'rel' mount path must be absolute`,
  ],
  'POST /containers/create?name= {"NetworkingConfig":{"EndpointsConfig":{"a":{},"b":{}}}}': [
    '400 Container cannot be connected to network endpoints: a, b',
    '400 Container cannot be created with multiple network endpoints: a, b',
  ],
  'POST /containers/create?name= {"NetworkingConfig":{"EndpointsConfig":{"bridge":{"Aliases":["x"]}}}}': [
    '201 {"Id":"<wrong>","Warnings":[]}',
    '400 invalid config for network bridge: invalid endpoint settings:\nnetwork-scoped alias is supported only for containers in user defined networks',
  ],
  'POST /containers/create?name= {"NetworkingConfig":{"EndpointsConfig":{"bridge":{"IPAMConfig":{"IPv4Address":"172.17.0.9"}}}}}': [
    '201 {"Id":"<wrong>","Warnings":[]}',
    '400 invalid config for network bridge: invalid endpoint settings:\n* user specified IP address is supported on user defined networks only\n* user specified IP address is supported only when connecting to networks with user configured subnets',
  ],
  'POST /containers/create?name= {"HostConfig":{"NetworkMode":"netc"},"NetworkingConfig":{"EndpointsConfig":{"netc":{"IPAMConfig":{"IPv4Address":"zz"}}}}}': [
    '400 invalid IPv4 address: zz',
    '400 invalid config for network netc: invalid endpoint settings:\n* invalid IPv4 address: zz\n* no configured subnet or ip-range contain the IP address zz',
  ],
  'POST /containers/create?name= {"HostConfig":{"NetworkMode":"netc"},"NetworkingConfig":{"EndpointsConfig":{"netc":{"IPAMConfig":{"IPv4Address":"10.9.9.9"}}}}}': [
    '201 {"Id":"<wrong>","Warnings":[]}',
    '400 invalid config for network netc: invalid endpoint settings:\nno configured subnet or ip-range contain the IP address 10.9.9.9',
  ],
  'POST /networks/create {"Name":"","CheckDuplicate":true}': [
    '409 network with name  already exists',
    '400 invalid name: name is empty',
  ],
  'POST /networks/create {"Name":"  ","CheckDuplicate":true}': [
    '500 invalid name:   ',
    '400 invalid name: name is empty',
  ],
  'POST /networks/create {"Name":"bad","Driver":"overlay"}': [
    '500 This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.',
    '403 This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.',
  ],
  'POST /networks/create {"Name":"bad","Scope":"zz"}': [
    '500 This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.',
    '201 {"Id":"<wrong>","Warning":"Scope zz is kept and has no effect: networks are of this host."}',
  ],
  'POST /networks/create {"Name":"bad","Ingress":true,"Driver":"overlay"}': [
    '500 This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.',
    '403 This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.',
  ],
  'POST /networks/create {"Name":"bad","IPAM":{"Driver":"null"}}': [
    '500 ipv4 pool is empty',
    '400 ipv4 pool is empty',
  ],
  'POST /networks/create {"Name":"bad","IPAM":{"Config":[{"Subnet":"10.81.0.1/24"}]}}': [
    '201 {"Id":"<wrong>","Warning":""}',
    '400 invalid network config:\ninvalid subnet 10.81.0.1/24: it should be 10.81.0.0/24',
  ],
  'POST /networks/create {"Name":"bad","IPAM":{"Config":[{"Subnet":"bogus"}]}}': [
    '500 Invalid subnet bogus : invalid CIDR address: bogus',
    '400 invalid network config:\ninvalid subnet bogus: invalid CIDR block notation',
  ],
  'POST /networks/create {"Name":"bad","IPAM":{"Config":[{"Subnet":"10.83.0.0/33"}]}}': [
    '500 Invalid subnet 10.83.0.0/33 : invalid CIDR address: 10.83.0.0/33',
    '400 invalid network config:\ninvalid subnet 10.83.0.0/33: invalid CIDR block notation',
  ],
  'POST /networks/create {"Name":"bad","IPAM":{"Config":[{"Gateway":"10.84.0.1"}]}}': [
    '500 Invalid subnet  : invalid CIDR address: ',
    '400 invalid network config:\ninvalid subnet : invalid CIDR block notation',
  ],
  'POST /networks/create {"Name":"bad","IPAM":{"Config":[{}]}}': [
    '500 Invalid subnet  : invalid CIDR address: ',
    '400 invalid network config:\ninvalid subnet : invalid CIDR block notation',
  ],
  'POST /networks/create {"Name":"bad","IPAM":{"Config":[{"Subnet":"10.86.0.0/24","Gateway":"10.4.0.1"}]}}': [
    '500 failed to allocate gateway (10.4.0.1): Requested address is out of range',
    '400 invalid network config:\ninvalid gateway 10.4.0.1: parent subnet 10.86.0.0/24 doesn\'t contain this address',
  ],
  'POST /networks/create {"Name":"bad","IPAM":{"Config":[{"Subnet":"10.87.0.0/24","Gateway":"fd00::1"}]}}': [
    '500 failed to allocate gateway (fd00::1): Requested address is out of range',
    '400 invalid network config:\ninvalid gateway fd00::1: parent subnet is an IPv4 block',
  ],
  'POST /networks/create {"Name":"bad","IPAM":{"Config":[{"Subnet":"10.88.0.0/24","Gateway":"zz"}]}}': [
    '500 invalid gateway address zz in Ipam configuration',
    '400 invalid network config:\ninvalid gateway zz: invalid address',
  ],
  'POST /networks/create {"Name":"bad","IPAM":{"Config":[{"Subnet":"10.91.0.0/24","IPRange":"yy"}]}}': [
    '500 failed to parse pool request for address space "LocalDefault" pool "10.91.0.0/24" subpool "yy": Invalid Address SubPool',
    '400 invalid network config:\ninvalid ip-range yy: invalid CIDR block notation',
  ],
  'POST /networks/create {"Name":"bad","IPAM":{"Config":[{"Subnet":"10.92.0.0/24","IPRange":"10.92.0.0/16"}]}}': [
    '201 {"Id":"<wrong>","Warning":""}',
    '400 invalid network config:\ninvalid ip-range 10.92.0.0/16: CIDR block is bigger than its parent subnet 10.92.0.0/24',
  ],
  'POST /networks/create {"Name":"bad","IPAM":{"Config":[{"Subnet":"10.93.0.0/24","IPRange":"10.4.0.0/25"}]}}': [
    '201 {"Id":"<wrong>","Warning":""}',
    '400 invalid network config:\ninvalid ip-range 10.4.0.0/25: parent subnet 10.93.0.0/24 doesn\'t contain ip-range',
  ],
  'POST /networks/create {"Name":"bad","IPAM":{"Config":[{"Subnet":"10.94.0.0/24","AuxiliaryAddresses":{"k":"zz"}}]}}': [
    '500 non parsable secondary ip address (k:zz) passed for network bad',
    '400 invalid network config:\ninvalid auxiliary address k: invalid address',
  ],
  'POST /networks/create {"Name":"bad","IPAM":{"Config":[{"Subnet":"10.95.0.0/24","AuxiliaryAddresses":{"k":"10.4.0.1"}}]}}': [
    '403 auxiliary address: (k:10.4.0.1) must belong to the master pool: 10.95.0.0/24',
    '400 invalid network config:\ninvalid auxiliary address k: parent subnet 10.95.0.0/24 doesn\'t contain this address',
  ],
  'POST /networks/create {"Name":"bad","IPAM":{"Config":[{"Subnet":"10.65.0.0/24"}]}}': [
    '403 Pool overlaps with other one on this address space',
    '403 invalid pool request: Pool overlaps with other one on this address space',
  ],
  'POST /networks/create {"Name":"bad","IPAM":{"Config":[{"Subnet":"10.99.0.0/32"}]}}': [
    '500 failed to allocate gateway (): No available addresses on this pool',
    '201 {"Id":"<wrong>","Warning":""}',
  ],
  'POST /networks/create {"Name":"bad","IPAM":{"Config":[{"Subnet":"10.100.0.0/31"}]}}': [
    '500 failed to allocate gateway (): No available addresses on this pool',
    '201 {"Id":"<wrong>","Warning":""}',
  ],
  'POST /networks/create {"Name":"bad","IPAM":{"Config":[{"Subnet":"0.0.0.0/0"}]}}': [
    '403 Pool overlaps with other one on this address space',
    '201 {"Id":"<wrong>","Warning":""}',
  ],
  'POST /networks/create {"Name":"bad","EnableIPv6":true}': [
    '404 could not find an available, non-overlapping IPv6 address pool among the defaults to assign to the network',
    '201 {"Id":"<wrong>","Warning":""}',
  ],
  'POST /networks/create {"Name":"bad","IPAM":{"Config":[{"Subnet":"fd00::1/64"}]}}': [
    '201 {"Id":"<wrong>","Warning":""}',
    '400 invalid network config:\ninvalid subnet fd00::1/64: it should be fd00::/64',
  ],
  'POST /networks/create {"Name":"bad","Options":{"com.docker.network.bridge.enable_icc":"zz"}}': [
    '500 failed to parse com.docker.network.bridge.enable_icc value: zz (strconv.ParseBool: parsing "zz": invalid syntax)',
    '400 failed to parse com.docker.network.bridge.enable_icc value: zz (strconv.ParseBool: parsing "zz": invalid syntax)',
  ],
  'POST /networks/create {"Name":"bad","Options":{"com.docker.network.bridge.enable_ip_masquerade":"zz"}}': [
    '500 failed to parse com.docker.network.bridge.enable_ip_masquerade value: zz (strconv.ParseBool: parsing "zz": invalid syntax)',
    '400 failed to parse com.docker.network.bridge.enable_ip_masquerade value: zz (strconv.ParseBool: parsing "zz": invalid syntax)',
  ],
  'POST /networks/create {"Name":"bad","Options":{"com.docker.network.driver.mtu":"zz"}}': [
    '500 failed to parse com.docker.network.driver.mtu value: zz (strconv.Atoi: parsing "zz": invalid syntax)',
    '400 failed to parse com.docker.network.driver.mtu value: zz (strconv.Atoi: parsing "zz": invalid syntax)',
  ],
  'POST /networks/create {"Name":"bad","Options":{"com.docker.network.driver.mtu":"-5"}}': [
    '500 invalid MTU number: -5',
    '400 invalid MTU number: -5',
  ],
  'POST /networks/create {"Name":"bad","Options":{"com.docker.network.bridge.host_binding_ipv4":"zz"}}': [
    '500 failed to parse com.docker.network.bridge.host_binding_ipv4 value: zz (nil ip)',
    '400 failed to parse com.docker.network.bridge.host_binding_ipv4 value: zz (nil ip)',
  ],
  'POST /networks/create {"Name":"bad","Options":{"com.docker.network.bridge.name":"a234567890123456"}}': [
    '500 failed to check bridge interface existence: numerical result out of range',
    '500 numerical result out of range',
  ],
  'POST /networks/create {"Name":5}': [
    '400 json: cannot unmarshal number into Go struct field NetworkCreateRequest.Name of type string',
    '400 invalid JSON: json: cannot unmarshal number into Go struct field CreateRequest.Name of type string',
  ],
  'POST /networks/create "{\\"Name\\":"': [
    '400 unexpected EOF',
    '400 invalid JSON: unexpected EOF',
  ],
  'POST /networks/create ""': [
    '400 got EOF while reading request body',
    '400 invalid name: name is empty',
  ],
  'POST /networks/create "x"': [
    `400 Content-Type specified (text/plain) must be 'application/json'`,
    `400 unsupported Content-Type header (text/plain): must be 'application/json'`,
  ],
  'DELETE /networks/netc ': [
    '403 error while removing network: network netc id <id> has active endpoints',
    '403 error while removing network: network netc has active endpoints (name:"err" id:"<12>")',
  ],
  'POST /networks/host/connect {"Container":"err"}': [
    '400 container cannot be disconnected from host network or connected to host network',
    '400 cannot connect container to host network - container must be created in host network mode',
  ],
  'POST /networks/bridge/connect {"Container":"err","EndpointConfig":{"IPAMConfig":{"IPv4Address":"172.17.0.9"}}}': [
    '400 user specified IP address is supported on user defined networks only',
    '400 invalid endpoint settings:\n* user specified IP address is supported on user defined networks only\n* user specified IP address is supported only when connecting to networks with user configured subnets',
  ],
  'POST /networks/bridge/connect {"Container":"err","EndpointConfig":{"IPAMConfig":{},"Aliases":["a"]}}': [
    '400 network-scoped alias is supported only for containers in user defined networks',
    '400 invalid endpoint settings:\nnetwork-scoped alias is supported only for containers in user defined networks',
  ],
  'POST /networks/netd/connect {"Container":"err","EndpointConfig":{"IPAMConfig":{"IPv4Address":"10.9.9.9"}}}': [
    `500 Invalid address 10.9.9.9: It does not belong to any of this network's subnets`,
    '400 invalid endpoint settings:\nno configured subnet or ip-range contain the IP address 10.9.9.9',
  ],
  'POST /networks/netd/connect {"Container":"err","EndpointConfig":{"IPAMConfig":{"IPv4Address":"zz"}}}': [
    '500 Invalid IPv4 address: zz)',
    '400 invalid endpoint settings:\n* invalid IPv4 address: zz\n* no configured subnet or ip-range contain the IP address zz',
  ],
  'POST /networks/netd/connect {"Container":"err","EndpointConfig":{"IPAMConfig":{"IPv6Address":"zz"}}}': [
    '400 user specified IP address is supported only when connecting to networks with user configured subnets',
    '400 invalid endpoint settings:\n* invalid IPv6 address: zz\n* user specified IP address is supported only when connecting to networks with user configured subnets',
  ],
  'POST /networks/netd/connect {"Container":"err","EndpointConfig":{"IPAMConfig":{"IPv6Address":"fd00::9"}}}': [
    '400 user specified IP address is supported only when connecting to networks with user configured subnets',
    '400 invalid endpoint settings:\nuser specified IP address is supported only when connecting to networks with user configured subnets',
  ],
  'POST /networks/netd/connect {"Container":"err","EndpointConfig":{"IPAMConfig":{"LinkLocalIPs":["zz"]}}}': [
    '500 Invalid link-local IP address: [zz]',
    '400 invalid endpoint settings:\ninvalid link-local IP address: zz',
  ],
  'POST /networks/netc/connect "{"': [
    '400 unexpected EOF',
    '400 invalid JSON: unexpected EOF',
  ],
  'POST /networks/netc/connect ""': [
    '400 got EOF while reading request body',
    '400 invalid name or ID supplied: ""',
  ],
  'POST /containers/nope/kill ': [
    '404 Cannot kill container: nope: No such container: nope',
    '404 cannot kill container: nope: No such container: nope',
  ],
  'POST /containers/nope/attach ': [
    '404 "No such container: nope\\r\\n"',
    '404 No such container: nope',
  ],
  'DELETE /containers/err ': [
    '409 You cannot remove a running container <err>. Stop the container before attempting removal or force remove',
    '409 cannot remove container "err": container is running: stop the container before removing or force remove',
  ],
  'GET /containers/err/logs?stdout=1&since=zz ': [
    '500 strconv.ParseInt: parsing "zz": invalid syntax',
    '400 failed to parse value as time or duration: "zz"',
  ],
  'POST /containers/err/kill?signal=ZZ ': [
    '400 Invalid signal: ZZ',
    '400 invalid signal: ZZ',
  ],
  'POST /containers/err/kill?signal=99 ': [
    '500 Cannot kill container: err: The linux daemon does not support signal 99',
    '400 the linux daemon does not support signal 99',
  ],
  'POST /containers/idle/kill ': [
    '409 Cannot kill container: idle: Container <idle> is not running',
    '409 cannot kill container: idle: container <idle> is not running',
  ],
  'POST /containers/idle/pause ': [
    '409 Container <idle> is not running',
    '409 container <idle> is not running',
  ],
  'GET /containers/idle/top ': [
    '409 Container <idle> is not running',
    '409 container <idle> is not running',
  ],
  'POST /containers/err/resize?h=zz&w=1 ': [
    '400 strconv.Atoi: parsing "zz": invalid syntax',
    '400 invalid resize height "zz": invalid syntax',
  ],
  'POST /containers/idle/resize?h=1&w=1 ': [
    '409 Container <idle> is not running',
    '409 container <idle> is not running',
  ],
  'POST /containers/idle/exec {"Cmd":["x"]}': [
    '409 Container <idle> is not running',
    '409 container <idle> is not running',
  ],
  'POST /containers/err/exec "{"': [
    '400 unexpected EOF',
    '400 invalid JSON: unexpected EOF',
  ],
  'POST /containers/err/exec {"Cmd":["x"],"DetachKeys":"zz-y"}': [
    '500 Invalid escape keys (zz-y) provided',
    '400 Invalid escape keys (zz-y) provided',
  ],
  'PUT /containers/err/archive?path=/etc/passwd ""': [
    '500 extraction point is not a directory',
    '400 extraction point is not a directory',
  ],
  'POST /containers/err/attach?detachKeys=zz-y&stream=1 ': [
    '400 "Invalid detach keys (zz-y) provided\\r\\n"',
    '400 Invalid detach keys (zz-y) provided',
  ],
  'POST /containers/err/update {"RestartPolicy":{"Name":"zz"}}': [
    `400 invalid restart policy 'zz'`,
    `400 invalid restart policy: unknown policy 'zz'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`,
  ],
  'POST /containers/err/update "{"': [
    '500 unexpected EOF',
    '400 invalid JSON: unexpected EOF',
  ],
  'GET /images/nope/json ': [
    '404 no such image: nope: No such image: nope:latest',
    '404 No such image: nope:latest',
  ],
  'POST /images/busybox/tag?repo=Bad ': [
    '500 invalid reference format: repository name must be lowercase',
    '400 invalid reference format: repository name (library/Bad) must be lowercase',
  ],
  'POST /images/busybox/tag?repo=a&tag=b%20c ': [
    '500 invalid tag format',
    '400 invalid tag format',
  ],
  'POST /images/busybox/tag ': [
    '500 invalid reference format',
    '400 invalid reference format',
  ],
  'GET /images/nope/get ': [
    '404 No such image: nope',
    '404 No such image: nope:latest',
  ],
  'POST /images/create?fromImage=Bad%20Name ': [
    '400 invalid reference format: repository name must be lowercase',
    '400 invalid reference format: repository name (library/Bad Name) must be lowercase',
  ],
  'POST /images/create ': [
    '500 Get "http:": http: no Host in request URL',
    '400 one of fromImage and fromSrc is needed',
  ],
  'POST /commit?container=err&repo=Bad ': [
    '500 invalid reference format: repository name must be lowercase',
    '400 invalid reference format: repository name (library/Bad) must be lowercase',
  ],
  'POST /commit?container=err&changes=ZZ%20x ': [
    '400 zz is not a valid change command',
    '400 ZZ is not a valid change command',
  ],
  'POST /volumes/create "{"': [
    '400 unexpected EOF',
    '400 invalid JSON: unexpected EOF',
  ],
  'POST /volumes/create ""': [
    '400 got EOF while reading request body',
    '201 {"CreatedAt":"<time>","Driver":"local","Labels":{"com.docker.volume.anonymous":""},"Mountpoint":"<folder>/data/volumes/<id>/_data","Name":"<id>","Options":null,"Scope":"local"}',
  ],
  'GET /events?since=zz ': [
    '500 strconv.ParseInt: parsing "zz": invalid syntax',
    '400 invalid value for "since": zz',
  ],
  'GET /events?filters=zz&until=1 ': [
    `500 invalid character 'z' looking for beginning of value`,
    '400 invalid filter',
  ],
  'GET /containers/json?filters=zz ': [
    `500 invalid character 'z' looking for beginning of value`,
    '400 invalid filter',
  ],
  'GET /containers/json?limit=zz ': [
    '500 strconv.Atoi: parsing "zz": invalid syntax',
    '400 strconv.Atoi: parsing "zz": invalid syntax',
  ],
  'GET /images/json?filters=zz ': [
    `500 invalid character 'z' looking for beginning of value`,
    '400 invalid filter',
  ],
  'GET /volumes?filters=zz ': [
    `400 error reading volume filters: invalid character 'z' looking for beginning of value`,
    '400 invalid filter',
  ],
  'GET /distribution/Bad%20Name/json ': [
    '400 invalid reference format: repository name must be lowercase',
    '400 invalid reference format: repository name (library/Bad Name) must be lowercase',
  ],
  'POST /containers/create?name= {"Healthcheck":{"Test":["ZZ"]}}': [
    '201 {"Id":"<wrong>","Warnings":[]}',
    `201 {"Id":"<wrong>","Warnings":["Unknown health check type 'ZZ' (expected 'CMD'): there is no health check."]}`,
  ],
  'POST /containers/create?name= {"HostConfig":{"LogConfig":{"Type":"json-file","Config":{"max-file":"zz"}}}}': [
    '201 {"Id":"<wrong>","Warnings":[]}',
    '400 max-file cannot be less than 1',
  ],
  'POST /containers/create?name= {"HostConfig":{"LogConfig":{"Type":"json-file","Config":{"max-file":"0"}}}}': [
    '201 {"Id":"<wrong>","Warnings":[]}',
    '400 max-file cannot be less than 1',
  ],
}
