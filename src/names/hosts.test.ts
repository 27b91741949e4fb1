import assert from 'node:assert/strict'
import test from 'node:test'
import {
  addHosts,
  endpointLines,
  extraHostLines,
  hostsText,
  linkLines,
  replaceLinks,
  removeHosts,
} from './hosts.ts'

test('the hosts file is laid out as Docker lays it out', () => {
  const gateways = ['172.17.0.1', 'fd00::1']
  const lines = [
    ...extraHostLines(['db:10.1.1.1', 'gw=host-gateway', 'six:[fd00::9]'], gateways),
    ...linkLines('web', '0123456789ab', 'c1', ['172.17.0.2/16', '']),
    ...endpointLines('app', 'corp.test', ['172.18.0.2/16', 'fd01::2/64']),
  ]
  assert.equal(
    hostsText(lines, true),
    '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n' +
      'ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n' +
      '10.1.1.1\tdb\n172.17.0.1\tgw\nfd00::1\tgw\nfd00::9\tsix\n' +
      '172.17.0.2\tweb 0123456789ab c1\n' +
      '172.18.0.2\tapp.corp.test app\nfd01::2\tapp.corp.test app\n',
  )
  assert.equal(hostsText([], false), '127.0.0.1\tlocalhost\n')
})

test('connecting and disconnecting leave what the user wrote', () => {
  const own = endpointLines('app', '', ['172.18.0.2/16'])
  const edited = `${hostsText(own, false)}1.2.3.4 mine`
  const more = endpointLines('app', '', ['172.19.0.2/16'])
  const connected = addHosts(edited, more)
  assert.ok(connected.endsWith('1.2.3.4 mine\n172.19.0.2\tapp\n'))
  assert.equal(addHosts(connected, more), connected)
  assert.equal(removeHosts(connected, own), '127.0.0.1\tlocalhost\n1.2.3.4 mine\n172.19.0.2\tapp\n')
})

test('host-gateway without a gateway is refused', () => {
  assert.throws(() => extraHostLines(['x:host-gateway'], []), /derive the IP value for host-gatew/)
})

test('the line of a linked child is replaced in its place, by alias and id, not by address', () => {
  const line = (ip: string, name: string) => linkLines('db', '0123456789ab', name, [ip])
  const before = hostsText([...line('172.17.0.2', 'c1'), { ip: '172.17.0.3', names: ['me'] }], false)
  const after = replaceLinks(before, line('172.17.0.9', 'c2'))
  assert.deepEqual(after.split('\n').slice(1), [
    '172.17.0.9\tdb 0123456789ab c2', '172.17.0.3\tme', '',
  ])
  const added = replaceLinks(after, linkLines('other', '0123456789ab', 'c2', ['172.17.0.9']))
  assert.equal(added, `${after}172.17.0.9\tother 0123456789ab c2\n`)
})
