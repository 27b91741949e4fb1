import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { after } from 'node:test'
import { messageOf } from '../base/refusal.ts'
import { loadConfig } from './config.ts'
import { helpText, parseFlags } from './flags.ts'
import { optionRows } from './options.ts'

const folder = mkdtempSync(join(tmpdir(), 'portolan-config-'))
const file = join(folder, 'daemon.json')
after(() => rmSync(folder, { recursive: true }))

/** The configuration of these flags and this file. */
function load(args: readonly string[], text = '{}') {
  writeFileSync(file, text)
  const line = parseFlags(['--config-file', file, ...args])
  assert.equal(line.kind, 'run')
  return loadConfig(line.kind === 'run' ? line.given : new Map())
}

function refused(args: readonly string[], text?: string): string {
  try {
    load(args, text)
  } catch (error) {
    return messageOf(error)
  }
  return 'accepted'
}

test('flags are read in every form that dockerd takes', () => {
  const config = load([
    '-D',
    '--host=unix:///a',
    '-H',
    'tcp://[::1]:2376',
    '-Hfd://',
    '--icc=false',
    '--mtu',
    '1400',
    '--tlsverify',
    '--label',
    'a=b',
    '--log-opt',
    'max-size=1m',
    '--default-address-pool',
    'base=10.0.0.0/8,size=24',
    '--default-network-opt',
    'bridge=com.docker.network.driver.mtu=1400',
    '--default-ulimit',
    'nofile=1:2',
  ])
  assert.equal(config.debug, true)
  assert.deepEqual(config.hosts, ['unix:///a', 'tcp://[::1]:2376', 'fd://'])
  assert.equal(config.icc, false)
  assert.equal(config.mtu, 1400)
  assert.deepEqual(config['log-opts'], { 'max-size': '1m' })
  assert.deepEqual(config['default-address-pools'], [{ base: '10.0.0.0/8', size: 24 }])
  assert.deepEqual(config['default-network-opts'], {
    bridge: { 'com.docker.network.driver.mtu': '1400' },
  })
  assert.deepEqual(config['default-ulimits'], [{ Name: 'nofile', Soft: 1, Hard: 2 }])
  assert.equal(config.isGiven('icc'), true)
  assert.equal(config.isGiven('bip'), false)
})

test('the file gives the same options', () => {
  const config = load(
    [],
    JSON.stringify({
      debug: true,
      hosts: ['unix:///a'],
      bip: '10.1.0.1/24',
      dns: ['1.1.1.1'],
      'live-restore': true,
      'default-address-pools': [{ base: '10.0.0.0/8', size: 24 }],
      'host-gateway-ip': '10.0.0.1',
      'default-network-opts': { bridge: { x: 'y' } },
      'default-ulimits': { nofile: { Name: 'nofile', Hard: 2, Soft: 1 } },
      features: { buildkit: true },
    }),
  )
  assert.equal(config['live-restore'], true)
  assert.deepEqual(config['host-gateway-ips'], ['10.0.0.1'])
  assert.deepEqual(config['default-ulimits'], [{ Name: 'nofile', Soft: 1, Hard: 2 }])
})

const see = "\nSee 'portolan daemon --help'."
const badFlags: readonly [readonly string[], string][] = [
  [['--nosuch'], `unknown flag: --nosuch${see}`],
  [['-Z'], `unknown shorthand flag: 'Z' in -Z${see}`],
  [['--bip'], `flag needs an argument: --bip${see}`],
  [['word'], `"portolan daemon" accepts no arguments.${see}`],
  [
    ['--icc=zz'],
    `invalid argument "zz" for "--icc" flag: strconv.ParseBool: parsing "zz": invalid syntax${see}`,
  ],
  [
    ['--mtu', 'zz'],
    `invalid argument "zz" for "--mtu" flag: strconv.ParseInt: parsing "zz": invalid syntax${see}`,
  ],
  [
    ['--dns', 'zz'],
    `invalid argument "zz" for "--dns" flag: IP address is not correctly formatted: zz${see}`,
  ],
  [
    ['--icc=false', '--iptables=false'],
    'You specified --iptables=false with --icc=false. ICC=false uses ' +
      'iptables to function. Please set --icc or --iptables to true',
  ],
  [
    ['-b', 'br0', '--bip', '10.0.0.1/24'],
    'You specified -b & --bip, mutually exclusive options. Please specify only one',
  ],
  [['--label', 'a=1', '--label', 'a=2'], 'conflict labels for a=2 and a=1'],
]

test('what is wrong with flags is said in the words of dockerd', () => {
  for (const [args, sentence] of badFlags) assert.equal(refused(args), sentence)
  assert.match(refused(['--mtu=-4']), /invalid default MTU: -4/)
  assert.match(refused(['--firewall-backend=pf']), /invalid firewall-backend "pf"/)
  assert.match(refused(['-H', 'tcp://0.0.0.0:2375']), /without TLS gives root on this machine/)
  assert.equal(refused(['-H', 'tcp://0.0.0.0:2375', '--tls=false']), 'accepted')
  assert.match(refused(['-H', 'tcp://0.0.0.0:2375', '--tls']), /does not ask clients who they are/)
  assert.match(refused(['--storage-driver', 'zfs']), /driver not supported: zfs/)
  assert.match(refused(['--log-driver', 'syslog']), /no log driver named 'syslog' is registered/)
  assert.match(refused(['--log-opt', 'zz=1']), /failed to set log opts: unknown log opt 'zz' for json-file/)
  assert.match(refused(['--authorization-plugin', 'x']), /authorization-plugins: plugins are not offered/)
})

test('what is wrong with the file is said in the words of dockerd', () => {
  const prefix = `unable to configure the Docker daemon with file ${file}: `
  assert.equal(
    refused([], '{"nosuch": 1, "also": 2, "debug": true}'),
    `${prefix}the following directives don't match any configuration option: also, nosuch`,
  )
  assert.equal(
    refused(['-D', '--label', 'a=b'], '{"debug": false, "labels": ["c=d"]}'),
    `${prefix}the following directives are specified both as a flag and in the configuration file: ` +
      'debug: (from flag: true, from file: false), labels: (from flag: [a=b], from file: [c=d])',
  )
  assert.match(
    refused([], '{"debug": "yes"}'),
    /debug: json: cannot unmarshal string into Go value of type bool/,
  )
  assert.match(refused([], '{'), /invalid JSON/)
  assert.match(refused([], '{"mtu": -4}'), /mtu: invalid default MTU: -4/)
  assert.equal(refused([], ''), 'accepted')
  assert.match(
    refused(['--config-file', join(folder, 'absent')]),
    /absent: open .*absent: no such file or directory/,
  )
})

test('the help names every flag, and what has no effect says so', () => {
  const text = helpText()
  for (const [key, option] of optionRows) {
    if (option.only === 'file') continue
    const start = new RegExp(`^  (-., |    )--${option.flag ?? key} `)
    const line = text.split('\n').find((each) => start.test(each)) ?? ''
    assert.ok(line.includes(option.help), `${key} is not in the help`)
    assert.equal(line.includes('has no effect'), option.noEffect === true)
  }
})
