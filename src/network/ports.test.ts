import assert from 'node:assert/strict'
import test from 'node:test'
import type { PublicationSpec } from './model.ts'
import { PortTable, parsePortSpan, parseReservedPorts, type PortContext } from './ports.ts'

const context: PortContext = {
  containerIpv4: '172.17.0.2',
  containerIpv6: '',
  defaultHostIp: '0.0.0.0',
  alsoIpv6: true,
  routed4: false,
  routed6: false,
  ephemeral: { first: 32768, last: 32770 },
  reserved: new Set(),
  busy: new Set(),
}
const want = (
  first: number,
  last = first,
  part: Partial<PublicationSpec> = {},
): PublicationSpec => {
  const base = { protocol: 'tcp', containerPort: 80, hostIp: '' } as const
  return { ...base, hostPortFirst: first, hostPortLast: last, ...part }
}
const shown = (found: readonly { hostIp: string; hostPort: number }[]) =>
  found.map(({ hostIp, hostPort }) => `${hostIp} ${hostPort}`)

test('a publication without an address holds 0.0.0.0 and :: on the same port', () => {
  const table = new PortTable()
  assert.deepEqual(shown(table.reserve('a', [want(8080)], context)), ['0.0.0.0 8080', ':: 8080'])
  const without = { ...context, alsoIpv6: false }
  assert.deepEqual(shown(table.reserve('b', [want(8081)], without)), ['0.0.0.0 8081'])
})

test('ephemeral ports go on from the last one, by address and protocol, and wrap', () => {
  const table = new PortTable()
  const next = (part: Partial<PublicationSpec>) => {
    const found = table.reserve('a', [want(0, 0, part)], context)
    table.release('a', found)
    return found[0]?.hostPort
  }
  const all = [{}, {}, { hostIp: '127.0.0.1' }, { protocol: 'udp' } as const, {}, {}].map(next)
  assert.deepEqual(all, [32768, 32769, 32768, 32768, 32770, 32768])
})

test('a port that another container has is refused, wildcard against address too', () => {
  const table = new PortTable()
  table.reserve('a', [want(8080, 8080, { hostIp: '127.0.0.1' })], context)
  assert.throws(() => table.reserve('b', [want(8080)], context), {
    kind: 'internal',
    message: 'failed to bind host port for 0.0.0.0:8080:172.17.0.2:80/tcp: address already in use',
  })
  assert.throws(() => table.reserve('b', [want(8080, 8080, { hostIp: '127.0.0.1' })], context), {
    message: 'Bind for 127.0.0.1:8080 failed: port is already allocated',
  })
  table.reserve('b', [want(8080, 8080, { hostIp: '127.0.0.2' })], context)
  assert.throws(() => table.reserve('c', [want(9000), want(9000)], context), {
    message: 'failed to listen on TCP socket: address already in use',
  })
  table.reserve('c', [want(9000)], context)
  const other = { ...want(9001), containerPort: 81 }
  assert.throws(() => table.reserve('d', [want(9001), other], context), {
    message: 'Bind for 0.0.0.0:9001 failed: port is already allocated',
  })
})

test('a host range for one container port takes the first free one', () => {
  const table = new PortTable()
  table.reserve('a', [want(8080)], context)
  assert.equal(table.reserve('b', [want(8080, 8082)], context)[0]?.hostPort, 8081)
  const busy = { ...context, busy: new Set(['tcp/8082']) }
  assert.throws(() => table.reserve('c', [want(8080, 8082)], busy), /all ports are allocated/)
})

test('fixed ports are held before automatic ones are chosen', () => {
  const table = new PortTable()
  const found = table.reserve('a', [want(0), want(32768)], context)
  assert.deepEqual(shown(found), ['0.0.0.0 32769', ':: 32769', '0.0.0.0 32768', ':: 32768'])
})

test('routed IPv4 takes no host port, the IPv6 side does', () => {
  const table = new PortTable()
  const routed = { ...context, routed4: true }
  assert.deepEqual(shown(table.reserve('a', [want(9000)], routed)), ['0.0.0.0 0', ':: 9000'])
})

test('the kernel’s port files are read with Docker’s fallback', () => {
  assert.deepEqual(parsePortSpan('32768\t60999\n'), { first: 32768, last: 60999 })
  assert.deepEqual(parsePortSpan(''), { first: 49153, last: 65535 })
  assert.deepEqual([...parseReservedPorts('80,90-92\n')], [80, 90, 91, 92])
})
